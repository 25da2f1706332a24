// pcclAllReduceMultipleWithRetry.
//
// The lowest operations that are not done are the ones in flight, and the lowest in flight is the one
// awaited. Members may be at different points, but what is committed is committed for all of them, so that
// the lowest operation that is not is always in flight everywhere: no member waits for one that another has
// put off.
#include <algorithm>
#include <set>

#include "capi/reduce.h"

using namespace pccl;
using namespace pccl::capi;

namespace {

class Batch {
   public:
    Batch(const pcclComm_t* communicator, std::vector<core::ReduceCall> calls, size_t in_flight_max)
        : communicator_(communicator), calls_(std::move(calls)), in_flight_max_(in_flight_max) {
        for (size_t i = 0; i < calls_.size(); ++i) waiting_.insert(waiting_.end(), i);
        sum_.local_world_size = UINT32_MAX;
    }

    Status run() {
        while (!waiting_.empty() || !in_flight_.empty()) {
            Status status = fill();
            if (status) status = reap();
            if (!status) {
                drain();
                return status;
            }
        }
        return {};
    }
    const pcclReduceInfo_t& info() const { return sum_; }

   private:
    static bool can_retry(const Status& status) { return status.code() == Code::RANK_CONNECTION_LOST; }

    Status fill() {
        while (in_flight_.size() < in_flight_max_ && !waiting_.empty()) {
            const size_t index = *waiting_.begin();
            // A name that failed before it was called here is reported by this call; the next one starts
            // afresh.
            const Status status = launch(communicator_, calls_[index]);
            if (can_retry(status)) continue;
            if (!status) return status;
            waiting_.erase(waiting_.begin());
            in_flight_.insert(index);
        }
        return {};
    }

    Status reap() {
        const size_t index = *in_flight_.begin();
        in_flight_.erase(in_flight_.begin());
        pcclReduceInfo_t info{};
        const Status status = await(communicator_, calls_[index].tag, kNever, &info, false);
        if (can_retry(status)) {
            waiting_.insert(index);
            return {};
        }
        if (!status) return status;
        sum_.local_world_size = std::min(sum_.local_world_size, info.local_world_size);
        sum_.tx_bytes += info.tx_bytes;
        sum_.rx_bytes += info.rx_bytes;
        return {};
    }

    /// The buffers belong to the library until each operation has ended.
    void drain() {
        for (const size_t index : in_flight_) await(communicator_, calls_[index].tag, kNever, nullptr, false);
        in_flight_.clear();
    }

    const pcclComm_t* communicator_;
    const std::vector<core::ReduceCall> calls_;
    const size_t in_flight_max_;
    std::set<size_t> waiting_, in_flight_;
    pcclReduceInfo_t sum_{};
};

Status check_batch(const pcclReduceOpDescriptor_t* descriptors, size_t count,
                   std::vector<core::ReduceCall>* out) {
    std::set<uint64_t> tags;
    for (size_t i = 0; i < count; ++i) {
        const pcclReduceOpDescriptor_t& one = descriptors[i];
        Status status = check_reduce(one.sendbuf, one.recvbuf, one.descriptor, &out->emplace_back());
        if (!status) return {status.code(), "descriptor " + std::to_string(i) + ": " + status.text()};
        if (!tags.insert(one.descriptor.tag).second) {
            return {Code::INVALID_ARGUMENT,
                    "two descriptors have the tag " + std::to_string(one.descriptor.tag)};
        }
    }
    return {};
}

}  // namespace

pcclResult_t pcclAllReduceMultipleWithRetry(const pcclReduceOpDescriptor_t* descriptors, size_t count,
                                            const pcclComm_t* communicator, pcclReduceInfo_t* reduce_info_out,
                                            int max_in_flight) {
    return guarded(communicator, "pcclAllReduceMultipleWithRetry", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        if (descriptors == nullptr) return null_argument("descriptors");
        if (count == 0) return {Code::INVALID_ARGUMENT, "the count of descriptors is 0"};
        if (max_in_flight < 1) {
            return {Code::INVALID_ARGUMENT,
                    "max_in_flight is " + std::to_string(max_in_flight) + ", it must be at least 1"};
        }
        std::vector<core::ReduceCall> calls;
        if (Status status = check_batch(descriptors, count, &calls); !status) return status;
        Batch batch(communicator, std::move(calls), static_cast<size_t>(max_in_flight));
        Status status = batch.run();
        if (status && reduce_info_out != nullptr) *reduce_info_out = batch.info();
        return reduce_status(status);
    });
}
