// What is to happen, ordered by virtual time and, at one time, by when it was scheduled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <queue>
#include <vector>

#include "base/time.h"

namespace pccl::sim {

/// Nodes are processes, numbered from 0, and the coordinator.
inline constexpr int kCoordinatorNode = -1;
inline constexpr int kNoNode = -2;

enum class EventKind : uint8_t {
    kTick,           ///< node: a deadline of its core may be due
    kWake,           ///< node: the program goes on; number: the wait
    kSpawn,          ///< number: index into the scenario's spawns
    kFault,          ///< number: index into the scenario's faults
    kDeath,          ///< node: a crash that was decided inside one of its events
    kLaneArrive,     ///< node: receiver; object: link; detail: side and lane
    kLaneCopy,       ///< node: sender; the payload leaves its memory
    kLaneLand,       ///< node: receiver; the last byte of a payload
    kLinkTold,       ///< node: learns that a link is gone; object: link; detail: side
    kLinkAcked,      ///< node: initiator; the acceptor's answer arrives
    kAttempt,        ///< node: initiator; object: attempt; tries to connect
    kHello,          ///< node: acceptor; object: attempt
    kHelloAnswer,    ///< node: initiator; object: attempt; detail: refused, or refused for now
    kAttemptOver,    ///< node: initiator; object: attempt; its deadline passed
    kStreamOpened,   ///< coordinator; object: stream
    kStreamUp,       ///< node; object: stream
    kStreamTo,       ///< coordinator or node: frames arrive; object: stream; detail: side
    kStreamTold,     ///< coordinator or node: the stream is gone
    kStreamConnect,  ///< node: connects (again) to the coordinator
    kRestart,        ///< coordinator: its process starts again
    kPersisted,      ///< coordinator; number: of the record
    kReplay,         ///< node: an old frame arrives once more; object: index into the stored frames
};

const char* name_of(EventKind kind);

struct Event {
    TimeUs time = 0;
    uint64_t sequence = 0;
    uint64_t number = 0;
    int32_t node = kNoNode;  ///< whose turn it is; waits while that node is paused
    uint32_t object = 0;
    uint32_t detail = 0;
    EventKind kind = EventKind::kTick;
};

class EventQueue {
   public:
    bool empty() const { return heap_.empty(); }
    size_t size() const { return heap_.size(); }
    const Event& top() const { return heap_.top(); }

    void push(Event event) {
        event.sequence = ++sequence_;
        heap_.push(event);
    }
    /// Puts an event off without losing its place among others put off.
    void put_off(Event event, TimeUs time) {
        event.time = time;
        heap_.push(event);
    }
    Event pop() {
        Event event = heap_.top();
        heap_.pop();
        return event;
    }

   private:
    struct Later {
        bool operator()(const Event& a, const Event& b) const {
            return a.time != b.time ? a.time > b.time : a.sequence > b.sequence;
        }
    };
    std::priority_queue<Event, std::vector<Event>, Later> heap_;
    uint64_t sequence_ = 0;
};

}  // namespace pccl::sim
