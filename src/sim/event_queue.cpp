#include "sim/event_queue.h"

namespace pccl::sim {

const char* name_of(EventKind kind) {
    switch (kind) {
        case EventKind::kTick: return "tick";
        case EventKind::kWake: return "wake";
        case EventKind::kSpawn: return "spawn";
        case EventKind::kFault: return "fault";
        case EventKind::kDeath: return "death";
        case EventKind::kLaneArrive: return "arrive";
        case EventKind::kLaneCopy: return "copy";
        case EventKind::kLaneLand: return "land";
        case EventKind::kLinkTold: return "link-told";
        case EventKind::kLinkAcked: return "link-acked";
        case EventKind::kAttempt: return "attempt";
        case EventKind::kHello: return "hello";
        case EventKind::kHelloAnswer: return "hello-answer";
        case EventKind::kAttemptOver: return "attempt-over";
        case EventKind::kStreamOpened: return "stream-opened";
        case EventKind::kStreamUp: return "stream-up";
        case EventKind::kStreamTo: return "stream-to";
        case EventKind::kStreamTold: return "stream-told";
        case EventKind::kStreamConnect: return "stream-connect";
        case EventKind::kRestart: return "restart";
        case EventKind::kPersisted: return "persisted";
        case EventKind::kReplay: return "replay";
    }
    return "?";
}

}  // namespace pccl::sim
