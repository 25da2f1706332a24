#include "sim/runner.h"

#include <algorithm>
#include <sstream>
#include <utility>

namespace pccl::sim {

namespace {

#ifndef PCCL_TESTING
#error "the simulator is built against the testing variant of the core"
#endif

using Switch = bool core::Mutations::*;

const std::vector<std::pair<std::string, Switch>>& switches() {
    using core::Mutations;
    static const std::vector<std::pair<std::string, Switch>> kSwitches = {
        {"no_barrier", &Mutations::no_barrier},
        {"majority_barrier", &Mutations::majority_barrier},
        {"commit_if_any_complete", &Mutations::commit_if_any_complete},
        {"no_freeze", &Mutations::no_freeze},
        {"forget_returned", &Mutations::forget_returned},
        {"no_restore", &Mutations::no_restore},
        {"no_tombstone", &Mutations::no_tombstone},
        {"accept_old_epoch", &Mutations::accept_old_epoch},
        {"flags_left_out", &Mutations::flags_left_out},
        {"joiners_decide", &Mutations::joiners_decide},
        {"no_resend", &Mutations::no_resend},
        {"lane_reopened", &Mutations::lane_reopened},
        {"flags_sampled_again", &Mutations::flags_sampled_again},
        {"local_timeout", &Mutations::local_timeout},
        {"stale_record", &Mutations::stale_record},
        {"reuse_epoch_id", &Mutations::reuse_epoch_id},
        {"any_reports", &Mutations::any_reports},
    };
    return kSwitches;
}

}  // namespace

const std::vector<std::string>& mutation_names() {
    static const std::vector<std::string> kNames = [] {
        std::vector<std::string> names;
        for (const auto& [name, flag] : switches()) names.push_back(name);
        return names;
    }();
    return kNames;
}

bool set_mutation(const std::string& name, core::Mutations* mutations) {
    for (const auto& [known, flag] : switches()) {
        if (known != name) continue;
        mutations->*flag = true;
        return true;
    }
    return false;
}

RunResult run_seed(uint64_t seed, const SeedOptions& options) {
    RunOptions run;
    if (!options.mutation.empty()) PCCL_ASSERT(set_mutation(options.mutation, &run.mutations));
    run.trace = options.trace;
    return run_scenario(random_scenario(seed, options.members_max), run);
}

void demand_same_run(RunResult* first, const RunResult& again) {
    if (first->hash == again.hash && first->statistics.events == again.statistics.events) return;
    first->violations.push_back(
        {"determinism", first->statistics.virtual_time,
         "the same seed was another run the second time: " + std::to_string(first->statistics.events) +
             " and " + std::to_string(again.statistics.events) + " events"});
}

std::string replay_command(uint64_t seed, const SeedOptions& options) {
    std::string out =
        "pccl-sim --replay " + std::to_string(seed) + " --members " + std::to_string(options.members_max);
    if (!options.mutation.empty()) out += " --mutate " + options.mutation;
    return out;
}

std::string failure_text(uint64_t seed, const SeedOptions& options, const RunResult& result) {
    std::string out = "seed " + std::to_string(seed) + " broke an invariant\n";
    for (const Violation& violation : result.violations) {
        out += "  " + violation.invariant + " at " + std::to_string(violation.time) +
               " us: " + violation.what + "\n";
    }
    return out + "  replay with: " + replay_command(seed, options) + "\n";
}

bool broke(const RunResult& result, const std::string& invariants) {
    return std::any_of(result.violations.begin(), result.violations.end(), [&](const Violation& violation) {
        return invariants.find(violation.invariant) != std::string::npos;
    });
}

void Summary::add(const Summary& other) {
    seeds += other.seeds;
    failed.insert(failed.end(), other.failed.begin(), other.failed.end());
    statistics.add(other.statistics);
}

namespace {

// Everything in a summary but the failed seeds, in the order in which it is written.
template <class Visit>
void visit_numbers(Summary& summary, Visit visit) {
    Statistics& s = summary.statistics;
    visit(summary.seeds);
    visit(s.events);
    visit(s.virtual_time);
    visit(s.processes);
    visit(s.faults);
    visit(s.evictions);
    visit(s.epochs);
    visit(s.successes);
    visit(s.errors);
    for (uint64_t& verdict : s.verdicts) visit(verdict);
}

}  // namespace

std::string write_summary(const Summary& summary) {
    std::ostringstream out;
    Summary copy = summary;
    visit_numbers(copy, [&](auto& number) { out << number << ' '; });
    out << summary.failed.size();
    for (uint64_t seed : summary.failed) out << ' ' << seed;
    return out.str() + "\n";
}

bool read_summary(const std::string& text, Summary* summary) {
    std::istringstream in(text);
    visit_numbers(*summary, [&](auto& number) { in >> number; });
    size_t failed = 0;
    in >> failed;
    for (uint64_t seed = 0; in && summary->failed.size() < failed && in >> seed;)
        summary->failed.push_back(seed);
    return !in.fail() && summary->failed.size() == failed;
}

Summary run_seeds(uint64_t first, uint64_t count, uint64_t failures_max, const SeedOptions& options,
                  const std::function<void(uint64_t seed, const RunResult&)>& on_failure) {
    Summary summary;
    for (uint64_t seed = first; seed - first < count; ++seed) {
        RunResult result = run_seed(seed, options);
        if (options.twice) demand_same_run(&result, run_seed(seed, options));
        ++summary.seeds;
        summary.statistics.add(result.statistics);
        if (result.ok()) continue;
        summary.failed.push_back(seed);
        on_failure(seed, result);
        if (summary.failed.size() >= failures_max) break;
    }
    return summary;
}

}  // namespace pccl::sim
