// The coordinator as its production driver runs it, with the connections of all members: ordered streams that
// are delayed, stall, and get lost together with what is under way.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/coordinator.h"
#include "sim/event_queue.h"
#include "sim/random.h"

namespace pccl::sim {

class World;

/// Sides of a stream.
inline constexpr uint32_t kMemberSide = 0, kCoordinatorSide = 1;

/// One process of the coordinator. Two may run at once: the later one gets all new connections.
struct Life {
    std::unique_ptr<core::Coordinator> core;  ///< null: it has ended
    TimeUs tick_at = kNever;
    std::deque<std::pair<uint64_t, std::vector<uint8_t>>> unstored;  ///< records on their way to the disk
    std::vector<uint8_t> stored, stored_before;
};

struct Stream {
    struct Message {
        wire::Type type;
        std::vector<uint8_t> body;
        TimeUs arrives;
    };
    uint32_t index = 0;  ///< the connection's number is one more
    int node = 0;
    uint32_t life = 0;                ///< of the coordinator's processes
    std::deque<Message> messages[2];  ///< by sending side
    bool open[2] = {true, false};
    bool arrival_scheduled[2] = {false, false};
    bool told_scheduled[2] = {false, false};
    TimeUs last_arrival[2] = {0, 0};
    bool severed = false;
    bool closing = false;  ///< by the coordinator: it reads no more
    bool up = false;       ///< the member was told that it is connected
};

class CoordinatorNode {
   public:
    explicit CoordinatorNode(World& world);
    ~CoordinatorNode();

    // Actions of a member.
    void connect(int node);
    void send(int node, wire::Type type, std::vector<uint8_t> body);
    /// The member closes its connection; what it sent before still arrives when `orderly`.
    void close(int node, bool silent, bool orderly);

    /// A fault: the process is killed, and started again after `downtime` with what was durable, or nothing.
    void crash(TimeUs downtime, bool record_lost);
    /// A fault: a second process starts, on another host and without a record; the first is killed after
    /// `overlap`.
    void split(TimeUs overlap);
    /// A fault: the connection of `node` is lost. False when there is none.
    bool sever(int node);

    /// I5: whether `stream` is still the connection of `node`, and whether an old frame on it changes
    /// nothing.
    bool is_current(int node, uint32_t stream);
    bool drops(uint32_t stream, wire::Type type, std::span<const uint8_t> body);

    void handle(const Event& event);
    /// Schedules the next tick; called after every event of the coordinator.
    void after_event();
    std::string describe() const;

   private:
    Stream* current(int node);
    void push(Stream& stream, uint32_t side, wire::Type type, std::vector<uint8_t> body);
    void schedule_arrival(Stream& stream, uint32_t side);
    void deliver(Stream& stream, uint32_t from_side);
    void lose(Stream& stream, uint32_t side);
    void tell(Stream& stream, uint32_t side, TimeUs delay);
    void told(Stream& stream, uint32_t side);
    void drain();
    void drain(uint32_t life);
    void act(uint32_t life, core::CoordinatorAction& action);
    void start(std::vector<uint8_t> stored);
    void end(uint32_t life);
    uint32_t listening();
    void arm(uint32_t life);
    core::Coordinator* core_of(const Stream& stream) { return lives_[stream.life].core.get(); }
    core::Coordinator* newest() const { return lives_.back().core.get(); }

    World& world_;
    Random random_;
    std::vector<Life> lives_;
    std::vector<std::unique_ptr<Stream>> streams_;
    std::vector<int64_t> current_;  ///< stream index by node, or -1
    bool draining_ = false;
};

}  // namespace pccl::sim
