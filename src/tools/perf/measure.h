// Measures one message size, out of place and in place, at one peer together with all the others.
#pragma once

#include <cstdint>
#include <string>

#include "options.h"
#include "session.h"

namespace pccl::perf {

/// Figures of all the members together.
struct ModeResult {
    bool measured = false;
    double time_us = 0;  ///< mean of the iterations, averaged over the members as asked for
    double median_us = 0, p99_us = 0, min_us = 0, max_us = 0, variation_percent = 0;
    double algbw_gbps = 0, busbw_gbps = 0;  ///< 10^9 bytes per second
    bool checked = false;
    uint64_t wrong = 0;              ///< elements, of all the members
    uint64_t retries = 0;            ///< of the member with the most
    int members_lost = 0;            ///< since the start of the run
    double cpu_s_per_gb = 0;         ///< all the members together, per 10^9 bytes reduced
    double peak_resident_bytes = 0;  ///< of the member with the most
    double extra_resident_bytes =
        0;  ///< likewise, less buffers and what was resident when the run was complete
};

struct RowResult {
    uint64_t bytes = 0, count = 0;
    pcclDataType_t type = pcclFloat;
    pcclRedOp_t op = pcclSum;
    double buffer_bytes = 0;  ///< of one member
    ModeResult out_of_place, in_place;
};

/// False: `error` tells why. The first two lines of `row` (sizes, type, op) are set by the caller.
bool measure_row(Session& session, const Options& options, RowResult* row, std::string* error);

}  // namespace pccl::perf
