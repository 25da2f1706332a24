// Serves a run: drives a core::Coordinator with a libuv loop on a thread of its own.
//
// Threads: functions may be called from any thread, one at a time; the coordinator itself runs on the loop
// thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "core/timeouts.h"

namespace pccl::runtime {

struct MasterOptions {
    std::vector<std::string> listen;  ///< "host:port" each; port 0: any free port
    std::string state_dir;            ///< empty: no durable record
    bool majority = false;            ///< as in core::CoordinatorConfig
    bool record_lost = false;
    core::TimeoutWishes timeouts;
    LogLevel log_level = LogLevel::kError;
    LogSink log_sink;  ///< empty: stderr
};

class MasterServer {
   public:
    explicit MasterServer(MasterOptions options);
    ~MasterServer();
    MasterServer(const MasterServer&) = delete;
    MasterServer& operator=(const MasterServer&) = delete;

    /// Binds every address and serves on a thread. Fails when an address does not parse, a port is busy, the
    /// state directory is locked by another, or it runs already; it can be called again after a failure or
    /// after the end.
    Status start();
    /// Asks to stop; idempotent.
    void interrupt();
    /// Blocks until the serving thread has ended.
    void await_end();
    bool running() const;
    /// The bound addresses as "host:port", in the order of `listen`.
    std::vector<std::string> addresses() const;
    uint16_t port() const;  ///< of the first address; 0 when not started

   private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace pccl::runtime
