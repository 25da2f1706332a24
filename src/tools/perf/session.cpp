#include "session.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "common/api.h"
#include "common/resources.h"

namespace pccl::perf {
namespace {

constexpr uint64_t kFiguresTag = ~uint64_t{0} - 7;  // Apart from the measured operations, which count from 0.
constexpr int kAttemptsMax = 1000;
constexpr size_t kTextBytes = 96;
constexpr int kHungStatus = 3;

pcclReduceDescriptor_t describe(size_t count, pcclDataType_t type, pcclRedOp_t op, uint64_t tag) {
    pcclReduceDescriptor_t descriptor{};
    descriptor.count = count;
    descriptor.op = op;
    descriptor.tag = tag;
    descriptor.src_descriptor = {type, pcclDistributionNone};
    descriptor.quantization_options = {type, pcclQuantNone};
    return descriptor;
}

}  // namespace

Watchdog::Watchdog(int timeout_s) : last_ns_(tools::monotonic_ns()) {
    if (timeout_s > 0) {
        thread_ = std::thread([this, timeout_s] { watch(timeout_s); });
    }
}

Watchdog::~Watchdog() {
    if (thread_.joinable()) {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        wake_.notify_one();
        thread_.join();
    }
}

void Watchdog::report(const char* where) {
    where_.store(where, std::memory_order_relaxed);
    last_ns_.store(tools::monotonic_ns(), std::memory_order_relaxed);
}

void Watchdog::watch(int timeout_s) {
    std::unique_lock lock(mutex_);
    while (!wake_.wait_for(lock, std::chrono::milliseconds(500), [this] { return ending_; })) {
        const int64_t silent_ns = tools::monotonic_ns() - last_ns_.load(std::memory_order_relaxed);
        if (silent_ns > static_cast<int64_t>(timeout_s) * 1'000'000'000) {
            std::fprintf(stderr, "pccl-perf: no progress for %d s while %s; giving up\n", timeout_s,
                         where_.load(std::memory_order_relaxed));
            _exit(kHungStatus);
        }
    }
}

Session::Session(const Options& options) : options_(options), watchdog_(options.timeout_s) {}

Session::~Session() {
    watchdog_.report("leaving");
    if (communicator_ != nullptr) {
        pcclDestroyCommunicator(communicator_);
    }
}

bool Session::fail(const char* function, pcclResult_t result) {
    error_ = tools::api_error(function, result, communicator_);
    return false;
}

bool Session::assemble() {
    watchdog_.report("joining the run");
    pcclResult_t result = pcclInit();
    if (result != pcclSuccess) {
        return fail("pcclInit", result);
    }
    pcclCommConfig_t config = PCCL_COMM_CONFIG_INITIALIZER;
    config.master = options_.master.c_str();
    config.on_failure = pcclOnFailureReport;  // So that repetitions can be counted.
    config.lanes = options_.lanes;
    config.plan = options_.plan;
    config.segment_bytes = options_.segment_bytes;
    config.bind_address = options_.bind_address.empty() ? nullptr : options_.bind_address.c_str();
    config.advertise_address =
        options_.advertise_address.empty() ? nullptr : options_.advertise_address.c_str();
    if (options_.local_peer) {
        config.bind_address = "127.0.0.1";
        config.port_first = 0;
    }
    if ((result = pcclCreateCommunicatorEx(&config, &communicator_)) != pcclSuccess) {
        return fail("pcclCreateCommunicatorEx", result);
    }
    if ((result = pcclConnect(communicator_)) != pcclSuccess) {
        return fail("pcclConnect", result);
    }
    watchdog_.report("waiting for the other peers");
    int world = 0;
    while (true) {
        if ((result = pcclGetAttribute(communicator_, PCCL_ATTRIBUTE_PEER_GROUP_WORLD_SIZE, &world)) !=
            pcclSuccess) {
            return fail("pcclGetAttribute", result);
        }
        if (world >= options_.peers) {
            break;
        }
        if ((result = pcclUpdateTopology(communicator_)) != pcclSuccess) {
            return fail("pcclUpdateTopology", result);
        }
        poll(nullptr, 0, 2);  // Whoever is missing has yet to start: ask again in a moment.
    }
    members_ = tools::group_members(communicator_);
    if (world != options_.peers || members_.size() != static_cast<size_t>(world)) {
        error_ =
            "the run has " + std::to_string(world) + " members and not " + std::to_string(options_.peers);
        return false;
    }
    if ((result = pcclGetRank(communicator_, &rank_)) != pcclSuccess) {
        return fail("pcclGetRank", result);
    }
    if (gather({0}).empty()) {
        return false;
    }
    connected_bytes_ = tools::resident_bytes();
    return true;
}

bool Session::reduce_one(const Buffers& buffers, const pcclReduceDescriptor_t& descriptor) {
    for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
        const pcclResult_t result =
            pcclAllReduce(buffers.send, buffers.receive, &descriptor, communicator_, nullptr);
        if (result == pcclSuccess) {
            return true;
        }
        if (result != pcclRankConnectionLost) {
            return fail("pcclAllReduce", result);
        }
        ++retries_;
    }
    return fail("pcclAllReduce", pcclRankConnectionLost);
}

bool Session::reduce_many(const std::vector<Buffers>& buffers, pcclReduceDescriptor_t descriptor) {
    std::vector<uint64_t> open(buffers.size());
    for (size_t i = 0; i < open.size(); ++i) {
        open[i] = i;
    }
    for (int attempt = 0; attempt < kAttemptsMax && !open.empty(); ++attempt) {
        std::vector<pcclAsyncReduceOp_t> handles;
        pcclResult_t worst = pcclSuccess;
        for (uint64_t tag : open) {
            pcclAsyncReduceOp_t handle{};
            descriptor.tag = tag;
            worst = pcclAllReduceAsync(buffers[tag].send, buffers[tag].receive, &descriptor, communicator_,
                                       &handle);
            if (worst != pcclSuccess) {
                fail("pcclAllReduceAsync", worst);
                break;
            }
            handles.push_back(handle);
        }
        std::vector<uint64_t> again;
        for (const pcclAsyncReduceOp_t& handle : handles) {
            const pcclResult_t result = pcclAwaitAsyncReduce(&handle, nullptr);
            if (result == pcclRankConnectionLost) {
                again.push_back(handle.tag);
                ++retries_;
            } else if (result != pcclSuccess && worst == pcclSuccess) {
                fail("pcclAwaitAsyncReduce", result);
                worst = result;
            }
        }
        if (worst != pcclSuccess) {
            return false;
        }
        open = again;
    }
    return open.empty() || fail("pcclAwaitAsyncReduce", pcclRankConnectionLost);
}

bool Session::reduce(const std::vector<Buffers>& buffers, size_t count, pcclDataType_t type, pcclRedOp_t op) {
    const pcclReduceDescriptor_t descriptor = describe(count, type, op, 0);
    return buffers.size() == 1 ? reduce_one(buffers[0], descriptor) : reduce_many(buffers, descriptor);
}

bool Session::sum_everywhere(void* data, size_t count, pcclDataType_t type) {
    return reduce_one({data, data}, describe(count, type, pcclSum, kFiguresTag));
}

std::vector<std::vector<double>> Session::gather(const std::vector<double>& mine) {
    watchdog_.report("exchanging figures");
    // Each fills its own row of zeros, so the sum is the whole table. The first column marks who contributed.
    const size_t width = mine.size() + 1;
    std::vector<double> table(width * members_.size(), 0.0);
    double* row = table.data() + static_cast<size_t>(rank_) * width;
    row[0] = 1;
    std::copy(mine.begin(), mine.end(), row + 1);
    std::vector<std::vector<double>> rows;
    if (!sum_everywhere(table.data(), table.size(), pcclDouble)) {
        return rows;
    }
    for (size_t member = 0; member < members_.size(); ++member) {
        const double* start = table.data() + member * width;
        if (start[0] == 1) {
            rows.emplace_back(start + 1, start + width);
        }
    }
    return rows;
}

std::vector<std::string> Session::gather_text(const std::string& mine) {
    std::vector<char> table(kTextBytes * members_.size(), 0);
    std::memcpy(table.data() + static_cast<size_t>(rank_) * kTextBytes, mine.data(),
                std::min(mine.size(), kTextBytes - 1));
    std::vector<std::string> texts;
    if (sum_everywhere(table.data(), table.size(), pcclUint8)) {
        for (size_t member = 0; member < members_.size(); ++member) {
            texts.emplace_back(table.data() + member * kTextBytes);
        }
    }
    return texts;
}

std::vector<uint64_t> Session::contributor_keys(uint64_t tag) const {
    std::vector<uint64_t> keys;
    for (const pcclRankUuid_t& id : tools::contributors_of(communicator_, tag)) {
        for (size_t member = 0; member < members_.size(); ++member) {
            if (tools::same_id(id, members_[member])) {
                keys.push_back(member);
            }
        }
    }
    return keys;
}

}  // namespace pccl::perf
