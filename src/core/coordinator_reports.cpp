// A run without its record: the coordinator has none, or one that is older than what the members know. They
// report what they have installed and promised. When that shows that nobody else can have gone on, the run is
// taken up as if from a record; docs/internals/protocol.md has the rules and why they are enough.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "core/checks.h"
#include "core/coordinator_state.h"

namespace pccl::core {
namespace {

constexpr size_t kEndedRunsMax = 64;
constexpr size_t kReportedRunsMax = 16;

using Ids = std::set<MemberId>;

Ids ids_of(const std::vector<wire::Peer>& peers) {
    Ids out;
    for (const wire::Peer& peer : peers) out.insert(peer.id);
    return out;
}

wire::EpochId highest(const ReportedGroup& group) {
    wire::EpochId out;
    for (const auto& [id, report] : group.reports) out = std::max(out, report.installed);
    return out;
}

/// An epoch that members have promised, and that nobody who has reported has installed.
struct Promise {
    Ids members;
    bool majority = false;
};

std::map<wire::EpochId, Promise> promises(const ReportedGroup& group) {
    const wire::EpochId known = highest(group);
    std::map<wire::EpochId, Promise> out;
    for (const auto& [id, report] : group.reports) {
        if (report.promised > known && out.count(report.promised) == 0) {
            out[report.promised] = {{report.promised_members.begin(), report.promised_members.end()},
                                    report.promised_majority};
        }
    }
    return out;
}

bool reported(const ReportedGroup& group, const MemberId& id) {
    const auto at = group.reports.find(id);
    return at != group.reports.end() && at->second.fenced;
}

bool all_of(const ReportedGroup& group, const Ids& list) {
    return std::all_of(list.begin(), list.end(), [&](const MemberId& id) { return reported(group, id); });
}

/// More than half of `list` has reported, those that leave apart.
bool majority_of(const ReportedGroup& group, const Ids& list) {
    const auto count = std::count_if(list.begin(), list.end(), [&](const MemberId& id) {
        return reported(group, id) && !group.reports.at(id).leaving;
    });
    return 2 * static_cast<size_t>(count) > list.size();
}

/// Members of the highest epoch that every one which was promised above it keeps.
Ids kept_by_promises(const ReportedGroup& group) {
    Ids out = ids_of(group.install->members);
    for (const auto& [epoch, promise] : promises(group))
        std::erase_if(out, [&, &list = promise.members](const MemberId& id) { return list.count(id) == 0; });
    return out;
}

/// Everybody is here who could have gone on to an epoch that nobody else knows of.
bool all_back(const ReportedGroup& group) {
    const auto promised = promises(group);
    return all_of(group, ids_of(group.install->members)) &&
           std::all_of(promised.begin(), promised.end(),
                       [&](const auto& entry) { return all_of(group, entry.second.members); });
}

/// By the majority rule somebody is here who would know of such an epoch.
bool majority_back(const ReportedGroup& group) {
    const Ids members = ids_of(group.install->members), kept = kept_by_promises(group);
    const auto promised = promises(group);
    const auto going_on =
        std::count_if(kept.begin(), kept.end(), [&](const MemberId& id) { return reported(group, id); });
    // The first epoch in the new term needs more than half of the members as well.
    return group.install->majority && 2 * static_cast<size_t>(going_on) > members.size() &&
           majority_of(group, members) && majority_of(group, kept) &&
           std::all_of(promised.begin(), promised.end(), [&](const auto& entry) {
               const Promise& promise = entry.second;
               return promise.majority ? majority_of(group, promise.members) : all_of(group, promise.members);
           });
}

bool goes_on(const ReportedGroup& group, const Mutations& mutations) {
    if (!group.install) return false;
    return mutations.any_reports || all_back(group) || majority_back(group);
}

/// Somebody who may still come, and matters: not back, and no peer saw its lane closed.
bool somebody_awaited(const ReportedGroup& group) {
    Ids closed, wanted;
    for (const auto& [id, report] : group.reports) {
        closed.insert(report.seen_closed.begin(), report.seen_closed.end());
        if (!report.fenced) return true;
    }
    if (group.install) wanted = ids_of(group.install->members);
    for (const auto& [epoch, promise] : promises(group))
        wanted.insert(promise.members.begin(), promise.members.end());
    return (!group.install && !highest(group).is_none()) ||
           std::any_of(wanted.begin(), wanted.end(), [&](const MemberId& id) {
               return group.reports.count(id) == 0 && closed.count(id) == 0;
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
    return links && install.round <= kSequenceMax && valid(install.constants) &&
           all_valid(install.counters) && all_valid(install.tombstones) &&
           std::all_of(install.decisions.begin(), install.decisions.end(),
                       [](const wire::Decision& decision) { return valid(decision.key); });
}

}  // namespace

/// Whether a member's registration is to be taken as a report on a run that is not known here.
bool CoordinatorState::is_report(const wire::Register& message) const {
    if (message.run.is_zero()) return false;
    if (run_begun_ && message.run == run_) {
        // The run is known. A record that was read at the start may be old, and a coordinator that was cut
        // off may have been replaced meanwhile: then a member knows of a later term or epoch.
        const auto group = groups_.find(message.group);
        const bool later_epoch = group != groups_.end() && message.installed > group->second.installed;
        const bool later_term = message.term > (recovering_ ? record_term_ : term_) && message.term != term_;
        const bool believed = recovering_ || members_.count(message.id) != 0;
        return !config_.mutations.stale_record && believed && anybody_admitted() &&
               (later_epoch || later_term);
    }
    // Where a run goes on there is no room for another, and one that has ended is over.
    if (recovering_ || anybody_admitted() || contains_run(ended_runs_, message.run)) return false;
    // A newcomer that has promised an epoch may be a member by an Install that it has missed.
    return !message.installed.is_none() || !message.promised.is_none();
}

bool CoordinatorState::contains_run(const std::deque<RunId>& runs, const RunId& run) {
    return std::find(runs.begin(), runs.end(), run) != runs.end();
}

void CoordinatorState::begin_reports(TimeUs now) {
    if (run_begun_ && anybody_admitted()) {
        log(LogLevel::kError, "members of run " + run_.brief() +
                                  " know more than this coordinator: going by their reports instead");
        close_known("the coordinator has been replaced meanwhile, or its record is old");
        forget_run();
    } else {
        log(LogLevel::kInfo, "members of a run that is not known here come: going by their reports");
    }
    reports_began_ = now;
    if (reports_hold_ == 0 || now > reports_hold_ + config_.timeouts.recovery)
        reports_hold_ = now + config_.timeouts.recovery + config_.timeouts.backoff_cap;
}

/// No run is known any more. Records on their way to the disk make their terms durable and nothing else.
void CoordinatorState::forget_run() {
    recovering_ = run_begun_ = boundary_ = pending_level_ = false;
    run_ = {};
    groups_.clear();
    rounds_ = rounds_succeeded_ = 0;
    pending_installs_.clear();
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
    if (reported_.size() >= kReportedRunsMax && reported_.count(message.run) == 0)
        return close(connection, "members of too many runs come");
    if (reported_.empty()) begin_reports(now);
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
    Report report;
    report.connection = connection;
    report.installed = message.installed;
    report.promised = message.promised;
    report.promised_majority = message.promised_majority;
    report.leaving = message.leaving;
    if (message.promised > message.installed) report.promised_members = message.promised_members;
    for (const wire::Suspect& suspicion : message.suspicions) {
        if (suspicion.closed) report.seen_closed.push_back(suspicion.peer);
    }
    connections_[connection].reports = true;
    ReportedGroup& group = reported_[message.run][message.group];
    if (message.installed > highest(group)) group.install.reset(), group.asked = 0;
    Report& kept = group.reports[message.id] = std::move(report);
    if (message.term > term_) {
        raise_term(message.term);
    } else if (message.term == term_) {
        kept.fenced = true;  // It has answered before.
    } else {
        fence(kept, false);
    }
    check_reports(now);
}

/// Members listen to no term that is not later than what they know. All that have reported are to know the
/// new one, once it is durable.
void CoordinatorState::raise_term(const wire::Term& above) {
    term_.count = above.count + 1;
    ready_ = false;
    persist({});
    held_for_ = records_;
    for (auto& [run, groups] : reported_) {
        for (auto& [id, group] : groups) {
            for (auto& [member, report] : group.reports) fence(report, report.connection == group.asked);
        }
    }
}

void CoordinatorState::fence(Report& report, bool wants_install) {
    report.fenced = false;
    wire::Recall message;
    message.term = term_;
    message.wants_install = wants_install;
    send_raw(report.connection, wire::Type::kRecall, wire::encode(message));
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
            const auto from =
                std::find_if(group.reports.begin(), group.reports.end(),
                             [&](const auto& entry) { return entry.second.connection == connection; });
            if (from == group.reports.end()) continue;
            if (message.term == term_) from->second.fenced = true;
            if (!message.install.id.is_none() && !group.install && group.asked == connection) {
                const Ids listed = ids_of(message.install.members);
                if (listed.count(from->first) == 0 || message.install.run != run ||
                    message.install.id != highest(group) || !valid_install(message.install)) {
                    log(LogLevel::kWarn, "a member reported an epoch that cannot be");
                    return false;
                }
                group.install = std::move(message.install);
            }
            check_reports(now);
            return true;
        }
    }
    return true;
}

/// Of each group one member that has its highest epoch is asked for it, and another when that one is slow.
void CoordinatorState::ask_installs(TimeUs now) {
    for (auto& [run, groups] : reported_) {
        for (auto& [id, group] : groups) {
            const bool slow = group.asked != 0 && now - group.asked_at > config_.timeouts.liveness / 2;
            if (group.install || (group.asked != 0 && !slow) || highest(group).is_none()) continue;
            Report* next = nullptr;  // by connection, in turn
            for (auto& [member, report] : group.reports) {
                if (report.installed != highest(group) || report.connection == group.asked) continue;
                const auto turn = [asked = group.asked](const Report& r) {
                    return std::pair(r.connection < asked, r.connection);
                };
                if (next == nullptr || turn(report) < turn(*next)) next = &report;
            }
            if (next == nullptr) continue;
            group.asked = next->connection;
            group.asked_at = now;
            fence(*next, true);
        }
    }
}

/// The wait for reports is over: the run that goes on, or zero where none does. At once when everybody is
/// back, after the grace when nobody is left who could come, and in any case after the recovery time.
std::optional<RunId> CoordinatorState::settled_run(TimeUs now) const {
    RunId best;
    size_t best_size = 0;
    bool awaited = false, whole = true;
    for (const auto& [run, groups] : reported_) {
        size_t size = 0, groups_known = 0;
        wire::EpochId newest;
        for (const auto& [id, group] : groups) {
            awaited = awaited || somebody_awaited(group);
            if (group.install && group.install->id > newest)
                newest = group.install->id, groups_known = group.install->globals.groups;
            if (goes_on(group, config_.mutations)) size += group.reports.size();
            whole = whole && !somebody_awaited(group) && group.install && all_back(group);
        }
        awaited = awaited || groups_known > groups.size();
        whole = whole && groups_known <= groups.size();
        if (size > best_size) best = run, best_size = size;
    }
    // A group of newcomers that promised the first epoch of a run: all are here, and none has installed it.
    const bool nothing_begun = best_size == 0 && !awaited;
    const bool grace_over = now >= reports_began_ + 2 * config_.timeouts.backoff_cap;
    const bool late = now >= reports_began_ + config_.timeouts.recovery;
    if ((whole && best_size > 0 && reported_.size() == 1) || late) return best;
    if (grace_over && !awaited && best_size > 0) return best;
    if (nothing_begun && std::all_of(reported_.begin(), reported_.end(), [](const auto& run) {
            return std::all_of(run.second.begin(), run.second.end(),
                               [](const auto& group) { return highest(group.second).is_none(); });
        }))
        return RunId();
    return std::nullopt;
}

void CoordinatorState::check_reports(TimeUs now) {
    if (reported_.empty()) return;
    ask_installs(now);
    const std::optional<RunId> run = settled_run(now);
    if (!run) return;
    take_up(now, *run);
    found_run(now);
}

/// The run goes on with those of its groups that can; zero: none does.
void CoordinatorState::take_up(TimeUs now, RunId run) {
    auto all = std::exchange(reported_, {});
    Record record;
    record.run = run;
    std::vector<MemberId> outside;
    for (auto& [reported_run, groups] : all) {
        for (auto& [id, group] : groups) {
            if (reported_run != run || !goes_on(group, config_.mutations)) {
                for (const auto& [member, report] : group.reports) dismiss(report, reported_run, group);
                continue;
            }
            const Ids kept = all_back(group) ? ids_of(group.install->members) : kept_by_promises(group);
            GroupRecord entry;
            entry.group = id;
            for (const wire::Peer& peer : group.install->members) {
                entry.members.push_back(peer.id);
                if (kept.count(peer.id) == 0) outside.push_back(peer.id);
            }
            entry.install = std::move(*group.install);
            record.groups.push_back(std::move(entry));
        }
        if (reported_run == run) continue;
        ended_runs_.push_back(reported_run);
        if (ended_runs_.size() > kEndedRunsMax) ended_runs_.pop_front();
    }
    if (run.is_zero()) return;
    log(LogLevel::kInfo, "run " + run.brief() + " is taken up from its members' reports");
    close_known("the run is taken up from its members' reports");
    forget_run();
    reports_hold_ = 0;
    record_term_ = term_;
    recover(now, record);
    for (const MemberId& member : outside) {
        groups_[members_[member].group].change_wanted = true;
        expel(now, member, "an epoch was proposed without it before the record was lost");
    }
    ready_ = false;  // What is taken up is durable before anybody hears of it.
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
