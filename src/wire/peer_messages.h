// Messages between peers, on the lanes of a link. One schema each (`visit`), used by encode and decode.
#pragma once

#include "wire/names.h"

namespace pccl::wire {

// ------------------------------------------------------------------------------------------------

/// Opens a lane. All lanes of one link carry the same incarnation, drawn by the side that connects.
struct Hello {
    static constexpr Type kType = Type::kHello;
    uint16_t version = kProtocolVersion;
    RunId run;
    MemberId from, to;
    uint64_t incarnation = 0;
    uint16_t lane = 0, lanes = 0;
    template <class V>
    void visit(V& v) {
        v(version), v(run), v(from), v(to), v(incarnation), v(lane), v(lanes);
    }
};

struct HelloAck {
    static constexpr Type kType = Type::kHelloAck;
    uint16_t version = kProtocolVersion;
    bool accepted = false;
    bool retry = false;  ///< refused only for now: the other side does not expect this peer yet
    std::string reason;
    template <class V>
    void visit(V& v) {
        v(version), v(accepted), v(retry), v.text(reason);
    }
};

enum class Phase : uint8_t { kPartial = 1, kFinal = 2, kPulled = 3 };

/// What a data frame was charged to at its sender; the receiver gives it back when the data is used up.
enum class Charge : uint8_t {
    kNone = 0,   ///< lands in its place at once
    kEager = 1,  ///< bytes of the budget for operations that the receiver may not have called yet
    kSlot = 2,   ///< one slot for an operand that may wait for earlier ones
};

/// Announces a payload. `object` is the segment of a reduction, or the object of a shared state; `offset`
/// counts bytes in that object and is 0 for segments.
struct Data {
    static constexpr Type kType = Type::kData;
    EpochId epoch;
    OpKey key;
    Descriptor descriptor;
    Phase phase = Phase::kPartial;
    Charge charge = Charge::kNone;
    uint32_t object = 0;
    uint64_t offset = 0;
    template <class V>
    void visit(V& v) {
        v.item(epoch), v.item(key), v.item(descriptor), v(phase), v(charge), v(object), v(offset);
    }
};

/// The sender called the operation, so data for it lands in its place there.
struct Called {
    static constexpr Type kType = Type::kCalled;
    EpochId epoch;
    OpKey key;
    Descriptor descriptor;
    std::vector<uint8_t> kept;  ///< bit per segment: the receiver's input is in what the sender has of it
    template <class V>
    void visit(V& v) {
        v.item(epoch), v.item(key), v.item(descriptor), v.bytes(kept, kSegmentMapBytesMax);
    }
};

inline constexpr uint32_t kFlagPeersPending = 1;
inline constexpr uint32_t kFlagsKnown = 1;

/// One step of the commit barrier.
struct Done {
    static constexpr Type kType = Type::kDone;
    EpochId epoch;
    OpKey key;
    Descriptor descriptor;
    uint8_t round = 0;
    uint32_t flags = 0;
    template <class V>
    void visit(V& v) {
        v.item(epoch), v.item(key), v.item(descriptor), v(round), v(flags);
    }
};

/// Returns credit: bytes of the eager budget and slots for parked operands that are free again.
struct Credit {
    static constexpr Type kType = Type::kCredit;
    EpochId epoch;
    uint64_t eager_bytes = 0;
    uint32_t slots = 0;
    template <class V>
    void visit(V& v) {
        v.item(epoch), v(eager_bytes), v(slots);
    }
};

/// Somebody called the operation with another descriptor; ends it with an error on all participants.
struct Mismatch {
    static constexpr Type kType = Type::kMismatch;
    EpochId epoch;
    OpKey key;
    MemberId first_member, second_member;
    Descriptor first, second;
    template <class V>
    void visit(V& v) {
        v.item(epoch), v.item(key), v(first_member), v(second_member), v.item(first), v.item(second);
    }
};

struct Heartbeat {
    static constexpr Type kType = Type::kHeartbeat;
    template <class V>
    void visit(V&) {}
};

/// A control frame between two members whose own link is dead, by way of a member linked to both.
struct Relay {
    static constexpr Type kType = Type::kRelay;
    EpochId epoch;
    MemberId from, to;
    Type type = Type::kHeartbeat;
    std::vector<uint8_t> body;
    template <class V>
    void visit(V& v) {
        v.item(epoch), v(from), v(to), v(type), v.bytes(body, kPeerBodyBytesMax / 2);
    }
};

/// A 128-bit content hash, as two halves.
struct Hash {
    uint64_t low = 0, high = 0;
    auto operator<=>(const Hash&) const = default;
    template <class V>
    void visit(V& v) {
        v(low), v(high);
    }
};

/// One member's stand in the election of a shared state.
struct Offer {
    static constexpr Type kType = Type::kOffer;
    EpochId epoch;
    OpKey key;
    uint64_t revision = 0;
    uint64_t next_revision = 0;  ///< what this member believes the group expects
    uint8_t strategy = 0;
    bool adopt_highest = true;  ///< whether this member would adopt a lower revision; all must
    bool tainted = false;       ///< content is undefined after an interrupted fetch: does not stand
    Hash keys;                  ///< over names, types and sizes in order
    Hash content;               ///< over the hashes of the compared tensors in order
    template <class V>
    void visit(V& v) {
        v.item(epoch), v.item(key), v(revision), v(next_revision), v(strategy), v(adopt_highest), v(tainted),
            v.item(keys), v.item(content);
    }
};

/// Asks for a range of an object: 0 is the table of hashes, 1.. the tensors in order.
struct Pull {
    static constexpr Type kType = Type::kPull;
    EpochId epoch;
    OpKey key;
    uint32_t object = 0;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    template <class V>
    void visit(V& v) {
        v.item(epoch), v.item(key), v(object), v(offset), v(bytes);
    }
};

}  // namespace pccl::wire
