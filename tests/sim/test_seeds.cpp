// Random runs: a few hundred seeds each time, equal runs for equal seeds, and the proof that broken rules are
// noticed.
#include <catch2/catch.hpp>

#include <map>
#include <string>

#include "sim/runner.h"

using namespace pccl;
using namespace pccl::sim;

namespace {

/// The first failing seed, or 0.
uint64_t first_failure(const SeedOptions& options, uint64_t seeds, std::string* text) {
    uint64_t found = 0;
    run_seeds(1, seeds, 1, options, [&](uint64_t seed, const RunResult& result) {
        found = seed;
        *text = failure_text(seed, options, result);
    });
    return found;
}

void check_clean(const SeedOptions& options, uint64_t first, uint64_t seeds) {
    std::string failures;
    const Summary summary = run_seeds(first, seeds, 3, options, [&](uint64_t seed, const RunResult& result) {
        failures += failure_text(seed, options, result);
    });
    INFO(failures);
    CHECK(summary.failed.empty());
    CHECK(summary.seeds == seeds);
    CHECK(summary.statistics.successes > seeds);
}

}  // namespace

TEST_CASE("three hundred random runs break no invariant") { check_clean({}, 1, 300); }

TEST_CASE("runs of many members break no invariant") {
    SeedOptions options;
    options.members_max = 24;
    check_clean(options, 1, 60);
}

TEST_CASE("five thousand random runs break no invariant", "[slow]") { check_clean({}, 1'000'000, 5000); }

// Each of these seeds failed once; the faults are named with them.
TEST_CASE("seeds that found faults of the core stay clean") {
    struct Found {
        uint64_t seed;
        uint32_t members_max;
        const char* fault;
    };
    const Found found[] = {
        {150, 8, "credit of an old epoch was returned in the new one"},
        {173, 8, "cancelling a call that waited to start used up no number"},
        {283, 8, "cancelling a call that waited to start used up no number"},
        {1773, 8, "a shared state was pulled from the source of an old epoch"},
        {2757, 8, "a shared state was pulled from the source of an old epoch"},
        {2044, 8, "an install scrapped payload of the new epoch that was being received"},
        {2788, 8, "an install scrapped payload of the new epoch that was being received"},
        {706, 8, "a leaving member refused an install without itself"},
        {3768, 8, "a leaving member refused an install without itself"},
        {33, 64, "a barrier message of a later round came first"},
    };
    for (const Found& one : found) {
        SeedOptions options;
        options.members_max = one.members_max;
        const RunResult result = run_seed(one.seed, options);
        INFO(one.fault << "\n" << failure_text(one.seed, options, result));
        CHECK(result.ok());
    }
}

TEST_CASE("the same seed is the same run, event for event") {
    for (uint64_t seed = 1; seed <= 40; ++seed) {
        const RunResult a = run_seed(seed, {});
        const RunResult b = run_seed(seed, {});
        INFO("seed " << seed);
        CHECK(a.hash == b.hash);
        CHECK(a.statistics.events == b.statistics.events);
    }
    CHECK(run_seed(1, {}).hash != run_seed(2, {}).hash);
}

TEST_CASE("printing a run does not change it") {
    std::FILE* nowhere = std::tmpfile();
    REQUIRE(nowhere != nullptr);
    for (uint64_t seed = 1; seed <= 5; ++seed) {
        SeedOptions verbose;
        verbose.trace = nowhere;
        CHECK(run_seed(seed, {}).hash == run_seed(seed, verbose).hash);
    }
    std::fclose(nowhere);
}

TEST_CASE("the command that replays a failure carries everything that shaped the run") {
    SeedOptions options;
    options.members_max = 12;
    options.mutation = "no_barrier";
    CHECK(replay_command(77, options) == "pccl-sim --replay 77 --members 12 --mutate no_barrier");
    CHECK(replay_command(5, {}) == "pccl-sim --replay 5 --members 8");
}

TEST_CASE("names of broken rules are known, others are not") {
    for (const std::string& name : mutation_names()) {
        core::Mutations mutations;
        CHECK(set_mutation(name, &mutations));
    }
    core::Mutations mutations;
    CHECK_FALSE(set_mutation("no_such_rule", &mutations));
}

// Each broken rule is found within so many seeds; those that need a rare fault take longer.
TEST_CASE("rules whose breach shows at once") {
    for (const char* name : {"no_barrier", "majority_barrier", "commit_if_any_complete", "no_freeze",
                             "no_restore", "no_tombstone", "accept_old_epoch"}) {
        SeedOptions options;
        options.mutation = name;
        std::string text;
        INFO(name);
        CHECK(first_failure(options, 500, &text) != 0);
    }
}

TEST_CASE("a rule whose breach needs a rare fault", "[slow]") {
    SeedOptions options;
    options.mutation = "forget_returned";
    std::string text;
    CHECK(first_failure(options, 10'000, &text) != 0);
}
