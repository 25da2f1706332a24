// The end of an epoch change: decisions, the durable record, and only then the Installs.
#include <algorithm>

#include "core/coordinator_state.h"

namespace pccl::core {
namespace {

/// It must fit into a frame, also when a member reports it.
constexpr size_t kInstallBytesMax = wire::kCoordinatorBodyBytesMax - 64;

}  // namespace

Record CoordinatorState::record() const {
    Record out;
    out.term = term_;
    if (!anybody_admitted()) return out;
    out.run = run_;
    for (const auto& [id, group] : groups_) {
        if (!group.installed.is_none()) out.groups.push_back({id, group.members, group.install});
    }
    return out;
}

void CoordinatorState::persist(PendingInstall pending) {
    CoordinatorAction action{CoordinatorAction::Kind::kPersist};
    action.number = ++records_;
    action.body = wire::encode(record());
    pending_installs_[action.number] = std::move(pending);
    outbox_.push_back(std::move(action));
}

/// What the survivors said: members of both the old epoch and the proposal, all of whom have answered.
DecideInput CoordinatorState::decide_input(const GroupInfo& group, const Proposal& proposal) const {
    DecideInput input;
    input.gone = group.gone;
    input.mutations = config_.mutations;
    for (const MemberId& id : proposal.members) {
        const bool survivor =
            std::find(group.members.begin(), group.members.end(), id) != group.members.end();
        input.joined |= !survivor;
        if (survivor || config_.mutations.joiners_decide)
            input.survivors.emplace_back(id, &proposal.answers.at(id));
    }
    input.participant_gone = input.survivors.size() < group.members.size();
    // Who left by itself is no loss that the report policy would report: the others repeat what it took part
    // in among themselves.
    const bool all_left = std::all_of(group.members.begin(), group.members.end(), [&](const MemberId& id) {
        const auto& next = proposal.members;
        return std::find(next.begin(), next.end(), id) != next.end() || group.left.count(id) != 0;
    });
    input.redo = group.constants.retry_policy == 0 || (input.participant_gone && all_left);
    return input;
}

/// Decisions, members and counters of one group's new epoch; the group has it from here on, its members when
/// it is sent.
void CoordinatorState::build_install(uint32_t group_id) {
    GroupInfo& group = groups_[group_id];
    Proposal proposal = std::move(*group.proposal);
    group.proposal.reset();
    const DecideInput input = decide_input(group, proposal);
    bool reset_wanted = false, tombstones = false;
    std::map<std::pair<wire::OpKind, uint64_t>, uint64_t> counters;
    for (const auto& [id, frozen] : input.survivors) {
        const wire::Frozen& answer = *frozen;
        reset_wanted |= answer.wants_counter_reset;
        tombstones |= !answer.tombstones.empty();
        group.next_revision = std::max(group.next_revision, answer.next_revision);
        for (const wire::TagCounter& counter : answer.counters) {
            auto& ended = counters[{counter.kind, counter.tag}];
            ended = std::max(ended, counter.ended);
        }
        for (const wire::OpKey& key : answer.tombstones) {
            auto& ended = counters[{key.kind, key.tag}];
            ended = std::max(ended, key.sequence);
        }
    }

    wire::Install message;
    message.term = term_;
    message.run = run_;
    message.id = proposal.id;
    message.constants = group.constants;
    message.boundary = proposal.boundary;
    message.round = proposal.boundary ? boundary_round_ : rounds_;
    message.decisions = decide(input);
    message.next_revision = group.next_revision;
    message.majority = config_.majority;
    message.dead_links.assign(proposal.dead_links.begin(), proposal.dead_links.end());
    const bool quiet = message.decisions.empty() && !tombstones;
    message.reset_counters = reset_wanted && quiet;
    if (input.joined && !message.reset_counters) {
        for (const auto& [name, ended] : counters)
            message.counters.push_back({name.first, name.second, ended});
    }
    tell_losses(group, proposal, input, message);
    group.members = proposal.members;
    for (const MemberId& id : group.members) {
        MemberInfo& member = members_[id];
        member.stage = member.stage == Stage::kReady ? Stage::kAdmitted : member.stage;
        member.reported_closed = false;
        member.reported_silent = false;
        message.members.push_back(member.peer);
    }
    group.installed = proposal.id;
    group.dead_links = proposal.dead_links;
    group.lost_links.clear();
    group.gone.clear();
    group.left.clear();
    group.proposals_in_row = 0;
    group.installing = true;
    group.install = std::move(message);
}

void CoordinatorState::install(TimeUs, const std::vector<uint32_t>& groups, bool boundary) {
    PendingInstall pending;
    pending.groups = groups;
    pending.boundary = boundary;
    for (uint32_t id : groups) build_install(id);
    const wire::Globals now_global = globals();
    for (uint32_t id : groups) {
        GroupInfo& group = groups_[id];
        group.install.globals = now_global;
        // One that is too large would be refused by every member, together with the connection.
        shrink(group.install, kInstallBytesMax, group.constants.retry_policy == 0);
    }
    for (const auto& [id, member] : members_) {
        if (member.stage != Stage::kLeaving) continue;
        if (std::find(groups.begin(), groups.end(), member.group) != groups.end()) pending.left.push_back(id);
    }
    persist(std::move(pending));
}

/// The last member of a group is gone; the record says so before a leaver is let go.
void CoordinatorState::dissolve(TimeUs now, uint32_t group_id) {
    PendingInstall pending;
    const bool boundary = groups_[group_id].proposal && groups_[group_id].proposal->boundary;
    for (const auto& [id, member] : members_) {
        if (member.stage == Stage::kLeaving && member.group == group_id) pending.left.push_back(id);
    }
    groups_.erase(group_id);
    log(LogLevel::kInfo, "group " + std::to_string(group_id) + " has no members left");
    persist(std::move(pending));
    if (!boundary) return;
    const bool others = std::any_of(groups_.begin(), groups_.end(), [](const auto& g) {
        return g.second.proposal && g.second.proposal->boundary;
    });
    if (others) return check_boundary(now);
    boundary_ = false;
}

void CoordinatorState::persisted(TimeUs now, uint64_t number) {
    if (!ready_ && number >= held_for_) {
        ready_ = true;
        for (CoordinatorAction& action : held_) outbox_.push_back(std::move(action));
        held_.clear();
    }
    const auto at = pending_installs_.find(number);
    if (at == pending_installs_.end()) return;
    const PendingInstall pending = std::move(at->second);
    pending_installs_.erase(at);
    installs_sent(now, pending);
}

void CoordinatorState::installs_sent(TimeUs now, const PendingInstall& pending) {
    push_pending();  // before the Installs, so that nobody asks about newcomers that it has just seen
                     // admitted
    for (uint32_t group_id : pending.groups) {
        GroupInfo& group = groups_[group_id];
        group.installing = false;
        wire::Pending level;
        level.level = pending_level_;
        for (const MemberId& id : group.members) {
            if (!alive(id)) continue;
            send(id, group.install);
            send(id, level);
            MemberInfo& member = members_[id];
            if (!pending.boundary || !member.vote || member.vote->round != boundary_round_) continue;
            wire::VoteAnswer answer;
            answer.number = member.vote->number;
            answer.round = boundary_round_;
            answer.globals = group.install.globals;
            member.answer = answer;
            member.vote.reset();
        }
        push_expected(group_id);
    }
    for (const MemberId& id : pending.left) {
        send(id, wire::Left{});
        remove_member(id);
    }
    if (pending.boundary) {
        boundary_ = false;
        end_round(boundary_round_, Code::SUCCESS, "");  // for those whose group did not change
        settle_votes();
    }
    for (uint32_t group_id : pending.groups) {
        const auto group = groups_.find(group_id);
        if (group == groups_.end() || !group->second.change_wanted) continue;
        group->second.change_wanted = false;
        need_change(now, group_id);
    }
    found_run(now);
    check_votes(now);
}

}  // namespace pccl::core
