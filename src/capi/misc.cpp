// Functions without a handle, the texts of failures, and small helpers of the other files in this folder.
#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "capi/handles.h"
#include "runtime/interrupt.h"
#include "transport/address.h"

namespace pccl::capi {
namespace {

constexpr size_t kRememberedMax = 32;

/// The failures of one thread: the last of all, and the last on each of some communicators, by serial number.
struct Failures {
    std::string last;
    std::vector<std::pair<uint64_t, std::string>> by_communicator;  // most recent last
};

Failures& failures() {
    thread_local Failures mine;
    return mine;
}

}  // namespace

std::atomic<bool> initialized{false};

uint64_t serial_of(const pcclComm_t* communicator) {
    return communicator == nullptr ? 0 : communicator->serial;
}

void note_failure(uint64_t serial, const char* function, const Status& status) noexcept {
    try {
        Failures& mine = failures();
        const std::string text =
            std::string(function) + ": " + (status.text().empty() ? code_text(status.code()) : status.text());
        mine.last = text;
        if (serial == 0) return;
        auto& list = mine.by_communicator;
        std::erase_if(list, [serial](const auto& entry) { return entry.first == serial; });
        if (list.size() == kRememberedMax) list.erase(list.begin());
        list.emplace_back(serial, text);
    } catch (...) {
        // Without memory for the text the code alone must do.
    }
}

Status usable(const pcclComm_t* communicator) {
    if (!initialized.load(std::memory_order_acquire)) return {Code::NOT_INITIALIZED, "call pcclInit first"};
    if (communicator == nullptr) return null_argument("communicator");
    return {};
}

Status null_argument(const char* name) {
    return {Code::INVALID_ARGUMENT, std::string("the argument ") + name + " is null"};
}

Status nothing_in_flight(const Book& book) {
    const std::lock_guard lock(book.mutex);
    size_t open = 0;
    uint64_t first_tag = 0;
    for (const auto& [tag, slot] : book.slots) {
        if (slot.state == Slot::State::kStale) continue;
        if (open++ == 0) first_tag = tag;
    }
    if (open == 0) return {};
    return {Code::PENDING_ASYNC_OPS, "reduces have not been awaited: " + std::to_string(open) +
                                         ", the first with tag " + std::to_string(first_tag)};
}

Status reduce_status(const Status& status) {
    switch (status.code()) {
        case Code::EVICTED: return {Code::RANK_CONNECTION_LOST, status.text()};
        case Code::MISMATCH: return {Code::INVALID_USAGE, status.text()};
        default: return status;
    }
}

Status address_text(const ccoip_socket_address_t& address, std::string* out) {
    char text[INET6_ADDRSTRLEN] = {};
    const int protocol = number_of(address.inet.protocol);
    if (protocol == inetIPv4) {
        inet_ntop(AF_INET, address.inet.ipv4.data, text, sizeof text);
    } else if (protocol == inetIPv6) {
        inet_ntop(AF_INET6, address.inet.ipv6.data, text, sizeof text);
    } else {
        return {Code::INVALID_ARGUMENT, "the address has the unknown protocol " + std::to_string(protocol)};
    }
    transport::SocketAddress numeric;
    transport::parse_numeric(text, address.port, &numeric);
    *out = numeric.text();
    return {};
}

Status copy_ids(const std::vector<MemberId>& ids, pcclRankUuid_t* out, size_t capacity, size_t* count) {
    if (count == nullptr) return null_argument("count");
    if (out == nullptr && capacity > 0) return null_argument("out");
    for (size_t i = 0; i < std::min(ids.size(), capacity); ++i) {
        std::memcpy(out[i].data, ids[i].data.data(), sizeof out[i].data);
    }
    *count = ids.size();
    return {};
}

}  // namespace pccl::capi

using namespace pccl;
using namespace pccl::capi;

pcclResult_t pcclInit(void) {
    initialized.store(true, std::memory_order_release);
    return pcclSuccess;
}

pcclResult_t pcclSetInterruptCheck(int (*check)(void)) {
    runtime::interrupt_check = check;
    return pcclSuccess;
}

pcclResult_t pcclGetBuildInfo(pcclBuildInfo_t* info) {
    return guarded(nullptr, "pcclGetBuildInfo", [&]() -> Status {
        if (info == nullptr) return null_argument("info");
        info->has_cuda_support = false;
        return {};
    });
}

pcclResult_t pcclGetVersion(int* version_code) {
    return guarded(nullptr, "pcclGetVersion", [&]() -> Status {
        if (version_code == nullptr) return null_argument("version_code");
        *version_code = PCCL_VERSION_CODE;
        return {};
    });
}

const char* pcclGetErrorString(pcclResult_t result) {
    return code_text(static_cast<Code>(number_of(result)));
}

const char* pcclGetLastError(const pcclComm_t* communicator) {
    const Failures& mine = failures();
    if (communicator == nullptr) return mine.last.c_str();
    for (const auto& [serial, text] : mine.by_communicator) {
        if (serial == communicator->serial) return text.c_str();
    }
    return "";
}
