#include "sim/broken_rules.h"

#include <set>

namespace pccl::sim {

#ifndef PCCL_TESTING
#error "the simulator is built against the testing variant of the core"
#endif

const std::vector<BrokenRule>& broken_rules() {
    using core::Mutations;
    static const std::vector<BrokenRule> kRules = {
        {"M1", "no_barrier", &Mutations::no_barrier},
        {"M2", "majority_barrier", &Mutations::majority_barrier},
        {"M3", "commit_on_majority", &Mutations::commit_on_majority},
        {"M4", "commit_if_any_complete", &Mutations::commit_if_any_complete},
        {"M5", "no_freeze", &Mutations::no_freeze},
        {"M6", "stale_record", &Mutations::stale_record},
        {"M7", "forget_returned", &Mutations::forget_returned},
        {"M8", "joiners_decide", &Mutations::joiners_decide, &Mutations::early_boundary},
        {"M9", "no_resend", &Mutations::no_resend},
        {"M10", "lane_reopened", &Mutations::lane_reopened},
        {"M11", "no_tombstone", &Mutations::no_tombstone},
        {"M12", "flags_left_out", &Mutations::flags_left_out},
        {"M13", "flags_sampled_again", &Mutations::flags_sampled_again},
        {"M14", "local_timeout", &Mutations::local_timeout},
        {"M15", "reuse_epoch_id", &Mutations::reuse_epoch_id, &Mutations::thaw_between_proposals},
        {"I1", "any_reports", &Mutations::any_reports},
        {"I2", "keep_of_the_gone", &Mutations::keep_of_the_gone},
        {"I2", "no_restore", &Mutations::no_restore},
        {"I4", "no_credit", &Mutations::no_credit},
        {"I5", "accept_old_epoch", &Mutations::accept_old_epoch},
    };
    return kRules;
}

namespace {

RunResult run_without_defence(const BrokenRule& rule, uint64_t seed, uint32_t members_max) {
    RunOptions options;
    options.mutations.*rule.defence = true;
    return run_scenario(random_scenario(seed, members_max), options);
}

}  // namespace

std::optional<Found> find_breach(const BrokenRule& rule, uint64_t first, uint64_t count,
                                 uint32_t members_max) {
    SeedOptions options;
    options.members_max = members_max;
    options.mutation = rule.name;
    for (uint64_t seed = first; seed < first + count; ++seed) {
        const RunResult result = run_seed(seed, options);
        if (result.ok()) continue;
        if (rule.defence != nullptr && !run_without_defence(rule, seed, members_max).ok()) continue;
        std::set<std::string> invariants;
        for (const Violation& violation : result.violations) invariants.insert(violation.invariant);
        Found found{seed, seed - first + 1, {}};
        for (const std::string& name : invariants)
            found.invariants += (found.invariants.empty() ? "" : " ") + name;
        return found;
    }
    return std::nullopt;
}

}  // namespace pccl::sim
