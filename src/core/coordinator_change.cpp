// Epoch changes: a proposal to the members that go on (and at a boundary the newcomers), their frozen
// answers, the state of all their links. Anything that happens meanwhile makes a new proposal under a new id.
#include <algorithm>

#include "core/checks.h"
#include "core/coordinator_state.h"

namespace pccl::core {
namespace {

constexpr uint32_t kLossesMax = 5;
constexpr TimeUs kLossWindow = 60 * kSecond;
constexpr uint32_t kProposalsInRowMax = 4;
constexpr size_t kFormerMax = 4096;

wire::Pair pair_of(const MemberId& a, const MemberId& b) { return {std::min(a, b), std::max(a, b)}; }

}  // namespace

bool CoordinatorState::in_proposal(const GroupInfo& group, const MemberId& id) const {
    if (!group.proposal) return false;
    const auto& list = group.proposal->members;
    return std::find(list.begin(), list.end(), id) != list.end();
}

void CoordinatorState::remove_member(const MemberId& id) {
    const auto at = members_.find(id);
    if (at == members_.end()) return;
    if (at->second.stage == Stage::kAdmitted || at->second.stage == Stage::kLeaving) {
        former_.insert(id);
        former_order_.push_back(id);
        if (former_order_.size() > kFormerMax) {
            former_.erase(former_order_.front());
            former_order_.pop_front();
        }
    }
    const auto connection = connections_.find(at->second.connection);
    if (connection != connections_.end() && connection->second.member == id)
        close(at->second.connection, "no longer a member");
    members_.erase(at);
}

void CoordinatorState::evict(TimeUs now, const MemberId& id, const std::string& reason) {
    if (!alive(id)) return;
    const uint32_t group_id = members_[id].group;
    expel(now, id, reason);
    push_pending();
    need_change(now, group_id);
    found_run(now);
}

/// Removes a member without a new proposal yet.
void CoordinatorState::expel(TimeUs now, const MemberId& id, const std::string& reason) {
    const std::string name = who(id);
    const uint32_t group_id = members_[id].group;
    log(LogLevel::kWarn, "evicting " + name + ": " + reason);
    wire::Evicted message;
    message.reason = reason;
    send(id, message);
    GroupInfo& group = groups_[group_id];
    group.gone = name + " was lost: " + reason;
    note_loss(now, id, reason);
    remove_member(id);
}

/// A new epoch for a group: now, or as soon as the Install under way is out.
void CoordinatorState::need_change(TimeUs now, uint32_t group_id) {
    GroupInfo& group = groups_[group_id];
    if (group.installing || recovering_) {
        group.change_wanted = true;
        return;
    }
    propose(now, group_id, group.proposal && group.proposal->boundary);
}

std::vector<MemberId> CoordinatorState::next_members(uint32_t group_id, bool boundary) const {
    const GroupInfo& group = groups_.at(group_id);
    std::vector<MemberId> out;
    for (const MemberId& id : group.members) {
        const auto at = members_.find(id);
        if (at != members_.end() && at->second.stage == Stage::kAdmitted) out.push_back(id);
    }
    std::vector<std::pair<uint64_t, MemberId>> newcomers;
    for (const auto& [id, member] : members_) {
        const bool listed = std::find(group.members.begin(), group.members.end(), id) != group.members.end();
        const bool joins = member.stage == Stage::kReady ? boundary : member.stage == Stage::kAdmitted;
        if (member.group == group_id && joins && !listed) newcomers.emplace_back(member.arrival, id);
    }
    std::sort(newcomers.begin(), newcomers.end());
    for (const auto& [arrival, id] : newcomers) out.push_back(id);
    return out;
}

void CoordinatorState::propose(TimeUs now, uint32_t group_id, bool boundary) {
    GroupInfo& group = groups_[group_id];
    if (!has_quorum(group)) give_up_group(now, group_id);
    Proposal proposal;
    const bool reuse = config_.mutations.reuse_epoch_id && group.proposal;
    proposal.id = reuse ? group.proposal->id : wire::EpochId{term_, ++last_epoch_};
    proposal.members = next_members(group_id, boundary);
    proposal.boundary = boundary;
    proposal.started = now;
    proposal.lost_links = group.lost_links;
    for (const wire::Pair& pair : group.dead_links) {
        const auto in = [&](const MemberId& id) {
            return std::find(proposal.members.begin(), proposal.members.end(), id) != proposal.members.end();
        };
        const bool again = boundary && now - group.dead_links_tried > kLossWindow / 2;
        if (in(pair.a) && in(pair.b) && !again) proposal.dead_links.insert(pair);
    }
    if (boundary) group.dead_links_tried = now;
    group.proposal = std::move(proposal);
    if (group.proposal->members.empty()) return dissolve(now, group_id);
    for (const MemberId& id : group.proposal->members) send_proposal(id, group);
}

void CoordinatorState::send_proposal(const MemberId& to, const GroupInfo& group) {
    wire::Propose message;
    message.term = term_;
    message.run = run_;
    message.id = group.proposal->id;
    for (const MemberId& id : group.proposal->members) message.members.push_back(members_[id].peer);
    message.dead_links.assign(group.proposal->dead_links.begin(), group.proposal->dead_links.end());
    message.lost_links = group.proposal->lost_links;
    message.majority = config_.majority;
    send(to, message);
}

bool CoordinatorState::on_suspect(TimeUs now, const MemberId& from, const wire::Suspect& message) {
    if (members_[from].stage != Stage::kAdmitted) return true;
    const uint32_t group_id = members_[from].group;
    GroupInfo& group = groups_[group_id];
    const bool listed =
        std::find(group.members.begin(), group.members.end(), message.peer) != group.members.end();
    if (message.epoch != group.installed || !listed || !alive(message.peer) || message.peer == from)
        return true;
    MemberInfo& suspect = members_[message.peer];
    suspect.report = who(from) + " reports: " + message.reason;
    (message.closed ? suspect.reported_closed : suspect.reported_silent) = true;
    // After a restart nobody is connected at first.
    if (message.closed && suspect.connection == 0 && !suspect.unheard) {
        evict(now, message.peer, suspect.report + "; its connection to the coordinator closed");
        return true;
    }
    const wire::LostLink lost{pair_of(from, message.peer), message.incarnation};
    if (group.dead_links.count(lost.pair) != 0) return true;  // Not used anyhow.
    for (const wire::LostLink& known : group.lost_links) {
        if (known.pair == lost.pair && known.incarnation == lost.incarnation) return true;
    }
    if (group.lost_links.size() >= wire::kDeadLinksMax) return true;
    group.lost_links.push_back(lost);
    LinkHistory& history = group.link_history[lost.pair];
    history.losses = now - history.last > kLossWindow ? 1 : history.losses + 1;
    history.last = now;
    if (history.losses > kLossesMax && group.dead_links.size() < wire::kDeadLinksMax) {
        log(LogLevel::kWarn, "the link between " + who(lost.pair.a) + " and " + who(lost.pair.b) +
                                 " keeps breaking: it is not used any more");
        group.dead_links.insert(lost.pair);
        group.dead_links_tried = now;
    }
    log(LogLevel::kInfo, suspect.report + " of " + who(message.peer));
    need_change(now, group_id);
    return true;
}

bool CoordinatorState::on_request_change(TimeUs now, const MemberId& from,
                                         const wire::RequestChange& message) {
    if (message.reason != wire::ChangeReason::kCancel && message.reason != wire::ChangeReason::kTags)
        return false;
    if (members_[from].stage != Stage::kAdmitted) return true;
    const uint32_t group_id = members_[from].group;
    const GroupInfo& group = groups_[group_id];
    if (message.epoch != group.installed || group.proposal) return true;
    need_change(now, group_id);
    return true;
}

bool CoordinatorState::on_frozen(TimeUs now, const MemberId& from, wire::Frozen message) {
    if (!all_valid(message.counters) || !all_valid(message.tombstones) || !all_valid(message.records)) {
        log(LogLevel::kWarn, who(from) + " answered a proposal with records that cannot be");
        return false;
    }
    const uint32_t group_id = members_[from].group;
    const auto at = groups_.find(group_id);
    if (at == groups_.end()) return true;
    GroupInfo& group = at->second;
    if (!in_proposal(group, from) || message.id != group.proposal->id) return true;
    const bool listed = std::find(group.members.begin(), group.members.end(), from) != group.members.end();
    if (listed ? message.installed != group.installed : !message.installed.is_none()) {
        log(LogLevel::kWarn, who(from) + " answered from epoch " + message.installed.text() +
                                 ", its group has " + group.installed.text());
        return true;
    }
    group.proposal->answers[from] = std::move(message);
    check_proposal(now, group_id);
    return true;
}

bool CoordinatorState::on_linked(TimeUs now, const MemberId& from, const wire::Linked& message) {
    const uint32_t group_id = members_[from].group;
    const auto at = groups_.find(group_id);
    if (at == groups_.end()) return true;
    GroupInfo& group = at->second;
    if (!in_proposal(group, from) || message.id != group.proposal->id) return true;
    auto& reports = group.proposal->links[from];
    reports.clear();
    for (const wire::LinkReport& report : message.links) reports[report.peer] = report;
    for (const wire::LinkReport& report : message.links) {
        const auto member = members_.find(report.peer);
        if (member == members_.end() || member->second.connection != 0 || member->second.unheard) continue;
        const std::string seen = link_seen_closed(report.peer);
        if (seen.empty()) continue;
        evict(now, report.peer, seen);
        return true;
    }
    check_proposal(now, group_id);
    return true;
}

/// A frozen member reports no suspicion of its old epoch, but the state of its links: what it says of one to
/// `id` that closed, or nothing.
std::string CoordinatorState::link_seen_closed(const MemberId& id) const {
    const auto group = groups_.find(members_.at(id).group);
    if (group == groups_.end() || !in_proposal(group->second, id)) return {};
    const Proposal& proposal = *group->second.proposal;
    const auto& members = group->second.members;
    for (const auto& [from, reports] : proposal.links) {
        const auto report = reports.find(id);
        if (report == reports.end() || !report->second.closed || !alive(from)) continue;
        // A newcomer's word is not enough, and a link that is not used or was ordered to close says nothing.
        const wire::Pair pair = pair_of(from, id);
        const bool ordered = std::any_of(proposal.lost_links.begin(), proposal.lost_links.end(),
                                         [&](const wire::LostLink& lost) { return lost.pair == pair; });
        if (ordered || proposal.dead_links.count(pair) != 0 ||
            std::find(members.begin(), members.end(), from) == members.end())
            continue;
        return who(from) + " reports: " + report->second.reason +
               "; its connection to the coordinator closed";
    }
    return {};
}

CoordinatorState::PairState CoordinatorState::pair_state(const Proposal& proposal, const MemberId& a,
                                                         const MemberId& b) const {
    const auto report = [&](const MemberId& from, const MemberId& to) -> const wire::LinkReport* {
        const auto at = proposal.links.find(from);
        if (at == proposal.links.end()) return nullptr;
        const auto entry = at->second.find(to);
        return entry == at->second.end() ? nullptr : &entry->second;
    };
    const wire::LinkReport* ab = report(a, b);
    const wire::LinkReport* ba = report(b, a);
    if ((ab != nullptr && ab->failed) || (ba != nullptr && ba->failed)) return PairState::kDead;
    if (ab == nullptr || ba == nullptr || ab->incarnation == 0 || ab->incarnation != ba->incarnation)
        return PairState::kOpen;
    return PairState::kUp;
}

/// Moves dead pairs to the proposal's dead links. False: some pair is still open. With `final` open ones
/// count as dead.
bool CoordinatorState::settle_links(TimeUs now, uint32_t group_id, bool final) {
    GroupInfo& group = groups_[group_id];
    Proposal& proposal = *group.proposal;
    bool settled = true;
    for (size_t i = 0; i < proposal.members.size(); ++i) {
        for (size_t j = 0; j < i; ++j) {
            const wire::Pair pair = pair_of(proposal.members[i], proposal.members[j]);
            if (proposal.dead_links.count(pair) != 0) continue;
            const PairState state = pair_state(proposal, pair.a, pair.b);
            if (state == PairState::kDead || (state == PairState::kOpen && final)) {
                log(LogLevel::kWarn, "there is no link between " + who(pair.a) + " and " + who(pair.b));
                proposal.dead_links.insert(pair);
                group.dead_links_tried = now;
            } else if (state == PairState::kOpen) {
                settled = false;
            }
        }
    }
    return settled;
}

plan::Topology CoordinatorState::topology_of(const Proposal& proposal) const {
    plan::Topology topology;
    topology.size = static_cast<plan::Rank>(proposal.members.size());
    const auto rank = [&](const MemberId& id) {
        return static_cast<plan::Rank>(std::find(proposal.members.begin(), proposal.members.end(), id) -
                                       proposal.members.begin());
    };
    for (const wire::Pair& pair : proposal.dead_links) {
        topology.dead_links.emplace_back(std::min(rank(pair.a), rank(pair.b)),
                                         std::max(rank(pair.a), rank(pair.b)));
    }
    return topology;
}

/// Newcomers with a dead link are refused; when no plan is left for the others, the worst connected goes.
/// True: somebody went, and there is a new proposal.
bool CoordinatorState::remove_unreachable(TimeUs now, uint32_t group_id) {
    GroupInfo& group = groups_[group_id];
    const Proposal& proposal = *group.proposal;
    for (const wire::Pair& pair : proposal.dead_links) {
        for (const MemberId& id : {pair.a, pair.b}) {
            if (members_[id].stage != Stage::kReady) continue;
            drop_newcomer(id, Code::RANK_CONNECTION_FAILED, "it has no link to every member of its group");
            return true;
        }
    }
    plan::Topology topology = topology_of(proposal);
    if (proposal.dead_links.size() > wire::kDeadLinksMax) {
        // More than a message can list, so all that are too many go before the next proposal is sent.
        std::vector<MemberId> out;
        while (topology.dead_links.size() > wire::kDeadLinksMax) {
            const plan::Rank worst = plan::worst_connected(topology);
            out.push_back(proposal.members[worst]);
            std::erase_if(topology.dead_links,
                          [&](const auto& link) { return link.first == worst || link.second == worst; });
        }
        group.dead_links = proposal.dead_links;
        for (const MemberId& id : out) expel(now, id, "too many links of the group are dead");
        push_pending();
        need_change(now, group_id);
        return true;
    }
    if (plan::feasible(topology)) return false;
    group.dead_links = proposal.dead_links;
    const MemberId worst = proposal.members[plan::worst_connected(topology)];
    evict(now, worst, "too many of its links are dead for any plan");
    return true;
}

/// When the survivors name more operations or tags than an Install can carry, the one that names most of
/// those that nobody else knows goes. True: somebody went.
bool CoordinatorState::remove_talker(TimeUs now, uint32_t group_id) {
    const GroupInfo& group = groups_[group_id];
    const DecideInput input = decide_input(group, *group.proposal);
    size_t records = 0, names = 0;
    for (const auto& [id, answer] : input.survivors) {
        records += answer->records.size();
        names += answer->counters.size() + answer->tombstones.size();
    }
    if (input.survivors.size() < 2 || (records <= wire::kOpsMax && names <= wire::kTagsMax)) return false;
    using Name = std::pair<wire::OpKind, uint64_t>;
    std::map<wire::OpKey, std::set<size_t>> operations;
    std::map<Name, std::set<size_t>> tags;
    for (size_t i = 0; i < input.survivors.size(); ++i) {
        const wire::Frozen& answer = *input.survivors[i].second;
        for (const wire::OpRecord& record : answer.records) operations[record.key].insert(i);
        for (const wire::TagCounter& counter : answer.counters) tags[{counter.kind, counter.tag}].insert(i);
        for (const wire::OpKey& key : answer.tombstones) tags[{key.kind, key.tag}].insert(i);
    }
    const std::vector<wire::OpKey> open = undecided(input);
    if (open.size() <= wire::kOpsMax && tags.size() <= wire::kTagsMax) return false;
    std::vector<size_t> alone(input.survivors.size(), 0);
    for (const wire::OpKey& key : open) {
        if (operations[key].size() == 1) ++alone[*operations[key].begin()];
    }
    for (const auto& [name, known_by] : tags) {
        if (known_by.size() == 1) ++alone[*known_by.begin()];
    }
    const auto most = std::max_element(alone.begin(), alone.end());
    const MemberId talker = input.survivors[static_cast<size_t>(most - alone.begin())].first;
    evict(now, talker, "it named more operations than a group can have");
    return true;
}

void CoordinatorState::check_proposal(TimeUs now, uint32_t group_id) {
    GroupInfo& group = groups_[group_id];
    Proposal& proposal = *group.proposal;
    if (proposal.complete || proposal.answers.size() < proposal.members.size()) return;
    if (!settle_links(now, group_id, false)) return;
    if (remove_unreachable(now, group_id) || remove_talker(now, group_id)) return;
    proposal.complete = true;
    if (proposal.boundary) return check_boundary(now);
    install(now, {group_id}, false);
}

/// A boundary's groups are installed together.
void CoordinatorState::check_boundary(TimeUs now) {
    std::vector<uint32_t> involved;
    for (const auto& [id, other] : groups_) {
        if (!other.proposal || !other.proposal->boundary) continue;
        if (!other.proposal->complete) return;
        involved.push_back(id);
    }
    if (!involved.empty()) install(now, involved, true);
}

/// Whoever did not answer in time and is silent goes; links that are still open count as dead; otherwise once
/// more.
void CoordinatorState::proposal_timed_out(TimeUs now, uint32_t group_id) {
    GroupInfo& group = groups_[group_id];
    if (!group.proposal || group.proposal->complete) return;
    ++group.proposals_in_row;
    std::vector<MemberId> silent, waiting;
    for (const MemberId& id : group.proposal->members) {
        if (group.proposal->answers.count(id) != 0) continue;
        const MemberInfo& member = members_[id];
        const bool mute =
            member.connection == 0 || now - connections_[member.connection].heard > config_.timeouts.liveness;
        (mute || group.proposals_in_row > kProposalsInRowMax ? silent : waiting).push_back(id);
    }
    if (!silent.empty()) {
        for (const MemberId& id : silent) {
            if (members_.count(id) != 0 && members_[id].stage == Stage::kReady) {
                drop_newcomer(id, Code::MASTER_CONNECTION_FAILED, "it did not answer a proposal in time");
            } else {
                evict(now, id, "it did not answer a proposal in time");
            }
        }
        return;
    }
    if (waiting.empty() && group.proposals_in_row > 1) {
        settle_links(now, group_id, true);
        return check_proposal(now, group_id);
    }
    // A link that one end holds and the other has lost is dropped by both and opened anew.
    for (const auto& [from, reports] : group.proposal->links) {
        for (const auto& [to, report] : reports) {
            if (report.incarnation == 0 || pair_state(*group.proposal, from, to) != PairState::kOpen)
                continue;
            if (group.lost_links.size() < wire::kDeadLinksMax)
                group.lost_links.push_back({pair_of(from, to), report.incarnation});
        }
    }
    need_change(now, group_id);
}

}  // namespace pccl::core
