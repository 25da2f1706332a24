// One run: the clock, the processes, the coordinator, the network between them, and what goes wrong.
//
// Single-threaded. Nothing here reads a clock or a random device: two runs of one scenario are the same event
// for event.
#pragma once

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/mutations.h"
#include "sim/coordinator_node.h"
#include "sim/event_queue.h"
#include "sim/faults.h"
#include "sim/history.h"
#include "sim/network.h"
#include "sim/process.h"
#include "sim/random.h"
#include "sim/scenario.h"
#include "sim/trace.h"

namespace pccl::sim {

struct Violation {
    std::string invariant;
    TimeUs time = 0;
    std::string what;
};

struct Statistics {
    uint64_t events = 0;
    TimeUs virtual_time = 0;
    uint64_t processes = 0, faults = 0, evictions = 0, epochs = 0;
    uint64_t successes = 0, errors = 0;
    uint64_t kept_bytes = 0;       ///< of others' inputs that epoch changes left folded
    uint64_t redo_kept_bytes = 0;  ///< of these, in operations that survivors ran again
    uint64_t verdicts[7] = {};     ///< decisions received, by wire::Verdict
    void add(const Statistics& other);
};

struct RunResult {
    std::vector<Violation> violations;
    uint64_t hash = 0;
    Statistics statistics;
    bool ok() const { return violations.empty(); }
};

struct RunOptions {
    core::Mutations mutations;
    std::FILE* trace = nullptr;  ///< one line per event
    uint64_t events_max = 3'000'000;
    uint32_t violations_max = 5;  ///< a broken run is not followed for long
};

class World {
   public:
    World(const Scenario& scenario, const RunOptions& options);
    ~World();

    RunResult run();

    // ---- for the parts
    TimeUs now() const { return now_; }
    Random& random() { return random_; }
    Trace& trace() { return trace_; }
    History& history() { return history_; }
    Network& network() { return network_; }
    CoordinatorNode& coordinator() { return *coordinator_; }
    Faults& faults() { return faults_; }
    const Scenario& scenario() const { return scenario_; }
    const RunOptions& options() const { return options_; }
    Statistics& statistics() { return statistics_; }

    void schedule(TimeUs delay, EventKind kind, int node, uint32_t object = 0, uint32_t detail = 0,
                  uint64_t number = 0);
    void fail(const char* invariant, const std::string& what);
    /// Counts as progress: a call ended.
    void progress() { progress_ = now_; }
    /// One line of the trace; `rest` is a function that makes the text, called only when somebody reads it.
    template <class Rest>
    void note(int node, const char* what, int whom, Rest rest) {
        if (trace_.verbose()) trace_.line(now_, name(node), what, whom == kNoNode ? "" : name(whom), rest());
    }

    int process_count() const { return static_cast<int>(processes_.size()); }
    Process& process(int node) { return *processes_[static_cast<size_t>(node)]; }
    /// Not crashed, not ended.
    bool alive(int node) const;
    int node_of(const MemberId& id) const { return history_.process_of(id); }
    int spawn(uint32_t group, uint32_t generation);
    static std::string name(int node);

    /// One way between two nodes, the coordinator included; at least as late as any stall.
    TimeUs latency(int from, int to);
    TimeUs stalled_until(int from, int to) const;
    void stall(int from, int to, TimeUs until);
    void pause(int node, TimeUs until);
    bool broken(int a, int b) const { return broken_.contains({std::min(a, b), std::max(a, b)}); }
    void break_pair(int a, int b) { broken_.insert({std::min(a, b), std::max(a, b)}); }

    /// Frames kept to arrive once more (I5).
    /// `from`: a node; `to`: the coordinator or a node. `stream`: of a frame to or from the coordinator.
    void keep_for_replay(int to, int from, wire::Type type, std::span<const uint8_t> body,
                         uint32_t stream = 0);

    std::string describe();

   private:
    struct Kept {
        int from = kNoNode;
        uint32_t stream = 0;
        wire::Type type = wire::Type::kHeartbeat;
        std::vector<uint8_t> body;
    };

    bool step();
    void dispatch(const Event& event);
    void replay(const Event& event);
    bool replay_to_coordinator(const Kept& kept);
    bool replay_to_member(int node, const Kept& kept);
    bool finished() const;
    bool stuck() const;
    void after(int node);

    const Scenario scenario_;
    const RunOptions options_;
    Random random_;
    Trace trace_;
    EventQueue queue_;
    TimeUs now_ = 0;
    TimeUs progress_ = 0;
    std::vector<Violation> violations_;
    Statistics statistics_;
    History history_;
    Network network_;
    Faults faults_;
    std::unique_ptr<CoordinatorNode> coordinator_;
    std::vector<std::unique_ptr<Process>> processes_;
    std::vector<std::pair<uint32_t, uint32_t>> to_spawn_;  ///< group, generation
    uint32_t spawns_left_ = 0;
    std::map<std::pair<int, int>, TimeUs> base_latency_, stalls_;
    std::map<int, TimeUs> paused_;
    std::set<std::pair<int, int>> broken_;
    std::vector<Kept> kept_;
};

/// Runs a scenario from beginning to end.
RunResult run_scenario(const Scenario& scenario, const RunOptions& options);

}  // namespace pccl::sim
