#include "sim/coordinator_node.h"

#include <algorithm>

#include "sim/world.h"

namespace pccl::sim {

CoordinatorNode::CoordinatorNode(World& world) : world_(world), random_(world.random().next()) { start(); }

void CoordinatorNode::start() {
    core::CoordinatorConfig config;
    config.timeouts = world_.scenario().timeouts;
    config.mutations = world_.options().mutations;
    if (world_.trace().verbose()) {
        config.log = Logger(LogLevel::kDebug, [this](LogLevel level, std::string_view text) {
            world_.note(kCoordinatorNode, "log", kNoNode,
                        [&] { return std::string(log_level_name(level)) + ": " + std::string(text); });
        });
    }
    core::Record record;
    const bool found = !stored_.empty() && wire::decode(stored_, record);
    core_ = std::make_unique<core::Coordinator>(std::move(config), random_, found ? &record : nullptr,
                                                world_.now());
    drain();
    after_event();
}

void CoordinatorNode::crash(TimeUs downtime) {
    if (!core_) return;
    ++incarnation_;
    core_.reset();
    tick_at_ = kNever;
    // What was being written when it died is durable or not.
    for (auto& [number, body] : unstored_) {
        if (world_.random().chance(0.5)) break;
        stored_before_ = std::exchange(stored_, std::move(body));
    }
    unstored_.clear();
    if (world_.options().mutations.stale_record) stored_ = stored_before_;
    for (auto& stream : streams_) {
        if (!stream->open[kCoordinatorSide] && !stream->open[kMemberSide]) continue;
        lose(*stream, kCoordinatorSide);
        stream->open[kCoordinatorSide] = false;
        stream->closing = true;
        if (stream->open[kMemberSide])
            tell(*stream, kMemberSide, world_.latency(kCoordinatorNode, stream->node));
    }
    world_.schedule(downtime, EventKind::kRestart, kCoordinatorNode);
}

CoordinatorNode::~CoordinatorNode() = default;

Stream* CoordinatorNode::current(int node) {
    const auto index = static_cast<size_t>(node);
    return index < current_.size() && current_[index] >= 0
               ? streams_[static_cast<size_t>(current_[index])].get()
               : nullptr;
}

void CoordinatorNode::connect(int node) {
    if (current(node)) return;
    auto stream = std::make_unique<Stream>();
    stream->index = static_cast<uint32_t>(streams_.size());
    stream->node = node;
    current_.resize(std::max(current_.size(), static_cast<size_t>(node) + 1), -1);
    current_[static_cast<size_t>(node)] = stream->index;
    const TimeUs there = world_.latency(node, kCoordinatorNode);
    world_.schedule(there, EventKind::kStreamOpened, kCoordinatorNode, stream->index);
    world_.schedule(there + world_.latency(kCoordinatorNode, node), EventKind::kStreamUp, node,
                    stream->index);
    streams_.push_back(std::move(stream));
}

void CoordinatorNode::send(int node, wire::Type type, std::vector<uint8_t> body) {
    Stream* stream = current(node);
    if (stream && stream->up) push(*stream, kMemberSide, type, std::move(body));
}

void CoordinatorNode::push(Stream& stream, uint32_t side, wire::Type type, std::vector<uint8_t> body) {
    if (!stream.open[side] || stream.severed) return;
    const int from = side == kMemberSide ? stream.node : kCoordinatorNode;
    const int to = side == kMemberSide ? kCoordinatorNode : stream.node;
    const TimeUs arrives = std::max(stream.last_arrival[side], world_.now() + world_.latency(from, to));
    stream.last_arrival[side] = arrives;
    stream.messages[side].push_back({type, std::move(body), arrives});
    schedule_arrival(stream, side);
}

void CoordinatorNode::schedule_arrival(Stream& stream, uint32_t side) {
    if (stream.arrival_scheduled[side] || stream.messages[side].empty()) return;
    stream.arrival_scheduled[side] = true;
    const int from = side == kMemberSide ? stream.node : kCoordinatorNode;
    const int to = side == kMemberSide ? kCoordinatorNode : stream.node;
    const TimeUs due = std::max(stream.messages[side].front().arrives, world_.stalled_until(from, to));
    world_.schedule(due - world_.now(), EventKind::kStreamTo, to, stream.index, side);
}

void CoordinatorNode::deliver(Stream& stream, uint32_t from_side) {
    stream.arrival_scheduled[from_side] = false;
    const uint32_t side = 1 - from_side;
    if (!stream.open[side] || stream.messages[from_side].empty()) return;
    const bool to_coordinator = side == kCoordinatorSide;
    const int from = to_coordinator ? stream.node : kCoordinatorNode;
    const int to = to_coordinator ? kCoordinatorNode : stream.node;
    if (!to_coordinator && !stream.up) {
        // Sent at once after the accept; read when the connection is up here too.
        return;
    }
    if (world_.stalled_until(from, to) > world_.now()) return schedule_arrival(stream, from_side);
    const Stream::Message message = std::move(stream.messages[from_side].front());
    stream.messages[from_side].pop_front();
    world_.trace().add(message.body);
    world_.note(to, "frame", from, [&] { return "type " + std::to_string(static_cast<int>(message.type)); });
    world_.keep_for_replay(to, from, message.type, message.body, stream.index);
    if (to_coordinator) {
        if (core_ && !stream.closing &&
            !core_->frame(world_.now(), stream.index + 1, message.type, message.body)) {
            world_.fail("I5", "the coordinator calls a frame of type " +
                                  std::to_string(static_cast<int>(message.type)) + " of " +
                                  World::name(stream.node) + " a violation");
        }
        drain();
        world_.faults().step(Fault::When::kFrameToCoordinator, message.type, stream.node);
    } else {
        world_.process(to).coordinator_frame(message.type, message.body);
        world_.process(to).settle();
        world_.faults().step(Fault::When::kFrameTo, message.type, to);
    }
    schedule_arrival(stream, from_side);
}

void CoordinatorNode::close(int node, bool silent, bool orderly) {
    Stream* stream = current(node);
    if (!stream) return;
    current_[static_cast<size_t>(node)] = -1;
    stream->open[kMemberSide] = false;
    if (!orderly || silent) lose(*stream, kMemberSide);
    if (!silent) tell(*stream, kCoordinatorSide, world_.latency(node, kCoordinatorNode));
}

/// What is under way from this side is lost, but for a part that went ahead.
void CoordinatorNode::lose(Stream& stream, uint32_t side) {
    stream.messages[side].resize(world_.random().below(stream.messages[side].size() + 1));
}

bool CoordinatorNode::sever(int node) {
    Stream* stream = current(node);
    if (!stream || stream->severed) return false;
    stream->severed = true;
    world_.note(node, "sever", kCoordinatorNode, [] { return std::string(); });
    for (uint32_t side : {kMemberSide, kCoordinatorSide}) {
        lose(*stream, side);
        tell(*stream, side, world_.random().between(0, 10 * world_.scenario().latency_max));
    }
    return true;
}

void CoordinatorNode::tell(Stream& stream, uint32_t side, TimeUs delay) {
    if (stream.told_scheduled[side]) return;
    stream.told_scheduled[side] = true;
    const int node = side == kCoordinatorSide ? kCoordinatorNode : stream.node;
    world_.schedule(delay, EventKind::kStreamTold, node, stream.index, side);
}

void CoordinatorNode::told(Stream& stream, uint32_t side) {
    if (!stream.open[side]) return;
    const bool to_coordinator = side == kCoordinatorSide;
    const int from = to_coordinator ? stream.node : kCoordinatorNode;
    const int to = to_coordinator ? kCoordinatorNode : stream.node;
    // The end of a stream comes behind everything that was sent before.
    TimeUs again = world_.stalled_until(from, to);
    if (!stream.messages[1 - side].empty() && (to_coordinator || stream.up)) {
        again = std::max(again, std::max(stream.messages[1 - side].front().arrives, world_.now()) + 1);
    }
    if (again > world_.now()) {
        stream.told_scheduled[side] = false;
        return tell(stream, side, again - world_.now());
    }
    stream.open[side] = false;
    if (to_coordinator) {
        world_.note(kCoordinatorNode, "lost", stream.node, [] { return std::string(); });
        if (core_) core_->closed(world_.now(), stream.index + 1, "the connection was lost");
        drain();
        if (stream.open[kMemberSide])
            tell(stream, kMemberSide, world_.latency(kCoordinatorNode, stream.node));
        return;
    }
    if (current(stream.node) == &stream) current_[static_cast<size_t>(stream.node)] = -1;
    if (stream.open[kCoordinatorSide])
        tell(stream, kCoordinatorSide, world_.latency(stream.node, kCoordinatorNode));
    if (!world_.alive(stream.node)) return;
    world_.note(stream.node, "lost", kCoordinatorNode, [] { return std::string(); });
    world_.process(stream.node).coordinator_down("the connection was lost");
    world_.process(stream.node).settle();
}

void CoordinatorNode::drain() {
    if (draining_) return;
    draining_ = true;
    while (core_ && !core_->outbox().empty()) {
        std::vector<core::CoordinatorAction> actions;
        actions.swap(core_->outbox());
        for (core::CoordinatorAction& action : actions) {
            using Kind = core::CoordinatorAction::Kind;
            if (action.kind == Kind::kPersist) {
                const TimeUs delay = world_.random().between(0, world_.scenario().persist_max);
                unstored_.emplace_back(action.number, std::move(action.body));
                world_.schedule(delay, EventKind::kPersisted, kCoordinatorNode, incarnation_, 0,
                                action.number);
                continue;
            }
            if (action.connection == 0 || action.connection > streams_.size()) {
                world_.fail("I5", "the coordinator uses a connection that never was");
                continue;
            }
            Stream& stream = *streams_[action.connection - 1];
            if (!stream.open[kCoordinatorSide]) continue;
            if (action.kind == Kind::kSend) {
                push(stream, kCoordinatorSide, action.type, std::move(action.body));
            } else {
                stream.closing = true;
                // The end follows what was sent; the connection is over here once the member has closed as
                // well.
                world_.note(kCoordinatorNode, "close", stream.node, [&] { return action.text; });
                tell(stream, kMemberSide, world_.latency(kCoordinatorNode, stream.node));
                tell(stream, kCoordinatorSide, world_.random().between(0, 4 * world_.scenario().latency_max));
            }
        }
    }
    draining_ = false;
}

bool CoordinatorNode::is_current(int node, uint32_t stream) {
    const Stream* open = current(node);
    return open && open->index == stream && open->up && open->open[kCoordinatorSide] && !open->closing;
}

bool CoordinatorNode::drops(uint32_t stream, wire::Type type, std::span<const uint8_t> body) {
    const std::string before = describe();
    return !core_ || (core_->frame(world_.now(), stream + 1, type, body) && core_->outbox().empty() &&
                      core_->describe() == before);
}

void CoordinatorNode::after_event() {
    if (!core_) return;
    const TimeUs deadline = core_->deadline();
    if (deadline == kNever || deadline >= tick_at_) return;
    tick_at_ = std::max(deadline, world_.now());
    world_.schedule(tick_at_ - world_.now(), EventKind::kTick, kCoordinatorNode);
}

void CoordinatorNode::handle(const Event& event) {
    switch (event.kind) {
        case EventKind::kTick:
            if (!core_ || tick_at_ > world_.now()) return;
            tick_at_ = kNever;
            if (core_->deadline() <= world_.now()) core_->tick(world_.now());
            return drain();
        case EventKind::kRestart: return start();
        case EventKind::kPersisted:
            if (event.object != incarnation_) return;
            // A record covers those before it.
            while (!unstored_.empty() && unstored_.front().first <= event.number) {
                stored_before_ = std::exchange(stored_, std::move(unstored_.front().second));
                unstored_.pop_front();
            }
            core_->persisted(world_.now(), event.number);
            return drain();
        case EventKind::kStreamOpened: {
            Stream& stream = *streams_[event.object];
            if (!core_) {
                stream.closing = true;  // refused
                return tell(stream, kMemberSide, world_.latency(kCoordinatorNode, stream.node));
            }
            if (stream.closing) return;
            stream.open[kCoordinatorSide] = true;
            core_->opened(world_.now(), stream.index + 1, World::name(stream.node));
            drain();
            return schedule_arrival(stream, kMemberSide);
        }
        case EventKind::kStreamUp: {
            Stream& stream = *streams_[event.object];
            if (!stream.open[kMemberSide] || !world_.alive(stream.node)) return;
            if (stream.closing && !stream.open[kCoordinatorSide]) return;
            stream.up = true;
            world_.process(stream.node).coordinator_up();
            world_.process(stream.node).settle();
            return schedule_arrival(stream, kCoordinatorSide);
        }
        case EventKind::kStreamTo: return deliver(*streams_[event.object], event.detail);
        default:
            PCCL_ASSERT(event.kind == EventKind::kStreamTold);
            return told(*streams_[event.object], event.detail);
    }
}

}  // namespace pccl::sim
