// A lane: one ordered stream of frames to one peer, whatever carries it. TCP is the first kind; siblings
// (TLS, shared memory, fabric) offer the same class with other capabilities.
//
// Threads: a lane and its owner are guarded by one lock, the owner's; which thread holds it does not matter.
// Calls to the owner come from inside ready(), pump() and resume() only; the owner may close the lane, or
// change its owner, inside them, but must not destroy it there.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "wire/messages.h"

namespace pccl::transport {

enum LaneCapability : uint32_t {
    kLaneReceivesInPlace = 1,  ///< payload lands in the place that the owner names, without a copy
    kLaneStripes = 2,          ///< several lanes to one peer carry more than one
    kLaneDetectsLoss = 4,      ///< the loss of the peer's process ends the lane without a heartbeat
    kLaneSameHost = 8,         ///< both ends share a host, and so its cores
};

/// A data frame to send. The payload stays valid until cut() or the end of the lane.
struct OutgoingData {
    wire::Data header;
    std::span<const uint8_t> payload;
};

/// Where a payload goes; null data: it is read and discarded.
struct IncomingPlace {
    uint8_t* data = nullptr;
    bool violation = false;
    std::string reason;
};

/// A data frame whose payload has not arrived completely.
struct UnfinishedData {
    wire::Data header;
    uint8_t* data = nullptr;
    uint32_t payload_bytes = 0;
};

class Lane;

class LaneOwner {
   public:
    /// Bytes arrived; called once for a batch of frames.
    virtual void lane_heard(Lane& lane) = 0;
    /// A control frame. False, with a reason, closes the lane as violated.
    virtual bool lane_frame(Lane& lane, wire::Type type, std::span<const uint8_t> body, std::string* why) = 0;
    virtual IncomingPlace lane_place(Lane& lane, const wire::Data& header, uint32_t payload_bytes) = 0;
    /// The payload is complete; not called when its place was null or the frame was cut.
    virtual bool lane_landed(Lane& lane, const wire::Data& header, uint8_t* data, uint32_t payload_bytes,
                             std::string* why) = 0;
    /// The next data frame for this lane, or false.
    virtual bool lane_next_data(Lane& lane, OutgoingData& out) = 0;
    /// The lane takes frames again: the owner calls pump() when it is done with what it is at.
    virtual void lane_writable(Lane& lane) = 0;
    /// The lane was lost; it is closed already. Its unfinished data is still known.
    virtual void lane_lost(Lane& lane, const std::string& why) = 0;

   protected:
    ~LaneOwner() = default;
};

class Lane {
   public:
    virtual ~Lane() = default;

    virtual uint32_t capabilities() const = 0;
    virtual void set_owner(LaneOwner* owner) = 0;
    virtual void set_body_bytes_max(uint32_t bytes) = 0;

    /// Queues a control frame; pump() writes it, before any data frame that has not started.
    virtual void queue_frame(wire::Type type, std::span<const uint8_t> body) = 0;
    /// Bytes of control frames that are queued.
    virtual size_t queued_bytes() const = 0;
    /// Writes what the transport takes without blocking: queued frames, then data pulled from the owner.
    virtual void pump() = 0;
    /// Whether pump() has to wait for lane_writable.
    virtual bool blocked() const = 0;

    /// Ends the use of the owner's memory for the operation (null: all): a data frame that has not started is
    /// dropped, a partly sent one is finished from a private copy, one being received is discarded.
    virtual void cut(const wire::OpKey* key) = 0;
    /// The data frame being received, if its place was not null and it was not cut.
    virtual bool unfinished(UnfinishedData* out) const = 0;

    /// While paused nothing is received and no frame that was read ahead is handed over.
    virtual void pause() = 0;
    virtual void resume() = 0;

    /// Sends what is queued, ends the stream, and discards what still arrives until the other side closes as
    /// well (lane_lost), so that no reset destroys what it has not read yet.
    virtual void linger() = 0;
    virtual void close() = 0;
    virtual bool closed() const = 0;
    /// Numeric "host:port" of the other side, for logs.
    virtual const std::string& remote() const = 0;
};

}  // namespace pccl::transport
