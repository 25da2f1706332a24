// Starts the coordinator and the workers, kills and adds workers by the seed, watches for hangs, and collects
// what the workers report. One thread; it ends only processes that it started, by their ids.
#pragma once

#include <sys/types.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "common/process.h"
#include "ledger.h"
#include "messages.h"
#include "options.h"

namespace pccl::stress {

struct Totals {
    uint64_t kills = 0, joins = 0;
    uint64_t hangs = 0;
    uint64_t crashes = 0;       ///< workers that ended although nobody killed or asked them
    uint64_t bad_exits = 0;     ///< workers that did not leave gracefully when asked to
    uint64_t evictions = 0;     ///< memberships that a living worker held and lost
    uint64_t failed_joins = 0;  ///< attempts that did not make a worker a member; it tries again
    bool coordinator_failed = false;
    double seconds = 0;
};

class Orchestrator {
   public:
    Orchestrator(int argc, char** argv, const Options& options);
    ~Orchestrator();
    Orchestrator(const Orchestrator&) = delete;
    Orchestrator& operator=(const Orchestrator&) = delete;

    /// False: the run could not be carried out; `error` tells why.
    bool run(std::string* error);
    const Totals& totals() const { return totals_; }
    const Ledger& ledger() const { return ledger_; }

   private:
    struct Child {
        int number = 0;
        pid_t pid = -1;
        int control = -1;  ///< closed to ask it to leave
        int reports = -1;
        StatusPage* page = nullptr;
        std::string partial;  ///< of a line
    };

    bool start_worker(std::string* error);
    void churn(int64_t now_ns);
    void kill_one(int64_t now_ns);
    int64_t next_moment(double every_s, int64_t after_ns);
    void collect(int timeout_ms);
    void read_reports(Child& child);
    void handle(Child& child, const std::string& line);
    void bury(Child& child);
    void reap_crashed();
    void look_for_hangs(int64_t now_ns);
    void describe_workers(int64_t now_ns) const;
    void leave_all();
    void say(const std::string& text) const;

    const Options& options_;
    std::vector<std::string> worker_arguments_;
    std::mt19937_64 random_;
    tools::CoordinatorProcess coordinator_;
    std::vector<std::unique_ptr<Child>> children_;
    Ledger ledger_;
    Totals totals_;
    int next_number_ = 0;
    int64_t start_ns_ = 0;
    int64_t kill_at_ns_ = 0, join_at_ns_ = 0;
};

}  // namespace pccl::stress
