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

#include "common/command_line.h"
#include "sim/broken_rules.h"
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
                 ",\n  \"calls_failed\": %" PRIu64 ",\n  \"bytes_kept\": %" PRIu64
                 ",\n  \"bytes_kept_by_redos\": %" PRIu64 ",\n",
                 s.epochs, s.successes, s.errors, s.kept_bytes, s.redo_kept_bytes);
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
    if (out != stdout && std::fclose(out) != 0) {
        std::perror(arguments.json.c_str());
        return false;
    }
    return true;
}

/// Where people read: the standard output, unless that is the JSON document alone.
std::FILE* text_out(const Arguments& arguments) { return arguments.json == "-" ? stderr : stdout; }

sim::Summary run_range(const Arguments& arguments) {
    return sim::run_seeds(arguments.first, arguments.seeds, arguments.failures_max, arguments.run,
                          [&](uint64_t seed, const sim::RunResult& result) {
                              // In one piece: jobs share the output.
                              const std::string text = sim::failure_text(seed, arguments.run, result) + "\n";
                              std::fwrite(text.data(), 1, text.size(), text_out(arguments));
                              std::fflush(text_out(arguments));
                          });
}

struct Job {
    pid_t child = -1;
    int pipe = -1;
};

/// A process with a share of the seeds, which writes its summary to the pipe.
bool start_job(const Arguments& part, Job* job) {
    int ends[2];
    if (::pipe(ends) != 0) return false;
    job->child = ::fork();
    if (job->child == 0) {
        ::close(ends[0]);
        const std::string text = sim::write_summary(run_range(part));
        size_t at = 0;
        while (at < text.size()) {
            const ssize_t wrote = ::write(ends[1], text.data() + at, text.size() - at);
            if (wrote < 0) ::_exit(1);
            at += static_cast<size_t>(wrote);
        }
        ::_exit(0);
    }
    ::close(ends[1]);
    job->pipe = ends[0];
    return job->child > 0;
}

/// False when the job died or its summary makes no sense.
bool end_job(const Job& job, sim::Summary* all) {
    std::string text;
    char buffer[4096];
    ssize_t got = 0;
    while ((got = ::read(job.pipe, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<size_t>(got));
    ::close(job.pipe);
    int status = 0;
    if (job.child > 0) ::waitpid(job.child, &status, 0);
    sim::Summary part;
    if (job.child <= 0 || status != 0 || !sim::read_summary(text, &part)) {
        std::fprintf(stderr, "pccl-sim: a job ended without a summary (status %d)\n", status);
        return false;
    }
    all->add(part);
    return true;
}

bool run_jobs(const Arguments& arguments, sim::Summary* all) {
    std::fflush(nullptr);
    std::vector<Job> jobs(arguments.jobs);
    bool sound = true;
    for (uint32_t job = 0; job < arguments.jobs; ++job) {
        Arguments part = arguments;
        part.first = arguments.first + arguments.seeds * job / arguments.jobs;
        part.seeds = arguments.first + arguments.seeds * (job + 1) / arguments.jobs - part.first;
        if (start_job(part, &jobs[job])) continue;
        std::perror("pccl-sim");
        sound = false;
        jobs.resize(job + 1);
        break;
    }
    for (const Job& job : jobs) {
        if (job.pipe >= 0) sound = end_job(job, all) && sound;
    }
    return sound;
}

int run(const Arguments& arguments) {
    const auto begin = std::chrono::steady_clock::now();
    sim::Summary summary;
    const bool sound = arguments.jobs > 1 ? run_jobs(arguments, &summary) : true;
    if (arguments.jobs <= 1) summary = run_range(arguments);
    const double wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const sim::Statistics& s = summary.statistics;
    std::fprintf(text_out(arguments),
                 "%" PRIu64 " seeds from %" PRIu64 ", %zu failed; %" PRIu64
                 " events, %.2f virtual hours, %" PRIu64 " processes, %" PRIu64 " faults, %" PRIu64
                 " epochs, %" PRIu64 " calls succeeded, %" PRIu64 " failed, %" PRIu64 " bytes kept, %" PRIu64
                 " by redos; %.1f s\n",
                 summary.seeds, arguments.first, summary.failed.size(), s.events,
                 static_cast<double>(s.virtual_time) / 3.6e9, s.processes, s.faults, s.epochs, s.successes,
                 s.errors, s.kept_bytes, s.redo_kept_bytes, wall_s);
    if (!write_json(arguments, summary, wall_s)) return 2;
    if (!sound) return 3;
    return summary.failed.empty() ? 0 : 1;
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

/// Breaks each rule in turn until that is noticed. Status 0 when all were.
int check_mutations(const Arguments& arguments) {
    bool all_found = true;
    std::printf("%-5s %-24s %-12s %8s %8s\n", "rule", "broken as", "found as", "seed", "seeds");
    for (const sim::BrokenRule& rule : sim::broken_rules()) {
        const auto found =
            sim::find_breach(rule, arguments.first, arguments.seeds, arguments.run.members_max);
        all_found = all_found && found;
        if (found) {
            std::printf("%-5s %-24s %-12s %8" PRIu64 " %8" PRIu64 "\n", rule.label, rule.name,
                        found->invariants.c_str(), found->seed, found->seeds);
        } else {
            std::printf("%-5s %-24s not within %" PRIu64 " seeds\n", rule.label, rule.name, arguments.seeds);
        }
        std::fflush(stdout);
    }
    return all_found ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    uint64_t replayed = 0;
    CLI::App app{"Runs PCCL's protocol core under virtual time with injected faults. One seed is one run.",
                 "pccl-sim"};
    auto* seeds = app.add_option("--seeds", arguments.seeds, "how many seeds to run, at least 1")
                      ->check(CLI::PositiveNumber)
                      ->capture_default_str();
    auto* first = app.add_option("--first", arguments.first, "the first seed")->capture_default_str();
    app.add_option("--members", arguments.run.members_max, "members of a run at most")
        ->check(CLI::Range(2, 64))
        ->capture_default_str();
    auto* replay_option = app.add_option("--replay", replayed, "run this one seed and print its hash");
    std::vector<std::string> mutations = sim::mutation_names();
    mutations.push_back("all");
    app.add_option("--mutate", arguments.run.mutation,
                   "break a rule on purpose; all: each in turn until it is found, 20000 seeds unless told")
        ->check(CLI::IsMember(mutations));
    app.add_flag("--twice", arguments.run.twice, "run each seed again, which must be the same run");
    auto* failures = app.add_option("--failures", arguments.failures_max, "stop after so many failing seeds")
                         ->capture_default_str();
    auto* jobs =
        app.add_option("--jobs", arguments.jobs, "processes to share the seeds; --failures is for each")
            ->check(CLI::Range(1, 64))
            ->capture_default_str();
    auto* json =
        app.add_option("--json", arguments.json, "write statistics to this file (- for the standard output)");
    app.add_flag("--verbose", arguments.verbose, "with --replay: print one line per event")
        ->needs(replay_option);
    // What one seed has no use for is refused rather than ignored.
    for (CLI::Option* option : {seeds, first, failures, jobs, json}) replay_option->excludes(option);
    int status = 0;
    if (!tools::parse_arguments(app, argc, argv, &status)) return status;
    if (arguments.run.mutation == "all") {
        if (*replay_option) {
            std::fprintf(stderr, "pccl-sim: a replay breaks one rule at a time\n");
            return 2;
        }
        if (!*seeds) arguments.seeds = 20000;
        return check_mutations(arguments);
    }
    if (*replay_option) return replay(arguments, replayed);
    return run(arguments);
}
