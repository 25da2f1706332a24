// The inside of a Coordinator, shared by the coordinator*.cpp files:
//   coordinator.cpp             facade, connections, registration, liveness
//   coordinator_votes.cpp       votes, boundaries, admission, leaving
//   coordinator_change.cpp      proposals: who, which links, when complete
//   coordinator_recovery.cpp    from the record of an earlier term to a run that goes on
//   coordinator_reports.cpp     the same from the reports of its members, where the record is lost
//   coordinator_losses.cpp      the account of lost members
//   coordinator_install.cpp     decisions, the durable record, installs
// Invariants: a group has at most one proposal; a proposal's id is above every id used or reported; nothing
// is sent before the term is durable; no Install is sent before a record that covers it is durable.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "core/coordinator.h"
#include "core/decide.h"
#include "plan/plan.h"

namespace pccl::core {

struct CoordinatorConnection {
    std::string address;
    TimeUs opened = 0;
    TimeUs heard = 0;
    TimeUs sent = 0;
    std::optional<MemberId> member;
    bool reports = false;  ///< of a member of a run that is not known here
};

enum class Stage : uint8_t {
    kPreparing,  ///< a newcomer that opens links
    kReady,      ///< a newcomer that waits for a boundary
    kAdmitted,
    kLeaving,  ///< admitted, asked to leave
};

struct MemberInfo {
    uint32_t group = 0;
    wire::Peer peer;
    wire::Constants constants;
    uint64_t connection = 0;  ///< 0: none now
    Stage stage = Stage::kPreparing;
    uint64_t arrival = 0;
    uint64_t prepare_number = 0;
    uint32_t prepare_failures = 0;
    uint32_t prepares = 0;
    TimeUs prepare_deadline = kNever;
    TimeUs lost_at = 0;  ///< when the connection went
    std::optional<wire::Vote> vote;
    bool vote_withdrawn = false;             ///< it is to be answered at once
    std::optional<wire::VoteAnswer> answer;  ///< the last one given, to be sent again
    bool reported_closed = false;            ///< a peer saw a lane to it closed or refused
    bool reported_silent = false;
    bool unheard = false;  ///< known from the record; has not registered with this coordinator yet
    std::string report;
};

struct Proposal {
    wire::EpochId id;
    std::vector<MemberId> members;
    bool boundary = false;
    TimeUs started = 0;
    std::map<MemberId, wire::Frozen> answers;
    std::map<MemberId, std::map<MemberId, wire::LinkReport>> links;
    std::vector<wire::LostLink> lost_links;
    std::set<wire::Pair> dead_links;
    bool complete = false;  ///< waits for the other groups of its boundary
};

struct LinkHistory {
    uint32_t losses = 0;
    TimeUs last = 0;
};

struct GroupInfo {
    wire::EpochId installed;
    std::vector<MemberId> members;
    std::set<wire::Pair> dead_links;
    wire::Constants constants;
    uint64_t next_revision = 0;
    wire::Install install;  ///< the last one, to be sent again
    std::optional<Proposal> proposal;
    uint32_t proposals_in_row = 0;
    bool installing = false;  ///< its Install waits for the record
    bool change_wanted = false;
    std::string gone;                ///< who was lost since the last Install, for the texts
    std::vector<wire::Loss> losses;  ///< since the last Install
    std::set<MemberId> left;         ///< members that have said so since the last Install
    std::map<wire::Pair, LinkHistory> link_history;
    std::vector<wire::LostLink> lost_links;
    TimeUs dead_links_tried = 0;
};

/// What a member knows of a run whose record is lost.
struct Report {
    uint64_t connection = 0;
    wire::EpochId installed, promised;
    std::vector<MemberId> promised_members;  ///< when more is promised than installed
    std::vector<MemberId> seen_closed;       ///< peers whose lanes it saw closed
    bool promised_majority = false;
    bool leaving = false;
    bool fenced = false;  ///< it has answered to this term: no earlier coordinator can go on with it
};

struct ReportedGroup {
    std::map<MemberId, Report> reports;
    std::optional<wire::Install> install;  ///< of the highest epoch reported
    uint64_t asked = 0;                    ///< the connection that was asked for it, or 0
    TimeUs asked_at = 0;
};

/// What goes out when a record is durable.
struct PendingInstall {
    std::vector<uint32_t> groups;
    bool boundary = false;
    std::vector<MemberId> left;
};

class CoordinatorState {
   public:
    CoordinatorState(CoordinatorConfig config, RandomSource& random, const Record* previous, TimeUs now);

    // coordinator.cpp
    void opened(TimeUs now, uint64_t connection, const std::string& address);
    void closed(TimeUs now, uint64_t connection, const std::string& why);
    bool frame(TimeUs now, uint64_t connection, wire::Type type, std::span<const uint8_t> body);
    bool dispatch(TimeUs now, const MemberId& from, wire::Type type, std::span<const uint8_t> body);
    bool possible_rounds(const wire::Register& message) const;
    bool on_register(TimeUs now, uint64_t connection, const wire::Register& message);
    void register_newcomer(TimeUs now, uint64_t connection, const wire::Register& message);
    void register_again(TimeUs now, uint64_t connection, const wire::Register& message);
    void refuse(uint64_t connection, Code code, const std::string& reason);
    void tick(TimeUs now);
    void tick_connections(TimeUs now);
    void tick_members(TimeUs now);
    void send_raw(uint64_t connection, wire::Type type, std::vector<uint8_t> body);
    void close(uint64_t connection, const std::string& why);
    template <class Message>
    void send(const MemberId& to, const Message& message);

    // coordinator_votes.cpp
    void prepare(TimeUs now, const MemberId& id);
    bool on_prepared(TimeUs now, const MemberId& from, const wire::Prepared& message);
    bool on_vote(TimeUs now, const MemberId& from, const wire::Vote& message);
    bool on_leave(TimeUs now, const MemberId& from, const wire::Leave& message);
    void check_votes(TimeUs now);
    void start_boundary(TimeUs now);
    void end_round(uint64_t round, Code code, const std::string& text);
    void settle_votes();
    void answer_vote(const MemberId& id, Code code, const std::string& text, bool counts);
    bool group_waits_for_others() const;
    void push_pending();
    void push_expected(uint32_t group);
    void found_run(TimeUs now);
    void drop_newcomer(const MemberId& id, Code code, const std::string& reason);
    wire::Globals globals() const;
    bool anybody_admitted() const;
    bool somebody_waits_for(const MemberId& id) const;

    // coordinator_recovery.cpp
    void recover(TimeUs now, const Record& record);
    void check_recovery(TimeUs now);

    // coordinator_reports.cpp
    bool is_report(const wire::Register& message) const;
    static bool contains_run(const std::deque<RunId>& runs, const RunId& run);
    void begin_reports(TimeUs now);
    void forget_run();
    void close_known(const std::string& why);
    void take_report(TimeUs now, uint64_t connection, const wire::Register& message);
    void drop_report(uint64_t connection);
    bool on_recalled(TimeUs now, uint64_t connection, wire::Recalled message);
    void raise_term(const wire::Term& above);
    void fence(Report& report, bool wants_install);
    void ask_installs(TimeUs now);
    std::optional<RunId> settled_run(TimeUs now) const;
    void check_reports(TimeUs now);
    void take_up(TimeUs now, RunId run);
    void dismiss(const Report& report, const RunId& run, const ReportedGroup& group);
    bool has_quorum(const GroupInfo& group) const;
    void give_up_group(TimeUs now, uint32_t group);

    // coordinator_losses.cpp
    void note_loss(TimeUs now, const MemberId& id, const std::string& reason);
    void tell_losses(GroupInfo& group, const Proposal& proposal, const DecideInput& input,
                     wire::Install& install);

    // coordinator_change.cpp
    void evict(TimeUs now, const MemberId& id, const std::string& reason);
    void expel(TimeUs now, const MemberId& id, const std::string& reason);
    void remove_member(const MemberId& id);
    void need_change(TimeUs now, uint32_t group);
    void propose(TimeUs now, uint32_t group, bool boundary);
    void send_proposal(const MemberId& to, const GroupInfo& group);
    std::vector<MemberId> next_members(uint32_t group, bool boundary) const;
    bool on_suspect(TimeUs now, const MemberId& from, const wire::Suspect& message);
    bool on_request_change(TimeUs now, const MemberId& from, const wire::RequestChange& message);
    bool on_frozen(TimeUs now, const MemberId& from, wire::Frozen message);
    bool on_linked(TimeUs now, const MemberId& from, const wire::Linked& message);
    std::string link_seen_closed(const MemberId& id) const;
    void check_proposal(TimeUs now, uint32_t group);
    void check_boundary(TimeUs now);
    enum class PairState { kUp, kDead, kOpen };
    PairState pair_state(const Proposal& proposal, const MemberId& a, const MemberId& b) const;
    bool settle_links(TimeUs now, uint32_t group, bool final);
    bool remove_unreachable(TimeUs now, uint32_t group);
    bool remove_talker(TimeUs now, uint32_t group);
    void proposal_timed_out(TimeUs now, uint32_t group);
    plan::Topology topology_of(const Proposal& proposal) const;

    // coordinator_install.cpp
    void install(TimeUs now, const std::vector<uint32_t>& groups, bool boundary);
    DecideInput decide_input(const GroupInfo& group, const Proposal& proposal) const;
    void build_install(uint32_t group);
    void persist(PendingInstall pending);
    void persisted(TimeUs now, uint64_t number);
    void installs_sent(TimeUs now, const PendingInstall& pending);
    void dissolve(TimeUs now, uint32_t group);
    Record record() const;

    void log(LogLevel level, const std::string& text) const { config_.log.write(level, text); }
    std::string who(const MemberId& id) const;
    bool alive(const MemberId& id) const { return members_.count(id) != 0; }
    bool in_proposal(const GroupInfo& group, const MemberId& id) const;

    CoordinatorConfig config_;
    RandomSource& random_;
    std::vector<CoordinatorAction> outbox_;
    std::vector<CoordinatorAction> held_;  ///< until the term is durable
    bool ready_ = false;
    uint64_t held_for_ = 0;  ///< the record that makes it so

    wire::Term term_;
    RunId run_;
    bool run_begun_ = false;
    /// After a restart, until the members of the record have registered or are given up.
    bool recovering_ = false;
    TimeUs recovery_began_ = 0;
    wire::Term record_term_;  ///< of the record that the recovery began with
    /// Runs that are not known here, by what their members say.
    std::map<RunId, std::map<uint32_t, ReportedGroup>> reported_;
    TimeUs reports_began_ = 0;
    TimeUs reports_hold_ = 0;  ///< newcomers wait for reports until then, however many come; 0: none came yet
    TimeUs grace_end_ = 0;     ///< newcomers begin no run before
    std::deque<RunId> ended_runs_;
    uint64_t boundary_round_ = 0;    ///< the vote that the boundary answers
    uint64_t rounds_ = 0;            ///< votes of the whole run that have ended, for one member at least
    uint64_t rounds_succeeded_ = 0;  ///< the last one of them that succeeded
    uint64_t last_epoch_ = 0;
    uint64_t arrivals_ = 0;
    uint64_t prepares_ = 0;
    std::map<uint64_t, CoordinatorConnection> connections_;
    std::map<MemberId, MemberInfo> members_;
    std::set<MemberId> former_;  ///< ids that were admitted once; the last ones only
    std::deque<MemberId> former_order_;
    std::map<uint32_t, GroupInfo> groups_;
    bool boundary_ = false;  ///< an admission is under way
    bool pending_level_ = false;

    uint64_t records_ = 0;
    std::map<uint64_t, PendingInstall> pending_installs_;
    TimeUs last_tick_ = 0;
};

template <class Message>
void CoordinatorState::send(const MemberId& to, const Message& message) {
    const auto at = members_.find(to);
    if (at != members_.end() && at->second.connection != 0)
        send_raw(at->second.connection, Message::kType, wire::encode(message));
}

}  // namespace pccl::core
