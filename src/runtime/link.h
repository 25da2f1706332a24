// All lanes to one peer. Control frames go in order over the first lane; data frames go to whichever lane
// takes them, so that a slow lane carries less. The loss of one lane is the loss of the link.
//
// Guarded by the progress lock.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/link_events.h"

namespace pccl::runtime {

class LinkTable;

class Link final : public transport::LaneOwner {
   public:
    Link(LinkTable& table, MemberId peer, uint64_t incarnation,
         std::vector<std::unique_ptr<transport::Lane>> lanes);

    const MemberId& peer() const { return peer_; }
    uint64_t incarnation() const { return incarnation_; }
    size_t lanes() const { return lanes_.size(); }
    bool closed() const { return closed_; }
    bool same_host() const { return same_host_; }
    std::string remote() const { return lanes_.front()->remote(); }

    /// Starts to receive; frames that arrived since the handshake are handed over at once.
    void open();
    /// Closes the link when the peer does not read what is queued for it.
    void queue_frame(wire::Type type, std::span<const uint8_t> body);
    /// There is data to pull.
    void data_ready();
    void flush();
    void cut(const wire::OpKey* key);

    /// Gives back the places of payloads that will not arrive.
    void give_back_places();
    void close();
    /// Closes it and hands over the lanes for an orderly end.
    std::vector<std::unique_ptr<transport::Lane>> release();

   private:
    friend class LinkTable;

    void lane_heard(transport::Lane& lane) override;
    bool lane_frame(transport::Lane& lane, wire::Type type, std::span<const uint8_t> body,
                    std::string* why) override;
    transport::IncomingPlace lane_place(transport::Lane& lane, const wire::Data& header,
                                        uint32_t payload_bytes) override;
    bool lane_landed(transport::Lane& lane, const wire::Data& header, uint8_t* data, uint32_t payload_bytes,
                     std::string* why) override;
    bool lane_next_data(transport::Lane& lane, transport::OutgoingData& out) override;
    void lane_writable(transport::Lane& lane) override;
    void lane_lost(transport::Lane& lane, const std::string& why) override;

    LinkTable& table_;
    LinkEvents& events_;
    const MemberId peer_;
    const uint64_t incarnation_;
    std::vector<std::unique_ptr<transport::Lane>> lanes_;
    const bool same_host_;
    bool closed_ = false;
    bool dirty_ = false;  // in the table's list of links to flush
    bool data_ready_ = false;
};

}  // namespace pccl::runtime
