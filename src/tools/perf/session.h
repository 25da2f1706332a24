// One peer's membership in the run that is measured: joining, waiting for the others, reduces that are
// repeated after a loss, and the exchange of figures through small reduces of its own. Used by one thread;
// the watchdog has another.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "options.h"
#include "pccl/pccl.h"

namespace pccl::perf {

/// Ends the process, saying where it was, when nothing was reported for too long.
class Watchdog {
   public:
    explicit Watchdog(int timeout_s);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    /// `where` is a text that lives as long as the program.
    void report(const char* where);

   private:
    void watch(int timeout_s);

    std::atomic<int64_t> last_ns_;
    std::atomic<const char*> where_{"starting"};
    std::mutex mutex_;
    std::condition_variable wake_;
    bool ending_ = false;
    std::thread thread_;
};

/// The buffers of one operation that is in flight together with others.
struct Buffers {
    const void* send = nullptr;
    void* receive = nullptr;
};

class Session {
   public:
    explicit Session(const Options& options);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    /// Joins the run and returns when it has as many members as asked for. False: error() tells why.
    bool assemble();

    /// One operation for each pair of buffers, with the tags from 0 on, all in flight together; repeated
    /// after a loss.
    bool reduce(const std::vector<Buffers>& buffers, size_t count, pcclDataType_t type, pcclRedOp_t op);
    /// One row of numbers from each member that is still there, in the order of ranks. Empty: failure. Also a
    /// barrier.
    std::vector<std::vector<double>> gather(const std::vector<double>& mine);
    /// The same for a text of at most 95 bytes.
    std::vector<std::string> gather_text(const std::string& mine);

    int rank() const { return rank_; }  ///< at the start
    int members() const { return static_cast<int>(members_.size()); }
    /// The numbers, at the start, of the members whose inputs are in the last result of the tag.
    std::vector<uint64_t> contributor_keys(uint64_t tag) const;
    uint64_t retries() const { return retries_; }
    uint64_t connected_bytes() const { return connected_bytes_; }  ///< resident after the run was complete
    const std::string& error() const { return error_; }
    Watchdog& watchdog() { return watchdog_; }

   private:
    bool fail(const char* function, pcclResult_t result);
    bool reduce_one(const Buffers& buffers, const pcclReduceDescriptor_t& descriptor);
    bool reduce_many(const std::vector<Buffers>& buffers, pcclReduceDescriptor_t descriptor);
    bool sum_everywhere(void* data, size_t count, pcclDataType_t type);

    const Options& options_;
    Watchdog watchdog_;
    pcclComm_t* communicator_ = nullptr;
    std::vector<pcclRankUuid_t> members_;
    int rank_ = -1;
    uint64_t retries_ = 0;
    uint64_t connected_bytes_ = 0;
    std::string error_;
};

}  // namespace pccl::perf
