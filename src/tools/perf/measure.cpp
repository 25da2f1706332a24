#include "measure.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "common/resources.h"
#include "common/statistics.h"
#include "common/values.h"

namespace pccl::perf {
namespace {

// Pages of its own, so that a row's memory is really given back before the next one.
class Block {
   public:
    explicit Block(size_t bytes) : bytes_(std::max<size_t>(bytes, 1)) {
        void* const mapped =
            mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        data_ = mapped == MAP_FAILED ? nullptr : mapped;
    }
    ~Block() {
        if (data_ != nullptr) {
            munmap(data_, bytes_);
        }
    }
    Block(Block&& other) noexcept : data_(std::exchange(other.data_, nullptr)), bytes_(other.bytes_) {}
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    void* data() const { return data_; }

   private:
    void* data_ = nullptr;
    size_t bytes_;
};

// What one member found out in one mode, in the order of its row in the exchange.
struct Own {
    double time_us = 0, median_us = 0, p99_us = 0, min_us = 0, max_us = 0, variation_percent = 0;
    double wrong = 0, retries = 0, cpu_s = 0, peak_bytes = 0, extra_bytes = 0;

    std::vector<double> row() const {
        return {time_us, median_us, p99_us, min_us,     max_us,     variation_percent,
                wrong,   retries,   cpu_s,  peak_bytes, extra_bytes};
    }
};

class RowMeasurement {
   public:
    RowMeasurement(Session& session, const Options& options, RowResult& row)
        : session_(session),
          options_(options),
          row_(row),
          kind_{row.type, row.op, static_cast<uint32_t>(session.members())} {}

    bool run(std::string* error) {
        const size_t tags = static_cast<size_t>(options_.tags);
        const size_t bytes = static_cast<size_t>(row_.bytes);
        for (size_t i = 0; i < tags * (options_.out_of_place ? 2 : 1); ++i) {
            blocks_.emplace_back(bytes);
            if (blocks_.back().data() == nullptr) {
                *error = "no memory for buffers of " + std::to_string(row_.bytes) + " bytes";
                return false;
            }
        }
        row_.buffer_bytes = static_cast<double>(blocks_.size() * bytes);
        const bool good = (!options_.out_of_place || mode(false, &row_.out_of_place)) &&
                          (!options_.in_place || mode(true, &row_.in_place));
        if (!good) {
            *error = session_.error();
        }
        return good;
    }

   private:
    std::vector<Buffers> pairs(bool in_place) const {
        std::vector<Buffers> result;
        for (size_t i = 0; i < static_cast<size_t>(options_.tags); ++i) {
            void* const send = blocks_[i].data();
            result.push_back(
                {send, in_place ? send : blocks_[i + static_cast<size_t>(options_.tags)].data()});
        }
        return result;
    }

    bool iterate(const std::vector<Buffers>& buffers) {
        session_.watchdog().report("reducing");
        return session_.reduce(buffers, row_.count, row_.type, row_.op);
    }

    // Timed in place, each result is the next input: zeros, and ones for a product, stay what they are.
    void fill_for_timing(const std::vector<Buffers>& buffers, bool in_place) {
        const bool constant = in_place && (row_.op == pcclSum || row_.op == pcclProd);
        const tools::Pattern pattern =
            constant ? tools::Pattern::constant(row_.type, row_.op == pcclProd ? 1 : 0) : input();
        for (const Buffers& pair : buffers) {
            pattern.fill(const_cast<void*>(pair.send), row_.count);
        }
    }

    tools::Pattern input() const {
        return tools::Pattern::input(kind_, static_cast<uint64_t>(session_.rank()), row_.count);
    }

    bool time(const std::vector<Buffers>& buffers, Own* own) {
        for (int i = 0; i < options_.warmup_iterations; ++i) {
            if (!iterate(buffers)) {
                return false;
            }
        }
        std::vector<double> times_us(static_cast<size_t>(options_.iterations));
        const double operations = options_.tags;
        if (session_.gather({0}).empty()) {
            return false;
        }
        tools::reset_peak_resident();
        const double cpu_before = tools::cpu_seconds();
        const int64_t start_ns = tools::monotonic_ns();
        int64_t last_ns = start_ns;
        for (double& time_us : times_us) {
            if (!iterate(buffers)) {
                return false;
            }
            const int64_t now_ns = tools::monotonic_ns();
            time_us = static_cast<double>(now_ns - last_ns) * 1e-3 / operations;
            last_ns = now_ns;
        }
        own->cpu_s = tools::cpu_seconds() - cpu_before;
        own->peak_bytes = static_cast<double>(tools::peak_resident_bytes());
        own->extra_bytes =
            own->peak_bytes - row_.buffer_bytes - static_cast<double>(session_.connected_bytes());
        own->time_us = static_cast<double>(last_ns - start_ns) * 1e-3 / operations / options_.iterations;
        own->median_us = tools::median(times_us);
        own->p99_us = tools::percentile(times_us, 0.99);
        own->min_us = *std::min_element(times_us.begin(), times_us.end());
        own->max_us = *std::max_element(times_us.begin(), times_us.end());
        own->variation_percent = tools::variation_percent(times_us);
        return true;
    }

    bool check(const std::vector<Buffers>& buffers, bool in_place, Own* own) {
        const tools::Pattern pattern = input();
        for (int i = 0; i < options_.check_iterations; ++i) {
            for (const Buffers& pair : buffers) {
                pattern.fill(const_cast<void*>(pair.send), row_.count);
                if (!in_place) {
                    std::memset(pair.receive, 0xa5, static_cast<size_t>(row_.bytes));
                }
            }
            if (!iterate(buffers)) {
                return false;
            }
            for (size_t tag = 0; tag < buffers.size(); ++tag) {
                const auto expected =
                    tools::Pattern::expected(kind_, session_.contributor_keys(tag), row_.count);
                own->wrong += static_cast<double>(expected.count_wrong(buffers[tag].receive, row_.count));
                if (!in_place) {
                    own->wrong += static_cast<double>(pattern.count_wrong(buffers[tag].send, row_.count));
                }
            }
        }
        return true;
    }

    bool mode(bool in_place, ModeResult* result) {
        const std::vector<Buffers> buffers = pairs(in_place);
        const uint64_t retries_before = session_.retries();
        Own own;
        fill_for_timing(buffers, in_place);
        if (!time(buffers, &own) || !check(buffers, in_place, &own)) {
            return false;
        }
        own.retries = static_cast<double>(session_.retries() - retries_before);
        const auto rows = session_.gather(own.row());
        if (rows.empty()) {
            return false;
        }
        combine(rows, result);
        return true;
    }

    // Column `index` of all rows, by the average that was asked for.
    double average(const std::vector<std::vector<double>>& rows, size_t index) const {
        std::vector<double> column;
        for (const auto& row : rows) {
            column.push_back(row[index]);
        }
        switch (options_.average) {
            case Average::kRank0: return column.front();
            case Average::kMin: return *std::min_element(column.begin(), column.end());
            case Average::kMax: return *std::max_element(column.begin(), column.end());
            case Average::kMean: break;
        }
        return tools::mean(column);
    }

    void combine(const std::vector<std::vector<double>>& rows, ModeResult* result) const {
        result->measured = true;
        double* const averaged[] = {&result->time_us, &result->median_us, &result->p99_us,
                                    &result->min_us,  &result->max_us,    &result->variation_percent};
        for (size_t i = 0; i < std::size(averaged); ++i) {
            *averaged[i] = average(rows, i);
        }
        double cpu_s = 0, wrong = 0, retries = 0;
        for (const auto& row : rows) {
            wrong += row[6];
            retries = std::max(retries, row[7]);
            cpu_s += row[8];
            result->peak_resident_bytes = std::max(result->peak_resident_bytes, row[9]);
            result->extra_resident_bytes = std::max(result->extra_resident_bytes, row[10]);
        }
        result->checked = options_.check_iterations > 0;
        result->wrong = static_cast<uint64_t>(wrong);
        result->retries = static_cast<uint64_t>(retries);
        // The view of the group is no good here: whoever is done may have left already.
        result->members_lost = session_.members() - static_cast<int>(rows.size());
        const double bytes = static_cast<double>(row_.bytes), members = session_.members();
        if (result->time_us > 0) {
            result->algbw_gbps = bytes / result->time_us * 1e-3;
        }
        result->busbw_gbps = result->algbw_gbps * 2 * (members - 1) / members;
        if (bytes > 0) {
            result->cpu_s_per_gb = cpu_s / (bytes * options_.iterations * options_.tags * 1e-9);
        }
    }

    Session& session_;
    const Options& options_;
    RowResult& row_;
    const tools::ValueKind kind_;
    std::vector<Block> blocks_;
};

}  // namespace

bool measure_row(Session& session, const Options& options, RowResult* row, std::string* error) {
    return RowMeasurement(session, options, *row).run(error);
}

}  // namespace pccl::perf
