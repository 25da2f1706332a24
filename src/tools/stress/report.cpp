#include "report.h"

#include <algorithm>
#include <cstdio>

#include "common/json_writer.h"
#include "common/statistics.h"

namespace pccl::stress {
namespace {

double greatest(const std::vector<double>& sample) {
    return sample.empty() ? 0 : *std::max_element(sample.begin(), sample.end());
}

void print_count(const char* name, uint64_t count) {
    std::printf("%-28s %12llu\n", name, static_cast<unsigned long long>(count));
}

void print_recovery(const char* name, const std::vector<double>& sample) {
    if (sample.empty()) {
        std::printf("%-28s %12s\n", name, "none");
    } else {
        std::printf("%-28s %9.1f ms median, %.1f ms max, %zu kills\n", name, tools::median(sample),
                    greatest(sample), sample.size());
    }
}

void print_growth(const char* name, const LeakCheck& check) {
    const auto mebibytes = [](uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); };
    std::printf("%-28s %12d to %d, %.1f to %.1f MiB\n", (std::string(name) + " descriptors").c_str(),
                check.start().descriptors, check.end().descriptors, mebibytes(check.start().resident),
                mebibytes(check.end().resident));
}

void write_growth(tools::JsonWriter& json, const char* name, const LeakCheck& check) {
    json.key(name).begin_object();
    json.member("descriptors_start", check.start().descriptors)
        .member("descriptors_end", check.end().descriptors)
        .member("resident_start", check.start().resident)
        .member("resident_end", check.end().resident);
    json.end_object();
}

void write_interval(tools::JsonWriter& json, const char* name, const Interval& interval) {
    json.key(name).begin_object();
    json.member("low", interval.low_s).member("high", interval.high_s);
    json.end_object();
}

void write_recovery(tools::JsonWriter& json, const char* name, const std::vector<double>& sample) {
    json.key(name).begin_object();
    json.member("samples", sample.size()).key("median_ms");
    if (sample.empty()) {
        json.null().key("max_ms").null();
    } else {
        json.value(tools::median(sample)).key("max_ms").value(greatest(sample));
    }
    json.end_object();
}

}  // namespace

bool passed(const Orchestrator& run) {
    const Totals& totals = run.totals();
    const Ledger& ledger = run.ledger();
    return ledger.divergences() == 0 && ledger.wrong() == 0 && totals.hangs == 0 && totals.crashes == 0 &&
           totals.bad_exits == 0 && totals.evictions == 0 && totals.errors == 0 && totals.leaks == 0 &&
           !totals.coordinator_failed && ledger.iterations() > 0;
}

void print_table(const Orchestrator& run) {
    const Totals& totals = run.totals();
    const Ledger& ledger = run.ledger();
    std::printf("%-28s %12.1f s\n", "time", totals.seconds);
    print_count("iterations", ledger.iterations());
    print_count("successful operations", ledger.operations());
    print_count("kills", totals.kills);
    print_count("joins", totals.joins);
    print_count("freezes", totals.freezes);
    print_count("coordinator kills", totals.coordinator_kills);
    print_count("breaks of the network", totals.partitions);
    print_count("divergences", ledger.divergences());
    print_count("wrong results", ledger.wrong());
    print_count("hangs", totals.hangs);
    print_count("crashes", totals.crashes);
    print_count("bad exits", totals.bad_exits);
    print_count("evictions", totals.evictions);
    print_count("unexpected errors", totals.errors);
    print_count("leaks", totals.leaks);
    print_growth("worker", run.worker_leaks());
    print_growth("coordinator", run.coordinator_leaks());
    print_count("evictions after faults", totals.evictions_by_fault);
    print_count("evictions, starved", totals.evictions_starved);
    print_count("votes tried again", totals.retried_votes);
    print_count("failed joins", totals.failed_joins);
    print_count("retries", ledger.retries());
    print_recovery("recovery, first survivor", ledger.recovery_first_ms());
    print_recovery("recovery, all survivors", ledger.recovery_all_ms());
    print_count("kills that left one alone", ledger.recoveries_alone());
    print_count("kills without recovery", ledger.not_recovered());
    std::printf("%-28s %12s\n", "verdict", passed(run) ? "passed" : "FAILED");
    std::fflush(stdout);
}

std::string to_json(const Orchestrator& run, const Options& options) {
    const Totals& totals = run.totals();
    const Ledger& ledger = run.ledger();
    tools::JsonWriter json;
    json.begin_object();
    json.member("program", "pccl-stress").member("version", PCCL_VERSION_STRING);
    json.member("peers", options.peers).member("seconds", totals.seconds).member("seed", options.seed);
    write_interval(json, "kill_every_s", options.kill_every);
    write_interval(json, "join_every_s", options.join_every);
    write_interval(json, "freeze_every_s", options.freeze_every);
    write_interval(json, "coordinator_kill_every_s", options.coordinator_kill_every);
    write_interval(json, "partition_every_s", options.partition_every);
    json.member("groups", options.groups).member("collective", options.collective_name);
    json.member("liveness_s", options.liveness_s).member("recovery_s", options.recovery_s);
    json.member("size", options.bytes).member("inflight", options.inflight);
    json.member("policy", options.policy_name);
    json.member("in_place_share", options.in_place_share).member("plan", options.plan_name);
    json.member("iterations", ledger.iterations()).member("operations", ledger.operations());
    json.member("kills", totals.kills).member("joins", totals.joins);
    json.member("freezes", totals.freezes).member("coordinator_kills", totals.coordinator_kills);
    json.member("partitions", totals.partitions).member("partitions_skipped", totals.partitions_skipped);
    json.member("divergences", ledger.divergences())
        .member("wrong", ledger.wrong())
        .member("hangs", totals.hangs);
    json.member("crashes", totals.crashes).member("bad_exits", totals.bad_exits);
    json.member("evictions", totals.evictions)
        .member("evictions_by_fault", totals.evictions_by_fault)
        .member("evictions_starved", totals.evictions_starved);
    json.member("errors", totals.errors).member("leaks", totals.leaks);
    write_growth(json, "worker", run.worker_leaks());
    write_growth(json, "coordinator", run.coordinator_leaks());
    json.member("retried_votes", totals.retried_votes);
    json.member("failed_joins", totals.failed_joins).member("retries", ledger.retries());
    write_recovery(json, "recovery_first", ledger.recovery_first_ms());
    write_recovery(json, "recovery_all", ledger.recovery_all_ms());
    json.member("kills_alone", ledger.recoveries_alone())
        .member("kills_without_recovery", ledger.not_recovered());
    json.member("passed", passed(run));
    json.end_object();
    return json.text();
}

}  // namespace pccl::stress
