#include "options.h"

#include <CLI/CLI.hpp>
#include <cmath>

#include "common/command_line.h"
#include "common/sizes.h"
#include "common/values.h"

namespace pccl::stress {
namespace {

struct Texts {
    std::string bytes = "1M", state_bytes = "64K", type = "float", op = "sum";
};

void declare(CLI::App& app, Options& options, Texts& texts) {
    app.add_option("--peers", options.peers, "workers at the start, and the most at any time")
        ->capture_default_str();
    app.add_option("--seconds", options.seconds, "length of the run")->capture_default_str();
    app.add_option("--kill-every", options.kill_every_s, "seconds between kills; 0: none")
        ->capture_default_str();
    app.add_option("--join-every", options.join_every_s, "seconds between newcomers; 0: none")
        ->capture_default_str();
    app.add_option("--size", texts.bytes, "bytes of each operation (K, M, G are binary)")
        ->capture_default_str();
    app.add_option("--state-size", texts.state_bytes, "bytes of the shared state")->capture_default_str();
    app.add_option("--seed", options.seed, "chooses victims and moments")->capture_default_str();
    app.add_option("--json", options.json_path, "write the results as JSON (- for standard output)");
    app.add_option("--policy", options.policy_name,
                   "what a reduce does when a member is lost: retry or report")
        ->capture_default_str();
    app.add_option("--in-place-share", options.in_place_share, "share of operations in place, 0 to 1")
        ->capture_default_str();
    app.add_option("--tags", options.tags, "operations in flight together")->capture_default_str();
    app.add_option("-d,--dtype", texts.type, "element type as nccl-tests names it")->capture_default_str();
    app.add_option("-o,--op", texts.op, "sum, prod, min, max or avg")->capture_default_str();
    tools::declare_links(app, options);
    app.add_option("--hang-seconds", options.hang_s, "a call that takes longer is a hang")
        ->capture_default_str();
    app.add_option("--master-program", options.master_program,
                   "coordinator to run; default: pccl-master beside this");
    app.add_flag("--verbose", options.verbose, "tell each kill, newcomer and end of a worker");
}

bool understand(const Texts& texts, Options* options, std::string* error) {
    if (!tools::parse_size(texts.bytes, &options->bytes) ||
        !tools::parse_size(texts.state_bytes, &options->state_bytes)) {
        *error = "--size and --state-size need a number of bytes such as 64K or 1M";
    } else if (!tools::parse_type(texts.type, &options->type)) {
        *error = "unknown element type '" + texts.type + "'";
    } else if (!tools::parse_op(texts.op, &options->op)) {
        *error = "unknown operator '" + texts.op + "'";
    } else if (options->policy_name != "retry" && options->policy_name != "report") {
        *error = "unknown policy '" + options->policy_name + "'";
    }
    options->policy = options->policy_name == "report" ? pcclOnFailureReport : pcclOnFailureRetry;
    return error->empty();
}

bool in_range(double value, double low, double high) {
    return std::isfinite(value) && value >= low && value <= high;
}

bool check_ranges(const Options& options, std::string* error) {
    constexpr double kSecondsMax = 1e7;
    if (options.peers < 2 || options.peers > 64) {
        *error = "--peers must be from 2 to 64";
    } else if (!in_range(options.seconds, 0.1, kSecondsMax)) {
        *error = "--seconds must be from 0.1 to 10000000";
    } else if (!in_range(options.kill_every_s, 0, kSecondsMax) ||
               !in_range(options.join_every_s, 0, kSecondsMax)) {
        *error = "--kill-every and --join-every must not be negative";
    } else if (options.bytes < tools::element_bytes(options.type) || options.bytes > (uint64_t{16} << 30)) {
        *error = "--size must be from one element to 16G";
    } else if (options.state_bytes < 64 || options.state_bytes > (uint64_t{16} << 30)) {
        *error = "--state-size must be from 64 to 16G";
    } else if (!in_range(options.in_place_share, 0, 1)) {
        *error = "--in-place-share must be from 0 to 1";
    } else if (options.tags < 1 || options.tags > 256) {
        *error = "--tags must be from 1 to 256";
    } else if (!in_range(options.hang_s, 0.1, kSecondsMax)) {
        *error = "--hang-seconds must be at least 0.1";
    }
    return error->empty();
}

}  // namespace

bool parse_options(int argc, char** argv, Options* options, int* exit_status) {
    CLI::App app(
        "Reduces known data among processes that are killed and started anew, and checks every result. Exit "
        "status 0: nothing diverged, was wrong, hung or lost its place, and there were iterations.");
    app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    Texts texts;
    declare(app, *options, texts);
    if (!tools::parse_arguments(app, argc, argv, exit_status)) {
        return false;
    }
    std::string error;
    if (!understand(texts, options, &error) || !tools::understand_links(options, &error) ||
        !check_ranges(*options, &error)) {
        return tools::refuse("pccl-stress", error, exit_status);
    }
    return true;
}

}  // namespace pccl::stress
