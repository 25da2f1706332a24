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
           totals.bad_exits == 0 && totals.evictions == 0 && !totals.coordinator_failed &&
           ledger.iterations() > 0;
}

void print_table(const Orchestrator& run) {
    const Totals& totals = run.totals();
    const Ledger& ledger = run.ledger();
    std::printf("%-28s %12.1f s\n", "time", totals.seconds);
    print_count("iterations", ledger.iterations());
    print_count("successful operations", ledger.operations());
    print_count("kills", totals.kills);
    print_count("joins", totals.joins);
    print_count("divergences", ledger.divergences());
    print_count("wrong results", ledger.wrong());
    print_count("hangs", totals.hangs);
    print_count("crashes", totals.crashes);
    print_count("bad exits", totals.bad_exits);
    print_count("evictions", totals.evictions);
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
    json.member("kill_every_s", options.kill_every_s).member("join_every_s", options.join_every_s);
    json.member("size", options.bytes).member("tags", options.tags).member("policy", options.policy_name);
    json.member("in_place_share", options.in_place_share).member("plan", options.plan_name);
    json.member("iterations", ledger.iterations()).member("operations", ledger.operations());
    json.member("kills", totals.kills).member("joins", totals.joins);
    json.member("divergences", ledger.divergences())
        .member("wrong", ledger.wrong())
        .member("hangs", totals.hangs);
    json.member("crashes", totals.crashes).member("bad_exits", totals.bad_exits);
    json.member("evictions", totals.evictions);
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
