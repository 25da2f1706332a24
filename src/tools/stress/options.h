// The command line of pccl-stress. A worker gets the very same options behind its hidden first argument.
#pragma once

#include <cstdint>
#include <string>

#include "common/command_line.h"
#include "pccl/pccl.h"

namespace pccl::stress {

/// First argument of a worker; the coordinator's address follows, then the worker's number, then the options.
inline constexpr const char* kWorkerArgument = "--stress-worker";

struct Options : tools::LinkOptions {
    int peers = 4;
    double seconds = 30;
    double kill_every_s = 2, join_every_s = 2;  ///< 0: never
    uint64_t bytes = 1u << 20;                  ///< of each operation
    uint64_t state_bytes = 64u << 10;           ///< of the shared state, about
    uint64_t seed = 1;
    std::string json_path;
    pcclOnFailure_t policy = pcclOnFailureRetry;
    double in_place_share = 0.5;
    int tags = 1;
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
