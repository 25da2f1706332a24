// The table in the layout of nccl-tests, with our own columns behind theirs, and the same figures as JSON.
#pragma once

#include <string>
#include <vector>

#include "measure.h"
#include "options.h"

namespace pccl::perf {

void print_header(const Options& options, const std::vector<std::string>& peers);
void print_row(const Options& options, const RowResult& row);

struct Summary {
    uint64_t wrong = 0;  ///< elements of all rows
    int members_lost = 0;
    double busbw_gbps = 0;  ///< mean of all rows and modes
};
Summary summarize(const std::vector<RowResult>& rows);
void print_trailer(const Summary& summary);

std::string to_json(const Options& options, const std::vector<std::string>& peers,
                    const std::vector<RowResult>& rows);

}  // namespace pccl::perf
