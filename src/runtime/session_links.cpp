// Events of links, passed on to the core. Under the progress lock; after each one the core's actions are
// carried out.
#include "runtime/session.h"

namespace pccl::runtime {

wire::Hello Session::make_hello(const MemberId& peer) {
    wire::Hello hello;
    hello.run = run_;
    hello.from = id_;
    hello.to = peer;
    return hello;
}

wire::HelloAck Session::judge_hello(const wire::Hello& hello) {
    if (member_ != nullptr) return member_->judge_hello(hello);
    wire::HelloAck ack;
    ack.retry = true;
    ack.reason = "not a member yet";
    return ack;
}

void Session::link_up(const MemberId& peer, uint64_t incarnation) {
    const Link* link = links_->find(peer);
    log_.write(LogLevel::kDebug, "link to " + peer.brief() + " at " + link->remote() +
                                     " is up, lanes: " + std::to_string(link->lanes()));
    member_->link_up(now(), peer, incarnation);
    drain();
}

void Session::link_down(const MemberId& peer, uint64_t incarnation, const std::string& why) {
    log_.write(LogLevel::kDebug, "link to " + peer.brief() + " is down: " + why);
    member_->link_down(now(), peer, incarnation, why);
    drain();
}

void Session::connect_failed(const MemberId& peer, const std::string& why) {
    member_->connect_failed(now(), peer, why);
    drain();
}

void Session::link_heard(const MemberId& peer) { member_->link_heard(now(), peer); }

bool Session::peer_frame(const MemberId& peer, wire::Type type, std::span<const uint8_t> body) {
    const bool valid = member_->peer_frame(now(), peer, type, body);
    drain();
    return valid;
}

transport::IncomingPlace Session::place(const MemberId& peer, const wire::Data& header,
                                        uint32_t payload_bytes) {
    core::Place place = member_->place(now(), peer, header, payload_bytes);
    transport::IncomingPlace out{place.data, place.violation, std::move(place.reason)};
    drain();
    return out;
}

bool Session::landed(const MemberId& peer, const wire::Data& header, uint8_t* data, uint32_t payload_bytes) {
    const bool valid = member_->landed(now(), peer, header, data, payload_bytes);
    drain();
    return valid;
}

void Session::dropped(const MemberId& peer, const wire::Data& header, uint8_t* data, uint32_t payload_bytes) {
    member_->dropped(peer, header, data, payload_bytes);
    drain();
}

bool Session::next_data(const MemberId& peer, transport::OutgoingData& out) {
    core::DataOut piece;
    if (!member_->next_data(now(), peer, piece)) return false;
    out.header = piece.header;
    out.payload = piece.payload;
    drain();
    return true;
}

void Session::resolve(const MemberId& peer, uint64_t number, const wire::Endpoint& endpoint) {
    look_ups_.push_back({peer, number, endpoint});
}

}  // namespace pccl::runtime
