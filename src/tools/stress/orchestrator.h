// The process that the user started: runs the coordinator and the workers, chooses by the seed whom a fault
// hits and when, watches for hangs and leaks, and collects what the workers report. One thread; it ends only
// processes that it started, by their ids.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "child.h"
#include "common/process.h"
#include "leaks.h"
#include "ledger.h"
#include "network.h"
#include "options.h"

namespace pccl::stress {

struct Totals {
    uint64_t kills = 0, joins = 0, freezes = 0, coordinator_kills = 0, partitions = 0;
    uint64_t hangs = 0;
    uint64_t crashes = 0;             ///< workers that ended although nobody killed or asked them
    uint64_t bad_exits = 0;           ///< workers that did not leave gracefully when asked to
    uint64_t evictions = 0;           ///< memberships that a living worker lost without a fault of ours
    uint64_t evictions_by_fault = 0;  ///< of workers that had been frozen or cut off
    uint64_t evictions_starved = 0;   ///< while the machine did not run us
    uint64_t errors = 0;              ///< results that no fault explains, such as an internal error
    uint64_t leaks = 0;               ///< processes
    uint64_t failed_joins = 0;        ///< attempts that did not make a worker a member; it tries again
    uint64_t retried_votes = 0;
    bool coordinator_failed = false;
    bool partitions_skipped = false;
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
    const LeakCheck& worker_leaks() const { return worker_leaks_; }
    const LeakCheck& coordinator_leaks() const { return coordinator_leaks_; }

   private:
    struct Partition {
        std::vector<Flow> flows;
        std::vector<int> workers;  ///< whom it concerns
        int64_t heal_at_ns;
    };

    // orchestrator.cpp
    bool prepare(std::string* error);
    bool start_coordinator(std::string* error);
    bool start_worker(std::string* error);
    void step(int64_t next_ns);
    void collect(int timeout_ms);
    void read_reports(Child& child);
    void handle(Child& child, const std::string& line);
    void lost(const Child& child, const Message& message);
    void bury(Child& child);
    void reap_crashed();
    void describe_workers(int64_t now_ns) const;
    void look_for_hangs(int64_t now_ns);
    void run_with_faults();
    bool is_quiet() const;
    bool await_quiet();
    void measure_start();
    void look_for_leaks();
    void leave_all();
    void say(const std::string& text) const;
    void say_if_verbose(const std::string& text) const;

    // orchestrator_faults.cpp
    void begin_faults(int64_t now_ns);
    void faults(int64_t now_ns);
    void end_faults();
    int64_t next_fault_ns() const;
    int64_t draw_ns(const Interval& interval);
    int64_t next_moment(const Interval& interval, int64_t after_ns);
    bool due(const Interval& interval, int64_t now_ns, int64_t* at_ns);
    Child* pick(bool (*suits)(const Child&, const Options&));
    void kill_one();
    void join_one();
    void freeze_one();
    void thaw(Child& child);
    void kill_coordinator();
    void restart_coordinator();
    void break_network();
    std::vector<Flow> flows_of(Child& one, std::vector<int>* workers);
    void heal(Partition& partition);
    int64_t grace_ns() const;

    const Options& options_;
    std::vector<std::string> worker_arguments_;
    std::mt19937_64 random_;
    Network network_;
    bool has_network_ = false;
    tools::CoordinatorProcess coordinator_;
    std::string state_folder_;  ///< of the coordinator's record; empty: none is kept
    int port_ = 0;
    std::vector<std::unique_ptr<Child>> children_;
    std::vector<Partition> partitions_;
    Ledger ledger_;
    LeakCheck worker_leaks_, coordinator_leaks_;
    Totals totals_;
    int next_number_ = 0;
    int64_t start_ns_ = 0;
    int64_t stepped_ns_ = 0;
    int64_t kill_at_ns_ = INT64_MAX, join_at_ns_ = INT64_MAX, freeze_at_ns_ = INT64_MAX,
            coordinator_kill_at_ns_ = INT64_MAX, partition_at_ns_ = INT64_MAX;
    int64_t coordinator_killed_ns_ = 0, coordinator_back_at_ns_ = INT64_MAX;
    int64_t starved_until_ns_ = 0;
};

}  // namespace pccl::stress
