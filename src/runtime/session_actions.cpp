// Carrying out what the core asks for. Under the progress lock.
#include <algorithm>

#include "base/check.h"
#include "runtime/session.h"

namespace pccl::runtime {

namespace {

/// Small enough to stay in the cache from its arrival until it is folded, large enough to hide the cost of a
/// frame.
constexpr uint32_t kSegmentBytesDefault = 256 * 1024;

}  // namespace

/// Empties the outbox, in order. Whatever an action causes is appended and comes after what is there already.
void Session::drain() {
    if (draining_ || member_ == nullptr) return;
    struct Draining {
        explicit Draining(bool& of) : flag(of) { flag = true; }
        ~Draining() { flag = false; }
        bool& flag;
    } const draining(draining_);
    std::vector<core::Action>& outbox = member_->outbox();
    std::vector<core::Action> batch;
    while (!outbox.empty()) {
        batch.clear();
        batch.swap(outbox);
        for (core::Action& action : batch) carry_out(action);
    }
}

void Session::carry_out(core::Action& action) {
    using Kind = core::Action::Kind;
    switch (action.kind) {
        case Kind::kToCoordinator:
            if (coordinator_up_) control_queue_.push_back({std::move(action), connection_});
            break;
        case Kind::kToPeer: links_->queue_frame(action.peer, action.type, action.body); break;
        case Kind::kPullData: links_->data_ready(action.peer); break;
        case Kind::kConnect: links_->connect(action.peer, action.endpoints, action.deadline); break;
        case Kind::kCloseLink:
            log_.write(LogLevel::kDebug, "closing the link to " + action.peer.brief() + ": " + action.text);
            links_->close(action.peer, action.incarnation);
            break;
        case Kind::kCut: links_->cut(&action.key); break;
        case Kind::kCutAll: links_->cut(nullptr); break;
        case Kind::kCompleted: completed_ = true; break;
        case Kind::kCloseCoordinator: close_coordinator(action); break;
    }
}

void Session::close_coordinator(core::Action& action) {
    const bool reconnect = action.reconnect;
    control_queue_.push_back({std::move(action), connection_});
    coordinator_up_ = false;
    ++connection_;  // what still comes from the old one is ignored
    reconnect_at_ = reconnect ? now() + pause_ : kNever;
}

TimeUs Session::next_deadline() const {
    if (member_ == nullptr || links_ == nullptr || ended_)
        return links_ != nullptr && !ended_ ? links_->deadline() : kNever;
    return std::min({member_->deadline(), links_->deadline(), reconnect_at_});
}

/// The member tells nobody its run, so it is taken from the coordinator's frames on their way in.
void Session::note_run(wire::Type type, std::span<const uint8_t> body) {
    if (member_->admitted()) return;
    const auto take = [&](auto message) {
        if (wire::decode(body, message) && !message.run.is_zero()) run_ = message.run;
    };
    if (type == wire::Type::kWelcome) take(wire::Welcome{});
    if (type == wire::Type::kPrepare) take(wire::Prepare{});
    if (type == wire::Type::kPropose) take(wire::Propose{});
}

/// Where others reach this member; none when the filter matches no address.
std::vector<wire::Endpoint> Session::endpoints(const std::string& local_host) const {
    const uint16_t port = links_->port();
    if (!options_.advertise.empty()) {
        wire::Endpoint endpoint;
        if (transport::parse_address(options_.advertise, &endpoint)) return {endpoint};
        std::string host = options_.advertise;
        if (host.size() > 2 && host.front() == '[' && host.back() == ']')
            host = host.substr(1, host.size() - 2);
        return {{host, port}};
    }
    std::vector<std::string> hosts;
    if (!options_.bind_address.empty() && !links_->address().is_wildcard()) {
        hosts.push_back(links_->address().host());
    } else {
        hosts = transport::advertised_hosts(transport::list_interfaces(), filter_, local_host,
                                            wire::kEndpointsMax);
    }
    std::vector<wire::Endpoint> out;
    for (const std::string& host : hosts) out.push_back({host, port});
    return out;
}

void Session::make_member(std::vector<wire::Endpoint> endpoints) {
    core::MemberConfig config;
    config.id = id_;
    config.group = options_.group;
    config.endpoints = std::move(endpoints);
    config.constants.retry_policy = options_.report_failures ? 1 : 0;
    config.constants.plan = static_cast<uint8_t>(options_.plan);
    config.constants.segment_bytes =
        options_.segment_bytes != 0 ? options_.segment_bytes : kSegmentBytesDefault;
    config.timeouts = timeouts_;
    config.adopt_highest_revision = options_.adopt_highest_revision;
    config.log = log_;
    member_ = std::make_unique<core::Member>(std::move(config));
}

}  // namespace pccl::runtime
