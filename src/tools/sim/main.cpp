// pccl-sim: runs the production core under virtual time with injected faults, seed after seed.
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <iterator>
#include <string>
#include <vector>

#include "sim/runner.h"

namespace {

using namespace pccl;

struct Arguments {
    uint64_t seeds = 1000;
    uint64_t first = 1;
    uint64_t failures_max = 5;
    uint32_t jobs = 1;
    bool verbose = false;
    std::string json;
    sim::SeedOptions run;
};

void write_statistics(std::FILE* out, const Arguments& arguments, const sim::Summary& summary,
                      double wall_s) {
    const sim::Statistics& s = summary.statistics;
    std::fprintf(out, "{\n  \"first\": %" PRIu64 ",\n  \"seeds\": %" PRIu64 ",\n  \"members_max\": %u,\n",
                 arguments.first, summary.seeds, arguments.run.members_max);
    std::fprintf(out, "  \"mutation\": \"%s\",\n  \"failed\": [", arguments.run.mutation.c_str());
    for (size_t i = 0; i < summary.failed.size(); ++i) {
        std::fprintf(out, "%s%" PRIu64, i == 0 ? "" : ", ", summary.failed[i]);
    }
    std::fprintf(out, "],\n  \"events\": %" PRIu64 ",\n  \"virtual_hours\": %.4f,\n", s.events,
                 static_cast<double>(s.virtual_time) / 3.6e9);
    std::fprintf(out,
                 "  \"processes\": %" PRIu64 ",\n  \"faults\": %" PRIu64 ",\n  \"evictions\": %" PRIu64 ",\n",
                 s.processes, s.faults, s.evictions);
    std::fprintf(out,
                 "  \"epochs\": %" PRIu64 ",\n  \"calls_succeeded\": %" PRIu64
                 ",\n  \"calls_failed\": %" PRIu64 ",\n",
                 s.epochs, s.successes, s.errors);
    const char* const kVerdicts[] = {"", "fail", "commit", "finish", "cancel", "resume", "abort"};
    std::fprintf(out, "  \"decisions\": {");
    for (size_t v = 1; v < std::size(kVerdicts); ++v) {
        std::fprintf(out, "%s\"%s\": %" PRIu64, v == 1 ? "" : ", ", kVerdicts[v], s.verdicts[v]);
    }
    std::fprintf(out, "},\n");
    std::fprintf(out, "  \"wall_seconds\": %.2f\n}\n", wall_s);
}

bool write_json(const Arguments& arguments, const sim::Summary& summary, double wall_s) {
    if (arguments.json.empty()) return true;
    std::FILE* out = arguments.json == "-" ? stdout : std::fopen(arguments.json.c_str(), "w");
    if (!out) {
        std::perror(arguments.json.c_str());
        return false;
    }
    write_statistics(out, arguments, summary, wall_s);
    if (out != stdout) std::fclose(out);
    return true;
}

int run_range(const Arguments& arguments) {
    const auto begin = std::chrono::steady_clock::now();
    const sim::Summary summary =
        sim::run_seeds(arguments.first, arguments.seeds, arguments.failures_max, arguments.run,
                       [&](uint64_t seed, const sim::RunResult& result) {
                           std::printf("%s\n", sim::failure_text(seed, arguments.run, result).c_str());
                           std::fflush(stdout);
                       });
    const double wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const sim::Statistics& s = summary.statistics;
    std::printf("%" PRIu64 " seeds from %" PRIu64 ", %zu failed; %" PRIu64
                " events, %.2f virtual hours, %" PRIu64 " processes, %" PRIu64 " faults, %" PRIu64
                " epochs, %" PRIu64 " calls succeeded, %" PRIu64 " failed; %.1f s\n",
                summary.seeds, arguments.first, summary.failed.size(), s.events,
                static_cast<double>(s.virtual_time) / 3.6e9, s.processes, s.faults, s.epochs, s.successes,
                s.errors, wall_s);
    if (!write_json(arguments, summary, wall_s)) return 2;
    return summary.failed.empty() ? 0 : 1;
}

/// One process per job, each with a share of the seeds; the statistics are printed by each.
int run_jobs(const Arguments& arguments) {
    std::vector<pid_t> children;
    for (uint32_t job = 0; job < arguments.jobs; ++job) {
        Arguments part = arguments;
        part.first = arguments.first + arguments.seeds * job / arguments.jobs;
        part.seeds = arguments.first + arguments.seeds * (job + 1) / arguments.jobs - part.first;
        if (!part.json.empty() && part.json != "-") part.json += "." + std::to_string(job);
        const pid_t child = ::fork();
        if (child == 0) {
            const int status = run_range(part);
            std::fflush(stdout);
            ::_exit(status);
        }
        if (child < 0) {
            std::perror("fork");
            return 2;
        }
        children.push_back(child);
    }
    int worst = 0;
    for (pid_t child : children) {
        int status = 0;
        ::waitpid(child, &status, 0);
        worst = std::max(worst, WIFEXITED(status) ? WEXITSTATUS(status) : 3);
    }
    return worst;
}

int replay(const Arguments& arguments, uint64_t seed) {
    sim::SeedOptions options = arguments.run;
    options.trace = arguments.verbose ? stdout : nullptr;
    const sim::RunResult result = sim::run_seed(seed, options);
    std::printf("seed %" PRIu64 ": %" PRIu64 " events in %.3f virtual seconds, hash %016" PRIx64 "\n", seed,
                result.statistics.events, static_cast<double>(result.statistics.virtual_time) / 1e6,
                result.hash);
    if (result.ok()) return 0;
    std::printf("%s", sim::failure_text(seed, arguments.run, result).c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    uint64_t replayed = 0;
    CLI::App app{"Runs PCCL's protocol core under virtual time with injected faults. One seed is one run.",
                 "pccl-sim"};
    app.add_option("--seeds", arguments.seeds, "how many seeds to run")->capture_default_str();
    app.add_option("--first", arguments.first, "the first seed")->capture_default_str();
    app.add_option("--members", arguments.run.members_max, "members of a run at most")
        ->check(CLI::Range(2, 64))
        ->capture_default_str();
    auto* replay_option = app.add_option("--replay", replayed, "run this one seed and print its hash");
    app.add_option("--mutate", arguments.run.mutation, "break a rule on purpose")
        ->check(CLI::IsMember(sim::mutation_names()));
    app.add_option("--failures", arguments.failures_max, "stop after so many failing seeds")
        ->capture_default_str();
    app.add_option("--jobs", arguments.jobs, "processes to share the seeds")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    app.add_option("--json", arguments.json, "write statistics to this file (- for the standard output)");
    app.add_flag("--verbose", arguments.verbose, "with --replay: print one line per event");
    CLI11_PARSE(app, argc, argv);
    if (*replay_option) return replay(arguments, replayed);
    return arguments.jobs > 1 ? run_jobs(arguments) : run_range(arguments);
}
