// What the opaque handles of the C interface hold, and the helpers that all its functions use.
//
// Threads: any. A communicator's own mutex guards its books of tags only and is never held during a call into
// the runtime.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "pccl/pccl.h"
#include "runtime/communicator.h"
#include "runtime/master_server.h"

namespace pccl::capi {

/// A reduce between its call and its await.
struct Slot {
    enum class State : uint8_t {
        kLaunching,  ///< the call is on its way; the handle is not out yet
        kOpen,
        kAwaited,  ///< a thread waits for it
        kStale,    ///< of a membership that has ended since
    };
    State state = State::kLaunching;
    core::Ticket ticket = 0;
};

/// A communicator's open tags, and who contributed to the last results.
struct Book {
    static constexpr size_t kContributorsMax = 4096;

    mutable std::mutex mutex;
    std::map<uint64_t, Slot> slots;
    std::map<uint64_t, std::vector<MemberId>> contributors;
    std::deque<uint64_t> contributors_order;  ///< oldest first; bounds the map above
    bool tainted = false;                     ///< an interrupted synchronisation left tensors undefined
};

/// Set by pcclInit.
extern std::atomic<bool> initialized;

/// Notes the text of a failure for pcclGetLastError. `serial` 0: no communicator.
void note_failure(uint64_t serial, const char* function, const Status& status) noexcept;
uint64_t serial_of(const pcclComm_t* communicator);

/// Runs the body of a C function: turns its status into a code with a text, and lets no exception out.
template <class Body>
pcclResult_t guarded(const pcclComm_t* communicator, const char* function, Body&& body) noexcept {
    Status status;
    try {
        status = body();
        if (status.ok()) return pcclSuccess;
        note_failure(serial_of(communicator), function, status);
        return static_cast<pcclResult_t>(status.code());
    } catch (const std::bad_alloc&) {
        note_failure(serial_of(communicator), function, Status(Code::RESOURCE_LIMIT, {}));
        return pcclResourceLimit;
    } catch (const std::exception& error) {
        try {
            status = Status(Code::INTERNAL_ERROR, error.what());
        } catch (...) {
            status = Status();
        }
    } catch (...) {
    }
    note_failure(serial_of(communicator), function, status.ok() ? Status(Code::INTERNAL_ERROR, {}) : status);
    return pcclInternalError;
}

/// NOT_INITIALIZED before pcclInit, INVALID_ARGUMENT for null.
Status usable(const pcclComm_t* communicator);

/// INVALID_ARGUMENT that says which parameter is null.
Status null_argument(const char* name);

/// PENDING_ASYNC_OPS, with a tag, while reduces have not been awaited.
Status nothing_in_flight(const Book& book);

/// The code that a reduce of 1.0 returns in place of one that 1.0 did not have.
Status reduce_status(const Status& status);

/// A C enumerator whose value may be any number, as an int without undefined behaviour.
template <class Enum>
int number_of(const Enum& value) {
    static_assert(sizeof(Enum) == sizeof(int));
    int number;
    __builtin_memcpy(&number, &value, sizeof number);
    return number;
}

/// "a.b.c.d:port" or "[v6]:port"; INVALID_ARGUMENT for an unknown protocol.
Status address_text(const ccoip_socket_address_t& address, std::string* out);

/// Copies ids to a caller's array of `capacity`; `count` becomes their number.
Status copy_ids(const std::vector<MemberId>& ids, pcclRankUuid_t* out, size_t capacity, size_t* count);

}  // namespace pccl::capi

struct pcclComm_t {
    uint64_t serial = 0;
    std::unique_ptr<pccl::runtime::Communicator> impl;
    /// Behind a pointer, since the interface takes communicators as const where the books change.
    std::unique_ptr<pccl::capi::Book> book = std::make_unique<pccl::capi::Book>();
};

struct pcclMasterInstanceState_t {
    std::unique_ptr<pccl::runtime::MasterServer> server;
    std::atomic<bool> started{false};  ///< it was run successfully at least once
};
