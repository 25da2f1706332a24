#include "runtime/link.h"

#include "base/check.h"
#include "runtime/link_table.h"

namespace pccl::runtime {

Link::Link(LinkTable& table, MemberId peer, uint64_t incarnation,
           std::vector<std::unique_ptr<transport::Lane>> lanes)
    : table_(table),
      events_(table.events()),
      peer_(peer),
      incarnation_(incarnation),
      lanes_(std::move(lanes)),
      same_host_((lanes_.front()->capabilities() & transport::kLaneSameHost) != 0) {
    for (auto& lane : lanes_) {
        lane->set_owner(this);
        lane->set_body_bytes_max(wire::kPeerBodyBytesMax);
    }
}

void Link::open() {
    for (auto& lane : lanes_) {
        if (closed_) return;
        lane->resume();
    }
}

void Link::queue_frame(wire::Type type, std::span<const uint8_t> body) {
    if (closed_) return;
    PCCL_ASSERT(body.size() <= wire::kPeerBodyBytesMax);
    if (lanes_.front()->queued_bytes() + body.size() > table_.options().control_bytes_max) {
        table_.fail(*this, "the peer does not read: too many bytes of control frames are queued for it");
        return;
    }
    lanes_.front()->queue_frame(type, body);
    table_.mark_dirty(*this);
}

void Link::data_ready() {
    if (closed_) return;
    data_ready_ = true;
    table_.mark_dirty(*this);
}

void Link::flush() {
    dirty_ = false;
    for (auto& lane : lanes_) {
        if (closed_) return;
        if (!lane->blocked()) lane->pump();
    }
}

void Link::cut(const wire::OpKey* key) {
    for (auto& lane : lanes_) lane->cut(key);
}

void Link::give_back_places() {
    for (auto& lane : lanes_) {
        transport::UnfinishedData data;
        if (!lane->unfinished(&data)) continue;
        lane->cut(nullptr);
        events_.dropped(peer_, data.header, data.data, data.payload_bytes);
    }
}

void Link::close() {
    closed_ = true;
    for (auto& lane : lanes_) lane->close();
}

std::vector<std::unique_ptr<transport::Lane>> Link::release() {
    closed_ = true;
    return std::move(lanes_);
}

void Link::lane_heard(transport::Lane&) { events_.link_heard(peer_); }

bool Link::lane_frame(transport::Lane&, wire::Type type, std::span<const uint8_t> body, std::string* why) {
    if (type == wire::Type::kHello || type == wire::Type::kHelloAck) {
        *why = "a second handshake on an open lane";
        return false;
    }
    if (events_.peer_frame(peer_, type, body)) return true;
    *why = "the peer sent a frame of type " + std::to_string(static_cast<int>(type)) + " that is not valid";
    return false;
}

transport::IncomingPlace Link::lane_place(transport::Lane&, const wire::Data& header,
                                          uint32_t payload_bytes) {
    return events_.place(peer_, header, payload_bytes);
}

bool Link::lane_landed(transport::Lane&, const wire::Data& header, uint8_t* data, uint32_t payload_bytes,
                       std::string* why) {
    if (events_.landed(peer_, header, data, payload_bytes)) return true;
    *why = "the peer sent data that is not valid";
    return false;
}

bool Link::lane_next_data(transport::Lane&, transport::OutgoingData& out) {
    if (closed_ || !data_ready_) return false;
    // Cleared first: the core may announce more while it is asked.
    data_ready_ = false;
    const bool got = events_.next_data(peer_, out);
    if (got) data_ready_ = true;
    return got;
}

void Link::lane_writable(transport::Lane&) { table_.mark_dirty(*this); }

void Link::lane_lost(transport::Lane& lane, const std::string& why) {
    table_.fail(*this, lane.remote() + ": " + why);
}

}  // namespace pccl::runtime
