#include "options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iterator>

#include "common/command_line.h"
#include "common/sizes.h"
#include "common/values.h"

namespace pccl::stress {
namespace {

constexpr double kSecondsMax = 1e7;

struct Texts {
    std::string bytes = "1M", state_bytes = "64K", memory_slack = "16M", type = "float", op = "sum";
    std::string kill_every = "2", join_every = "2", freeze_every = "0", coordinator_kill_every = "0",
                partition_every = "0";
    std::string freeze_for, partition_for, coordinator_pause;  ///< empty: follows from the time-outs
    double liveness_ms = 0, recovery_ms = 0;                   ///< 0: the environment decides
};

void declare_faults(CLI::App& app, int& keep, Texts& texts) {
    const char* group = "Faults (seconds: a number, or a range such as 1-3)";
    const auto add = [&](const char* name, std::string& value, const char* text) {
        app.add_option(name, value, text)->capture_default_str()->group(group);
    };
    add("--kill-every", texts.kill_every, "between kills of a worker; 0: none");
    app.add_option("--keep", keep, "the first workers, which are never killed and so show slow leaks")
        ->capture_default_str()
        ->group(group);
    add("--join-every", texts.join_every, "between newcomers; 0: none");
    add("--freeze-every", texts.freeze_every, "between freezes of a worker (SIGSTOP, then SIGCONT); 0: none");
    add("--freeze-for", texts.freeze_for, "length of a freeze; default: 0.3 to 2.5 liveness time-outs");
    add("--coordinator-kill-every", texts.coordinator_kill_every,
        "between kills of the coordinator, which is started again from its record; 0: none");
    add("--coordinator-pause", texts.coordinator_pause,
        "between its kill and its start; default: 0 to 0.3 recovery time-outs");
    add("--partition-every", texts.partition_every,
        "between breaks of the network, in a network namespace; 0: none; skipped where not permitted");
    add("--partition-for", texts.partition_for, "length of a break; default: 0.3 to 2.5 liveness time-outs");
    app.add_option("--liveness-ms", texts.liveness_ms, "liveness time-out of all; default: PCCL_LIVENESS_...")
        ->group(group);
    app.add_option("--recovery-ms", texts.recovery_ms, "recovery time-out of all; default: PCCL_RECOVERY_...")
        ->group(group);
}

void declare(CLI::App& app, Options& options, Texts& texts) {
    app.add_option("--peers", options.peers, "workers at the start, and the most at any time")
        ->capture_default_str();
    app.add_option("--groups", options.groups, "peer groups that the workers are spread over")
        ->capture_default_str();
    app.add_option("--seconds", options.seconds, "length of the run")->capture_default_str();
    app.add_option("--collective", options.collective_name, "all_reduce, shared_state, query, or mix")
        ->capture_default_str();
    app.add_option("--size", texts.bytes, "bytes of each operation (K, M, G are binary)")
        ->capture_default_str();
    app.add_option("--state-size", texts.state_bytes, "bytes of the shared state")->capture_default_str();
    app.add_option("--inflight,--tags", options.inflight, "operations in flight together")
        ->capture_default_str();
    app.add_option("--seed", options.seed, "chooses victims and moments")->capture_default_str();
    app.add_option("--json", options.json_path, "write the results as JSON (- for standard output)");
    app.add_option("--policy", options.policy_name,
                   "what a reduce does when a member is lost: retry or report")
        ->capture_default_str();
    app.add_option("--in-place-share", options.in_place_share, "share of operations in place, 0 to 1")
        ->capture_default_str();
    app.add_option("-d,--dtype", texts.type, "element type as nccl-tests names it")->capture_default_str();
    app.add_option("-o,--op", texts.op, "sum, prod, min, max or avg")->capture_default_str();
    tools::declare_links(app, options);
    app.add_option("--hang-seconds", options.hang_s, "a call that takes longer is a hang")
        ->capture_default_str();
    app.add_option("--memory-slack", texts.memory_slack, "growth of a process that is no leak, in bytes")
        ->capture_default_str();
    app.add_option("--master-program", options.master_program,
                   "coordinator to run; default: pccl-master beside this");
    app.add_flag("--verbose", options.verbose, "tell each fault, newcomer and end of a worker");
    declare_faults(app, options.keep, texts);
}

bool in_range(double value, double low, double high) {
    return std::isfinite(value) && value >= low && value <= high;
}

// What the library will use: the option, else the environment, else the library's default.
double seconds_of(double option_ms, const char* variable, double otherwise_s) {
    if (option_ms > 0) {
        return option_ms * 1e-3;
    }
    const char* const text = std::getenv(variable);
    const double environment_ms = text == nullptr ? 0 : std::atof(text);
    return environment_ms > 0 ? environment_ms * 1e-3 : otherwise_s;
}

bool understand_faults(const Texts& texts, Options* options, std::string* error) {
    if ((texts.liveness_ms != 0 && !in_range(texts.liveness_ms, 10, 1e7)) ||
        (texts.recovery_ms != 0 && !in_range(texts.recovery_ms, 10, 1e7))) {
        *error = "--liveness-ms and --recovery-ms must be from 10 to 10000000";
        return false;
    }
    options->sets_liveness = texts.liveness_ms > 0;
    options->sets_recovery = texts.recovery_ms > 0;
    options->liveness_s = seconds_of(texts.liveness_ms, "PCCL_LIVENESS_TIMEOUT_MS", 5);
    options->recovery_s = seconds_of(texts.recovery_ms, "PCCL_RECOVERY_TIMEOUT_MS", 2 * options->liveness_s);
    options->freeze_for = options->partition_for = {0.3 * options->liveness_s, 2.5 * options->liveness_s};
    options->coordinator_pause = {0, 0.3 * options->recovery_s};
    const struct {
        const char* name;
        const std::string& text;
        Interval* out;
    } rows[] = {
        {"--kill-every", texts.kill_every, &options->kill_every},
        {"--join-every", texts.join_every, &options->join_every},
        {"--freeze-every", texts.freeze_every, &options->freeze_every},
        {"--coordinator-kill-every", texts.coordinator_kill_every, &options->coordinator_kill_every},
        {"--partition-every", texts.partition_every, &options->partition_every},
        {"--freeze-for", texts.freeze_for, &options->freeze_for},
        {"--partition-for", texts.partition_for, &options->partition_for},
        {"--coordinator-pause", texts.coordinator_pause, &options->coordinator_pause},
    };
    for (const auto& row : rows) {
        if (!row.text.empty() && !parse_interval(row.text, row.out)) {
            *error = std::string(row.name) + " needs seconds from 0 to 10000000, or a range such as 1-3";
            return false;
        }
    }
    return true;
}

bool understand(const Texts& texts, Options* options, std::string* error) {
    constexpr const char* kCollectives[] = {"all_reduce", "shared_state", "query", "mix"};  // as Collective
    const auto collective =
        std::find(std::begin(kCollectives), std::end(kCollectives), options->collective_name);
    if (!tools::parse_size(texts.bytes, &options->bytes) ||
        !tools::parse_size(texts.state_bytes, &options->state_bytes) ||
        !tools::parse_size(texts.memory_slack, &options->memory_slack_bytes)) {
        *error = "--size, --state-size and --memory-slack need a number of bytes such as 64K or 1M";
    } else if (!tools::parse_type(texts.type, &options->type)) {
        *error = "unknown element type '" + texts.type + "'";
    } else if (!tools::parse_op(texts.op, &options->op)) {
        *error = "unknown operator '" + texts.op + "'";
    } else if (options->policy_name != "retry" && options->policy_name != "report") {
        *error = "unknown policy '" + options->policy_name + "'";
    } else if (collective == std::end(kCollectives)) {
        *error = "unknown collective '" + options->collective_name + "'";
    }
    options->collective = static_cast<Collective>(collective - std::begin(kCollectives));
    options->policy = options->policy_name == "report" ? pcclOnFailureReport : pcclOnFailureRetry;
    return error->empty() && understand_faults(texts, options, error);
}

bool check_ranges(const Options& options, std::string* error) {
    if (options.peers < 2 || options.peers > 64) {
        *error = "--peers must be from 2 to 64";
    } else if (options.groups < 1 || options.groups > options.peers) {
        *error = "--groups must be from 1 to the number of peers";
    } else if (options.keep < 0 || options.keep > options.peers) {
        *error = "--keep must be from 0 to the number of peers";
    } else if (!in_range(options.seconds, 0.1, kSecondsMax)) {
        *error = "--seconds must be from 0.1 to 10000000";
    } else if (options.bytes < tools::element_bytes(options.type) || options.bytes > (uint64_t{16} << 30)) {
        *error = "--size must be from one element to 16G";
    } else if (options.state_bytes < 64 || options.state_bytes > (uint64_t{16} << 30)) {
        *error = "--state-size must be from 64 to 16G";
    } else if (!in_range(options.in_place_share, 0, 1)) {
        *error = "--in-place-share must be from 0 to 1";
    } else if (options.inflight < 1 || options.inflight > 256) {
        *error = "--inflight must be from 1 to 256";
    } else if (!in_range(options.hang_s, 0.1, kSecondsMax)) {
        *error = "--hang-seconds must be at least 0.1";
    }
    return error->empty();
}

}  // namespace

bool parse_interval(const std::string& text, Interval* out) {
    const auto number = [](const std::string& piece, double* value) {
        char* end = nullptr;
        *value = std::strtod(piece.c_str(), &end);
        return !piece.empty() && *end == '\0' && in_range(*value, 0, kSecondsMax);
    };
    size_t dash = text.find("..");
    const size_t width = dash == std::string::npos ? 1 : 2;
    dash = width == 2 ? dash : text.find('-', 1);
    Interval read;
    if (!number(text.substr(0, dash), &read.low_s)) {
        return false;
    }
    read.high_s = read.low_s;
    if (dash != std::string::npos && !number(text.substr(dash + width), &read.high_s)) {
        return false;
    }
    *out = read;
    return read.low_s <= read.high_s;
}

bool parse_options(int argc, char** argv, Options* options, int* exit_status) {
    CLI::App app(
        "Reduces known data among processes that are killed, frozen, cut off and started anew, and checks "
        "every result. Exit status 0: nothing diverged, was wrong, hung, leaked or lost its place without a "
        "fault that explains it, and there were iterations.",
        "pccl-stress");
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
