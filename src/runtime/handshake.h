// A connection that was accepted and has not become part of a link: it owes a hello, or waits for its
// siblings. Guarded by the progress lock.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/link_events.h"

namespace pccl::runtime {

class LinkTable;

struct Handshake final : transport::LaneOwner {
    Handshake(LinkTable& of_table, TimeUs at) : table(of_table), deadline(at) {}

    void lane_heard(transport::Lane&) override {}
    bool lane_frame(transport::Lane& lane, wire::Type type, std::span<const uint8_t> body,
                    std::string* why) override;
    transport::IncomingPlace lane_place(transport::Lane&, const wire::Data&, uint32_t) override {
        return {nullptr, true, "data before the handshake"};
    }
    bool lane_landed(transport::Lane&, const wire::Data&, uint8_t*, uint32_t, std::string*) override {
        return false;
    }
    bool lane_next_data(transport::Lane&, transport::OutgoingData&) override { return false; }
    void lane_writable(transport::Lane& writable) override { writable.pump(); }
    void lane_lost(transport::Lane& lost, const std::string& why) override;

    LinkTable& table;
    TimeUs deadline;
    bool greeted = false;
    wire::Hello hello;
    std::unique_ptr<transport::Lane> lane;
};

/// A link that we ended, until the other side ends it too. Only the first lane's stream is ended: the end of
/// any other would be the loss of the link over there, before everything on the first was read.
struct Lingering final : transport::LaneOwner {
    explicit Lingering(TimeUs at) : deadline(at) {}

    void lane_heard(transport::Lane&) override {}
    bool lane_frame(transport::Lane&, wire::Type, std::span<const uint8_t>, std::string*) override {
        return true;
    }
    transport::IncomingPlace lane_place(transport::Lane&, const wire::Data&, uint32_t) override { return {}; }
    bool lane_landed(transport::Lane&, const wire::Data&, uint8_t*, uint32_t, std::string*) override {
        return true;
    }
    bool lane_next_data(transport::Lane&, transport::OutgoingData&) override { return false; }
    void lane_writable(transport::Lane& writable) override { writable.pump(); }
    void lane_lost(transport::Lane&, const std::string&) override {}

    bool over() const { return lanes.front()->closed(); }

    TimeUs deadline;
    std::vector<std::unique_ptr<transport::Lane>> lanes;
};

}  // namespace pccl::runtime
