// The program that a process runs: a training loop as users write it, made of random steps.
//
// What a step does is drawn from (seed, lineage, step), so all members of a group that are in step do the
// same, each in its own order and pace. Whether to go on, to try again or to give up is decided from results
// alone, which are common: that the programs stay in step is itself a check of agreement, since one that
// strayed would wait for ever. Newcomers get lineage, position and step from the shared state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/member.h"
#include "sim/history.h"
#include "sim/process.h"
#include "sim/random.h"
#include "sim/scenario.h"
#include "sim/task.h"

namespace pccl::sim {

class Trainer {
   public:
    explicit Trainer(Process& process);

    Task<> main();
    std::string describe() const;

   private:
    struct ReducePlan {
        uint64_t tag = 0;
        Shape shape;
        bool mismatch = false;
    };
    struct StepPlan {
        bool query = false, update = false, synchronize = false, optimize = false, query_in_flight = false;
        std::vector<ReducePlan> reduces;
    };
    /// Where a program is in its group's history; the first shared tensor.
    struct Meta {
        uint64_t lineage = 0, position = 0, step = 0, check = 0;
    };

    // Each returns false when the program is over.
    Task<bool> join();
    Task<bool> top_of_step();
    Task<bool> synchronize();
    Task<bool> vote(bool optimize);
    Task<bool> query(bool* pending);
    Task<bool> train();
    Task<bool> train_once(std::vector<ReducePlan>* plans);
    Task<> finish(bool leave);

    StepPlan plan_step() const;
    bool alone() const;
    bool out() const;
    bool expected(const Outcome& outcome, const char* what);
    bool judge_reduce(const Outcome& outcome);
    TimeUs think();
    CallName name(wire::OpKind kind, uint64_t tag) const;
    CallName name_in_content() const;
    core::SyncStrategy choose_strategy();
    core::SyncCall prepare_tensors();
    void write_content();
    uint64_t content_hash() const;
    Meta meta() const;

    Process& process_;
    Random random_;
    const Scenario& scenario_;
    Meta at_;
    bool in_step_ = false;  ///< has the group's shared state
    uint64_t revision_ = 0;
    bool tainted_ = false;
    std::vector<std::vector<uint8_t>> tensors_;
    const char* doing_ = "starts";
};

}  // namespace pccl::sim
