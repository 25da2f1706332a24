// pccl-perf: how fast collectives are, in the manner of nccl-tests.
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "common/json_writer.h"
#include "common/values.h"
#include "local_run.h"
#include "measure.h"
#include "options.h"
#include "report.h"
#include "session.h"

namespace pccl::perf {
namespace {

int complain(const std::string& text) {
    std::fprintf(stderr, "pccl-perf: %s\n", text.c_str());
    return 1;
}

std::string describe_self() {
    char host[64] = "";
    gethostname(host, sizeof host - 1);
    return "Pid " + std::to_string(getpid()) + " on " + host;
}

// Measures every type, operator and size; false with `error` filled when the run broke down.
bool measure_all(Session& session, const Options& options, bool speaks, std::vector<RowResult>* rows,
                 std::string* error) {
    for (pcclDataType_t type : options.types) {
        for (pcclRedOp_t op : options.ops) {
            for (uint64_t count : element_counts(options, type)) {
                RowResult row;
                row.type = type;
                row.op = op;
                row.count = count;
                row.bytes = row.count * tools::element_bytes(type);
                if (!measure_row(session, options, &row, error)) {
                    return false;
                }
                if (speaks) {
                    print_row(options, row);
                }
                rows->push_back(row);
            }
        }
    }
    return true;
}

int run_peer(const Options& options) {
    Session session(options);
    if (!session.assemble()) {
        return complain(session.error());
    }
    const std::vector<std::string> peers = session.gather_text(describe_self());
    if (peers.empty()) {
        return complain(session.error());
    }
    // Of peers that share a terminal one speaks; of those that somebody started one by one, each.
    const bool speaks = session.rank() == 0 || !options.local_peer;
    const bool table = speaks && options.json_path != "-";
    if (table) {
        print_header(options, peers);
    }
    std::vector<RowResult> rows;
    std::string error;
    const bool complete = measure_all(session, options, table, &rows, &error);
    const Summary summary = summarize(rows);
    if (table) {
        print_trailer(summary);
    }
    if (!complete) {
        return complain(error);
    }
    if (speaks && !options.json_path.empty() &&
        !tools::write_text_file(options.json_path, to_json(options, peers, rows), &error)) {
        return complain(error);
    }
    return summary.wrong == 0 && summary.members_lost == 0 ? 0 : 1;
}

}  // namespace
}  // namespace pccl::perf

int main(int argc, char** argv) {
    if (argc == 2 && std::strcmp(argv[1], pccl::perf::kCoordinatorArgument) == 0) {
        return pccl::perf::run_local_coordinator();
    }
    pccl::perf::Options options;
    int status = 0;
    if (!pccl::perf::parse_options(argc, argv, &options, &status)) {
        return status;
    }
    return options.master.empty() ? pccl::perf::run_locally(argc, argv, options)
                                  : pccl::perf::run_peer(options);
}
