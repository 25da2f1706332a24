// pcclGetFailures: who was lost, for programs that want to tell their operators.
#include <algorithm>
#include <cstring>

#include "capi/handles.h"
#include "capi/options.h"

using namespace pccl;
using namespace pccl::capi;

namespace {

template <size_t kBytes>
void copy_text(const std::string& from, char (&to)[kBytes]) {
    const size_t bytes = std::min(from.size(), kBytes - 1);
    std::memcpy(to, from.data(), bytes);
    to[bytes] = 0;
}

pcclFailure_t to_c(const core::Failure& failure, uint32_t group) {
    const wire::Loss& loss = failure.loss;
    pcclFailure_t out{};
    out.number = failure.number;
    std::memcpy(out.uuid.data, loss.member.data.data(), sizeof out.uuid.data);
    out.rank = loss.rank;
    out.peer_group = group;
    out.epoch_term = failure.epoch.term.count;
    out.epoch = failure.epoch.number;
    out.unix_time_us = loss.unix_time_us;
    out.heard = loss.heard;
    out.silent_us = loss.silent_us;
    out.received_bytes = loss.received_bytes;
    if (loss.heard) std::memcpy(out.heard_by.data, loss.heard_by.data.data(), sizeof out.heard_by.data);
    copy_text(loss.address, out.address);
    copy_text(loss.cause, out.cause);
    copy_text(loss.operations, out.operations);
    return out;
}

}  // namespace

pcclResult_t pcclGetFailures(const pcclComm_t* communicator, uint64_t after, pcclFailure_t* out,
                             size_t failure_bytes, size_t capacity, size_t* count) {
    return guarded(communicator, "pcclGetFailures", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        if (count == nullptr) return null_argument("count");
        if (out == nullptr && capacity > 0) return null_argument("out");
        // A program that was built with a later header has a longer struct, whose new fields stay 0; one that
        // was built with an earlier header gets the fields that it knows.
        if (failure_bytes < kFailureBytesMin)
            return {Code::INVALID_ARGUMENT, "failure_bytes must be sizeof(pcclFailure_t), at least " +
                                                std::to_string(kFailureBytesMin)};
        const core::View view = communicator->impl->view();
        *count = 0;
        if (!view.failures) return {};
        for (const core::Failure& failure : *view.failures) {
            if (failure.number <= after) continue;
            if (*count < capacity) {
                auto* at = reinterpret_cast<unsigned char*>(out) + *count * failure_bytes;
                const pcclFailure_t one = to_c(failure, communicator->impl->options().group);
                std::memset(at, 0, failure_bytes);
                std::memcpy(at, &one, std::min(failure_bytes, sizeof one));
            }
            ++*count;
        }
        return {};
    });
}
