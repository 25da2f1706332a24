#include "report.h"

#include <algorithm>
#include <cstdio>

#include "common/json_writer.h"
#include "common/values.h"

namespace pccl::perf {
namespace {

// As wide as nccl-tests prints a time.
std::string time_text(double time_us) {
    char text[32];
    const char* const format = time_us >= 9999.95 ? "%7.0f" : time_us >= 99.995 ? "%7.1f" : "%7.2f";
    std::snprintf(text, sizeof text, format, time_us);
    return text;
}

void print_standard(const ModeResult& mode) {
    if (!mode.measured) {
        std::printf("  %7s  %6s  %6s  %5s", "N/A", "N/A", "N/A", "N/A");
        return;
    }
    std::printf("  %s  %6.2f  %6.2f", time_text(mode.time_us).c_str(), mode.algbw_gbps, mode.busbw_gbps);
    if (mode.checked) {
        std::printf("  %5g", static_cast<double>(mode.wrong));
    } else {
        std::printf("  %5s", "N/A");
    }
}

void print_percentiles(const ModeResult& mode) {
    if (mode.measured) {
        std::printf("  %s  %s", time_text(mode.median_us).c_str(), time_text(mode.p99_us).c_str());
    } else {
        std::printf("  %7s  %7s", "N/A", "N/A");
    }
}

void print_single_iterations(const ModeResult& mode) {
    if (mode.measured) {
        std::printf("  %s  %s  %s  %6.1f", time_text(mode.min_us).c_str(), time_text(mode.max_us).c_str(),
                    time_text(mode.p99_us).c_str(), mode.variation_percent);
    } else {
        std::printf("  %7s  %7s  %7s  %6s", "N/A", "N/A", "N/A", "N/A");
    }
}

void write_mode(tools::JsonWriter& json, const char* name, const ModeResult& mode) {
    json.key(name);
    if (!mode.measured) {
        json.null();
        return;
    }
    json.begin_object();
    json.member("time_us", mode.time_us)
        .member("algbw_gbps", mode.algbw_gbps)
        .member("busbw_gbps", mode.busbw_gbps);
    json.key("wrong");
    if (mode.checked) {
        json.value(mode.wrong);
    } else {
        json.null();
    }
    json.member("p50_us", mode.median_us).member("p99_us", mode.p99_us);
    json.member("min_us", mode.min_us)
        .member("max_us", mode.max_us)
        .member("cv_percent", mode.variation_percent);
    json.member("retries", mode.retries).member("failed", mode.members_lost);
    json.member("cpu_s_per_gb", mode.cpu_s_per_gb);
    json.member("peak_resident_bytes", mode.peak_resident_bytes);
    json.member("extra_resident_bytes", mode.extra_resident_bytes);
    json.end_object();
}

}  // namespace

void print_header(const Options& options, const std::vector<std::string>& peers) {
    const bool by_factor = options.step_factor > 1;
    std::printf(
        "# nThread 1 nGpus 1 minBytes %llu maxBytes %llu step: %g(%s) warmup iters: %d iters: %d agg iters: "
        "%d "
        "validation: %d graph: 0\n#\n",
        static_cast<unsigned long long>(options.bytes_min),
        static_cast<unsigned long long>(options.bytes_max),
        by_factor ? options.step_factor : static_cast<double>(options.step_bytes),
        by_factor ? "factor" : "bytes", options.warmup_iterations, options.iterations, options.tags,
        options.check_iterations);
    const std::string lanes = options.lanes == PCCL_CONFIG_UNSET ? "default" : std::to_string(options.lanes);
    std::printf("# PCCL %s, peers %zu, lanes %s, plan %s\n# Using peers\n", PCCL_VERSION_STRING, peers.size(),
                lanes.c_str(), options.plan_name.c_str());
    for (size_t rank = 0; rank < peers.size(); ++rank) {
        std::printf("#  Rank %2zu Group  0 %s\n", rank, peers[rank].c_str());
    }
    const bool single = options.per_iteration_timing;
    std::printf("#\n# %12s  %12s  %8s  %6s  %6s  %-32s %-32s  %-16s  %-16s", "", "", "", "", "",
                "         out-of-place", "          in-place", "  out-of-place", "    in-place");
    std::printf("  %7s  %6s%s\n", "", "", single ? "  out-of-place, then in-place" : "");
    std::printf("# %12s  %12s  %8s  %6s  %6s", "size", "count", "type", "redop", "root");
    for (int mode = 0; mode < 2; ++mode) {
        std::printf("  %7s  %6s  %6s  %5s", "time", "algbw", "busbw", "#wrong");
    }
    std::printf("  %7s  %7s  %7s  %7s  %7s  %6s", "p50", "p99", "p50", "p99", "retries", "failed");
    for (int mode = 0; single && mode < 2; ++mode) {
        std::printf("  %7s  %7s  %7s  %6s", "i_min", "i_max", "i_p99", "i_cv");
    }
    std::printf("\n# %12s  %12s  %8s  %6s  %6s", "(B)", "(elements)", "", "", "");
    for (int mode = 0; mode < 2; ++mode) {
        std::printf("  %7s  %6s  %6s  %5s", "(us)", "(GB/s)", "(GB/s)", "");
    }
    std::printf("  %7s  %7s  %7s  %7s  %7s  %6s", "(us)", "(us)", "(us)", "(us)", "", "");
    for (int mode = 0; single && mode < 2; ++mode) {
        std::printf("  %7s  %7s  %7s  %6s", "(us)", "(us)", "(us)", "(%)");
    }
    std::printf("\n");
    std::fflush(stdout);
}

void print_row(const Options& options, const RowResult& row) {
    std::printf("  %12llu  %12llu  %8s  %6s  %6s", static_cast<unsigned long long>(row.bytes),
                static_cast<unsigned long long>(row.count), tools::type_name(row.type),
                tools::op_name(row.op), "-1");
    print_standard(row.out_of_place);
    print_standard(row.in_place);
    print_percentiles(row.out_of_place);
    print_percentiles(row.in_place);
    std::printf("  %7llu  %6d",
                static_cast<unsigned long long>(row.out_of_place.retries + row.in_place.retries),
                std::max(row.out_of_place.members_lost, row.in_place.members_lost));
    if (options.per_iteration_timing) {
        print_single_iterations(row.out_of_place);
        print_single_iterations(row.in_place);
    }
    std::printf("\n");
    std::fflush(stdout);
}

Summary summarize(const std::vector<RowResult>& rows) {
    Summary summary;
    int modes = 0;
    for (const RowResult& row : rows) {
        for (const ModeResult* mode : {&row.out_of_place, &row.in_place}) {
            summary.wrong += mode->wrong;
            summary.members_lost = std::max(summary.members_lost, mode->members_lost);
            summary.busbw_gbps += mode->busbw_gbps;
            modes += mode->measured ? 1 : 0;
        }
    }
    if (modes > 0) {
        summary.busbw_gbps /= modes;
    }
    return summary;
}

void print_trailer(const Summary& summary) {
    std::printf("# Out of bounds values : %llu %s\n", static_cast<unsigned long long>(summary.wrong),
                summary.wrong == 0 ? "OK" : "FAILED");
    std::printf("# Avg bus bandwidth    : %g\n", summary.busbw_gbps);
    std::fflush(stdout);
}

std::string to_json(const Options& options, const std::vector<std::string>& peers,
                    const std::vector<RowResult>& rows) {
    const Summary summary = summarize(rows);
    tools::JsonWriter json;
    json.begin_object();
    json.member("program", "pccl-perf")
        .member("version", PCCL_VERSION_STRING)
        .member("collective", "all_reduce");
    json.member("iters", options.iterations).member("warmup_iters", options.warmup_iterations);
    json.member("check_iters", options.check_iterations).member("tags", options.tags);
    json.member("plan", options.plan_name).key("lanes");
    if (options.lanes == PCCL_CONFIG_UNSET) {
        json.null();
    } else {
        json.value(options.lanes);
    }
    json.key("peers").begin_array();
    for (const std::string& peer : peers) {
        json.value(peer);
    }
    json.end_array().key("rows").begin_array();
    for (const RowResult& row : rows) {
        json.begin_object();
        json.member("size", row.bytes).member("count", row.count).member("type", tools::type_name(row.type));
        json.member("redop", tools::op_name(row.op))
            .member("root", -1)
            .member("buffer_bytes", row.buffer_bytes);
        write_mode(json, "out_of_place", row.out_of_place);
        write_mode(json, "in_place", row.in_place);
        json.end_object();
    }
    json.end_array();
    json.member("out_of_bounds", summary.wrong).member("failed", summary.members_lost);
    json.member("avg_busbw_gbps", summary.busbw_gbps);
    json.end_object();
    return json.text();
}

}  // namespace pccl::perf
