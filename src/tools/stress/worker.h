// A worker of pccl-stress: it lives like a training program and reports all that it sees. One thread. Each
// decision that must be the same at all members rests on something that the library gives equally to all of
// them (a pending answer, the outcome of an operation, the shared state), never on the local view of the
// membership, which survivors may see change at different moments.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "common/values.h"
#include "messages.h"
#include "options.h"

namespace pccl::stress {

class Worker {
   public:
    Worker(WorkerPlace place, const Options& options, StatusPage* page);

    int run();

   private:
    bool asked_to_leave(int wait_ms) const;
    void enter(Call call);
    void tell(const Message& message) const;
    bool lost(const char* function, pcclResult_t result);

    bool join();
    bool synchronize();
    bool admit();
    bool update_topology();
    bool train();
    Collective collective_of_step() const;
    bool reduce_step();
    bool state_step();
    bool query_step();
    bool launch(const std::vector<uint64_t>& tags, std::vector<pcclAsyncReduceOp_t>* handles, bool* alone);
    bool await(const std::vector<pcclAsyncReduceOp_t>& handles, std::vector<uint64_t>* again, bool* alone);
    void prepare(uint64_t tag);
    Message succeeded(uint64_t step, uint64_t tag) const;
    void verify(uint64_t tag, const pcclReduceInfo_t& info);
    bool inputs_intact(uint64_t tag) const;
    void forget();
    void fill_weights();
    int world() const;

    uint64_t operation_key(uint64_t member, uint64_t tag) const {
        return tools::mix(tools::mix(member, step()), tools::mix(tag, lineage()));
    }
    uint64_t& lineage() { return meta_[0]; }
    uint64_t lineage() const { return meta_[0]; }
    uint64_t& step() { return meta_[1]; }
    uint64_t& salt() { return meta_[2]; }
    uint64_t step() const { return meta_[1]; }

    /// Buffers and fate of one of the operations in flight.
    struct Slot {
        std::vector<uint8_t> send, receive;
        tools::Pattern input;
        bool in_place = false;
        bool retried = false;
        int world_before = 0;
    };

    const WorkerPlace place_;
    const Options& options_;
    const tools::ValueKind kind_;
    const size_t count_;
    StatusPage* const page_;
    std::mt19937_64 random_;
    pcclComm_t* communicator_ = nullptr;
    uint64_t self_ = 0;
    uint64_t revision_ = 0;
    bool synchronized_ = false;
    uint64_t meta_[3] = {0, 0, 0};
    std::vector<uint64_t> weights_;
    std::vector<Slot> slots_;
};

/// A process that pccl-stress started: reduces until it is asked to leave. Returns its exit status.
int run_worker(const WorkerPlace& place, const Options& options);

}  // namespace pccl::stress
