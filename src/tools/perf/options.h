// The command line of pccl-perf: nccl-tests' options where they make sense here, then our own.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "pccl/pccl.h"

namespace pccl::perf {

enum class Average { kRank0 = 0, kMean = 1, kMin = 2, kMax = 3 };

struct Options : tools::LinkOptions {
    uint64_t bytes_min = 32u << 20;
    uint64_t bytes_max = 32u << 20;
    uint64_t step_bytes = 1u << 20;
    double step_factor = 1;
    int iterations = 20;
    int warmup_iterations = 1;
    int check_iterations = 1;  ///< 0: no check
    Average average = Average::kMean;
    std::vector<pcclDataType_t> types = {pcclFloat};
    std::vector<pcclRedOp_t> ops = {pcclSum};
    bool per_iteration_timing = false;
    int timeout_s = 300;  ///< longest time without progress; 0: no limit

    int peers = 2;
    std::string master;       ///< empty: start everything here
    bool local_peer = false;  ///< started by a run of our own: loopback only, rank 0 speaks
    int tags = 1;             ///< operations in flight together
    int segment_bytes = PCCL_CONFIG_UNSET;
    std::string bind_address, advertise_address;
    bool out_of_place = true, in_place = true;
    std::string json_path;
};

/// True: go on with `options`. False: end the program with `exit_status`; help or the error has been printed.
bool parse_options(int argc, char** argv, Options* options, int* exit_status);

/// The message sizes of the run, as nccl-tests walks from -b to -e.
std::vector<uint64_t> message_sizes(const Options& options);
/// The same in elements of a type, without sizes that hold none or as many as the one before.
std::vector<uint64_t> element_counts(const Options& options, pcclDataType_t type);

}  // namespace pccl::perf
