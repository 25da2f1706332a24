#include "runtime/dialer.h"

#include <algorithm>

#include "base/check.h"
#include "runtime/link_table.h"
#include "transport/tcp_lane.h"

namespace pccl::runtime {

/// One lane on its way: first a connector, then a lane that waits for the answer to its hello.
struct Dialer::OutgoingLane final : transport::LaneOwner {
    OutgoingLane(Dialer& of_dialer, size_t at) : dialer(of_dialer), index(at) {}

    void lane_heard(transport::Lane&) override {}
    bool lane_frame(transport::Lane&, wire::Type type, std::span<const uint8_t> body,
                    std::string* why) override {
        wire::HelloAck ack;
        // Another version may have laid out the rest differently.
        wire::Decoder version_only(body);
        version_only(ack.version);
        const bool foreign = version_only.ok() && ack.version != wire::kProtocolVersion;
        if (type == wire::Type::kHelloAck && foreign) {
            *why = "the peer speaks protocol version " + std::to_string(ack.version) + ", this member " +
                   std::to_string(wire::kProtocolVersion);
            return false;
        }
        if (type != wire::Type::kHelloAck || answered || !wire::decode(body, ack)) {
            *why = "the answer to the hello is not valid";
            return false;
        }
        return dialer.answered(index, ack);
    }
    transport::IncomingPlace lane_place(transport::Lane&, const wire::Data&, uint32_t) override {
        return {nullptr, true, "data before the handshake"};
    }
    bool lane_landed(transport::Lane&, const wire::Data&, uint8_t*, uint32_t, std::string*) override {
        return false;
    }
    bool lane_next_data(transport::Lane&, transport::OutgoingData&) override { return false; }
    void lane_writable(transport::Lane& writable) override { writable.pump(); }
    void lane_lost(transport::Lane& lost, const std::string& why) override {
        dialer.lane_failed(index, lost.remote() + ": " + why, Failure::kBroken);
    }

    Dialer& dialer;
    const size_t index;
    std::unique_ptr<transport::TcpConnector> connector;
    std::unique_ptr<transport::Lane> lane;
    bool answered = false;
};

Dialer::Dialer(LinkTable& table, MemberId peer, uint64_t number)
    : table_(table), events_(table.events()), peer_(peer), number_(number) {}

Dialer::~Dialer() = default;

void Dialer::dial(const std::vector<wire::Endpoint>& endpoints, TimeUs deadline) {
    deadline_ = deadline;
    numeric_.clear();
    names_.clear();
    for (const wire::Endpoint& endpoint : endpoints) {
        transport::SocketAddress address;
        if (transport::parse_numeric(endpoint.host, endpoint.port, &address)) {
            numeric_.push_back(address);
        } else {
            names_.push_back(endpoint);
        }
    }
    if (!in_round_ && look_ups_open_ == 0) start_round();
}

void Dialer::look_up_names() {
    if (names_.empty() || !looked_up_.empty() || look_ups_open_ > 0) return;
    look_ups_open_ = names_.size();
    const std::vector<wire::Endpoint> names = names_;  // an answer may change the list
    for (const wire::Endpoint& endpoint : names) events_.resolve(peer_, number_, endpoint);
}

void Dialer::start_round() {
    PCCL_ASSERT(!closed_ && !in_round_);
    next_round_ = kNever;
    // Numeric addresses do not wait for names; what is looked up meanwhile joins the next round.
    look_up_names();
    if (closed_ || in_round_ || (numeric_.empty() && look_ups_open_ > 0)) return;
    std::vector<transport::SocketAddress> addresses = numeric_;
    addresses.insert(addresses.end(), looked_up_.begin(), looked_up_.end());
    in_round_ = true;
    incarnation_ = events_.random();
    if (incarnation_ == 0) incarnation_ = 1;
    answered_ = 0;
    refusal_.clear();
    lanes_.push_back(std::make_unique<OutgoingLane>(*this, 0));
    transport::TcpConnector::Callbacks callbacks;
    callbacks.on_connected = [this](int fd, const transport::SocketAddress& remote) {
        connected(0, fd, remote);
    };
    callbacks.on_failed = [this](const std::string& why) { connect_failed(why); };
    lanes_[0]->connector = std::make_unique<transport::TcpConnector>(
        table_.poller(), table_.options().tcp, std::move(addresses), std::move(callbacks));
    lanes_[0]->connector->start(events_.now());
}

void Dialer::resolved(std::vector<transport::SocketAddress> addresses, const std::string& error) {
    if (closed_ || look_ups_open_ == 0) return;
    --look_ups_open_;
    looked_up_.insert(looked_up_.end(), addresses.begin(), addresses.end());
    if (!error.empty()) look_up_error_ = error;
    if (look_ups_open_ > 0 || in_round_) return;
    if (looked_up_.empty() && numeric_.empty()) {
        end_round("no address of the peer can be looked up: " + look_up_error_, false);
    } else if (next_round_ == kNever) {
        start_round();
    }
}

void Dialer::connected(size_t index, int fd, const transport::SocketAddress& remote) {
    OutgoingLane& outgoing = *lanes_[index];
    answer_deadline_ = events_.now() + table_.options().handshake;
    outgoing.lane = std::make_unique<transport::TcpLane>(table_.poller(), fd, remote.text(), &outgoing);
    if (outgoing.lane->closed()) {
        lane_failed(index, "no more connections can be watched", Failure::kBroken);
        return;
    }
    if (index == 0) {
        address_ = remote;
        const bool same_host = (outgoing.lane->capabilities() & transport::kLaneSameHost) != 0;
        const uint32_t wish = table_.options().lanes;
        lanes_wanted_ = static_cast<uint16_t>(std::min<uint32_t>(wish, kLanesMax));
        if (wish == 0) lanes_wanted_ = same_host ? uint16_t{1} : kLanesElsewhere;
    }
    wire::Hello hello = events_.make_hello(peer_);
    hello.incarnation = incarnation_;
    hello.lane = static_cast<uint16_t>(index);
    hello.lanes = lanes_wanted_;
    std::vector<uint8_t> body;
    body.reserve(128);
    wire::Encoder(body).item(hello);
    outgoing.lane->queue_frame(wire::Type::kHello, body);
    outgoing.lane->pump();
}

void Dialer::connect_failed(const std::string& why) {
    // No address is left. One that led to somebody who will not accept decides, since the others led nowhere.
    if (refusal_.empty()) {
        end_round(why.empty() ? why_ : why, false);
    } else {
        end_round(refusal_, true);
    }
}

bool Dialer::answered(size_t index, const wire::HelloAck& ack) {
    OutgoingLane& outgoing = *lanes_[index];
    if (!ack.accepted) {
        const std::string text = outgoing.lane->remote() + " refused: " + ack.reason;
        outgoing.lane->close();
        lane_failed(index, text, ack.retry ? Failure::kRefusedForNow : Failure::kRefusedForGood);
        return true;
    }
    outgoing.answered = true;
    outgoing.lane->pause();  // frames of the link may follow at once, and the link is not complete yet
    ++answered_;
    if (answered_ == lanes_wanted_) {
        finish();
    } else if (index == 0) {
        open_other_lanes();
    }
    return true;
}

void Dialer::lane_failed(size_t index, const std::string& why, Failure failure) {
    if (closed_ || !in_round_) return;
    why_ = why;
    OutgoingLane& outgoing = *lanes_[index];
    const bool chose_address = index != 0 || outgoing.answered;
    if (chose_address || failure == Failure::kRefusedForNow) {
        end_round(why, failure == Failure::kRefusedForGood);
        return;
    }
    // Another address may lead to the right peer.
    table_.bury(std::move(outgoing.lane));
    if (failure == Failure::kRefusedForGood && refusal_.empty()) refusal_ = why;
    answer_deadline_ = kNever;
    outgoing.connector->next(events_.now());
}

void Dialer::open_other_lanes() {
    table_.bury(std::move(lanes_[0]->connector));
    for (size_t i = 1; i < lanes_wanted_; ++i) lanes_.push_back(std::make_unique<OutgoingLane>(*this, i));
    for (size_t i = 1; i < lanes_wanted_ && in_round_; ++i) {
        transport::TcpConnector::Callbacks callbacks;
        callbacks.on_connected = [this, i](int fd, const transport::SocketAddress& remote) {
            connected(i, fd, remote);
        };
        callbacks.on_failed = [this](const std::string& why) { connect_failed(why); };
        lanes_[i]->connector = std::make_unique<transport::TcpConnector>(
            table_.poller(), table_.options().tcp, std::vector{address_}, std::move(callbacks));
        lanes_[i]->connector->start(events_.now());
    }
}

void Dialer::finish() {
    std::vector<std::unique_ptr<transport::Lane>> lanes;
    for (auto& outgoing : lanes_) lanes.push_back(std::move(outgoing->lane));
    abort_round();
    closed_ = true;
    table_.dialed(*this, incarnation_, std::move(lanes));
}

/// Closes what the round opened.
void Dialer::abort_round() {
    in_round_ = false;
    answer_deadline_ = kNever;
    for (auto& outgoing : lanes_) {
        if (outgoing->lane != nullptr) outgoing->lane->close();
        if (outgoing->connector != nullptr) outgoing->connector->close();
        table_.bury(std::move(outgoing));
    }
    lanes_.clear();
}

void Dialer::end_round(const std::string& why, bool final) {
    abort_round();
    why_ = why;
    const TimeUs now = events_.now();
    if (final) {
        give_up(why);
        return;
    }
    if (now + pause_ >= deadline_) {
        give_up("time-out: " + why);
        return;
    }
    next_round_ = now + pause_;
    pause_ = std::min(2 * pause_, kPauseMax);
}

void Dialer::give_up(const std::string& why) {
    closed_ = true;
    table_.dial_failed(*this, why);
}

void Dialer::close() {
    closed_ = true;
    abort_round();
}

TimeUs Dialer::deadline() const {
    TimeUs at = std::min({deadline_, next_round_ == 0 ? kNever : next_round_, answer_deadline_});
    for (const auto& outgoing : lanes_) {
        if (outgoing->connector != nullptr) at = std::min(at, outgoing->connector->deadline());
    }
    return at;
}

void Dialer::tick(TimeUs now) {
    if (closed_) return;
    if (now >= deadline_) {
        abort_round();
        give_up("time-out" + (why_.empty() ? std::string(" while connecting") : ": " + why_));
        return;
    }
    if (in_round_ && now >= answer_deadline_) {
        if (answered_ > 0 || lanes_[0]->lane == nullptr) {
            end_round("the peer did not answer the handshake in time", false);
        } else {
            lanes_[0]->lane->close();
            lane_failed(0, lanes_[0]->lane->remote() + ": no answer to the handshake in time",
                        Failure::kBroken);
        }
        return;
    }
    for (size_t i = 0; in_round_ && i < lanes_.size(); ++i) {
        if (lanes_[i]->connector != nullptr) lanes_[i]->connector->tick(now);
    }
    if (!closed_ && !in_round_ && next_round_ != 0 && now >= next_round_) start_round();
}

}  // namespace pccl::runtime
