// Runs seeds, and says how to run a failing one again.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/mutations.h"
#include "sim/world.h"

namespace pccl::sim {

struct SeedOptions {
    uint32_t members_max = 8;
    std::string mutation;  ///< name of a rule to break, or empty
    bool twice = false;    ///< run_seeds runs each seed again, which must be the same run event for event
    std::FILE* trace = nullptr;
};

const std::vector<std::string>& mutation_names();
/// False when there is no such rule.
bool set_mutation(const std::string& name, core::Mutations* mutations);

RunResult run_seed(uint64_t seed, const SeedOptions& options);

/// Adds a violation to `first` if `again`, of the same seed, was another run.
void demand_same_run(RunResult* first, const RunResult& again);

/// "pccl-sim --replay 7 --members 8 --mutate no_barrier".
std::string replay_command(uint64_t seed, const SeedOptions& options);
/// The seed, each violation, and the command that shows them again.
std::string failure_text(uint64_t seed, const SeedOptions& options, const RunResult& result);

/// Whether the run broke one of these: "I1 I2" matches either.
bool broke(const RunResult& result, const std::string& invariants);

struct Summary {
    uint64_t seeds = 0;
    std::vector<uint64_t> failed;  ///< the first ones
    Statistics statistics;
    void add(const Summary& other);
};

/// One line of numbers that read_summary takes back, for those that share the seeds among processes.
std::string write_summary(const Summary& summary);
bool read_summary(const std::string& text, Summary* summary);

/// Runs `count` seeds from `first` on, and calls `on_failure` for each that broke an invariant; ends after
/// `failures_max` of them.
Summary run_seeds(uint64_t first, uint64_t count, uint64_t failures_max, const SeedOptions& options,
                  const std::function<void(uint64_t seed, const RunResult&)>& on_failure);

}  // namespace pccl::sim
