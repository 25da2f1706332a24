// Random runs: a few hundred seeds each time, equal runs for equal seeds, and the proof that broken rules are
// noticed.
#include <catch2/catch.hpp>

#include <map>
#include <string>

#include "sim/broken_rules.h"
#include "sim/runner.h"

using namespace pccl;
using namespace pccl::sim;

namespace {

/// The first seed that broke one of `invariants`, or 0.
uint64_t first_breach(const SeedOptions& options, uint64_t seeds, const std::string& invariants,
                      uint64_t first = 1) {
    for (uint64_t seed = first; seed < first + seeds; ++seed) {
        if (broke(run_seed(seed, options), invariants)) return seed;
    }
    return 0;
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

TEST_CASE("twenty thousand random runs break no invariant", "[slow]") { check_clean({}, 1'000'000, 20000); }

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
        {617, 8, "a reduction without elements named a contributor that never called it"},
        {782, 8, "a reduction without elements named a contributor that never called it"},
        {1347, 8, "a reduction without elements named a contributor that never called it"},
        {1517, 8, "an epoch change hid that descriptors differ: a loss was reported, and nobody was lost"},
        {9825, 8, "an operation over its time changed the epoch again and again and was never finished"},
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

TEST_CASE("a second run that differs is a failure") {
    SeedOptions options;
    options.twice = true;
    CHECK(run_seeds(1, 20, 3, options, [](uint64_t, const RunResult&) {}).failed.empty());
    RunResult first = run_seed(1, {});
    demand_same_run(&first, first);
    CHECK(first.ok());
    RunResult other = first;
    ++other.hash;
    demand_same_run(&first, other);
    CHECK(broke(first, "determinism"));
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

// Each broken rule is found as what it breaks within so many seeds, which is about three times what it takes,
// or near the first run that shows it. A hang alone would say little of a broken barrier.
TEST_CASE("rules whose breach shows in random runs") {
    struct Rule {
        const char* name;
        const char* invariants;
        uint64_t seeds;
        uint64_t first = 1;
    };
    const Rule rules[] = {
        {"no_barrier", "I1 I2", 100},
        {"majority_barrier", "I1 I2", 300},
        {"commit_on_majority", "I1", 100},
        {"commit_if_any_complete", "I1", 200},
        {"commit_if_any_complete", "I2", 100},
        {"no_freeze", "I1 I2 I5", 150},
        {"no_restore", "I2", 100},
        {"no_tombstone", "I1", 100, 1701},
        {"no_credit", "I4", 50, 201},
        {"accept_old_epoch", "I5", 100},
        {"forget_returned", "I1 I3", 50},
        {"no_resend", "I3", 300},
        {"lane_reopened", "I3", 200},
        {"flags_sampled_again", "I1", 50, 341},
        {"local_timeout", "I1", 50, 341},
        {"keep_of_the_gone", "I2", 100, 951},
        {"stale_record", "I5", 50, 151},
    };
    for (const Rule& rule : rules) {
        SeedOptions options;
        options.mutation = rule.name;
        const uint64_t found = first_breach(options, rule.seeds, rule.invariants, rule.first);
        INFO(rule.name << " as " << rule.invariants);
        CHECK(found != 0);
    }
}

// Newcomers enter at boundaries, where nothing is open, and a member stays frozen until an Install: what
// breaks these rules shows only where that does not hold, and must not be what its absence alone breaks.
TEST_CASE("rules that another defence backs up are found without it") {
    for (const BrokenRule& rule : broken_rules()) {
        if (rule.defence == nullptr) continue;
        INFO(rule.name);
        // One that takes thousands of seeds starts where it is near.
        const uint64_t first = std::string(rule.name) == "reuse_epoch_id" ? 4801 : 1;
        CHECK(find_breach(rule, first, 1500, 8));
        core::Mutations alone;
        alone.*rule.broken = true;
        for (uint64_t seed = 1; seed <= 200; ++seed) {
            RunOptions options;
            options.mutations = alone;
            const RunResult result = run_scenario(random_scenario(seed, 8), options);
            INFO("seed " << seed);
            CHECK_FALSE(broke(result, "I1 I2 I3"));
        }
    }
}

TEST_CASE("each broken rule is found within twenty thousand seeds, most within two thousand", "[slow]") {
    size_t soon = 0;
    for (const BrokenRule& rule : broken_rules()) {
        INFO(rule.label << " " << rule.name);
        const auto found = find_breach(rule, 1, 20000, 8);
        REQUIRE(found);
        soon += found->seeds <= 2000 ? 1 : 0;
    }
    CHECK(soon > broken_rules().size() / 2);
}

TEST_CASE("a summary goes through a pipe unchanged") {
    SeedOptions options;
    options.mutation = "no_restore";
    const Summary summary = run_seeds(1, 160, 5, options, [](uint64_t, const RunResult&) {});
    REQUIRE(summary.failed.size() > 1);
    Summary back;
    REQUIRE(read_summary(write_summary(summary), &back));
    CHECK(write_summary(back) == write_summary(summary));
    CHECK(back.failed == summary.failed);
    Summary none;
    CHECK_FALSE(read_summary("", &none));
    CHECK_FALSE(read_summary("1 2 3", &none));
}
