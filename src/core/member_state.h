// The inside of a Member, shared by the member_*.cpp files:
//   member.cpp              facade, results, tickets
//   member_calls.cpp        calls of the program and their queue
//   member_data.cpp         data frames: gates, credits, places
//   member_barrier.cpp      completion, commit barrier, ends of operations
//   member_frames.cpp       control frames from peers
//   member_links.cpp        links, suspicions, liveness
//   member_coordinator.cpp  registration, votes, fate
//   member_freeze.cpp       freeze and its answer
//   member_epoch.cpp        proposals and installs
// Invariants: an operation is in `ops_` from when it was first heard of or called until its end; `frozen_`
// means that no operation makes a transition; ranks are positions in `members_`, which only an Install
// changes.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/collective.h"
#include "core/member.h"
#include "core/shared_state.h"
#include "core/slots.h"

namespace pccl::core {

/// Data that came before its operation was called here.
struct EarlyData {
    MemberId from;
    wire::Data header;
    uint8_t* slot;
    uint32_t bytes;
};

/// One call of a collective that has not ended here.
struct Op {
    wire::OpKey key;
    bool called = false;
    Ticket ticket = 0;
    wire::Descriptor descriptor;
    wire::EpochId attempt;
    std::vector<MemberId> contributors;
    /// By shard, where an attempt that goes on with what is kept is folded; none: as in any fresh one.
    std::vector<MemberId> homes;
    std::unique_ptr<Collective> run;      ///< of a reduction
    std::unique_ptr<SharedState> shared;  ///< of a shared state
    ReduceCall reduce;

    // What others said about it in this epoch, by rank.
    std::vector<bool> remote_called;
    size_t remote_called_count = 0;
    std::vector<std::vector<bool>> done;  ///< by barrier round, then rank
    std::optional<std::pair<MemberId, wire::Descriptor>>
        heard;                          ///< somebody's descriptor, to compare with ours
    std::optional<MemberId> opened_by;  ///< who counts for it while it is not called here
    std::vector<EarlyData> early;
    std::vector<std::pair<plan::Rank, wire::Offer>> early_offers;

    bool in_barrier = false;
    std::vector<plan::BarrierRound> rounds;
    size_t round = 0;
    uint32_t flags = 0;

    bool cancel = false;
    std::string cancel_reason;  ///< for everybody's text
    bool cancel_told = false;   ///< the last Frozen answer said so
    TimeUs started = 0;
    TimeUs timed_from = 0;  ///< its own time-out runs from here
    TimeUs warn_at = 0;
    TimeUs warn_interval = 0;
    uint64_t tx_bytes = 0, rx_bytes = 0, epochs = 0, kept_bytes = 0, redo_kept_bytes = 0;
};

/// Calls of one (kind, tag).
struct TagState {
    uint64_t calls = 0;  ///< sequence number of the last call
    Ticket busy = 0;     ///< not forgotten yet
    /// Ends that no applied Install covers: the last one, and errors before it, since only a success implies
    /// earlier ones.
    std::vector<wire::OpRecord> last;
};

/// Credits towards and from one peer, in one epoch.
struct Flow {
    uint64_t eager_left = 0;  ///< as a sender
    uint32_t slots_left = 0;
    uint64_t eager_held = 0;  ///< as a receiver: charged and not given back
    uint32_t slots_held = 0;
    uint64_t eager_due = 0;  ///< used up, to be given back with the next Credit
    uint32_t slots_due = 0;
    uint64_t future_held = 0;  ///< eager bytes of the epoch that is promised, not installed
    // What is kept because this peer was the first to send it, so that no peer uses up what all share.
    size_t future_frames = 0;
    size_t future_bytes = 0;
    size_t heard_ops = 0;  ///< operations that are not called here
    size_t reports = 0;    ///< ends of such operations
};

/// A payload being received.
struct InFlight {
    wire::OpKey key;
    uint8_t* data;
    bool is_slot;
    bool is_early;  ///< for an operation not called yet, or an epoch not installed yet
};

/// All lanes to one peer.
struct Link {
    bool up = false;
    uint64_t incarnation = 0;
    bool connecting = false;
    bool failed = false;
    std::string reason;
    TimeUs heard = 0;
    TimeUs sent = 0;
    uint64_t received_bytes = 0;  ///< of data
    bool pull_announced = false;
    Flow flow;
    std::vector<InFlight> in_flight;
    std::vector<Op*> ready;  ///< operations with data queued for this peer
    size_t turn = 0;
};

/// A call made while operations cannot start.
struct QueuedCall {
    Ticket ticket = 0;
    wire::OpKind kind = wire::OpKind::kReduce;
    ReduceCall reduce;
    SyncCall sync;
    bool cancel = false;  ///< asked for while it waited
};

struct FutureFrame {
    MemberId from;
    wire::Type type;
    std::vector<uint8_t> body;
    uint8_t* slot = nullptr;  ///< with data
    uint32_t bytes = 0;
};

struct StandingVote {
    wire::VoteKind kind = wire::VoteKind::kUpdate;
    uint64_t number = 0;
    Ticket ticket = 0;
    bool soft = false;       ///< ends as soon as another member is heard in an operation
    bool withdrawn = false;  ///< the coordinator was asked to answer it at once
};

class MemberState {
   public:
    explicit MemberState(MemberConfig config);
    ~MemberState();

    // member_calls.cpp
    Status check_call() const;
    Status all_reduce(TimeUs now, const ReduceCall& call, Ticket* ticket);
    Status peers_pending(TimeUs now, Ticket* ticket);
    Status synchronize(TimeUs now, SyncCall call, Ticket* ticket);
    Status vote(TimeUs now, wire::VoteKind kind, Ticket* ticket);
    Status cancel(TimeUs now, Ticket ticket);
    Status cancel_op(Op& op, const std::string& reason);
    bool blocked() const { return frozen_ || installing_ || vote_.has_value() || leaving_; }
    void run_queue(TimeUs now);
    void begin(TimeUs now, QueuedCall call);
    void begin_reduce(TimeUs now, const ReduceCall& call, Ticket ticket);
    void begin_query(TimeUs now, Ticket ticket);
    void begin_sync(TimeUs now, SyncCall call, Ticket ticket);
    Op* begin_op(TimeUs now, wire::OpKind kind, uint64_t tag, Ticket ticket,
                 const wire::Descriptor& descriptor);
    size_t tags_in_use() const;
    bool reported_already(uint64_t tag) const;
    bool tag_free(wire::OpKind kind, uint64_t tag) const;
    wire::Descriptor describe_reduce(const ReduceCall& call) const;
    Ticket new_ticket(wire::OpKind kind, uint64_t tag);
    void complete(Ticket ticket, CallResult result);

    // member_data.cpp
    Place place(TimeUs now, const MemberId& peer, const wire::Data& header, uint32_t bytes);
    bool landed(TimeUs now, const MemberId& peer, const wire::Data& header, uint8_t* data, uint32_t bytes);
    void dropped(const MemberId& peer, const wire::Data& header, uint8_t* data, uint32_t bytes);
    bool next_data(TimeUs now, const MemberId& peer, DataOut& out);
    bool fill(TimeUs now, Op& op, plan::Rank rank, Link& link, DataOut& out);
    Place refuse(Link& link, plan::Rank rank, const wire::Data& header, uint32_t bytes);
    Place place_early(Link& link, const wire::Data& header, uint32_t bytes);
    bool charge_received(Link& link, wire::Charge charge, uint32_t bytes);
    void give_back(plan::Rank rank, wire::Charge charge, uint32_t bytes);
    void flush_credits(plan::Rank rank);
    void take_early(TimeUs now, Op& op);
    void announce(Op& op, plan::Rank rank);
    void announce_all(Op& op);
    void release_in_flight(Link& link, const wire::OpKey* key);
    Collective::Gate gate_of(const Op& op, plan::Rank rank, const Link& link) const;

    // member_barrier.cpp
    void pump(TimeUs now, Op& op);
    /// Of an operation without elements nothing but its call shows that a contributor took part.
    bool all_called(const Op& op) const { return op.remote_called_count + 1 == members_.size(); }
    plan::BarrierRound shared_round(const Op& op) const;
    void enter_barrier(TimeUs now, Op& op);
    void advance_barrier(TimeUs now, Op& op);
    void sample_flags(Op& op);
    void send_done(Op& op);
    bool round_passed(const Op& op) const;
    void end(TimeUs now, Op& op, const Status& status);
    void keep_end(wire::OpRecord record, const Status& status);
    void erase(Op& op);
    void elected(TimeUs now, Op& op);
    void serve_shared(Op& op);

    // member_frames.cpp
    bool peer_frame(TimeUs now, const MemberId& peer, wire::Type type, std::span<const uint8_t> body);
    bool handle(TimeUs now, const MemberId& from, wire::Type type, std::span<const uint8_t> body);
    bool on_called(TimeUs now, plan::Rank from, const wire::Called& message);
    bool on_done(TimeUs now, plan::Rank from, const wire::Done& message);
    bool on_credit(plan::Rank from, const wire::Credit& message);
    bool on_mismatch(TimeUs now, plan::Rank from, const wire::Mismatch& message);
    bool on_offer(TimeUs now, plan::Rank from, const wire::Offer& message);
    bool on_pull(plan::Rank from, const wire::Pull& message);
    bool on_relay(TimeUs now, const MemberId& from, const wire::Relay& message);
    template <class Message, class Handler>
    bool in_epoch(const MemberId& from, std::span<const uint8_t> body, Handler handler);
    /// The open operation of that name, made if it was not heard of. Null: it ended, or with `violation` it
    /// cannot exist, or `from` has spoken of more than are kept.
    Op* find_op(plan::Rank from, const wire::OpKey& key, bool* violation);
    bool over_share(size_t held_for_peer, size_t held, size_t max) const;
    void uncount(Op& op);
    void report(const wire::OpKey& key, Status status);
    bool descriptors_differ(TimeUs now, Op& op, const MemberId& member, const wire::Descriptor& theirs);
    void raise_mismatch(TimeUs now, Op& op, const MemberId& member, const wire::Descriptor& theirs);
    template <class Message>
    void send_to(plan::Rank rank, const Message& message);
    void send_body(plan::Rank rank, wire::Type type, std::vector<uint8_t> body);
    bool keep_future(const MemberId& from, wire::Type type, std::span<const uint8_t> body);
    bool take_future_data(TimeUs now, FutureFrame& frame);

    // member_links.cpp
    void link_up(TimeUs now, const MemberId& peer, uint64_t incarnation);
    void link_down(TimeUs now, const MemberId& peer, uint64_t incarnation, const std::string& why);
    void connect_failed(TimeUs now, const MemberId& peer, const std::string& why);
    wire::HelloAck judge_hello(const wire::Hello& hello) const;
    void suspect(TimeUs now, const MemberId& peer, bool closed, const std::string& why);
    void connect_to(TimeUs now, const wire::Peer& peer);
    void report_links();
    void report_prepared();
    void close_strangers();
    void tick(TimeUs now);
    void tick_links(TimeUs now);
    void tick_coordinator(TimeUs now);
    void tick_ops(TimeUs now);
    void warn_slow(TimeUs now, Op& op);
    bool is_initiator(const std::vector<wire::Peer>& list, const MemberId& peer) const;

    // member_coordinator.cpp
    void coordinator_up(TimeUs now);
    void coordinator_down(TimeUs now, const std::string& why);
    void give_up_joining(TimeUs now, const std::string& why);
    bool wants_coordinator() const { return admitted_ || join_ticket_ != 0; }
    bool coordinator_frame(TimeUs now, wire::Type type, std::span<const uint8_t> body);
    bool on_recall(const wire::Recall& message);
    bool on_welcome(TimeUs now, const wire::Welcome& message);
    bool on_refused(TimeUs now, const wire::Refused& message);
    bool on_prepare(TimeUs now, const wire::Prepare& message);
    bool on_vote_answer(TimeUs now, const wire::VoteAnswer& message);
    void end_vote(const Status& status, bool counts);
    void withdraw_soft_vote();
    void fail_calls(TimeUs now, const Status& status);
    void set_fate(TimeUs now, const Status& status);
    void evict_self(TimeUs now, const Status& status);
    void depart(TimeUs now);
    Status join(TimeUs now, Ticket* ticket);
    Status leave(TimeUs now, Ticket* ticket);
    template <class Message>
    void to_coordinator(const Message& message);
    void request_change(wire::ChangeReason reason);

    // member_freeze.cpp
    void freeze();
    /// What was kept of an epoch that is promised.
    void drop_future();
    wire::Frozen frozen_answer(TimeUs now);
    void list_reports(wire::Frozen& answer) const;
    void list_open(wire::Frozen& answer);
    wire::OpRecord record_of(const Op& op) const;

    // member_epoch.cpp
    bool on_propose(TimeUs now, wire::Propose message);
    bool on_install(TimeUs now, wire::Install message);
    void note_failures(const wire::Install& message);
    void adopt(TimeUs now, const wire::Install& message);
    void decide_ops(TimeUs now, const wire::Install& message);
    static const char* phase_of(const Op& op);
    void apply(TimeUs now, Op& op, const wire::Decision& decision);
    void apply_unheard(const wire::Decision& decision);
    void restart(TimeUs now, Op& op, const wire::Decision* decision);
    void rerun(Op& op, const wire::Decision& decision);
    void keep_homes(Op& op) const;
    std::vector<plan::Rank> home_ranks(const Op& op) const;
    void reenter(TimeUs now, Op& op);
    void take_future(TimeUs now);
    plan::Kind plan_kind(uint64_t bytes) const;

    // shared small things
    std::optional<plan::Rank> rank_of(const MemberId& id) const;
    Link* link_of(plan::Rank rank);
    bool alone() const { return members_.size() < 2; }
    void log(LogLevel level, const std::string& text) const { config_.log.write(level, text); }
    bool logs(LogLevel level) const { return config_.log.enabled(level); }
    std::string who(const MemberId& id) const;

    MemberConfig config_;
    std::vector<Action> outbox_;
    Status fate_;

    // run and epoch
    RunId run_;
    wire::Term term_;
    bool admitted_ = false;
    bool fresh_ = false;  ///< admitted by a boundary, and no operation called since
    wire::EpochId epoch_;
    std::vector<wire::Peer> peers_;  ///< of the epoch, by rank
    std::vector<MemberId> members_;
    // Of the epoch before, for what is kept of its attempts.
    std::vector<MemberId> old_members_;
    plan::Topology old_topology_;
    size_t kept_map_bytes_ = 0;  ///< told to each peer of what is kept since the last change
    std::unordered_map<MemberId, plan::Rank> ranks_;
    plan::Rank rank_ = 0;
    plan::Topology topology_;
    wire::Constants constants_;
    View view_;
    uint64_t next_revision_ = 0;
    bool synced_once_ = false;
    std::optional<wire::Hash> agreed_content_;  ///< of the last shared state that was synchronised

    // epoch change
    bool frozen_ = false;
    bool installing_ = false;  ///< decisions are being applied: queued calls wait
    wire::EpochId promised_;
    std::optional<wire::Propose> proposal_;
    wire::Install installed_;  ///< the last one, for a coordinator that has lost it
    std::vector<FutureFrame> future_;
    size_t future_bytes_ = 0;      ///< of their bodies
    std::set<MemberId> expected_;  ///< newcomers that may open links
    std::vector<wire::Suspect> suspicions_;
    TimeUs frozen_since_ = 0;

    // joining and leaving
    std::optional<wire::Prepare> prepare_;
    Ticket join_ticket_ = 0;
    std::vector<Ticket> leave_tickets_;
    bool leaving_ = false;
    TimeUs leave_deadline_ = kNever;

    // coordinator
    bool coordinator_up_ = false;
    bool coordinator_spoke_ = false;  ///< over this connection, in a term that counts
    TimeUs coordinator_heard_ = 0;
    TimeUs coordinator_sent_ = 0;
    TimeUs coordinator_lost_ = 0;
    TimeUs change_needed_since_ = 0;  ///< 0: the epoch need not change
    bool peers_wait_ = false;
    std::optional<StandingVote> vote_;
    uint64_t votes_ = 0;
    uint64_t failures_ = 0;         ///< counted over this membership
    uint64_t round_ = 0;            ///< the last vote of the whole run that has ended for this member
    uint64_t round_succeeded_ = 0;  ///< the last one that is known to have succeeded

    // operations
    std::map<wire::OpKey, std::unique_ptr<Op>> ops_;
    std::map<std::pair<wire::OpKind, uint64_t>, TagState> tags_;
    std::map<wire::OpKey, Status> tombstones_;
    std::map<wire::OpKey, wire::EpochId> resumed_attempts_;
    size_t errors_kept_ = 0;  ///< in all of tags_
    std::deque<QueuedCall> queue_;
    bool reset_requested_ = false;

    // calls
    Ticket last_ticket_ = 0;
    struct Call {
        wire::OpKind kind = wire::OpKind::kReduce;
        uint64_t tag = 0;
        bool is_op = false;
        std::optional<CallResult> result;
    };
    std::map<Ticket, Call> calls_;

    std::unordered_map<MemberId, Link> links_;
    SlotPool slots_;
    UndoCache undo_;
    TimeUs last_tick_ = 0;
};

template <class Message>
void MemberState::send_to(plan::Rank rank, const Message& message) {
    send_body(rank, Message::kType, wire::encode(message));
}

template <class Message>
void MemberState::to_coordinator(const Message& message) {
    if (!coordinator_up_) return;
    Action action{Action::Kind::kToCoordinator};
    action.type = Message::kType;
    action.body = wire::encode(message);
    outbox_.push_back(std::move(action));
}

}  // namespace pccl::core
