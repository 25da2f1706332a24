// pccl-stress: real processes that are killed and replaced while they reduce, with every result checked.
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "common/json_writer.h"
#include "options.h"
#include "orchestrator.h"
#include "report.h"
#include "worker.h"

namespace {

using pccl::stress::Options;

int complain(const std::string& text) {
    std::fprintf(stderr, "pccl-stress: %s\n", text.c_str());
    return 1;
}

int orchestrate(int argc, char** argv, const Options& options) {
    pccl::stress::Orchestrator run(argc, argv, options);
    std::string error;
    const bool complete = run.run(&error);
    if (!complete) {
        complain(error);
    }
    if (options.json_path != "-") {
        pccl::stress::print_table(run);
    }
    if (!options.json_path.empty() &&
        !pccl::tools::write_text_file(options.json_path, pccl::stress::to_json(run, options), &error)) {
        return complain(error);
    }
    return complete && pccl::stress::passed(run) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    signal(SIGPIPE, SIG_IGN);
    const bool is_worker = argc >= 2 + pccl::stress::kWorkerArguments &&
                           std::strcmp(argv[1], pccl::stress::kWorkerArgument) == 0;
    std::vector<char*> arguments(argv, argv + argc);
    pccl::stress::WorkerPlace place;
    if (is_worker) {
        place.master = argv[2];
        place.number = std::atoi(argv[3]);
        place.group = static_cast<uint32_t>(std::atoi(argv[4]));
        place.bind_address = argv[5];
        arguments.erase(arguments.begin() + 1, arguments.begin() + 2 + pccl::stress::kWorkerArguments);
    }
    Options options;
    int status = 0;
    const int count = static_cast<int>(arguments.size());
    if (!pccl::stress::parse_options(count, arguments.data(), &options, &status)) {
        return status;
    }
    return is_worker ? pccl::stress::run_worker(place, options)
                     : orchestrate(count, arguments.data(), options);
}
