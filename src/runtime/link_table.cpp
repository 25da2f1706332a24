#include "runtime/link_table.h"

#include <algorithm>

#include "base/check.h"
#include "transport/tcp_lane.h"

namespace pccl::runtime {

LinkTable::LinkTable(transport::Poller& poller, LinkEvents& events, LinkOptions options)
    : poller_(poller),
      events_(events),
      options_(options),
      listener_(
          poller, [this](int fd, const transport::SocketAddress& remote) { accepted(fd, remote); },
          [this](const std::string& why) { events_.log().write(LogLevel::kError, why); }) {}

LinkTable::~LinkTable() {
    listener_.close();
    for (auto& [peer, link] : links_) link->close();
    for (auto& [peer, dialer] : dialers_) dialer->close();
}

Status LinkTable::listen(const std::string& host, int port_first, int port_last) {
    Status status = listener_.listen(host, port_first, port_last);
    if (status && !host.empty()) options_.tcp.source = listener_.address();
    return status;
}

const Link* LinkTable::find(const MemberId& peer) const {
    const auto at = links_.find(peer);
    return at == links_.end() ? nullptr : at->second.get();
}

void LinkTable::connect(const MemberId& peer, const std::vector<wire::Endpoint>& endpoints, TimeUs deadline) {
    auto at = dialers_.find(peer);
    if (at == dialers_.end())
        at = dialers_.emplace(peer, std::make_unique<Dialer>(*this, peer, ++dialers_made_)).first;
    at->second->dial(endpoints, deadline);
}

void LinkTable::resolved(const MemberId& peer, uint64_t number,
                         std::vector<transport::SocketAddress> addresses, const std::string& error) {
    const auto at = dialers_.find(peer);
    if (at != dialers_.end() && at->second->number() == number)
        at->second->resolved(std::move(addresses), error);
}

void LinkTable::close(const MemberId& peer, uint64_t incarnation) {
    if (const auto dialing = dialers_.find(peer); incarnation == 0 && dialing != dialers_.end()) {
        dialing->second->close();
        bury(std::move(dialing->second));
        dialers_.erase(dialing);
    }
    const auto at = links_.find(peer);
    if (at == links_.end() || (incarnation != 0 && at->second->incarnation() != incarnation)) return;
    std::unique_ptr<Link> link = take(at);
    let_linger(link->release());
    bury(std::move(link));
}

std::unique_ptr<Link> LinkTable::take(std::unordered_map<MemberId, std::unique_ptr<Link>>::iterator at) {
    std::unique_ptr<Link> link = std::move(at->second);
    links_.erase(at);
    if (link->same_host()) --same_host_links_;
    return link;
}

void LinkTable::queue_frame(const MemberId& peer, wire::Type type, std::span<const uint8_t> body) {
    const auto at = links_.find(peer);
    if (at != links_.end()) at->second->queue_frame(type, body);
}

void LinkTable::data_ready(const MemberId& peer) {
    const auto at = links_.find(peer);
    if (at != links_.end()) at->second->data_ready();
}

void LinkTable::cut(const wire::OpKey* key) {
    for (auto& [peer, link] : links_) link->cut(key);
}

void LinkTable::mark_dirty(Link& link) {
    if (link.dirty_ || link.closed()) return;
    link.dirty_ = true;
    dirty_.push_back(&link);
}

void LinkTable::flush() {
    // Writing may make other links dirty; the list grows while it is gone through, and each turn writes a
    // bounded amount.
    for (size_t i = 0; i < dirty_.size(); ++i) {
        Link& link = *dirty_[i];
        link.dirty_ = false;
        if (!link.closed()) link.flush();
    }
    dirty_.clear();
}

/// The loss of a link, told to the core.
void LinkTable::fail(Link& link, const std::string& why) {
    if (link.closed()) return;
    link.close();
    const auto at = links_.find(link.peer());
    PCCL_ASSERT(at != links_.end() && at->second.get() == &link);
    bury(take(at));
    link.give_back_places();
    events_.link_down(link.peer(), link.incarnation(), why);
}

void LinkTable::dialed(Dialer& dialer, uint64_t incarnation,
                       std::vector<std::unique_ptr<transport::Lane>> lanes) {
    const auto at = dialers_.find(dialer.peer());
    PCCL_ASSERT(at != dialers_.end());
    bury(std::move(at->second));
    dialers_.erase(at);
    establish(dialer.peer(), incarnation, std::move(lanes));
}

void LinkTable::dial_failed(Dialer& dialer, const std::string& why) {
    const auto at = dialers_.find(dialer.peer());
    PCCL_ASSERT(at != dialers_.end());
    bury(std::move(at->second));
    dialers_.erase(at);
    events_.connect_failed(dialer.peer(), why);
}

void LinkTable::establish(const MemberId& peer, uint64_t incarnation,
                          std::vector<std::unique_ptr<transport::Lane>> lanes) {
    if (const auto old = links_.find(peer); old != links_.end())
        fail(*old->second, "replaced by a new connection of the peer");
    const auto [slot, added] =
        links_.emplace(peer, std::make_unique<Link>(*this, peer, incarnation, std::move(lanes)));
    PCCL_ASSERT(added);
    Link& opened = *slot->second;
    if (opened.same_host()) ++same_host_links_;
    events_.link_up(peer, incarnation);
    if (opened.closed()) return;
    opened.open();
    mark_dirty(opened);
}

void LinkTable::let_linger(std::vector<std::unique_ptr<transport::Lane>> lanes) {
    auto rest = std::make_unique<Lingering>(events_.now() + options_.linger);
    rest->lanes = std::move(lanes);
    for (auto& lane : rest->lanes) {
        lane->set_owner(rest.get());
        lane->cut(nullptr);
        lane->pause();
    }
    rest->lanes.front()->linger();
    if (lingering_.size() < options_.lingering_max) {
        lingering_.push_back(std::move(rest));
        return;
    }
    for (auto& lane : rest->lanes) lane->close();
    bury(std::move(rest));
}

void LinkTable::shut_down() {
    listener_.close();
    while (!dialers_.empty()) {
        const MemberId peer = dialers_.begin()->first;
        dialers_.begin()->second->close();
        bury(std::move(dialers_.begin()->second));
        dialers_.erase(peer);
    }
    while (!links_.empty()) close(MemberId(links_.begin()->first), 0);
    for (auto& handshake : handshakes_) {
        handshake->lane->close();
        bury(std::move(handshake));
    }
    handshakes_.clear();
}

TimeUs LinkTable::deadline() const {
    TimeUs at = listener_.retry_at();
    for (const auto& [peer, dialer] : dialers_) at = std::min(at, dialer->deadline());
    for (const auto& handshake : handshakes_) at = std::min(at, handshake->deadline);
    for (const auto& rest : lingering_) at = std::min(at, rest->over() ? TimeUs{0} : rest->deadline);
    return at;
}

void LinkTable::tick(TimeUs now) {
    listener_.tick(now);
    std::vector<MemberId> dialing;
    for (const auto& [peer, dialer] : dialers_) {
        if (now >= dialer->deadline()) dialing.push_back(peer);
    }
    for (const MemberId& peer : dialing) {
        const auto at = dialers_.find(peer);
        if (at != dialers_.end()) at->second->tick(now);
    }
    for (size_t i = handshakes_.size(); i-- > 0;) {
        if (now < handshakes_[i]->deadline) continue;
        const bool greeted = handshakes_[i]->greeted;
        Handshake& late = *handshakes_[i];
        late.lane->close();
        handshake_lost(late,
                       greeted ? "the other lanes of the link did not come in time" : "no hello in time");
    }
    std::erase_if(lingering_, [&](auto& rest) {
        if (now < rest->deadline && !rest->over()) return false;
        for (auto& lane : rest->lanes) lane->close();
        bury(std::move(rest));
        return true;
    });
}

}  // namespace pccl::runtime
