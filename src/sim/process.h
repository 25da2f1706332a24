// One peer: the production core's Member, a driver for it as the real one, and the program that calls it.
//
// Each call of the program is checked when it ends, before anything else happens: results go to the history,
// buffers are compared and then overwritten. A process is one attempt to join; a peer that was evicted starts
// a new one.
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/member.h"
#include "sim/history.h"
#include "sim/memory.h"
#include "sim/task.h"

namespace pccl::sim {

class World;
class Trainer;

using CallNumber = uint64_t;

/// How a call ended, as the program sees it.
struct Outcome {
    Status status;
    core::CallResult result;
    bool rejected = false;  ///< at once
};

class Process {
   public:
    Process(World& world, int node, uint32_t group, uint32_t generation);
    ~Process();

    /// Connects to the coordinator and starts the program.
    void begin();

    int node() const { return node_; }
    uint32_t group() const { return group_; }
    uint32_t generation() const { return generation_; }
    const MemberId& id() const { return id_; }
    World& world() { return world_; }
    /// Null once the process is gone.
    core::Member* member() { return doomed_ ? nullptr : member_.get(); }
    bool alive() const { return member_ != nullptr && !doomed_; }
    bool gone() const { return member_ == nullptr; }
    /// Members of the group as of the last call that was awaited: what a program sees.
    size_t group_size() const { return group_size_; }
    /// In the run at that time, never removed from it, and never crashed.
    bool survived(TimeUs at) const { return survived_ && at < left_at_; }
    bool waiting() const { return open_calls_ > 0; }
    const RunId& run() const { return run_; }
    std::string describe() const;

    // ---- the program's calls; each is followed by `co_await end_of(number)`
    CallNumber join();
    CallNumber reduce(const CallName& name, const Shape& shape, bool in_place);
    CallNumber query(const CallName& name);
    /// `name`: of the call where it fails, null for a member that is not in step yet. Once it has succeeded,
    /// `after` names it and `content` hashes the tensors.
    CallNumber synchronize(core::SyncCall call, const CallName* name, std::function<CallName()> after,
                           std::function<uint64_t()> content);
    CallNumber vote(bool optimize);
    CallNumber leave();
    void cancel(CallNumber number);
    void offered(uint64_t content);
    /// The end of the program. `orderly`: as a process that exits, else as one that is killed.
    void exit(bool orderly);

    struct Sleep {
        Process& process;
        TimeUs duration;
        bool await_ready() const { return false; }
        void await_suspend(std::coroutine_handle<> handle) { process.wake_after(duration, handle); }
        void await_resume() const {}
    };
    Sleep sleep(TimeUs duration) { return {*this, duration}; }

    struct End {
        Process& process;
        CallNumber number;
        bool await_ready() const { return false; }
        void await_suspend(std::coroutine_handle<> handle) { process.await_end(number, handle); }
        Outcome await_resume() { return process.take_outcome(number); }
    };
    End end_of(CallNumber number) { return {*this, number}; }

    // ---- the driver's side
    void wake(uint64_t wait);
    void tick();
    void coordinator_up();
    void coordinator_down(const std::string& why);
    /// False: it is refused, as only the frames of an earlier coordinator may be.
    bool coordinator_frame(wire::Type type, std::span<const uint8_t> body, bool newest);
    void connect_to_coordinator();
    /// Carries out what the core wants, and schedules its next deadline.
    void settle();
    /// Dies at once as far as anybody can see; the memory goes with the kDeath event.
    void crash(bool silent);
    void die(bool silent, bool orderly);

   private:
    enum class Kind : uint8_t { kJoin, kReduce, kQuery, kSync, kVote, kLeave };
    struct Call {
        Kind kind = Kind::kJoin;
        core::Ticket ticket = 0;
        CallName name;
        Shape shape;
        Buffer* send = nullptr;
        Buffer* receive = nullptr;
        std::function<uint64_t()> content;
        std::function<CallName()> name_after;
        bool in_step = true;
        TimeUs begun = 0;
        bool held = false;              ///< called during an epoch change: begins after it
        std::vector<MemberId> members;  ///< of the group when it was called
        std::optional<Outcome> outcome;
        std::coroutine_handle<> waiter = nullptr;
    };

    CallNumber open(Call call, const Status& status);
    void completed(core::Ticket ticket);
    void evaluate(Call& call);
    void evaluate_reduce(Call& call);
    void check_input(const Call& call);
    void check_loss(const Call& call);
    Buffer* take_buffer(const Shape& shape);
    void wake_after(TimeUs duration, std::coroutine_handle<> handle);
    void await_end(CallNumber number, std::coroutine_handle<> handle);
    Outcome take_outcome(CallNumber number);
    void carry_out(core::Action& action);
    void arm();

    World& world_;
    const int node_;
    const uint32_t group_;
    const uint32_t generation_;
    MemberId id_;
    RunId run_;
    std::unique_ptr<core::Member> member_;
    bool doomed_ = false;
    bool settling_ = false;
    bool survived_ = true;
    TimeUs left_at_ = kNever;
    size_t group_size_ = 0;
    TimeUs tick_at_ = kNever;
    TimeUs backoff_ = 0;
    bool reconnect_scheduled_ = false;

    Memory memory_;
    std::map<CallNumber, Call> calls_;
    std::map<core::Ticket, CallNumber> tickets_;
    CallNumber last_call_ = 0;
    size_t open_calls_ = 0;
    std::map<uint64_t, std::coroutine_handle<>> waits_;
    uint64_t last_wait_ = 0;
    std::unique_ptr<Trainer> trainer_;
    Task<> program_;
};

}  // namespace pccl::sim
