// Everything that shapes a run: who joins when, how the network behaves, what the programs do, which faults
// strike. A seed makes one (random_scenario); tests write their own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/timeouts.h"
#include "sim/random.h"
#include "wire/messages.h"

namespace pccl::sim {

inline constexpr int kAnyNode = -3;

struct Spawn {
    TimeUs at = 0;
    uint32_t group = 0;
};

/// Something that goes wrong, at a time or at a step of the protocol.
struct Fault {
    enum class Kind : uint8_t {
        kCrash,            ///< the process dies: its connections close
        kVanish,           ///< the host disappears: nothing closes, nothing answers
        kSever,            ///< one lane between `node` and `other` is lost
        kBreakPair,        ///< the same, and no connection between the two succeeds any more
        kCoordinatorLoss,  ///< the connection between `node` and the coordinator is lost
        kStall,            ///< nothing gets through from `node` to `other` for `duration`
        kIsolate,  ///< nothing gets through from `node` to anybody for `duration`, perhaps nothing to it
                   ///< either
        kCoordinatorCrash,  ///< the coordinator is killed, and started again after `duration`
        kRecordLoss,        ///< the same, and its record is gone
        kCoordinatorSplit,  ///< a second coordinator starts without a record; the first goes on for
                            ///< `duration`
        kGarble,            ///< the next control frame from `other` to `node` cannot be read
        kPause,             ///< `node` does not run for `duration`
    };
    enum class When : uint8_t {
        kTime,                ///< at `at`
        kFrameTo,             ///< a frame of `type` has reached `watched`
        kFrameFrom,           ///< `watched` has sent a frame of `type`
        kFrameToCoordinator,  ///< the coordinator has received a frame of `type` from `watched`
        kPartialLanded,       ///< an operand has landed at `watched` (reduce-scatter)
        kFinalLanded,         ///< a result has landed at `watched` (all-gather)
        kCompleted,           ///< a reduction has succeeded at `watched`
    };
    Kind kind = Kind::kCrash;
    When when = When::kTime;
    TimeUs at = 0;
    wire::Type type = wire::Type::kHeartbeat;
    uint32_t skip = 0;       ///< how many such steps pass first
    int watched = kAnyNode;  ///< whose step it is
    int node = kAnyNode;  ///< whom it strikes; kAnyNode: the one whose step it is, or a random one with kTime
    int other = kAnyNode;  ///< second end; kAnyNode: a random one
    TimeUs duration = 0;
};

const char* name_of(Fault::Kind kind);

/// What a coordinator that is started again can go by.
enum class Keeping : uint8_t {
    kRecord,    ///< its record
    kMajority,  ///< its members, more than half of them
    kNothing,   ///< its members, if all come back
};

struct Scenario {
    uint64_t seed = 0;
    std::vector<Spawn> spawns;
    std::vector<Fault> faults;
    TimeUs faults_end = 0;  ///< from here on nothing new goes wrong, and everything must finish

    core::Timeouts timeouts;
    Keeping keeping = Keeping::kRecord;
    wire::Constants constants;
    uint64_t eager_bytes_per_peer = 1 << 20;
    uint32_t parked_slots_per_peer = 8;

    // The network.
    TimeUs latency_min = 50, latency_max = 500;  ///< base of a pair
    TimeUs jitter = 100;
    uint32_t lanes = 2;
    uint32_t window = 4;             ///< data frames pulled and not yet taken by the network, per link
    double late_copy = 0.3;          ///< chance that a payload leaves its memory late
    double refused_is_silent = 0.0;  ///< chance that a connection to a dead process is not answered
    TimeUs persist_max = 1000;
    double replay = 0.0;  ///< chance that a control frame arrives once more, epochs later

    // The programs.
    uint32_t steps = 6;
    uint32_t reduces_max = 3;
    uint64_t count_max = 256;
    uint32_t tags = 4;
    TimeUs think_max = 1000;
    int slow_node = kNoSlow;  ///< thinks twenty times as long
    double query = 0.6, update = 0.1, synchronize = 0.2, optimize = 0.0;
    double leave = 0.0;             ///< per member and step
    double cancel = 0.0;            ///< per member and reduction
    double mismatch = 0.0;          ///< per reduction
    double drift = 0.0;             ///< per member and synchronisation: its content differs from the others'
    bool send_and_receive = false;  ///< shared states are sent and received instead of enforced
    uint32_t rejoins = 2;           ///< evicted processes that are started anew

    static constexpr int kNoSlow = -1;
};

/// The run of a seed, with at most `members_max` processes at a time.
Scenario random_scenario(uint64_t seed, uint32_t members_max);

/// A quiet network, `members` founders of one group and no faults: what named scenarios start from.
Scenario plain_scenario(uint64_t seed, uint32_t members);

/// The longest that a pending call may wait once nothing goes wrong any more.
TimeUs progress_bound(const Scenario& scenario);

}  // namespace pccl::sim
