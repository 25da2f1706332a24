// Newcomers, votes and boundaries. A newcomer opens its links in the background; it becomes a member when
// every member of the run has voted for an update, so at a moment without open operations.
#include <algorithm>
#include <set>

#include "core/coordinator_state.h"

namespace pccl::core {
namespace {

constexpr TimeUs kDeadLinkRetry = 30 * kSecond;
constexpr uint32_t kPrepareFailuresMax = 3;
constexpr uint32_t kPreparesMax = 64;  // including those that failed because members died meanwhile

bool is_newcomer(const MemberInfo& member) {
    return member.stage == Stage::kPreparing || member.stage == Stage::kReady;
}

}  // namespace

bool CoordinatorState::anybody_admitted() const {
    return std::any_of(members_.begin(), members_.end(),
                       [](const auto& entry) { return !is_newcomer(entry.second); });
}

wire::Globals CoordinatorState::globals() const {
    wire::Globals out;
    for (const auto& [id, group] : groups_) {
        if (group.members.empty()) continue;
        const auto size = static_cast<uint32_t>(group.members.size());
        out.world_size += size;
        out.largest_group = std::max(out.largest_group, size);
        ++out.groups;
    }
    return out;
}

bool CoordinatorState::somebody_waits_for(const MemberId& id) const {
    const auto group = groups_.find(members_.at(id).group);
    if (group != groups_.end() && group->second.proposal) return true;
    return std::any_of(members_.begin(), members_.end(), [&](const auto& entry) {
        return entry.first != id && (entry.second.vote.has_value() || is_newcomer(entry.second));
    });
}

void CoordinatorState::prepare(TimeUs now, const MemberId& id) {
    MemberInfo& member = members_[id];
    member.stage = Stage::kPreparing;
    member.prepare_number = ++prepares_;
    member.prepare_deadline = now + 2 * config_.timeouts.connect;
    push_expected(member.group);
    wire::Prepare message;
    message.number = member.prepare_number;
    message.run = run_;
    const auto group = groups_.find(member.group);
    if (group != groups_.end()) {
        for (const MemberId& other : group->second.members) {
            if (alive(other)) message.peers.push_back(members_[other].peer);
        }
    }
    send(id, message);
}

/// Tells a group's members which newcomers may open links.
void CoordinatorState::push_expected(uint32_t group_id) {
    const auto group = groups_.find(group_id);
    if (group == groups_.end()) return;
    wire::Expect message;
    for (const auto& [id, member] : members_) {
        if (is_newcomer(member) && member.group == group_id) message.newcomers.push_back(id);
    }
    for (const MemberId& id : group->second.members) send(id, message);
}

/// A group waits in a vote for the others, which may not have been asked to vote: the newcomer that it saw
/// may be gone again. In a single group all members have got the same answer.
bool CoordinatorState::group_waits_for_others() const {
    if (boundary_ || recovering_) return false;
    std::set<uint32_t> groups;
    bool votes = false;
    for (const auto& [id, member] : members_) {
        if (member.stage != Stage::kAdmitted) continue;
        groups.insert(member.group);
        votes = votes || (member.vote && member.vote->kind == wire::VoteKind::kUpdate &&
                          member.vote->round == rounds_ + 1 && !member.vote_withdrawn);
    }
    return votes && groups.size() > 1;
}

void CoordinatorState::push_pending() {
    const bool level = group_waits_for_others() ||
                       std::any_of(members_.begin(), members_.end(),
                                   [](const auto& entry) { return entry.second.stage == Stage::kReady; });
    if (level == pending_level_) return;
    pending_level_ = level;
    wire::Pending message;
    message.level = level;
    for (const auto& [id, member] : members_) {
        if (member.stage == Stage::kAdmitted) send(id, message);
    }
}

bool CoordinatorState::on_prepared(TimeUs now, const MemberId& from, const wire::Prepared& message) {
    MemberInfo& member = members_[from];
    if (member.stage != Stage::kPreparing || message.number != member.prepare_number) return true;
    if (!message.ok) {
        // A member that refuses links and has no connection here either is dead; one that is connected is out
        // of reach.
        bool unreachable = ++member.prepares >= kPreparesMax;
        const auto group = groups_.find(member.group);
        const std::vector<MemberId> told =
            group == groups_.end() ? std::vector<MemberId>() : group->second.members;
        for (const MemberId& other : message.unreachable) {
            if (!alive(other) || std::find(told.begin(), told.end(), other) == told.end()) continue;
            if (members_[other].connection == 0) {
                evict(now, other,
                      "a newcomer could not reach it, and it has no connection to the coordinator");
            } else {
                unreachable = true;
            }
        }
        if (!alive(from)) return true;
        // A member may have died a moment ago, and the news of it be still on the way here.
        if (unreachable && ++member.prepare_failures >= kPrepareFailuresMax) {
            drop_newcomer(from, Code::RANK_CONNECTION_FAILED, message.reason);
        } else {
            prepare(now, from);
        }
        return true;
    }
    member.stage = Stage::kReady;
    member.prepare_deadline = kNever;
    push_pending();
    found_run(now);
    check_votes(now);
    return true;
}

void CoordinatorState::drop_newcomer(const MemberId& id, Code code, const std::string& reason) {
    const MemberInfo member = members_[id];
    if (member.connection != 0 && code != Code::SUCCESS) refuse(member.connection, code, reason);
    remove_member(id);
    push_expected(member.group);
    push_pending();
    const auto group = groups_.find(member.group);
    if (group != groups_.end() && in_proposal(group->second, id)) need_change(last_tick_, member.group);
}

/// The first member of a run, or of the next one after everybody left, is admitted without a vote.
void CoordinatorState::found_run(TimeUs now) {
    if (recovering_ || anybody_admitted() || now < grace_end_) return;
    if (!reported_.empty() && now < reports_hold_) return;
    if (!reported_.empty() && settled_run(now)) return check_reports(now);
    for (const auto& [id, group] : groups_) {
        if (group.proposal || group.installing) return;
    }
    const MemberId* first = nullptr;
    uint64_t arrival = 0;
    for (const auto& [id, member] : members_) {
        if (member.stage != Stage::kReady || (first != nullptr && member.arrival > arrival)) continue;
        first = &id;
        arrival = member.arrival;
    }
    if (first == nullptr) return;
    const MemberId founder = *first;
    if (!reported_.empty()) take_up(now, {});  // It has waited long enough.
    const uint32_t group = members_[founder].group;
    groups_.clear();
    groups_[group].constants = members_[founder].constants;
    members_[founder].stage = Stage::kAdmitted;
    push_pending();
    if (run_begun_) run_ = RunId{random_.next_id()};
    run_begun_ = true;
    log(LogLevel::kInfo, "run " + run_.brief() + " begins with member " + founder.brief());
    groups_[group].members = {};
    propose(now, group, false);
}

bool CoordinatorState::on_vote(TimeUs now, const MemberId& from, const wire::Vote& message) {
    MemberInfo& member = members_[from];
    const auto kind = static_cast<uint8_t>(message.kind);
    if (kind != static_cast<uint8_t>(wire::VoteKind::kUpdate) &&
        kind != static_cast<uint8_t>(wire::VoteKind::kOptimize))
        return false;
    if (member.answer && member.answer->number >= message.number) {
        if (member.answer->number == message.number) send(from, *member.answer);
        return true;
    }
    member.vote = message;
    member.vote_withdrawn = false;
    settle_votes();
    push_pending();
    check_votes(now);
    return true;
}

void CoordinatorState::check_votes(TimeUs now) {
    if (boundary_ || recovering_ || !anybody_admitted()) return;
    for (const auto& [id, group] : groups_) {
        if (group.proposal || group.installing) return;
    }
    bool update = false, optimize = false;
    size_t voted = 0, missing = 0;
    for (const auto& [id, member] : members_) {
        if (member.stage != Stage::kAdmitted) continue;
        const bool votes = member.vote && member.vote->round == rounds_ + 1;
        ++(votes ? voted : missing);
        if (votes) (member.vote->kind == wire::VoteKind::kUpdate ? update : optimize) = true;
    }
    if (missing > 0 && !(config_.mutations.early_boundary && voted > missing)) return;
    if (update && optimize) {
        end_round(rounds_ + 1, Code::INVALID_USAGE,
                  "some members called for an update of the topology, others for its optimisation");
    } else if (optimize) {
        log(LogLevel::kInfo,
            "all members voted to optimise the topology: nothing is measured yet, the current plan is kept");
        end_round(rounds_ + 1, Code::SUCCESS,
                  "optimise: nothing is measured yet, so the current plan is kept");
    } else if (update) {
        start_boundary(now);
    }
}

/// `counts`: the vote of the whole run has ended, not only this member's part in it.
void CoordinatorState::answer_vote(const MemberId& id, Code code, const std::string& text, bool counts) {
    MemberInfo& member = members_[id];
    wire::VoteAnswer answer;
    answer.number = member.vote->number;
    answer.kind = member.vote->kind;
    answer.code = static_cast<uint8_t>(code);
    answer.text = text;
    answer.round = counts ? member.vote->round : 0;
    answer.globals = globals();
    member.vote.reset();
    member.answer = answer;
    push_pending();  // before the answer, so that nobody asks about the vote that it has just ended
    send(id, answer);
}

/// A vote of the whole run has ended: all that stand in it are answered.
void CoordinatorState::end_round(uint64_t round, Code code, const std::string& text) {
    rounds_ = std::max(rounds_, round);
    if (code == Code::SUCCESS) rounds_succeeded_ = std::max(rounds_succeeded_, round);
    std::vector<MemberId> standing;
    for (const auto& [id, member] : members_) {
        if (member.vote && member.vote->round == round) standing.push_back(id);
    }
    push_pending();
    for (const MemberId& id : standing) answer_vote(id, code, text, true);
}

/// Answers votes that wait for nothing. Some have ended for another member already: answered by an earlier
/// coordinator, or given up because none could be reached; they end in the same way for the others. Others
/// are withdrawn. What stands in a boundary is answered by it.
void CoordinatorState::settle_votes() {
    if (recovering_) return;
    std::vector<MemberId> late;
    for (const auto& [id, member] : members_) {
        if (member.stage != Stage::kAdmitted || !member.vote) continue;
        if (boundary_ && member.vote->round == boundary_round_) continue;
        if (member.vote->round <= rounds_ || member.vote_withdrawn) late.push_back(id);
    }
    for (const MemberId& id : late) {
        const uint64_t round = members_[id].vote->round;
        if (round <= rounds_succeeded_) {
            answer_vote(id, Code::SUCCESS, "", true);
        } else if (round > rounds_ || members_[id].vote_withdrawn) {
            answer_vote(id, Code::SUCCESS, "", false);
        } else {
            answer_vote(id, Code::UPDATE_TOPOLOGY_FAILED,
                        "it ended for another member that could not reach the coordinator", true);
        }
    }
}

void CoordinatorState::start_boundary(TimeUs now) {
    std::set<uint32_t> involved;
    for (const auto& [id, member] : members_) {
        if (member.stage == Stage::kReady) involved.insert(member.group);
    }
    for (auto& [id, group] : groups_) {
        if (!group.dead_links.empty() && now - group.dead_links_tried > kDeadLinkRetry) involved.insert(id);
    }
    if (involved.empty()) return end_round(rounds_ + 1, Code::SUCCESS, "");
    boundary_ = true;
    boundary_round_ = rounds_ + 1;
    for (uint32_t id : involved) {
        if (groups_.count(id) == 0) {
            const MemberInfo* first = nullptr;
            for (const auto& [member_id, member] : members_) {
                if (member.group == id && member.stage == Stage::kReady &&
                    (first == nullptr || member.arrival < first->arrival))
                    first = &member;
            }
            groups_[id].constants = first->constants;
        }
        propose(now, id, true);
    }
}

bool CoordinatorState::on_leave(TimeUs now, const MemberId& from, const wire::Leave& message) {
    MemberInfo& member = members_[from];
    if (is_newcomer(member)) {
        drop_newcomer(from, Code::SUCCESS, "");
        return true;
    }
    if (member.stage == Stage::kLeaving) return true;
    log(LogLevel::kInfo, who(from) + " leaves: " + message.reason);
    // Tells the leaver that its wish is known, however long the others take.
    send_raw(member.connection, wire::Type::kHeartbeat, {});
    member.stage = Stage::kLeaving;
    member.vote.reset();
    push_pending();
    GroupInfo& group = groups_[member.group];
    group.gone = who(from) + " left";
    group.left.insert(from);
    need_change(now, member.group);
    return true;
}

}  // namespace pccl::core
