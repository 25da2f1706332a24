// pcclSynchronizeSharedState.
#include <set>

#include "base/dtype.h"
#include "capi/handles.h"

using namespace pccl;
using namespace pccl::capi;

namespace {

Status check_tensor(const pcclTensorInfo_t& info, core::SharedTensor* out) {
    if (info.name == nullptr || *info.name == '\0') return {Code::INVALID_ARGUMENT, "a tensor has no name"};
    out->name = info.name;
    const std::string who = "the tensor \"" + out->name + "\" ";
    const int dtype = number_of(info.datatype), device = number_of(info.device_type);
    if (dtype < 0 || dtype >= kDataTypeCount) {
        return {Code::INVALID_ARGUMENT, who + "has the unknown data type " + std::to_string(dtype)};
    }
    if (device == pcclDeviceCuda) {
        return {Code::INVALID_ARGUMENT,
                who + "lies in CUDA memory, which this build does not support: copy it to the host"};
    }
    if (device != pcclDeviceCpu) {
        return {Code::INVALID_ARGUMENT, who + "has the unknown device type " + std::to_string(device)};
    }
    out->dtype = static_cast<DataType>(dtype);
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(static_cast<uint64_t>(info.count), uint64_t{size_of(out->dtype)}, &bytes) ||
        bytes > static_cast<uint64_t>(PTRDIFF_MAX) ||
        bytes > UINTPTR_MAX - reinterpret_cast<uintptr_t>(info.data)) {
        return {Code::INVALID_ARGUMENT, who + "is larger than the address space"};
    }
    if (info.data == nullptr && bytes > 0)
        return {Code::INVALID_ARGUMENT, who + "has a null pointer for its data"};
    out->data = static_cast<uint8_t*>(info.data);
    out->count = info.count;
    out->allow_inequality = info.allow_content_inequality;
    return {};
}

Status check_state(const pcclSharedState_t& state, int strategy, core::SyncCall* out) {
    if (strategy < PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR ||
        strategy > PCCL_SHARED_STATE_SYNC_STRATEGY_SEND_ONLY) {
        return {Code::INVALID_ARGUMENT, "there is no strategy " + std::to_string(strategy)};
    }
    if (state.count > 0 && state.infos == nullptr) return null_argument("shared_state->infos");
    std::set<std::string> names;
    for (size_t i = 0; i < state.count; ++i) {
        core::SharedTensor tensor;
        if (Status status = check_tensor(state.infos[i], &tensor); !status) return status;
        if (!names.insert(tensor.name).second) {
            return {Code::INVALID_ARGUMENT, "two tensors have the name \"" + tensor.name + "\""};
        }
        out->tensors.push_back(std::move(tensor));
    }
    out->revision = state.revision;
    out->strategy = static_cast<core::SyncStrategy>(strategy);
    return {};
}

/// PCCL 1.0 has InvalidUsage for all failures that are neither the caller's arguments nor its open
/// operations.
Status sync_status(const Status& status) {
    switch (status.code()) {
        case Code::SUCCESS:
        case Code::INVALID_ARGUMENT:
        case Code::PENDING_ASYNC_OPS:
        case Code::NO_SHARED_STATE_AVAILABLE:
        case Code::INTERNAL_ERROR:
        case Code::RESOURCE_LIMIT: return status;
        default: return {Code::INVALID_USAGE, status.text()};
    }
}

}  // namespace

pcclResult_t pcclSynchronizeSharedState(const pcclComm_t* communicator, pcclSharedState_t* shared_state,
                                        pcclSharedStateSyncStrategy_t strategy,
                                        pcclSharedStateSyncInfo_t* sync_info_out) {
    return guarded(communicator, "pcclSynchronizeSharedState", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        if (shared_state == nullptr) return null_argument("shared_state");
        core::SyncCall call;
        if (Status status = check_state(*shared_state, number_of(strategy), &call); !status) return status;
        Book& book = *communicator->book;
        if (Status status = nothing_in_flight(book); !status) return status;
        {
            const std::lock_guard lock(book.mutex);
            call.tainted = book.tainted;
        }
        core::CallResult result;
        Status status = communicator->impl->synchronize(std::move(call), &result);
        const std::lock_guard lock(book.mutex);
        book.tainted = status ? false : book.tainted || result.tainted;
        if (!status) return sync_status(status);
        shared_state->revision = result.revision;
        if (sync_info_out != nullptr) {
            sync_info_out->tx_bytes = result.tx_bytes;
            sync_info_out->rx_bytes = result.rx_bytes;
        }
        return {};
    });
}
