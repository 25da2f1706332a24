// The command line of pccl-stress. A worker gets the very same options behind its hidden first argument.
#pragma once

#include <cstdint>
#include <string>

#include "common/command_line.h"
#include "pccl/pccl.h"

namespace pccl::stress {

/// First argument of a worker; kWorkerArguments values follow (see WorkerPlace), then the options.
inline constexpr const char* kWorkerArgument = "--stress-worker";
inline constexpr int kWorkerArguments = 4;

/// What a worker is told beside the options.
struct WorkerPlace {
    std::string master;        ///< address of the coordinator
    int number = 0;            ///< of the worker, counted from the start of the run
    uint32_t group = 0;        ///< peer group
    std::string bind_address;  ///< of its connections to peers
};

/// Seconds between events, or of their length: each is drawn from the range.
struct Interval {
    double low_s = 0, high_s = 0;
    bool off() const { return high_s <= 0; }
    bool operator==(const Interval&) const = default;
};

/// "2", or "1-3" (also "1..3") for a range.
bool parse_interval(const std::string& text, Interval* out);

/// What the workers do together in a step.
enum class Collective { kAllReduce, kSharedState, kQuery, kMix };

struct Options : tools::LinkOptions {
    int peers = 4;
    double seconds = 30;
    Interval kill_every, join_every, freeze_every, coordinator_kill_every, partition_every;  ///< 0: never
    Interval freeze_for, partition_for, coordinator_pause;
    int groups = 1;
    int keep = 0;  ///< workers with a lower number are never killed
    Collective collective = Collective::kAllReduce;
    std::string collective_name = "all_reduce";
    double liveness_s = 5, recovery_s = 10;  ///< as the environment or the options say
    bool sets_liveness = false, sets_recovery = false;
    uint64_t memory_slack_bytes = 16u << 20;
    uint64_t bytes = 1u << 20;         ///< of each operation
    uint64_t state_bytes = 64u << 10;  ///< of the shared state, about
    uint64_t seed = 1;
    std::string json_path;
    pcclOnFailure_t policy = pcclOnFailureRetry;
    double in_place_share = 0.5;
    int inflight = 1;  ///< operations in flight together
    pcclDataType_t type = pcclFloat;
    pcclRedOp_t op = pcclSum;
    std::string policy_name = "retry";
    double hang_s = 30;  ///< a call that takes longer is a hang
    std::string master_program;
    bool verbose = false;
};

/// True: go on with `options`. False: end the program with `exit_status`; help or the error has been printed.
bool parse_options(int argc, char** argv, Options* options, int* exit_status);

}  // namespace pccl::stress
