// A peer's side of the protocol: registration, epochs, collectives, shared state, liveness. No I/O, clock,
// thread or randomness of its own: the driver hands in events with the time and carries out what `outbox`
// holds afterwards.
//
// Threads: none of this is thread-safe. The driver guards it with its progress lock and calls it from the
// loop thread or from a caller's thread, one at a time. User buffers named in a call are read and written
// only inside member functions and through the spans of place() and next_data(), and never after the call's
// completion was taken from the outbox.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"
#include "base/time.h"
#include "core/mutations.h"
#include "core/outbox.h"
#include "core/timeouts.h"
#include "plan/plan.h"
#include "wire/messages.h"

namespace pccl::core {

struct MemberConfig {
    MemberId id;  ///< drawn anew for every attempt to join
    uint32_t group = 0;
    std::vector<wire::Endpoint> endpoints;  ///< where peers reach this member
    wire::Constants constants;              ///< adopted by the group if this is its first member
    Timeouts timeouts;
    bool adopt_highest_revision = true;
    uint64_t eager_bytes_per_peer =
        4 << 20;  ///< data accepted from one peer for operations not called here yet
    uint32_t parked_slots_per_peer =
        8;                           ///< operands from one peer that wait for earlier ones in the fold order
    uint32_t tags_max = 4096;        ///< beyond, counters are reset at the next quiet moment
    size_t map_bytes_max = 6 << 20;  ///< of what is final of interrupted operations, in one answer to a
                                     ///< proposal; beyond, it is computed again
    Logger log;
    Mutations mutations;
};

struct ReduceCall {
    const uint8_t* send = nullptr;
    uint8_t* receive = nullptr;  ///< may equal `send`; no other overlap
    uint64_t count = 0;
    DataType dtype = DataType::kFloat;
    RedOp op = RedOp::kSum;
    uint64_t tag = 0;
};

struct SharedTensor {
    std::string name;
    uint8_t* data = nullptr;
    uint64_t count = 0;
    DataType dtype = DataType::kFloat;
    bool allow_inequality = false;
    wire::Hash hash;  ///< of the content now; the caller computes it before the call, outside the lock
    uint64_t bytes() const { return count * size_of(dtype); }
};

enum class SyncStrategy : uint8_t { kEnforcePopular = 0, kReceiveOnly = 1, kSendOnly = 2 };

struct SyncCall {
    uint64_t revision = 0;
    SyncStrategy strategy = SyncStrategy::kEnforcePopular;
    std::vector<SharedTensor> tensors;
    bool tainted = false;  ///< an earlier, interrupted call left the content undefined
};

/// How a call ended.
struct CallResult {
    Status status;
    uint64_t tx_bytes = 0, rx_bytes = 0;  ///< payload that this member sent and received for it
    std::vector<MemberId> contributors;   ///< of a reduction that succeeded
    bool peers_pending = false;           ///< answer of a pending query
    uint64_t revision = 0;                ///< of a shared state
    bool tainted = false;                 ///< of a failed shared state: received tensors are undefined
    std::vector<bool> received;           ///< of a shared state: which tensors were (partly) overwritten
    uint64_t epochs = 0;                  ///< epoch changes that the call survived
    uint64_t kept_bytes = 0;              ///< of others' inputs that those changes left folded here
    uint64_t redo_kept_bytes = 0;         ///< of these, where the operation was run again by the survivors
};

inline constexpr size_t kFailuresKept = 64;

/// A member that was lost while this one was in the run.
struct Failure {
    uint64_t number = 0;  ///< counted by this member, from 1
    wire::EpochId epoch;  ///< the one that began without it
    wire::Loss loss;
};

/// What a program sees of the run; changes only when a call ends.
struct View {
    bool connected = false;
    wire::EpochId epoch;
    std::vector<MemberId> members;  ///< of the group, by rank
    wire::Globals globals;
    uint64_t next_revision = 0;
    std::shared_ptr<const std::vector<Failure>> failures;  ///< the latest; null: none
};

/// Where the payload of a data frame goes. With `violation` the link must be closed.
struct Place {
    uint8_t* data = nullptr;  ///< null: read and discard
    bool violation = false;
    std::string reason;
};

/// A data frame to send; `payload` stays valid until a Cut of its operation.
struct DataOut {
    wire::Data header;
    std::span<const uint8_t> payload;
};

/// What a member keeps because of what others sent, for tests of its bounds and for debugging.
struct Holdings {
    size_t operations = 0;     ///< open here, or heard of
    size_t reports = 0;        ///< ends of operations that were not called here
    size_t future_frames = 0;  ///< of an epoch that is promised and not installed
    size_t future_bytes = 0;   ///< of the bodies of those
    size_t slot_bytes = 0;     ///< payloads that wait for their place
    size_t links = 0;
};

using Ticket = uint64_t;

class MemberState;

class Member {
   public:
    explicit Member(MemberConfig config);
    ~Member();
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;

    // ---- the coordinator connection. The first frame sent is Register, put in the outbox by coordinator_up.
    void coordinator_up(TimeUs now);
    void coordinator_down(TimeUs now, const std::string& why);
    /// False: the frame is not valid; the driver closes the connection.
    bool coordinator_frame(TimeUs now, wire::Type type, std::span<const uint8_t> body);

    // ---- links. A link is all lanes to one peer, together; it is up when every lane's handshake is done,
    // and down as soon as one lane is lost (the driver then closes the others, and hands in nothing more of
    // that incarnation).
    void link_up(TimeUs now, const MemberId& peer, uint64_t incarnation);
    void link_down(TimeUs now, const MemberId& peer, uint64_t incarnation, const std::string& why);
    /// An attempt asked for by kConnect was given up.
    void connect_failed(TimeUs now, const MemberId& peer, const std::string& why);
    /// Bytes arrived on the link to `peer`, of whatever kind.
    void link_heard(TimeUs now, const MemberId& peer);
    /// The answer to a Hello that arrived on a listening socket.
    wire::HelloAck judge_hello(const wire::Hello& hello) const;

    // ---- frames. False: a violation; the driver closes the link with the reason logged by the member.
    bool peer_frame(TimeUs now, const MemberId& peer, wire::Type type, std::span<const uint8_t> body);
    /// A data frame's body was read; its payload comes next. Call `landed` after the last byte, unless the
    /// place was null or a Cut came in between. Between the two no other place() for the same lane happens.
    Place place(TimeUs now, const MemberId& peer, const wire::Data& header, uint32_t payload_bytes);
    bool landed(TimeUs now, const MemberId& peer, const wire::Data& header, uint8_t* data,
                uint32_t payload_bytes);
    /// The link was lost between place() and landed(): gives back what place() took. Call it before
    /// link_down. After a Cut the member has taken it back itself.
    void dropped(const MemberId& peer, const wire::Data& header, uint8_t* data, uint32_t payload_bytes);
    /// The next data frame for `peer`; false when there is none now. A kPullData action announces when there
    /// is again.
    bool next_data(TimeUs now, const MemberId& peer, DataOut& out);

    // ---- calls. Each returns an error at once, or a ticket that ends with a kCompleted action.
    /// Ends when this peer is admitted to the run.
    Status join(TimeUs now, Ticket* ticket);
    Status all_reduce(TimeUs now, const ReduceCall& call, Ticket* ticket);
    Status peers_pending(TimeUs now, Ticket* ticket);
    Status synchronize(TimeUs now, SyncCall call, Ticket* ticket);
    Status update_topology(TimeUs now, Ticket* ticket);
    Status optimize_topology(TimeUs now, Ticket* ticket);
    /// Asks for a decision that ends the operation on all participants.
    Status cancel(TimeUs now, Ticket ticket);
    /// Leaves the run gracefully; all other calls end with an error. Ends at once when not admitted.
    Status leave(TimeUs now, Ticket* ticket);
    /// Ends everything locally with `status`: the process is going away or the driver failed.
    void abandon(TimeUs now, const Status& status);
    /// Whether a lost connection to the coordinator is to be opened again.
    bool wants_coordinator() const;
    /// When the coordinator last said something.
    TimeUs coordinator_heard() const;

    /// The result of an ended call, or null while it is going on or for an unknown ticket.
    const CallResult* result(Ticket ticket) const;
    /// Forgets an ended call. A tag is busy until then.
    void forget(Ticket ticket);
    /// Reductions and queries not forgotten yet.
    size_t open_calls() const;

    const View& view() const;
    /// The view that programs see is taken at the end of a call on a communicator.
    bool admitted() const;
    /// Set when this member was removed from the run or gave up; every later call returns it.
    const Status& fate() const;

    // ---- time
    TimeUs deadline() const;
    void tick(TimeUs now);

    std::vector<Action>& outbox();

    /// One line per operation and link, for tests and debugging.
    std::string describe() const;
    Holdings holdings() const;

   private:
    std::unique_ptr<MemberState> state_;
};

}  // namespace pccl::core
