#include "capi/reduce.h"

#include <algorithm>

#include "base/dtype.h"

namespace pccl::capi {
namespace {

Status bad_enum(const char* what, int value) {
    return {Code::INVALID_ARGUMENT, std::string("there is no ") + what + " " + std::to_string(value)};
}

Status check_enums(const pcclReduceDescriptor_t& descriptor) {
    const int dtype = number_of(descriptor.src_descriptor.datatype);
    const int hint = number_of(descriptor.src_descriptor.distribution_hint);
    const int op = number_of(descriptor.op);
    const int algorithm = number_of(descriptor.quantization_options.algorithm);
    if (dtype < 0 || dtype >= kDataTypeCount) return bad_enum("data type", dtype);
    if (op < 0 || op >= kRedOpCount) return bad_enum("reduction operator", op);
    if (hint < pcclDistributionNone || hint > pcclDistributionUniform)
        return bad_enum("distribution hint", hint);
    if (algorithm < pcclQuantNone || algorithm > pcclQuantZeroPointScale) {
        return bad_enum("quantisation algorithm", algorithm);
    }
    if (algorithm != pcclQuantNone) {
        return {Code::UNSUPPORTED, std::string("this build does not quantise (asked for ") +
                                       (algorithm == pcclQuantMinMax ? "min-max" : "zero-point and scale") +
                                       "): use pcclQuantNone"};
    }
    return {};
}

Status lost(uint64_t tag, const char* why) {
    return {Code::RANK_CONNECTION_LOST, "the reduce with tag " + std::to_string(tag) + " " + why};
}

void note_contributors(Book& book, uint64_t tag, std::vector<MemberId> contributors) {
    auto [entry, fresh] = book.contributors.insert_or_assign(tag, std::move(contributors));
    if (!fresh) return;
    book.contributors_order.push_back(tag);
    if (book.contributors_order.size() > Book::kContributorsMax) {
        book.contributors.erase(book.contributors_order.front());
        book.contributors_order.pop_front();
    }
}

}  // namespace

Status check_reduce(const void* send, void* receive, const pcclReduceDescriptor_t& descriptor,
                    core::ReduceCall* out) {
    if (Status status = check_enums(descriptor); !status) return status;
    const auto dtype = static_cast<DataType>(number_of(descriptor.src_descriptor.datatype));
    uint64_t bytes = 0;
    if (__builtin_mul_overflow(static_cast<uint64_t>(descriptor.count), uint64_t{size_of(dtype)}, &bytes) ||
        bytes > static_cast<uint64_t>(PTRDIFF_MAX)) {
        return {Code::INVALID_ARGUMENT, "a count of " + std::to_string(descriptor.count) + " elements of " +
                                            name_of(dtype) + " is more than an address space holds"};
    }
    if (bytes > 0 && send == nullptr) return null_argument("sendbuff");
    if (bytes > 0 && receive == nullptr) return null_argument("recvbuff");
    const auto send_at = reinterpret_cast<uintptr_t>(send), receive_at = reinterpret_cast<uintptr_t>(receive);
    if (bytes > UINTPTR_MAX - std::max(send_at, receive_at)) {
        return {Code::INVALID_ARGUMENT,
                "a buffer of " + std::to_string(bytes) + " bytes reaches beyond the address space"};
    }
    const uintptr_t distance = send_at < receive_at ? receive_at - send_at : send_at - receive_at;
    if (distance != 0 && distance < bytes) {
        return {Code::INVALID_ARGUMENT, "sendbuff and recvbuff overlap in part; they must be equal or apart"};
    }
    out->send = static_cast<const uint8_t*>(send);
    out->receive = static_cast<uint8_t*>(receive);
    out->count = descriptor.count;
    out->dtype = dtype;
    out->op = static_cast<RedOp>(number_of(descriptor.op));
    out->tag = descriptor.tag;
    return {};
}

Status launch(const pcclComm_t* communicator, const core::ReduceCall& call) {
    Book& book = *communicator->book;
    {
        const std::lock_guard lock(book.mutex);
        Slot& slot = book.slots.try_emplace(call.tag, Slot{Slot::State::kStale}).first->second;
        if (slot.state != Slot::State::kStale) {
            return {Code::INVALID_ARGUMENT, "a reduce with tag " + std::to_string(call.tag) +
                                                " is in flight already: await it first"};
        }
        slot = Slot{};
    }
    core::Ticket ticket = 0;
    Status status = communicator->impl->all_reduce_async(call, &ticket);
    const std::lock_guard lock(book.mutex);
    if (status) {
        book.slots[call.tag] = {Slot::State::kOpen, ticket};
    } else {
        book.slots.erase(call.tag);
    }
    return status;
}

Status await(const pcclComm_t* communicator, uint64_t tag, TimeUs timeout, pcclReduceInfo_t* info,
             bool goes_on) {
    Book& book = *communicator->book;
    core::Ticket ticket = 0;
    {
        const std::lock_guard lock(book.mutex);
        const auto found = book.slots.find(tag);
        if (found == book.slots.end())
            return lost(tag, "is not in flight: it was never started, or awaited before");
        Slot& slot = found->second;
        if (slot.state == Slot::State::kStale) {
            book.slots.erase(found);
            return lost(tag, "belonged to a membership that has ended");
        }
        if (slot.state != Slot::State::kOpen) return lost(tag, "is awaited by another thread");
        slot.state = Slot::State::kAwaited;
        ticket = slot.ticket;
    }
    core::CallResult result;
    Status status = communicator->impl->wait(ticket, timeout, &result, goes_on);
    bool ended = true;
    // An operation that was cancelled itself is CANCELLED too, but then its ticket is gone.
    const bool interrupted =
        goes_on && status.code() == Code::CANCELLED && communicator->impl->test(ticket, &ended).ok();
    const std::lock_guard lock(book.mutex);
    if (interrupted || (status.code() == Code::TIMEOUT && timeout != kNever)) {
        book.slots[tag].state = Slot::State::kOpen;
        return status;
    }
    book.slots.erase(tag);
    // The runtime knows no such operation any more: the membership it belonged to has ended meanwhile.
    if (status.code() == Code::INVALID_ARGUMENT) return lost(tag, "belonged to a membership that has ended");
    if (!status) return status;
    if (info != nullptr) {
        info->local_world_size = static_cast<uint32_t>(result.contributors.size());
        info->tx_bytes = result.tx_bytes;
        info->rx_bytes = result.rx_bytes;
    }
    note_contributors(book, tag, std::move(result.contributors));
    return {};
}

namespace {

/// The communicator and the ticket behind a handle whose operation has not been awaited.
Status find_open(const pcclAsyncReduceOp_t& handle, Slot* out) {
    const Book& book = *handle.comm->book;
    const std::lock_guard lock(book.mutex);
    const auto found = book.slots.find(handle.tag);
    if (found == book.slots.end() || found->second.state == Slot::State::kLaunching) {
        return {Code::INVALID_ARGUMENT, "no reduce with tag " + std::to_string(handle.tag) + " is in flight"};
    }
    *out = found->second;
    return {};
}

Status check_handle(const pcclAsyncReduceOp_t* handle) {
    if (!initialized.load()) return {Code::NOT_INITIALIZED, "call pcclInit first"};
    if (handle == nullptr) return null_argument("reduce_handle");
    return usable(handle->comm);
}

const pcclComm_t* communicator_of(const pcclAsyncReduceOp_t* handle) {
    return handle == nullptr ? nullptr : handle->comm;
}

}  // namespace
}  // namespace pccl::capi

using namespace pccl;
using namespace pccl::capi;

pcclResult_t pcclAllReduce(const void* sendbuff, void* recvbuff, const pcclReduceDescriptor_t* descriptor,
                           const pcclComm_t* communicator, pcclReduceInfo_t* reduce_info_out) {
    return guarded(communicator, "pcclAllReduce", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        if (descriptor == nullptr) return null_argument("descriptor");
        core::ReduceCall call;
        Status status = check_reduce(sendbuff, recvbuff, *descriptor, &call);
        if (status) status = launch(communicator, call);
        if (status) status = await(communicator, call.tag, kNever, reduce_info_out, false);
        return reduce_status(status);
    });
}

pcclResult_t pcclAllReduceAsync(const void* sendbuff, void* recvbuff,
                                const pcclReduceDescriptor_t* descriptor, const pcclComm_t* communicator,
                                pcclAsyncReduceOp_t* reduce_handle_out) {
    return guarded(communicator, "pcclAllReduceAsync", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        if (descriptor == nullptr) return null_argument("descriptor");
        if (reduce_handle_out == nullptr) return null_argument("reduce_handle_out");
        core::ReduceCall call;
        Status status = check_reduce(sendbuff, recvbuff, *descriptor, &call);
        if (status) status = launch(communicator, call);
        if (!status) return reduce_status(status);
        reduce_handle_out->comm = const_cast<pcclComm_t*>(communicator);
        reduce_handle_out->tag = descriptor->tag;
        return {};
    });
}

pcclResult_t pcclAwaitAsyncReduce(const pcclAsyncReduceOp_t* reduce_handle,
                                  pcclReduceInfo_t* reduce_info_out) {
    return guarded(communicator_of(reduce_handle), "pcclAwaitAsyncReduce", [&]() -> Status {
        if (Status status = check_handle(reduce_handle); !status) return status;
        return reduce_status(await(reduce_handle->comm, reduce_handle->tag, kNever, reduce_info_out, true));
    });
}

pcclResult_t pcclAsyncReduceTest(const pcclAsyncReduceOp_t* reduce_handle, bool* done) {
    return guarded(communicator_of(reduce_handle), "pcclAsyncReduceTest", [&]() -> Status {
        if (Status status = check_handle(reduce_handle); !status) return status;
        if (done == nullptr) return null_argument("done");
        Slot slot;
        if (Status status = find_open(*reduce_handle, &slot); !status) return status;
        bool ended = true;
        if (slot.state != Slot::State::kStale) {
            if (Status status = reduce_handle->comm->impl->test(slot.ticket, &ended); !status) return status;
        }
        *done = ended;
        return {};
    });
}

pcclResult_t pcclAsyncReduceWait(const pcclAsyncReduceOp_t* reduce_handle, int timeout_ms,
                                 pcclReduceInfo_t* reduce_info_out) {
    return guarded(communicator_of(reduce_handle), "pcclAsyncReduceWait", [&]() -> Status {
        if (Status status = check_handle(reduce_handle); !status) return status;
        const TimeUs timeout = timeout_ms < 0 ? kNever : timeout_ms * kMillisecond;
        return reduce_status(await(reduce_handle->comm, reduce_handle->tag, timeout, reduce_info_out, true));
    });
}

pcclResult_t pcclAsyncReduceCancel(const pcclAsyncReduceOp_t* reduce_handle) {
    return guarded(communicator_of(reduce_handle), "pcclAsyncReduceCancel", [&]() -> Status {
        if (Status status = check_handle(reduce_handle); !status) return status;
        Slot slot;
        if (Status status = find_open(*reduce_handle, &slot); !status) return status;
        if (slot.state == Slot::State::kStale) return {};
        return reduce_status(reduce_handle->comm->impl->cancel(slot.ticket));
    });
}

pcclResult_t pcclGetContributors(const pcclComm_t* communicator, uint64_t tag, pcclRankUuid_t* out,
                                 size_t capacity, size_t* count) {
    return guarded(communicator, "pcclGetContributors", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        const std::lock_guard lock(communicator->book->mutex);
        const auto found = communicator->book->contributors.find(tag);
        if (found == communicator->book->contributors.end()) {
            return {Code::INVALID_ARGUMENT, "there is no result with tag " + std::to_string(tag)};
        }
        return copy_ids(found->second, out, capacity, count);
    });
}
