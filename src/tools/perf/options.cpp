#include "options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>

#include "common/command_line.h"
#include "common/sizes.h"
#include "common/values.h"

namespace pccl::perf {
namespace {

// What CLI11 fills before it is understood.
struct Texts {
    std::string collective, bytes_min = "32M", bytes_max = "32M", step_bytes = "1M", segment_bytes;
    std::string type = "float", op = "sum";
    int average = 1;
    bool in_place_only = false, out_of_place_only = false;
};

void declare_nccl_options(CLI::App& app, Options& options, Texts& texts) {
    app.add_option("collective", texts.collective, "what to measure: all_reduce")->required();
    app.add_option("-b,--minbytes", texts.bytes_min, "smallest message (K, M, G are binary)")
        ->capture_default_str();
    app.add_option("-e,--maxbytes", texts.bytes_max, "largest message")->capture_default_str();
    app.add_option("-i,--stepbytes", texts.step_bytes, "added from size to size, without a factor")
        ->capture_default_str();
    app.add_option("-f,--stepfactor", options.step_factor, "multiplies from size to size")
        ->capture_default_str();
    app.add_option("-n,--iters", options.iterations, "timed iterations")->capture_default_str();
    app.add_option("-w,--warmup_iters", options.warmup_iterations, "iterations before them")
        ->capture_default_str();
    app.add_option("-o,--op", texts.op, "sum, prod, min, max, avg or all")->capture_default_str();
    app.add_option("-d,--datatype", texts.type, "element type as nccl-tests names it, or all")
        ->capture_default_str();
    app.add_option("-c,--check", options.check_iterations, "iterations whose results are checked; 0: none")
        ->capture_default_str();
    app.add_option("-a,--average", texts.average,
                   "time shown: 0 rank 0, 1 mean, 2 least, 3 greatest of the ranks")
        ->capture_default_str();
    app.add_flag("-I,--per_iter_timing", options.per_iteration_timing, "add columns about single iterations");
    app.add_option("-J,--output_file,--json", options.json_path,
                   "write the results as JSON (- for standard output)");
    app.add_option("-T,--timeout", options.timeout_s, "end after so many seconds without progress; 0: never")
        ->capture_default_str();
}

void declare_own_options(CLI::App& app, Options& options, Texts& texts) {
    app.add_option("--peers", options.peers, "members of the run")->capture_default_str();
    app.add_option("--master", options.master, "HOST:PORT of a coordinator: be one of the peers of that run");
    app.add_option("-m,--agg_iters,--tags", options.tags, "operations in flight together")
        ->capture_default_str();
    tools::declare_links(app, options);
    app.add_option("--segment-bytes", texts.segment_bytes, "pipeline unit of large messages");
    app.add_option("--bind", options.bind_address, "address to listen on");
    app.add_option("--advertise", options.advertise_address, "address told to the other peers");
    auto* in_place = app.add_flag("--in-place-only", texts.in_place_only, "leave out-of-place out");
    app.add_flag("--out-of-place-only", texts.out_of_place_only, "leave in-place out")->excludes(in_place);
    app.add_flag("--local-peer", options.local_peer)->group("");
}

bool understand_lists(const Texts& texts, Options* options, std::string* error) {
    if (texts.type == "all") {
        options->types.assign(std::begin(tools::kAllTypes), std::end(tools::kAllTypes));
    } else if (!tools::parse_type(texts.type, &options->types[0])) {
        *error = "unknown element type '" + texts.type + "'";
        return false;
    }
    if (texts.op == "all") {
        options->ops.assign(std::begin(tools::kAllOps), std::end(tools::kAllOps));
    } else if (!tools::parse_op(texts.op, &options->ops[0])) {
        *error = "unknown operator '" + texts.op + "'";
        return false;
    }
    return true;
}

bool understand_sizes(const Texts& texts, Options* options, std::string* error) {
    uint64_t segment_bytes = 0;
    for (const auto& [text, bytes] :
         {std::pair(texts.bytes_min, &options->bytes_min), std::pair(texts.bytes_max, &options->bytes_max),
          std::pair(texts.step_bytes, &options->step_bytes)}) {
        if (!tools::parse_size(text, bytes)) {
            *error = "'" + text + "' is not a size";
            return false;
        }
    }
    if (!texts.segment_bytes.empty()) {
        if (!tools::parse_size(texts.segment_bytes, &segment_bytes) || segment_bytes > (1u << 30)) {
            *error = "'" + texts.segment_bytes + "' is not a segment size";
            return false;
        }
        options->segment_bytes = static_cast<int>(segment_bytes);
    }
    if (options->bytes_min > options->bytes_max) {
        *error = "the smallest message is larger than the largest";
        return false;
    }
    const bool grows = options->step_factor > 1 || options->step_bytes > 0;
    if (!std::isfinite(options->step_factor) || options->step_factor < 0 ||
        (!grows && options->bytes_min < options->bytes_max)) {
        *error = "the sizes do not grow: give -f above 1 or -i above 0";
        return false;
    }
    return true;
}

bool check_ranges(const Texts& texts, const Options& options, std::string* error) {
    if (texts.collective != "all_reduce") {
        *error = "unknown collective '" + texts.collective + "': all_reduce is what there is";
    } else if (options.iterations < 1 || options.iterations > 10'000'000) {
        *error = "-n must be from 1 to 10000000";
    } else if (options.warmup_iterations < 0 || options.check_iterations < 0 || options.timeout_s < 0) {
        *error = "-w, -c and -T must not be negative";
    } else if (options.tags < 1 || options.tags > 1024) {
        *error = "--tags must be from 1 to 1024";
    } else if (options.peers < 2 || options.peers > 1024) {
        *error = "--peers must be from 2 to 1024";
    } else if (texts.average < 0 || texts.average > 3) {
        *error = "-a must be from 0 to 3";
    } else if (message_sizes(options).size() > 100'000) {
        *error = "more than 100000 sizes";
    } else if (std::all_of(options.types.begin(), options.types.end(),
                           [&](pcclDataType_t type) { return element_counts(options, type).empty(); })) {
        *error = "no size holds an element of the type";
    }
    return error->empty();
}

}  // namespace

bool parse_options(int argc, char** argv, Options* options, int* exit_status) {
    CLI::App app(
        "Measures collectives of PCCL in the manner of nccl-tests. Without --master it starts a coordinator "
        "and all the peers on this host.",
        "pccl-perf");
    app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    Texts texts;
    declare_nccl_options(app, *options, texts);
    declare_own_options(app, *options, texts);
    if (!tools::parse_arguments(app, argc, argv, exit_status)) {
        return false;
    }
    options->average = static_cast<Average>(texts.average);
    options->out_of_place = !texts.in_place_only;
    options->in_place = !texts.out_of_place_only;
    std::string error;
    if (!understand_lists(texts, options, &error) || !understand_sizes(texts, options, &error) ||
        !tools::understand_links(options, &error) || !check_ranges(texts, *options, &error)) {
        return tools::refuse("pccl-perf", error, exit_status);
    }
    return true;
}

std::vector<uint64_t> message_sizes(const Options& options) {
    std::vector<uint64_t> sizes;
    uint64_t size = options.bytes_min;
    while (size <= options.bytes_max && sizes.size() <= 100'000) {
        sizes.push_back(size);
        const double grown = static_cast<double>(size) * options.step_factor;
        const uint64_t next =
            options.step_factor > 1 ? static_cast<uint64_t>(grown) : size + options.step_bytes;
        if (next <= size) {
            break;
        }
        size = next;
    }
    return sizes;
}

std::vector<uint64_t> element_counts(const Options& options, pcclDataType_t type) {
    std::vector<uint64_t> counts;
    for (uint64_t bytes : message_sizes(options)) {
        const uint64_t count = bytes / tools::element_bytes(type);
        if (count > 0 && (counts.empty() || count != counts.back())) {
            counts.push_back(count);
        }
    }
    return counts;
}

}  // namespace pccl::perf
