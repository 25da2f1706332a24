// A restart: the run goes on from the record of the earlier term. The members of its groups are known, and
// come back with what they have installed, promised and voted for; until all have, or are given up, nothing
// is decided.
#include <algorithm>

#include "core/coordinator_state.h"

namespace pccl::core {

void CoordinatorState::recover(TimeUs now, const Record& record) {
    run_ = record.run;
    run_begun_ = true;
    recovering_ = true;
    recovery_began_ = now;
    for (const GroupRecord& from : record.groups) {
        GroupInfo& group = groups_[from.group];
        group.members = from.members;
        group.install = from.install;
        group.install.term = term_;  // It is sent again in this term; its id stays.
        group.installed = from.install.id;
        group.constants = from.install.constants;
        group.next_revision = from.install.next_revision;
        group.dead_links.insert(from.install.dead_links.begin(), from.install.dead_links.end());
        group.dead_links_tried = now;
        rounds_ = std::max(rounds_, from.install.round);
        if (from.install.boundary) rounds_succeeded_ = std::max(rounds_succeeded_, from.install.round);
        for (const wire::Peer& peer : from.install.members) {
            MemberInfo& member = members_[peer.id];
            member.group = from.group;
            member.peer = peer;
            member.constants = from.install.constants;
            member.stage = Stage::kAdmitted;
            member.arrival = ++arrivals_;
            member.lost_at = now;
            member.unheard = true;
        }
    }
    log(LogLevel::kInfo,
        "run " + run_.brief() + " goes on: waiting for its " + std::to_string(members_.size()) + " members");
}

/// Ends the wait for members of the record: when all are back, when the recovery time is over, or when not
/// even one has come although all try again within the back-off cap.
void CoordinatorState::check_recovery(TimeUs now) {
    if (!recovering_) return;
    const TimeUs grace = recovery_began_ + 2 * config_.timeouts.backoff_cap;
    const TimeUs end = recovery_began_ + config_.timeouts.recovery;
    size_t heard = 0, awaited = 0;
    for (const auto& [id, member] : members_) {
        if (member.stage != Stage::kAdmitted && member.stage != Stage::kLeaving) continue;
        if (!member.unheard) {
            ++heard;
        } else if (now < (member.reported_closed ? grace : end)) {
            ++awaited;
        }
    }
    if (awaited > 0 && (heard > 0 || now < grace)) return;
    recovering_ = false;
    std::vector<MemberId> missing;
    for (const auto& [id, member] : members_) {
        if (member.unheard) missing.push_back(id);
    }
    log(LogLevel::kInfo, std::to_string(heard) + " members of the run are back, " +
                             std::to_string(missing.size()) + " are not");
    std::vector<uint32_t> changes;
    for (const MemberId& id : missing) {
        groups_[members_[id].group].change_wanted = true;
        expel(now, id, "it did not come back after the coordinator's restart");
    }
    for (auto& [id, group] : groups_) {
        if (group.change_wanted && !group.installing) changes.push_back(id);
    }
    push_pending();
    settle_votes();
    for (uint32_t id : changes) {
        groups_[id].change_wanted = false;
        need_change(now, id);
    }
    check_votes(now);
    found_run(now);
}

}  // namespace pccl::core
