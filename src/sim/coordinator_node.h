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

struct Stream {
    struct Message {
        wire::Type type;
        std::vector<uint8_t> body;
        TimeUs arrives;
    };
    uint32_t index = 0;  ///< the connection's number is one more
    int node = 0;
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

    /// A fault: the process is killed, and started again after `downtime` with what was durable.
    void crash(TimeUs downtime);
    /// A fault: the connection of `node` is lost. False when there is none.
    bool sever(int node);

    /// I5: whether `stream` is still the connection of `node`, and whether an old frame on it changes
    /// nothing.
    bool is_current(int node, uint32_t stream);
    bool drops(uint32_t stream, wire::Type type, std::span<const uint8_t> body);

    void handle(const Event& event);
    /// Schedules the next tick; called after every event of the coordinator.
    void after_event();
    std::string describe() const { return core_ ? core_->describe() : "the coordinator is down\n"; }

   private:
    Stream* current(int node);
    void push(Stream& stream, uint32_t side, wire::Type type, std::vector<uint8_t> body);
    void schedule_arrival(Stream& stream, uint32_t side);
    void deliver(Stream& stream, uint32_t from_side);
    void lose(Stream& stream, uint32_t side);
    void tell(Stream& stream, uint32_t side, TimeUs delay);
    void told(Stream& stream, uint32_t side);
    void drain();
    void start();

    World& world_;
    Random random_;
    std::unique_ptr<core::Coordinator> core_;
    std::vector<std::unique_ptr<Stream>> streams_;
    std::vector<int64_t> current_;  ///< stream index by node, or -1
    TimeUs tick_at_ = kNever;
    bool draining_ = false;
    uint32_t incarnation_ = 0;                                        ///< of the process
    std::deque<std::pair<uint64_t, std::vector<uint8_t>>> unstored_;  ///< records on their way to the disk
    std::vector<uint8_t> stored_, stored_before_;
};

}  // namespace pccl::sim
