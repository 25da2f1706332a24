// A run without its record: the coordinator has none, or one that is older than what the members know. They
// report what they have installed and promised. When that shows that nobody else can have gone on, the run is
// taken up as if from a record; docs/internals/protocol.md has the rules and why they are enough.
#include <algorithm>
#include <utility>

#include "core/checks.h"
#include "core/coordinator_state.h"

namespace pccl::core {
namespace {

constexpr size_t kEndedRunsMax = 64;

bool contains(const std::vector<MemberId>& list, const MemberId& id) {
    return std::find(list.begin(), list.end(), id) != list.end();
}

std::vector<MemberId> ids_of(const std::vector<wire::Peer>& peers) {
    std::vector<MemberId> out;
    for (const wire::Peer& peer : peers) out.push_back(peer.id);
    return out;
}

std::set<wire::EpochId> installed_in(const ReportedGroup& group) {
    std::set<wire::EpochId> out;
    for (const auto& [id, report] : group.reports) out.insert(report.installed);
    return out;
}

wire::EpochId highest(const ReportedGroup& group) {
    return group.reports.empty() ? wire::EpochId{} : *installed_in(group).rbegin();
}

/// Members that may have promised an epoch which none that reported has installed.
std::vector<const Report*> promises(const ReportedGroup& group) {
    std::vector<const Report*> out;
    for (const auto& [id, report] : group.reports) {
        if (report.promised > group.install->id) out.push_back(&report);
    }
    return out;
}

bool all_back(const ReportedGroup& group) {
    return std::all_of(group.install->members.begin(), group.install->members.end(),
                       [&](const wire::Peer& peer) { return group.reports.count(peer.id) != 0; });
}

/// More than half of `list` has reported, those that leave apart.
bool majority_of(const ReportedGroup& group, const std::vector<MemberId>& list) {
    const auto count = std::count_if(list.begin(), list.end(), [&](const MemberId& id) {
        const auto at = group.reports.find(id);
        return at != group.reports.end() && !at->second.leaving;
    });
    return 2 * static_cast<size_t>(count) > list.size();
}

/// Those that every epoch which was promised above the highest installed one keeps.
std::vector<MemberId> kept_by_promises(const ReportedGroup& group) {
    std::vector<MemberId> out = ids_of(group.install->members);
    for (const Report* report : promises(group))
        std::erase_if(out, [&](const MemberId& id) { return !contains(report->promised_members, id); });
    return out;
}

/// An epoch above the highest reported one would be known to a member that has reported: such an epoch needed
/// more than half of the members of the one before, or else everybody must be here to deny it.
bool nobody_else_went_on(const ReportedGroup& group, const Mutations& mutations) {
    if (mutations.any_reports) return true;
    if (!group.install->majority) return all_back(group);
    const std::vector<const Report*> promised = promises(group);
    return majority_of(group, ids_of(group.install->members)) &&
           majority_of(group, kept_by_promises(group)) &&
           std::all_of(promised.begin(), promised.end(),
                       [&](const Report* report) { return majority_of(group, report->promised_members); });
}

/// Somebody who may still come: not back, and no peer saw its lane closed.
bool somebody_awaited(const ReportedGroup& group) {
    std::set<MemberId> closed;
    for (const auto& [id, report] : group.reports)
        closed.insert(report.seen_closed.begin(), report.seen_closed.end());
    return std::any_of(group.install->members.begin(), group.install->members.end(),
                       [&](const wire::Peer& peer) {
                           return group.reports.count(peer.id) == 0 && closed.count(peer.id) == 0;
                       });
}

bool valid_install(const wire::Install& install) {
    std::set<MemberId> ids;
    for (const wire::Peer& peer : install.members) {
        if (peer.id.is_zero() || !all_valid(peer.endpoints)) return false;
        ids.insert(peer.id);
    }
    if (ids.empty() || ids.size() != install.members.size() || ids.size() > plan::kRanksMax) return false;
    const bool links =
        std::all_of(install.dead_links.begin(), install.dead_links.end(), [&](const auto& pair) {
            return pair.a < pair.b && ids.count(pair.a) != 0 && ids.count(pair.b) != 0;
        });
    return links && valid(install.constants) && all_valid(install.counters) &&
           all_valid(install.tombstones) &&
           std::all_of(install.decisions.begin(), install.decisions.end(),
                       [](const wire::Decision& decision) { return valid(decision.key); });
}

}  // namespace

/// Whether a member's registration is to be taken as a report on a run that is not known here.
bool CoordinatorState::is_report(const wire::Register& message) const {
    if (message.run.is_zero() || contains_run(ended_runs_, message.run)) return false;
    if (recovering_ && message.run == run_ && !config_.mutations.stale_record) {
        // A member that the record knows, and that knows more than the record.
        const auto group = groups_.find(message.group);
        return members_.count(message.id) != 0 && group != groups_.end() &&
               (message.installed > group->second.installed || message.term > term_);
    }
    // A run of this process that has ended is over, and where one goes on there is no room for another.
    if (recovering_ || anybody_admitted() || (run_begun_ && message.run == run_)) return false;
    // A newcomer that has promised an epoch may be a member by an Install that it has missed.
    return !message.installed.is_none() || !message.promised.is_none();
}

bool CoordinatorState::contains_run(const std::deque<RunId>& runs, const RunId& run) {
    return std::find(runs.begin(), runs.end(), run) != runs.end();
}

void CoordinatorState::begin_reports(TimeUs now) {
    if (recovering_) {
        log(LogLevel::kError, "the record is older than what the members of run " + run_.brief() +
                                  " know: going by their reports instead");
        forget_run();
    } else {
        log(LogLevel::kInfo, "members of a run that is not known here come: going by their reports");
    }
    reports_began_ = now;
    if (reports_hold_ == 0) reports_hold_ = now + config_.timeouts.recovery + config_.timeouts.backoff_cap;
    // Some may be members by an Install that they have missed: all say again who they are.
    close_known("members of an earlier run come back");
}

/// No run is known any more.
void CoordinatorState::forget_run() {
    recovering_ = run_begun_ = boundary_ = pending_level_ = false;
    run_ = {};
    groups_.clear();
    rounds_ = rounds_succeeded_ = 0;
}

/// All that have registered register anew. One that has not yet would take the end for a refusal.
void CoordinatorState::close_known(const std::string& why) {
    std::vector<uint64_t> known;
    for (const auto& [id, connection] : connections_) {
        if (connection.member || connection.reports) known.push_back(id);
    }
    for (const uint64_t id : known) close(id, why);
    members_.clear();
}

void CoordinatorState::take_report(TimeUs now, uint64_t connection, const wire::Register& message) {
    if (reported_.empty()) {
        CoordinatorConnection mine = std::move(connections_[connection]);
        connections_.erase(connection);
        begin_reports(now);
        connections_[connection] = std::move(mine);
    }
    Report report;
    report.connection = connection;
    report.installed = message.installed;
    report.promised = message.promised;
    report.term = message.term;
    report.leaving = message.leaving;
    if (message.promised > message.installed) report.promised_members = message.promised_members;
    for (const wire::Suspect& suspicion : message.suspicions) {
        if (suspicion.closed) report.seen_closed.push_back(suspicion.peer);
    }
    // One connection per member: an older one is dead, whatever it had reported.
    std::vector<uint64_t> replaced;
    for (const auto& [run, groups] : reported_) {
        for (const auto& [id, group] : groups) {
            const auto old = group.reports.find(message.id);
            if (old != group.reports.end()) replaced.push_back(old->second.connection);
        }
    }
    for (const uint64_t old : replaced) close(old, "replaced by a newer connection of the same member");
    log(LogLevel::kInfo, "member " + message.id.brief() + " of run " + message.run.brief() +
                             " has installed " + message.installed.text() + " and promised " +
                             message.promised.text());
    connections_[connection].reports = true;
    ReportedGroup& group = reported_[message.run][message.group];
    if (message.installed > highest(group)) group.install.reset(), group.asked = 0;
    group.reports[message.id] = std::move(report);
    check_reports(now);
}

/// The connection is gone, and with it what its member had reported.
void CoordinatorState::drop_report(uint64_t connection) {
    for (auto& [run, groups] : reported_) {
        for (auto& [id, group] : groups) {
            const wire::EpochId before = highest(group);
            std::erase_if(group.reports,
                          [&](const auto& entry) { return entry.second.connection == connection; });
            if (group.asked == connection) group.asked = 0;
            if (highest(group) != before) group.install.reset(), group.asked = 0;
        }
        std::erase_if(groups, [](const auto& entry) { return entry.second.reports.empty(); });
    }
    std::erase_if(reported_, [](const auto& entry) { return entry.second.empty(); });
}

bool CoordinatorState::on_recalled(TimeUs now, uint64_t connection, wire::Recalled message) {
    for (auto& [run, groups] : reported_) {
        for (auto& [id, group] : groups) {
            if (group.asked != connection || group.install) continue;
            const std::vector<MemberId> listed = ids_of(message.install.members);
            const bool own = std::any_of(group.reports.begin(), group.reports.end(), [&](const auto& entry) {
                return entry.second.connection == connection && contains(listed, entry.first);
            });
            if (!own || message.install.run != run || message.install.id != highest(group) ||
                !valid_install(message.install)) {
                log(LogLevel::kWarn, "a member reported an epoch that cannot be");
                return false;
            }
            group.install = std::move(message.install);
            check_reports(now);
            return true;
        }
    }
    return true;  // Another member was faster with a later epoch.
}

/// Of each group one member that has its highest epoch is asked for it.
void CoordinatorState::ask_installs() {
    for (auto& [run, groups] : reported_) {
        for (auto& [id, group] : groups) {
            if (group.install || group.asked != 0 || highest(group).is_none()) continue;
            for (const auto& [member, report] : group.reports) {
                if (report.installed != highest(group)) continue;
                group.asked = report.connection;
                send_raw(report.connection, wire::Type::kRecall, wire::encode(wire::Recall{}));
                break;
            }
        }
    }
}

/// Ends the wait for reports: when a run is whole, when all that can come are here, or when the recovery time
/// is over.
void CoordinatorState::check_reports(TimeUs now) {
    if (reported_.empty()) return;
    ask_installs();
    const bool grace_over = now >= reports_began_ + 2 * config_.timeouts.backoff_cap;
    const bool late = now >= reports_began_ + config_.timeouts.recovery;
    const RunId* best = nullptr;
    size_t best_size = 0;
    bool awaited = false;
    for (const auto& [run, groups] : reported_) {
        size_t size = 0, groups_known = 0;
        wire::EpochId newest;
        bool whole = true;
        for (const auto& [id, group] : groups) {
            whole = whole && group.install && all_back(group);
            awaited = awaited || (!highest(group).is_none() && (!group.install || somebody_awaited(group)));
            if (!group.install) continue;
            if (group.install->id > newest)
                newest = group.install->id, groups_known = group.install->globals.groups;
            if (nobody_else_went_on(group, config_.mutations)) size += group.reports.size();
        }
        if (whole && groups_known <= groups.size()) return take_up(now, run);
        if (size > best_size) best = &run, best_size = size;
    }
    if (!late && (!grace_over || awaited)) return;
    if (best != nullptr) return take_up(now, *best);
    take_up(now, {});
    found_run(now);
}

/// The run goes on with those of its groups that can; zero: none does.
void CoordinatorState::take_up(TimeUs now, RunId run) {
    auto all = std::exchange(reported_, {});
    Record record;
    record.run = run;
    std::vector<MemberId> outside;
    wire::Term newest = term_;
    for (auto& [reported, groups] : all) {
        for (auto& [id, group] : groups) {
            const bool goes_on =
                reported == run && group.install && nobody_else_went_on(group, config_.mutations);
            for (const auto& [member, report] : group.reports) {
                newest = std::max(newest, report.term);
                if (!goes_on) dismiss(report, reported, group);
            }
            if (!goes_on) continue;
            const std::vector<MemberId> listed = ids_of(group.install->members);
            const std::vector<MemberId> kept = group.install->majority ? kept_by_promises(group) : listed;
            for (const MemberId& member : listed) {
                if (!contains(kept, member)) outside.push_back(member);
            }
            record.groups.push_back({id, listed, std::move(*group.install)});
        }
        if (reported != run) ended_runs_.push_back(reported);
        if (ended_runs_.size() > kEndedRunsMax) ended_runs_.pop_front();
    }
    if (run.is_zero()) return;
    log(LogLevel::kInfo, "run " + run.brief() + " is taken up from its members' reports");
    close_known("the run is taken up from its members' reports");
    forget_run();
    term_.count = newest.count + 1;  // Members ignore every term but a later one.
    recover(now, record);
    for (const MemberId& member : outside) {
        groups_[members_[member].group].change_wanted = true;
        expel(now, member, "an epoch was proposed without it before the record was lost");
    }
    ready_ = false;  // Nothing of this term is sent before it is durable.
    persist({});
    held_for_ = records_;
}

void CoordinatorState::dismiss(const Report& report, const RunId& run, const ReportedGroup& group) {
    if (!report.installed.is_none()) {
        wire::Evicted evicted;
        evicted.reason = "the coordinator has no record of the run, and its members that came back (" +
                         std::to_string(group.reports.size());
        if (group.install) evicted.reason += " of " + std::to_string(group.install->members.size());
        evicted.reason += ") cannot know whether others went on without them";
        send_raw(report.connection, wire::Type::kEvicted, wire::encode(evicted));
    }
    close(report.connection, "run " + run.brief() + " is over");
}

/// More than half of the last epoch's members go on, or have said that they leave. False: this group keeps no
/// record that could do without.
bool CoordinatorState::has_quorum(const GroupInfo& group) const {
    if (group.installed.is_none() || !(config_.majority || group.install.majority)) return true;
    const auto count = std::count_if(group.members.begin(), group.members.end(), [&](const MemberId& id) {
        const auto at = members_.find(id);
        const bool stays = at != members_.end() &&
                           (at->second.stage == Stage::kAdmitted || at->second.stage == Stage::kLeaving);
        return stays || group.left.count(id) != 0;
    });
    return 2 * static_cast<size_t>(count) > group.members.size();
}

/// Too few are left to know that nobody else goes on.
void CoordinatorState::give_up_group(TimeUs now, uint32_t group_id) {
    const GroupInfo& group = groups_[group_id];
    const std::string size = std::to_string(group.members.size());
    std::vector<MemberId> rest;
    for (const MemberId& id : group.members) {
        if (alive(id)) rest.push_back(id);
    }
    for (const MemberId& id : rest) {
        expel(now, id,
              "only " + std::to_string(rest.size()) + " of the " + size +
                  " members are left, and without a durable record more than half must be");
    }
    push_pending();
}

}  // namespace pccl::core
