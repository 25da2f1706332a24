// Whom a fault hits and when: kills, newcomers, freezes, restarts of the coordinator, breaks of the network.
#include <signal.h>

#include <algorithm>
#include <cstdio>

#include "common/resources.h"
#include "orchestrator.h"

namespace pccl::stress {
namespace {

constexpr size_t kAliveMin = 2;

int64_t to_ns(double seconds) { return static_cast<int64_t>(seconds * 1e9); }

std::string milliseconds(int64_t ns) { return std::to_string(ns / 1'000'000) + " ms"; }

}  // namespace

int64_t Orchestrator::draw_ns(const Interval& interval) {
    return to_ns(std::uniform_real_distribution<double>(interval.low_s, interval.high_s)(random_));
}

// A single number varies by a quarter, so that all faults meet in all ways, while their number is what was
// asked for.
int64_t Orchestrator::next_moment(const Interval& interval, int64_t after_ns) {
    if (interval.off()) {
        return INT64_MAX;
    }
    const bool single = interval.low_s == interval.high_s;
    return after_ns + draw_ns(single ? Interval{0.75 * interval.low_s, 1.25 * interval.high_s} : interval);
}

bool Orchestrator::due(const Interval& interval, int64_t now_ns, int64_t* at_ns) {
    if (now_ns < *at_ns) {
        return false;
    }
    *at_ns = next_moment(interval, *at_ns);
    return true;
}

// How long a fault may still cost a worker its place, or a worker need to learn that it has.
int64_t Orchestrator::grace_ns() const { return to_ns(4 * options_.liveness_s + options_.recovery_s + 1); }

void Orchestrator::begin_faults(int64_t now_ns) {
    kill_at_ns_ = next_moment(options_.kill_every, now_ns);
    join_at_ns_ = next_moment(options_.join_every, now_ns);
    freeze_at_ns_ = next_moment(options_.freeze_every, now_ns);
    coordinator_kill_at_ns_ = next_moment(options_.coordinator_kill_every, now_ns);
    partition_at_ns_ = has_network_ ? next_moment(options_.partition_every, now_ns) : INT64_MAX;
}

int64_t Orchestrator::next_fault_ns() const {
    int64_t next_ns = std::min({kill_at_ns_, join_at_ns_, freeze_at_ns_, coordinator_kill_at_ns_,
                                partition_at_ns_, coordinator_back_at_ns_});
    for (const auto& child : children_) {
        next_ns = child->frozen() ? std::min(next_ns, child->thaw_at_ns) : next_ns;
    }
    for (const Partition& partition : partitions_) {
        next_ns = std::min(next_ns, partition.heal_at_ns);
    }
    return next_ns;
}

void Orchestrator::faults(int64_t now_ns) {
    for (auto& child : children_) {
        if (child->frozen() && now_ns >= child->thaw_at_ns) {
            thaw(*child);
        }
    }
    std::erase_if(partitions_, [&](Partition& partition) {
        const bool over = now_ns >= partition.heal_at_ns;
        if (over) {
            heal(partition);
        }
        return over;
    });
    if (now_ns >= coordinator_back_at_ns_) {
        restart_coordinator();
    }
    if (due(options_.kill_every, now_ns, &kill_at_ns_)) {
        kill_one();
    }
    if (due(options_.join_every, now_ns, &join_at_ns_)) {
        join_one();
    }
    if (due(options_.freeze_every, now_ns, &freeze_at_ns_)) {
        freeze_one();
    }
    if (due(options_.coordinator_kill_every, now_ns, &coordinator_kill_at_ns_) &&
        coordinator_back_at_ns_ == INT64_MAX) {
        kill_coordinator();
    }
    if (due(options_.partition_every, now_ns, &partition_at_ns_)) {
        break_network();
    }
}

void Orchestrator::end_faults() {
    for (auto& child : children_) {
        if (child->frozen()) {
            thaw(*child);
        }
    }
    for (Partition& partition : partitions_) {
        heal(partition);
    }
    partitions_.clear();
    if (coordinator_back_at_ns_ != INT64_MAX) {
        restart_coordinator();
    }
}

// One of those that suit, or null.
Child* Orchestrator::pick(bool (*suits)(const Child&, const Options&)) {
    std::vector<Child*> candidates;
    for (auto& child : children_) {
        if (suits(*child, options_)) {
            candidates.push_back(child.get());
        }
    }
    if (candidates.empty()) {
        return nullptr;
    }
    return candidates[std::uniform_int_distribution<size_t>(0, candidates.size() - 1)(random_)];
}

void Orchestrator::kill_one() {
    Child* const victim =
        pick([](const Child& child, const Options& options) { return child.number >= options.keep; });
    if (victim == nullptr || children_.size() <= kAliveMin) {
        return;
    }
    read_reports(*victim);
    // The moment is taken before the signal, as the survivors may notice at once.
    ledger_.killed(victim->number, tools::monotonic_ns());
    tools::kill_and_reap(victim->pid);
    read_reports(*victim);
    say_if_verbose("killed worker " + std::to_string(victim->number) + " in " +
                   call_name(static_cast<Call>(victim->page->call.load())));
    bury(*victim);
    std::erase_if(children_, [&](const auto& child) { return child.get() == victim; });
    ++totals_.kills;
}

void Orchestrator::join_one() {
    if (children_.size() >= static_cast<size_t>(options_.peers)) {
        return;
    }
    std::string error;
    if (!start_worker(&error)) {
        say(error);
        return;
    }
    ++totals_.joins;
    say_if_verbose("started worker " + std::to_string(children_.back()->number));
}

// At least one runs on.
void Orchestrator::freeze_one() {
    const auto running =
        std::count_if(children_.begin(), children_.end(), [](const auto& child) { return !child->frozen(); });
    Child* const victim = pick([](const Child& child, const Options&) { return !child.frozen(); });
    if (running <= 1 || victim == nullptr) {
        return;
    }
    const int64_t length_ns = draw_ns(options_.freeze_for);
    kill(victim->pid, SIGSTOP);
    victim->thaw_at_ns = tools::monotonic_ns() + length_ns;
    ++totals_.freezes;
    say_if_verbose("froze worker " + std::to_string(victim->number) + " for " + milliseconds(length_ns) +
                   " in " + call_name(static_cast<Call>(victim->page->call.load())));
}

void Orchestrator::thaw(Child& child) {
    const int64_t now_ns = tools::monotonic_ns();
    child.thaw_at_ns = 0;
    child.excused_until_ns = std::max(child.excused_until_ns, now_ns + grace_ns());
    child.page->since_ns.store(now_ns);
    kill(child.pid, SIGCONT);
}

void Orchestrator::kill_coordinator() {
    coordinator_killed_ns_ = tools::monotonic_ns();
    coordinator_.kill();
    const int64_t pause_ns = draw_ns(options_.coordinator_pause);
    coordinator_back_at_ns_ = coordinator_killed_ns_ + pause_ns;
    ++totals_.coordinator_kills;
    say_if_verbose("killed the coordinator for " + milliseconds(pause_ns));
}

void Orchestrator::restart_coordinator() {
    coordinator_back_at_ns_ = INT64_MAX;
    std::string error;
    if (!start_coordinator(&error)) {
        totals_.coordinator_failed = true;
        say("CRASH: the coordinator does not start again: " + error);
        return;
    }
    // Members give it up after the recovery time-out, and by right after a pause that was asked to be long.
    const int64_t now_ns = tools::monotonic_ns();
    const int64_t away_ns = now_ns - coordinator_killed_ns_;
    if (away_ns > to_ns(options_.recovery_s / 2)) {
        say_if_verbose("the coordinator was away for " + milliseconds(away_ns));
        for (auto& child : children_) {
            child->excused_until_ns = std::max(child->excused_until_ns, now_ns + grace_ns());
        }
    }
}

// Chooses how the network breaks around a worker, and whom that concerns.
std::vector<Flow> Orchestrator::flows_of(Child& one, std::vector<int>* workers) {
    enum Kind { kPair, kOneWay, kCoordinator, kAlone, kSplit, kKinds };
    const int kind = std::uniform_int_distribution<int>(0, kKinds - 1)(random_);
    std::vector<Child*> others;
    for (auto& child : children_) {
        if (child.get() != &one && child->group == one.group) {
            others.push_back(child.get());
        }
    }
    std::shuffle(others.begin(), others.end(), random_);
    workers->push_back(one.number);
    std::vector<Flow> flows;
    if (kind == kCoordinator || kind == kAlone || others.empty()) {
        flows = {{one.master_address, ""}, {"", one.master_address}};
    }
    if (kind == kAlone) {
        flows.insert(flows.end(), {{one.peer_address, ""}, {"", one.peer_address}});
    }
    if (kind == kCoordinator || kind == kAlone || others.empty()) {
        return flows;
    }
    // A split takes half of the group to the worker's side; else it is about one other.
    std::vector<Child*> here{&one};
    for (size_t i = 0; i < others.size(); ++i) {
        workers->push_back(others[i]->number);
        if (kind == kSplit && i < others.size() / 2) {
            here.push_back(others[i]);
            continue;
        }
        for (const Child* near : here) {
            flows.push_back({near->peer_address, others[i]->peer_address});
            if (kind != kOneWay) {
                flows.push_back({others[i]->peer_address, near->peer_address});
            }
        }
        if (kind != kSplit) {
            break;
        }
    }
    return flows;
}

void Orchestrator::break_network() {
    Child* const one = pick([](const Child&, const Options&) { return true; });
    if (one == nullptr) {
        return;
    }
    Partition partition;
    partition.flows = flows_of(*one, &partition.workers);
    const int64_t length_ns = draw_ns(options_.partition_for);
    partition.heal_at_ns = tools::monotonic_ns() + length_ns;
    for (auto& child : children_) {
        const auto& workers = partition.workers;
        child->breaks += std::find(workers.begin(), workers.end(), child->number) != workers.end() ? 1 : 0;
    }
    std::string text;
    for (const Flow& flow : partition.flows) {
        std::string error;
        if (!network_.block(flow, &error)) {
            say("a break of the network failed: " + error);
        }
        text += " " + (flow.from.empty() ? "any" : flow.from) + ">" + (flow.to.empty() ? "any" : flow.to);
    }
    ++totals_.partitions;
    say_if_verbose("broke the network around worker " + std::to_string(one->number) + " for " +
                   milliseconds(length_ns) + ":" + text);
    partitions_.push_back(std::move(partition));
}

void Orchestrator::heal(Partition& partition) {
    for (const Flow& flow : partition.flows) {
        std::string error;
        if (!network_.open(flow, &error)) {
            say("a break of the network does not heal: " + error);
        }
    }
    const int64_t until_ns = tools::monotonic_ns() + grace_ns();
    for (auto& child : children_) {
        const auto& workers = partition.workers;
        if (std::find(workers.begin(), workers.end(), child->number) != workers.end()) {
            --child->breaks;
            child->excused_until_ns = std::max(child->excused_until_ns, until_ns);
        }
    }
}

}  // namespace pccl::stress
