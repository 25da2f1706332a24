#include "sim/scenario.h"

#include <algorithm>

#include "plan/plan.h"

namespace pccl::sim {

namespace {

void draw_network(Scenario& s, Random& random) {
    const std::vector<TimeUs> latencies = {20, 100, 500, 2000, 8000};
    s.latency_min = random.pick(latencies);
    s.latency_max = s.latency_min * random.between(1, 4);
    s.jitter = s.latency_min * random.between(0, 3);
    s.lanes = static_cast<uint32_t>(random.between(1, 4));
    s.window = static_cast<uint32_t>(random.between(1, 8));
    s.late_copy = random.chance(0.5) ? 0.5 : 0.1;
    s.refused_is_silent = random.chance(0.2) ? 0.5 : 0.0;
    s.persist_max = random.pick(std::vector<TimeUs>{10, 1000, 30000});
    s.replay = random.chance(0.3) ? 0.1 : 0.0;
}

void draw_timeouts(Scenario& s, Random& random) {
    core::TimeoutWishes wishes;
    wishes.liveness = random.pick(std::vector<TimeUs>{100, 300, 1000}) * kMillisecond;
    wishes.liveness = std::max(wishes.liveness, 20 * s.latency_max);
    wishes.connect = 2 * wishes.liveness;
    s.timeouts = core::Timeouts::derive(wishes);
}

void draw_programs(Scenario& s, Random& random) {
    s.steps = static_cast<uint32_t>(random.between(3, 14));
    s.reduces_max = static_cast<uint32_t>(random.between(1, 4));
    s.count_max = random.pick(std::vector<uint64_t>{8, 100, 400, 1500});
    s.tags = static_cast<uint32_t>(random.between(1, 6));
    s.think_max = random.pick(std::vector<TimeUs>{0, 200, 5000, 30000});
    s.query = random.chance(0.8) ? 0.6 : 0.1;
    s.update = random.chance(0.5) ? 0.15 : 0.05;
    s.synchronize = random.chance(0.5) ? 0.4 : 0.1;
    s.optimize = random.chance(0.1) ? 0.2 : 0.0;
    s.leave = random.chance(0.2) ? 0.05 : 0.0;
    s.cancel = random.chance(0.15) ? 0.1 : 0.0;
    s.mismatch = random.chance(0.1) ? 0.1 : 0.0;
    s.drift = random.chance(0.2) ? 0.1 : 0.0;
    s.constants.retry_policy = random.chance(0.5) ? 1 : 0;
    s.constants.segment_bytes = random.pick(std::vector<uint32_t>{64, 128, 256, 1024});
    s.constants.plan = random.pick(std::vector<uint8_t>{static_cast<uint8_t>(plan::Kind::kAuto),
                                                        static_cast<uint8_t>(plan::Kind::kRing),
                                                        static_cast<uint8_t>(plan::Kind::kMesh)});
    s.eager_bytes_per_peer = random.chance(0.5) ? 4096 : 1 << 20;
    s.parked_slots_per_peer = random.chance(0.5) ? 2 : 8;
}

void draw_members(Scenario& s, Random& random, uint32_t members_max) {
    uint32_t founders =
        static_cast<uint32_t>(random.between(2, std::max<int64_t>(2, std::min(5u, members_max))));
    if (random.chance(0.1)) founders = static_cast<uint32_t>(random.between(2, std::max(2u, members_max)));
    const bool two_groups = founders >= 3 && random.chance(0.15);
    const uint32_t joiners =
        founders < members_max && random.chance(0.6)
            ? static_cast<uint32_t>(random.between(1, std::min(3u, members_max - founders)))
            : 0;
    for (uint32_t i = 0; i < founders + joiners; ++i) {
        Spawn spawn;
        spawn.group = two_groups ? static_cast<uint32_t>(random.below(2)) : 0;
        if (i >= founders) {
            spawn.at = random.between(0, random.between(1, s.faults_end));
        } else {
            spawn.at = random.chance(0.7) ? i * 10 : random.between(0, 20 * kMillisecond);
        }
        s.spawns.push_back(spawn);
    }
    if (two_groups) s.optimize = 0.0;
    if (random.chance(0.1)) s.slow_node = static_cast<int>(random.below(founders));
}

// Steps of the protocol at which faults strike more often than time alone would have it.
void draw_step(Fault& fault, Random& random) {
    using When = Fault::When;
    struct Step {
        When when;
        wire::Type type;
        uint32_t skip_max;
    };
    using wire::Type;
    const std::vector<Step> steps = {
        {When::kPartialLanded, Type::kData, 200},
        {When::kFinalLanded, Type::kData, 200},
        {When::kCompleted, Type::kData, 20},
        {When::kFrameTo, Type::kDone, 40},
        {When::kFrameFrom, Type::kDone, 40},
        {When::kFrameTo, Type::kPropose, 6},
        {When::kFrameFrom, Type::kFrozen, 6},
        {When::kFrameTo, Type::kInstall, 10},
        {When::kFrameToCoordinator, Type::kFrozen, 6},
        {When::kFrameToCoordinator, Type::kLinked, 6},
        {When::kFrameTo, Type::kPrepare, 2},
        {When::kFrameFrom, Type::kPrepared, 2},
        {When::kFrameFrom, Type::kVote, 8},
        {When::kFrameFrom, Type::kSuspect, 2},
        {When::kFrameTo, Type::kOffer, 10},
        {When::kFrameTo, Type::kPull, 4},
        {When::kFrameFrom, Type::kRegister, 4},
        {When::kFrameTo, Type::kExpect, 2},
    };
    const Step step = random.pick(steps);
    fault.when = step.when;
    fault.type = step.type;
    // Small numbers more often: most runs are short.
    fault.skip = static_cast<uint32_t>(random.below(random.below(step.skip_max + 1) + 1));
}

Fault draw_fault(const Scenario& s, Random& random) {
    using Kind = Fault::Kind;
    const std::vector<Kind> kinds = {Kind::kCrash, Kind::kCrash, Kind::kCrash,           Kind::kSever,
                                     Kind::kSever, Kind::kStall, Kind::kCoordinatorLoss, Kind::kPause,
                                     Kind::kPause, Kind::kStall, Kind::kIsolate};
    Fault fault;
    fault.kind = random.pick(kinds);
    if (fault.kind == Kind::kCrash && random.chance(0.15)) fault.kind = Kind::kVanish;
    if (fault.kind == Kind::kSever && random.chance(0.15)) fault.kind = Kind::kBreakPair;
    // Early moments more often: programs may be over long before the last fault is due.
    fault.at = random.between(0, random.between(1, s.faults_end));
    if (random.chance(0.6)) draw_step(fault, random);
    // The one whose step it is, or just anybody.
    if (fault.when != Fault::When::kTime && random.chance(0.3)) {
        fault.node = static_cast<int>(random.below(s.spawns.size()));
    }
    const TimeUs liveness = s.timeouts.liveness;
    fault.duration =
        random.chance(0.5) ? random.between(1, liveness / 2) : random.between(liveness / 2, 4 * liveness);
    if (fault.kind == Kind::kPause && random.chance(0.15)) fault.node = -1;  // the coordinator
    if (fault.kind == Kind::kStall && random.chance(0.3)) fault.other = -1;
    return fault;
}

void draw_coordinator_crashes(Scenario& s, uint64_t seed) {
    Random random(mix(seed, 0xC0C0));
    if (!random.chance(0.3)) return;
    const int64_t count = random.between(1, 3);
    for (int64_t i = 0; i < count; ++i) {
        Fault fault;
        fault.kind = Fault::Kind::kCoordinatorCrash;
        fault.at = random.between(0, random.between(1, s.faults_end));
        if (random.chance(0.7)) draw_step(fault, random);
        const TimeUs recovery = s.timeouts.recovery;
        fault.duration =
            random.chance(0.85) ? random.between(1, recovery / 4) : random.between(1, 2 * recovery);
        s.faults.push_back(fault);
    }
}

void draw_record(Scenario& s, uint64_t seed) {
    Random random(mix(seed, 0x4EC0));
    if (random.chance(0.2)) s.keeping = random.chance(0.6) ? Keeping::kMajority : Keeping::kNothing;
    // A lost record matters when an epoch is under way.
    const int64_t losses = s.keeping == Keeping::kRecord ? 0 : random.between(0, 3);
    for (int64_t i = 0; i < losses; ++i) {
        Fault fault;
        fault.kind = Fault::Kind::kRecordLoss;
        fault.when = random.chance(0.7) ? Fault::When::kFrameTo : Fault::When::kFrameToCoordinator;
        fault.type = fault.when == Fault::When::kFrameTo ? wire::Type::kInstall : wire::Type::kFrozen;
        fault.skip = static_cast<uint32_t>(random.below(12));
        fault.duration = random.between(1, s.timeouts.recovery / 4);
        s.faults.push_back(fault);
        if (random.chance(0.5)) continue;
        // Whoever was there is gone.
        fault.kind = Fault::Kind::kCrash;
        s.faults.push_back(fault);
    }
    for (Fault& fault : s.faults) {
        if (fault.kind == Fault::Kind::kCoordinatorCrash && random.chance(0.1))
            fault.kind = Fault::Kind::kRecordLoss;
    }
    if (!random.chance(s.keeping == Keeping::kRecord ? 0.04 : 0.2)) return;
    Fault fault;
    fault.kind = Fault::Kind::kCoordinatorSplit;
    fault.at = random.between(0, random.between(1, s.faults_end));
    if (random.chance(0.5)) draw_step(fault, random);
    fault.duration = random.between(1, 2 * s.timeouts.recovery);
    s.faults.push_back(fault);
}

// Drawn from a generator of their own, so that the runs of most seeds stay what they were.
void draw_rare(Scenario& s, uint64_t seed) {
    Random random(mix(seed, 0x2A2E));
    if (random.chance(0.1)) {
        s.timeouts.operation = random.pick(std::vector<TimeUs>{1, 4, 10}) * s.timeouts.liveness / 2;
    }
    s.send_and_receive = random.chance(0.1);
    if (random.chance(0.1)) {
        Fault fault;
        fault.kind = Fault::Kind::kGarble;
        fault.at = random.between(0, random.between(1, s.faults_end));
        if (random.chance(0.6)) draw_step(fault, random);
        s.faults.push_back(fault);
    }
}

}  // namespace

const char* name_of(Fault::Kind kind) {
    switch (kind) {
        case Fault::Kind::kCrash: return "crash";
        case Fault::Kind::kVanish: return "vanish";
        case Fault::Kind::kSever: return "sever";
        case Fault::Kind::kBreakPair: return "break-pair";
        case Fault::Kind::kCoordinatorLoss: return "coordinator-loss";
        case Fault::Kind::kStall: return "stall";
        case Fault::Kind::kIsolate: return "isolate";
        case Fault::Kind::kCoordinatorCrash: return "coordinator-crash";
        case Fault::Kind::kRecordLoss: return "record-loss";
        case Fault::Kind::kCoordinatorSplit: return "coordinator-split";
        case Fault::Kind::kGarble: return "garble";
        case Fault::Kind::kPause: return "pause";
    }
    return "?";
}

Scenario random_scenario(uint64_t seed, uint32_t members_max) {
    Random random(mix(seed, 0x5CE));
    Scenario s;
    s.seed = seed;
    draw_network(s, random);
    draw_timeouts(s, random);
    s.faults_end = random.between(50, random.chance(0.5) ? 300 : 1500) * kMillisecond;
    draw_programs(s, random);
    draw_members(s, random, std::max(2u, members_max));
    const bool calm = random.chance(0.1);
    const int64_t faults = calm ? 0 : random.between(1, random.chance(0.3) ? 12 : 5);
    for (int64_t i = 0; i < faults; ++i) s.faults.push_back(draw_fault(s, random));
    draw_rare(s, seed);
    draw_coordinator_crashes(s, seed);
    draw_record(s, seed);
    return s;
}

Scenario plain_scenario(uint64_t seed, uint32_t members) {
    Scenario s;
    s.seed = seed;
    for (uint32_t i = 0; i < members; ++i) s.spawns.push_back({static_cast<TimeUs>(i * 10), 0});
    core::TimeoutWishes wishes;
    wishes.liveness = 200 * kMillisecond;
    wishes.connect = 400 * kMillisecond;
    s.timeouts = core::Timeouts::derive(wishes);
    s.constants.segment_bytes = 256;
    s.faults_end = 1 * kSecond;
    return s;
}

TimeUs progress_bound(const Scenario& s) {
    const core::Timeouts& t = s.timeouts;
    // Several pauses of a slow member may lie between two ends.
    const TimeUs thinking = (s.slow_node == Scenario::kNoSlow ? 20 : 200) * s.think_max;
    return 2 * (t.connect + t.freeze) + 3 * t.recovery + 4 * (t.liveness + t.backoff_cap) + thinking +
           200 * (s.latency_max + s.jitter) + 4 * s.persist_max;
}

}  // namespace pccl::sim
