// One membership of a run: drives a core::Member with a libuv loop on a thread of its own.
//
// Threads: every public function may be called from any thread. The progress lock guards the member and all
// lanes; it is held by the loop thread inside its callbacks and by callers for the length of a call, never
// while either sleeps. A caller writes its first frames itself; only what a socket does not take at once is
// left to the loop. Log callbacks never run under the lock. The loop thread starts with connect() and ends
// with the destructor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "core/member.h"
#include "core/timeouts.h"

namespace pccl::runtime {

struct CommunicatorOptions {
    std::string master;  ///< host:port, [v6]:port
    uint32_t group = 0;
    bool report_failures = false;  ///< the group's retry policy, if this is its first member
    core::TimeoutWishes timeouts;
    uint32_t lanes = 0;  ///< per neighbour; 0: choose
    std::string bind_address;
    int port_first = 48149, port_last = 65535;  ///< port_first 0: any free port
    std::string advertise;  ///< host or host:port; empty: the addresses of the chosen interfaces
    std::string interface_filter;
    plan::Kind plan = plan::Kind::kAuto;
    uint32_t segment_bytes = 0;  ///< 0: default
    int spin_us = -1;  ///< how long a waiting thread looks again and again before it sleeps; below 0: choose
    bool adopt_highest_revision = true;
    LogLevel log_level = LogLevel::kError;
    LogSink log_sink;  ///< empty: stderr
};

class Communicator {
   public:
    explicit Communicator(CommunicatorOptions options);
    ~Communicator();  ///< leaves gracefully; blocks at most a second when the coordinator is gone
    Communicator(const Communicator&) = delete;
    Communicator& operator=(const Communicator&) = delete;

    /// Blocks until the run admits this peer. After a failure it can be called again, with a new identity.
    Status connect();
    bool connected() const;
    Status leave();

    /// Returns when the operation is queued. Buffers belong to the library until wait() returned its result.
    Status all_reduce_async(const core::ReduceCall& call, core::Ticket* ticket);
    /// kNever: without limit. Code::TIMEOUT: the operation goes on and the ticket stays valid. Otherwise
    /// `result` is filled, the ticket is forgotten, and the returned status is the operation's. An unknown
    /// ticket is INVALID_ARGUMENT.
    /// An interruption by the program is CANCELLED: with `goes_on` the operation goes on and the ticket stays
    /// valid, otherwise this peer has left the run.
    Status wait(core::Ticket ticket, TimeUs timeout, core::CallResult* result, bool goes_on = true);
    /// Whether wait() would return at once.
    Status test(core::Ticket ticket, bool* done);
    Status cancel(core::Ticket ticket);

    Status peers_pending(bool* pending);
    Status update_topology();
    Status optimize_topology();
    /// Computes hashes on the calling thread, then synchronises, again after a death, until it succeeds or
    /// fails for good. `tensors` hashes need not be filled. On success `result->revision` is the group's.
    Status synchronize(core::SyncCall call, core::CallResult* result);

    /// A snapshot taken at the end of the last communicator call that blocked or awaited.
    core::View view() const;
    MemberId id() const;
    const CommunicatorOptions& options() const;

   private:
    class Impl;
    struct Turn;
    std::unique_ptr<Impl> impl_;
};

}  // namespace pccl::runtime
