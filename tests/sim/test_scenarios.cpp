// Named scenarios: one kind of fault at one step of the protocol, at each occurrence of that step in turn,
// with both retry policies and several plans. The programs are random steps over a few members; what must
// hold is the same as everywhere.
#include <catch2/catch.hpp>

#include <string>

#include "plan/plan.h"
#include "sim/runner.h"
#include "sim/scenario.h"

using namespace pccl;
using namespace pccl::sim;

namespace {

using Kind = Fault::Kind;
using When = Fault::When;
using wire::Type;

std::string text_of(const RunResult& result) {
    std::string out;
    for (const Violation& violation : result.violations)
        out += violation.invariant + ": " + violation.what + "\n";
    return out;
}

Fault fault_at(Kind kind, When when, Type type, uint32_t skip) {
    Fault fault;
    fault.kind = kind;
    fault.when = when;
    fault.type = type;
    fault.skip = skip;
    fault.duration = 100 * kMillisecond;
    return fault;
}

/// Runs `change` over seeds; returns what all runs together did.
template <class Change>
Statistics run_variants(uint64_t variants, uint32_t members, Change change) {
    Statistics total;
    for (uint64_t v = 0; v < variants; ++v) {
        Scenario scenario = plain_scenario(1000 + v, members);
        scenario.constants.retry_policy = v % 2;
        scenario.constants.plan =
            static_cast<uint8_t>(v / 2 % 2 == 0 ? plan::Kind::kMesh : plan::Kind::kRing);
        scenario.count_max = 600;
        scenario.steps = 4;
        change(scenario, static_cast<uint32_t>(v));
        const RunResult result = run_scenario(scenario, {});
        INFO("variant " << v << "\n" << text_of(result));
        REQUIRE(result.ok());
        total.add(result.statistics);
    }
    return total;
}

/// One process dies at each of the first `variants` occurrences of a step.
Statistics kill_at(When when, Type type, uint64_t variants = 60) {
    return run_variants(variants, 4, [&](Scenario& s, uint32_t v) {
        s.faults.push_back(fault_at(Kind::kCrash, when, type, v));
    });
}

}  // namespace

TEST_CASE("nothing goes wrong when nothing goes wrong") {
    const Statistics s = run_variants(20, 4, [](Scenario&, uint32_t) {});
    CHECK(s.errors == 0);
    CHECK(s.evictions == 0);
    CHECK(s.faults == 0);
}

TEST_CASE("a member dies during reduce-scatter") {
    CHECK(kill_at(When::kPartialLanded, Type::kData).faults > 30);
}

TEST_CASE("a member dies during all-gather") { CHECK(kill_at(When::kFinalLanded, Type::kData).faults > 30); }

TEST_CASE("a member dies in the barrier, before and after its message") {
    CHECK(kill_at(When::kFrameTo, Type::kDone, 40).faults > 20);
    CHECK(kill_at(When::kFrameFrom, Type::kDone, 40).faults > 20);
}

TEST_CASE("a member dies right after it returned success") {
    CHECK(kill_at(When::kCompleted, Type::kData, 30).faults > 10);
}

TEST_CASE("a member dies during an epoch change") {
    const std::pair<When, Type> steps[] = {{When::kFrameTo, Type::kPropose},
                                           {When::kFrameFrom, Type::kFrozen},
                                           {When::kFrameToCoordinator, Type::kFrozen},
                                           {When::kFrameToCoordinator, Type::kLinked},
                                           {When::kFrameTo, Type::kInstall}};
    for (const auto& [when, type] : steps) {
        const Statistics s = run_variants(24, 4, [w = when, t = type](Scenario& scenario, uint32_t v) {
            // The first change admits the members; a lost lane in mid-operation brings the one that is meant.
            scenario.faults.push_back(fault_at(Kind::kSever, When::kPartialLanded, Type::kData, v % 8));
            scenario.faults.push_back(fault_at(Kind::kCrash, w, t, v));
        });
        CHECK(s.faults > 24);
    }
}

TEST_CASE("two members die, together or one after the other") {
    run_variants(60, 5, [](Scenario& s, uint32_t v) {
        s.faults.push_back(fault_at(Kind::kCrash, When::kPartialLanded, Type::kData, v));
        s.faults.push_back(v % 3 == 0 ? fault_at(Kind::kCrash, When::kPartialLanded, Type::kData, v + 1)
                                      : fault_at(Kind::kCrash, When::kFrameTo,
                                                 v % 3 == 1 ? Type::kPropose : Type::kInstall, 4 + v % 5));
    });
}

TEST_CASE("lanes that are lost end no call") {
    const Statistics s = run_variants(60, 4, [](Scenario& scenario, uint32_t v) {
        for (uint32_t i = 0; i < 1 + v % 3; ++i) {
            const When whens[] = {When::kPartialLanded, When::kFinalLanded, When::kFrameTo};
            scenario.faults.push_back(
                fault_at(Kind::kSever, whens[i], i == 2 ? Type::kDone : Type::kData, v + 7 * i));
        }
    });
    CHECK(s.faults > 60);
    CHECK(s.verdicts[static_cast<size_t>(wire::Verdict::kResume)] > 60);
    CHECK(s.verdicts[static_cast<size_t>(wire::Verdict::kAbort)] == 0);
    CHECK(s.errors == 0);
    CHECK(s.evictions == 0);
}

TEST_CASE("a frame that cannot be read costs an epoch change and nothing else") {
    const Statistics s = run_variants(60, 4, [](Scenario& scenario, uint32_t v) {
        scenario.faults.push_back(fault_at(Kind::kGarble, When::kPartialLanded, Type::kData, v));
    });
    CHECK(s.faults > 40);
    CHECK(s.epochs > 160);
    CHECK(s.errors == 0);
    CHECK(s.evictions == 0);
}

TEST_CASE("operations over their time end by decision, or are finished") {
    const Statistics s = run_variants(40, 4, [](Scenario& scenario, uint32_t v) {
        scenario.timeouts.operation = (20 + 10 * v) * kMillisecond;
        scenario.think_max = 5 * kMillisecond;
        scenario.slow_node = 1;
        scenario.steps = 6;
        scenario.faults.push_back(fault_at(Kind::kStall, When::kFrameTo, Type::kDone, v));
    });
    CHECK(s.verdicts[static_cast<size_t>(wire::Verdict::kCancel)] > 20);
}

TEST_CASE("rolling kills, with newcomers taking the places") {
    const Statistics s = run_variants(30, 4, [](Scenario& scenario, uint32_t v) {
        scenario.steps = 10;
        scenario.think_max = 5 * kMillisecond;
        scenario.query = 1.0;
        for (uint32_t i = 0; i < 5; ++i) {
            scenario.spawns.push_back({(10 + 20 * i) * kMillisecond, 0});
            Fault fault = fault_at(Kind::kCrash, When::kTime, Type::kData, 0);
            fault.at = (15 + 20 * i) * kMillisecond + v * 300;
            fault.node = static_cast<int>(i);
            scenario.faults.push_back(fault);
        }
    });
    CHECK(s.faults > 60);
    CHECK(s.epochs > 90);
}

TEST_CASE("a newcomer vanishes during its admission") {
    const std::pair<When, Type> steps[] = {
        {When::kFrameFrom, Type::kRegister}, {When::kFrameTo, Type::kPrepare},
        {When::kFrameFrom, Type::kPrepared}, {When::kFrameTo, Type::kPropose},
        {When::kFrameFrom, Type::kLinked},   {When::kFrameTo, Type::kInstall}};
    for (const auto& [when, type] : steps) {
        for (Kind kind : {Kind::kCrash, Kind::kVanish}) {
            const Statistics s =
                run_variants(10, 3, [k = kind, w = when, t = type](Scenario& scenario, uint32_t v) {
                    scenario.query = 1.0;
                    scenario.steps = 8;
                    scenario.think_max = 2 * kMillisecond;
                    scenario.spawns.push_back({(5 + v) * kMillisecond, 0});
                    Fault fault = fault_at(k, w, t, 0);
                    fault.watched = 3;
                    scenario.faults.push_back(fault);
                });
            CHECK(s.faults > 0);
        }
    }
}

TEST_CASE("three members go on when two of them cannot reach each other") {
    const Statistics s = run_variants(40, 3, [](Scenario& scenario, uint32_t v) {
        Fault fault = fault_at(Kind::kBreakPair, When::kPartialLanded, Type::kData, v);
        fault.other = kAnyNode;
        scenario.faults.push_back(fault);
        scenario.synchronize = 0.5;
    });
    CHECK(s.faults > 20);
    CHECK(s.evictions == 0);
}

TEST_CASE("a member that is only slow to be heard is not lost, or learns that it was") {
    run_variants(40, 4, [](Scenario& scenario, uint32_t v) {
        for (int other : {0, 2, 3}) {
            Fault fault = fault_at(Kind::kStall, When::kPartialLanded, Type::kData, v);
            fault.node = 1;
            fault.other = other;
            fault.duration = (100 + 20 * v) * kMillisecond;
            scenario.faults.push_back(fault);
        }
        if (v % 2 == 1) {
            Fault fault = fault_at(Kind::kStall, When::kPartialLanded, Type::kData, v);
            fault.node = 1;
            fault.other = kCoordinatorNode;
            fault.duration = (50 + 30 * v) * kMillisecond;
            scenario.faults.push_back(fault);
        }
    });
}

TEST_CASE("a member is cut off from everybody, in one direction or both") {
    const Statistics s = run_variants(40, 4, [](Scenario& scenario, uint32_t v) {
        Fault fault = fault_at(Kind::kIsolate, When::kPartialLanded, Type::kData, v);
        fault.duration = (50 + 20 * v) * kMillisecond;
        scenario.faults.push_back(fault);
    });
    CHECK(s.faults > 20);
}

TEST_CASE("old frames that arrive once more change nothing") {
    run_variants(40, 4, [](Scenario& scenario, uint32_t v) {
        scenario.replay = 0.2;
        scenario.update = 0.3;
        scenario.think_max = 20 * kMillisecond;
        scenario.steps = 8;
        scenario.faults.push_back(
            fault_at(v % 2 == 0 ? Kind::kSever : Kind::kCrash, When::kPartialLanded, Type::kData, v));
    });
}

TEST_CASE("a member is stopped for a while") {
    run_variants(40, 4, [](Scenario& scenario, uint32_t v) {
        Fault fault = fault_at(Kind::kPause, v % 2 == 0 ? When::kPartialLanded : When::kFrameTo,
                               v % 2 == 0 ? Type::kData : Type::kDone, v);
        fault.duration = (20 * v + 1) * kMillisecond;
        scenario.faults.push_back(fault);
    });
}

TEST_CASE("what survivors folded while a member was silent is kept by the redo") {
    const auto silent = [](Kind kind, uint32_t losses) {
        return run_variants(60, 5, [=](Scenario& scenario, uint32_t v) {
            scenario.constants.retry_policy = 0;
            scenario.constants.segment_bytes = 128;
            scenario.count_max = 1500;
            for (uint32_t i = 0; i < losses; ++i)
                scenario.faults.push_back(
                    fault_at(kind, When::kPartialLanded, Type::kData, 3 * v + i * (1 + v % 50)));
        });
    };
    CHECK(silent(Kind::kVanish, 1).redo_kept_bytes > 10'000);
    CHECK(silent(Kind::kCrash, 1).redo_kept_bytes > 1000);
    CHECK(silent(Kind::kVanish, 2).redo_kept_bytes > 10'000);
    const Statistics s = silent(Kind::kSever, 2);
    CHECK(s.kept_bytes > 1000);
    CHECK(s.redo_kept_bytes == 0);
}

TEST_CASE("a host disappears without a word") {
    const Statistics s = run_variants(20, 4, [](Scenario& scenario, uint32_t v) {
        scenario.faults.push_back(fault_at(Kind::kVanish, When::kPartialLanded, Type::kData, 3 * v));
    });
    CHECK(s.faults > 10);
}

TEST_CASE("the connection to the coordinator is lost at each step of a change") {
    const Type types[] = {Type::kVote, Type::kFrozen, Type::kLinked, Type::kSuspect, Type::kRegister};
    for (Type type : types) {
        run_variants(16, 4, [type](Scenario& scenario, uint32_t v) {
            scenario.update = 0.4;
            scenario.faults.push_back(fault_at(Kind::kSever, When::kPartialLanded, Type::kData, v));
            scenario.faults.push_back(fault_at(Kind::kCoordinatorLoss,
                                               v % 2 == 0 ? When::kFrameFrom : When::kFrameToCoordinator,
                                               type, v / 2));
        });
    }
    run_variants(16, 4, [](Scenario& scenario, uint32_t v) {
        scenario.faults.push_back(fault_at(Kind::kCoordinatorLoss, When::kFrameTo,
                                           v % 2 == 0 ? Type::kPropose : Type::kInstall, v));
    });
}

TEST_CASE("the coordinator is stopped for a while during a change") {
    run_variants(24, 4, [](Scenario& scenario, uint32_t v) {
        scenario.faults.push_back(fault_at(Kind::kCrash, When::kPartialLanded, Type::kData, 2 * v));
        Fault fault = fault_at(Kind::kPause, When::kFrameToCoordinator,
                               v % 2 == 0 ? Type::kFrozen : Type::kSuspect, v % 4);
        fault.node = kCoordinatorNode;
        fault.duration = (30 * v + 1) * kMillisecond;
        scenario.faults.push_back(fault);
    });
}

TEST_CASE("members leave while others reduce") {
    run_variants(30, 5, [](Scenario& scenario, uint32_t) {
        scenario.leave = 0.2;
        scenario.steps = 8;
    });
}

TEST_CASE("operations are cancelled while epochs change") {
    run_variants(60, 4, [](Scenario& scenario, uint32_t v) {
        scenario.cancel = 0.3;
        scenario.steps = 6;
        scenario.reduces_max = 4;
        scenario.faults.push_back(
            fault_at(v % 2 == 0 ? Kind::kSever : Kind::kCrash, When::kPartialLanded, Type::kData, v));
    });
}

TEST_CASE("the report of a call reaches a member that is alone by then, and newcomers count alike") {
    const Statistics s = run_variants(80, 2, [](Scenario& scenario, uint32_t v) {
        scenario.cancel = 0.7;
        scenario.tags = 1;
        scenario.reduces_max = 1;
        scenario.steps = 12;
        scenario.query = 0.3;
        scenario.synchronize = 0.0;
        scenario.latency_max = 60;
        scenario.jitter = 10;
        scenario.think_max = 12 * kMillisecond;
        scenario.spawns.push_back({(10 + v % 40) * kMillisecond, 0});
        // The one that asked for it dies as soon as it is decided.
        scenario.faults.push_back(fault_at(Kind::kCrash, When::kFrameTo, Type::kInstall, 3 + v % 8));
    });
    CHECK(s.faults > 25);
}

TEST_CASE("members call an operation with different shapes") {
    const Statistics s = run_variants(60, 4, [](Scenario& scenario, uint32_t v) {
        scenario.mismatch = 0.4;
        scenario.steps = 6;
        if (v % 3 == 0) scenario.faults.push_back(fault_at(Kind::kCrash, When::kFrameTo, Type::kCalled, v));
    });
    CHECK(s.errors > 0);
}

TEST_CASE("a shared state differs here and there, and its holders die") {
    run_variants(40, 4, [](Scenario& scenario, uint32_t v) {
        scenario.synchronize = 1.0;
        scenario.drift = 0.4;
        scenario.faults.push_back(
            fault_at(Kind::kCrash, When::kFrameTo, v % 2 == 0 ? Type::kPull : Type::kOffer, v));
        if (v % 4 == 0)
            scenario.faults.push_back(fault_at(Kind::kBreakPair, When::kFrameTo, Type::kOffer, v));
    });
}

TEST_CASE("a shared state is sent by some and received by others, and senders die") {
    const Statistics s = run_variants(60, 4, [](Scenario& scenario, uint32_t v) {
        scenario.synchronize = 1.0;
        scenario.send_and_receive = true;
        scenario.drift = v % 3 == 0 ? 0.2 : 0.0;
        scenario.spawns.push_back({(10 + v) * kMillisecond, 0});
        scenario.faults.push_back(
            fault_at(Kind::kCrash, When::kFrameTo, v % 2 == 0 ? Type::kPull : Type::kOffer, v));
    });
    CHECK(s.faults > 20);
    CHECK(s.evictions > 0);
}

TEST_CASE("two groups, and a death in one of them") {
    run_variants(40, 6, [](Scenario& scenario, uint32_t v) {
        for (size_t i = 0; i < scenario.spawns.size(); ++i)
            scenario.spawns[i].group = static_cast<uint32_t>(i % 2);
        scenario.spawns.push_back({(5 + v) * kMillisecond, v % 2});
        scenario.think_max = 2 * kMillisecond;
        scenario.faults.push_back(fault_at(Kind::kCrash, When::kPartialLanded, Type::kData, 2 * v));
    });
}

// Breaches that a random run shows only now and then, in scenarios made for them. Each scenario is sound as
// long as no rule is broken.
namespace {

template <class Change>
bool found_within(uint64_t variants, uint32_t members, bool core::Mutations::*mutation,
                  const std::string& invariants, Change change) {
    for (uint64_t v = 0; v < variants; ++v) {
        Scenario scenario = plain_scenario(2000 + v, members);
        change(scenario, static_cast<uint32_t>(v));
        const RunResult sound = run_scenario(scenario, {});
        INFO("variant " << v << "\n" << text_of(sound));
        REQUIRE(sound.ok());
        RunOptions options;
        options.mutations.*mutation = true;
        if (broke(run_scenario(scenario, options), invariants)) return true;
    }
    return false;
}

}  // namespace

TEST_CASE("a decision without the flags of the barrier is noticed") {
    CHECK(found_within(600, 4, &core::Mutations::flags_left_out, "I1", [](Scenario& scenario, uint32_t v) {
        scenario.query = 1.0;
        scenario.reduces_max = 0;
        scenario.steps = 12;
        scenario.think_max = 3 * kMillisecond;
        // Newcomers make the answer change at any moment, and a death leaves the query to a decision.
        for (uint32_t i = 1; i <= 3; ++i)
            scenario.spawns.push_back({static_cast<TimeUs>((8 * i + v % 7) * kMillisecond), 0});
        for (uint32_t i = 0; i < 3; ++i)
            scenario.faults.push_back(fault_at(Kind::kCrash, When::kFrameTo, Type::kDone, 12 * i + v % 24));
    }));
}

TEST_CASE("an install that is not sent again is noticed") {
    CHECK(found_within(100, 4, &core::Mutations::no_resend, "I3", [](Scenario& scenario, uint32_t v) {
        scenario.update = 0.3;
        scenario.faults.push_back(fault_at(Kind::kSever, When::kPartialLanded, Type::kData, v));
        // The answer is under way, the install is not yet.
        scenario.faults.push_back(
            fault_at(Kind::kCoordinatorLoss, When::kFrameToCoordinator, Type::kFrozen, 4 + v % 4));
    }));
}

TEST_CASE("a redo that keeps what the lost member's input is in is noticed") {
    CHECK(found_within(60, 5, &core::Mutations::keep_of_the_gone, "I2", [](Scenario& scenario, uint32_t v) {
        scenario.constants.retry_policy = 0;
        scenario.constants.segment_bytes = 128;
        scenario.constants.plan = static_cast<uint8_t>(plan::Kind::kRing);
        scenario.count_max = 1500;
        // Killed in the middle, it leaves its input in folds that are on their way round.
        scenario.faults.push_back(fault_at(Kind::kCrash, When::kPartialLanded, Type::kData, 3 * v));
    }));
}

TEST_CASE("a lost lane that is only opened again is noticed") {
    CHECK(found_within(20, 3, &core::Mutations::lane_reopened, "I3", [](Scenario& scenario, uint32_t v) {
        scenario.faults.push_back(fault_at(Kind::kSever, When::kPartialLanded, Type::kData, v));
    }));
}

TEST_CASE("a member that ends an operation alone when its time is over is noticed") {
    CHECK(found_within(60, 3, &core::Mutations::local_timeout, "I1", [](Scenario& scenario, uint32_t v) {
        scenario.timeouts.operation = 30 * kMillisecond;
        scenario.think_max = 2 * kMillisecond;
        // The last word of the barrier comes late at one member.
        Fault fault = fault_at(Kind::kStall, When::kFrameTo, Type::kDone, v);
        fault.duration = 60 * kMillisecond;
        scenario.faults.push_back(fault);
    }));
}
