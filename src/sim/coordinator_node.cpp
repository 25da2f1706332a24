#include "sim/coordinator_node.h"

#include <algorithm>

#include "sim/world.h"

namespace pccl::sim {

CoordinatorNode::CoordinatorNode(World& world) : world_(world), random_(world.random().next()) { start({}); }

void CoordinatorNode::start(std::vector<uint8_t> stored) {
    core::CoordinatorConfig config;
    config.timeouts = world_.scenario().timeouts;
    config.mutations = world_.options().mutations;
    config.majority = world_.scenario().keeping == Keeping::kMajority;
    config.record_lost = stored.empty() && !lives_.empty();
    if (world_.trace().verbose()) {
        config.log =
            Logger(LogLevel::kDebug, [this, life = lives_.size()](LogLevel level, std::string_view text) {
                world_.note(kCoordinatorNode, "log", kNoNode, [&] {
                    return std::string(log_level_name(level)) + ": " + std::string(text) +
                           (life == 0 ? "" : " [process " + std::to_string(life) + "]");
                });
            });
    }
    core::Record record;
    const bool found = !stored.empty() && wire::decode(stored, record);
    Life life;
    life.stored = std::move(stored);
    life.core = std::make_unique<core::Coordinator>(std::move(config), random_, found ? &record : nullptr,
                                                    world_.now());
    lives_.push_back(std::move(life));
    drain();
    after_event();
}

/// The process is gone, with what it had not stored or sent.
void CoordinatorNode::end(uint32_t number) {
    Life& life = lives_[number];
    if (!life.core) return;
    life.core.reset();
    life.tick_at = kNever;
    // What was being written when it died is durable or not.
    for (auto& [record, body] : life.unstored) {
        if (world_.random().chance(0.5)) break;
        life.stored_before = std::exchange(life.stored, std::move(body));
    }
    life.unstored.clear();
    if (world_.options().mutations.stale_record) life.stored = life.stored_before;
    for (auto& stream : streams_) {
        if (stream->life != number || (!stream->open[kCoordinatorSide] && !stream->open[kMemberSide]))
            continue;
        lose(*stream, kCoordinatorSide);
        stream->open[kCoordinatorSide] = false;
        stream->closing = true;
        if (stream->open[kMemberSide])
            tell(*stream, kMemberSide, world_.latency(kCoordinatorNode, stream->node));
    }
}

void CoordinatorNode::crash(TimeUs downtime, bool record_lost) {
    if (!newest()) return;
    end(static_cast<uint32_t>(lives_.size() - 1));
    if (record_lost || world_.scenario().keeping != Keeping::kRecord) lives_.back().stored.clear();
    world_.schedule(downtime, EventKind::kRestart, kCoordinatorNode);
}

void CoordinatorNode::split(TimeUs overlap) {
    if (!newest()) return;
    world_.schedule(overlap, EventKind::kDeath, kCoordinatorNode, static_cast<uint32_t>(lives_.size() - 1));
    start({});
}

/// Who gets a new connection: the newest process, but sometimes an older one that still runs.
uint32_t CoordinatorNode::listening() {
    const auto last = static_cast<uint32_t>(lives_.size() - 1);
    for (uint32_t life = 0; life < last; ++life) {
        if (lives_[life].core && world_.random().chance(0.3)) return life;
    }
    return last;
}

std::string CoordinatorNode::describe() const {
    std::string out;
    for (const Life& life : lives_) {
        if (life.core) out += life.core->describe();
    }
    return newest() ? out : out + "the coordinator is down\n";
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
        if (core_of(stream) && !stream.closing &&
            !core_of(stream)->frame(world_.now(), stream.index + 1, message.type, message.body)) {
            world_.fail("I5", "the coordinator calls a frame of type " +
                                  std::to_string(static_cast<int>(message.type)) + " of " +
                                  World::name(stream.node) + " a violation");
        }
        drain();
        world_.faults().step(Fault::When::kFrameToCoordinator, message.type, stream.node);
    } else {
        const bool newest = stream.life + 1 == lives_.size();
        if (!world_.process(to).coordinator_frame(message.type, message.body, newest) &&
            current(to) == &stream)
            sever(to);
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
        if (core_of(stream))
            core_of(stream)->closed(world_.now(), stream.index + 1, "the connection was lost");
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
    for (uint32_t life = 0; life < lives_.size(); ++life) drain(life);
    draining_ = false;
}

void CoordinatorNode::drain(uint32_t number) {
    while (lives_[number].core && !lives_[number].core->outbox().empty()) {
        std::vector<core::CoordinatorAction> actions;
        actions.swap(lives_[number].core->outbox());
        for (core::CoordinatorAction& action : actions) act(number, action);
    }
}

void CoordinatorNode::act(uint32_t number, core::CoordinatorAction& action) {
    using Kind = core::CoordinatorAction::Kind;
    if (action.kind == Kind::kPersist) {
        const TimeUs delay = world_.random().between(0, world_.scenario().persist_max);
        lives_[number].unstored.emplace_back(action.number, std::move(action.body));
        return world_.schedule(delay, EventKind::kPersisted, kCoordinatorNode, number, 0, action.number);
    }
    if (action.connection == 0 || action.connection > streams_.size() ||
        streams_[action.connection - 1]->life != number) {
        return world_.fail("I5", "the coordinator uses a connection that never was");
    }
    Stream& stream = *streams_[action.connection - 1];
    if (!stream.open[kCoordinatorSide]) return;
    if (action.kind == Kind::kSend)
        return push(stream, kCoordinatorSide, action.type, std::move(action.body));
    stream.closing = true;
    // The end follows what was sent; the connection is over here once the member has closed as well.
    world_.note(kCoordinatorNode, "close", stream.node, [&] { return action.text; });
    tell(stream, kMemberSide, world_.latency(kCoordinatorNode, stream.node));
    tell(stream, kCoordinatorSide, world_.random().between(0, 4 * world_.scenario().latency_max));
}

bool CoordinatorNode::is_current(int node, uint32_t stream) {
    const Stream* open = current(node);
    return open && open->index == stream && open->up && open->open[kCoordinatorSide] && !open->closing;
}

bool CoordinatorNode::drops(uint32_t stream, wire::Type type, std::span<const uint8_t> body) {
    core::Coordinator* core = core_of(*streams_[stream]);
    const std::string before = describe();
    return !core || (core->frame(world_.now(), stream + 1, type, body) && core->outbox().empty() &&
                     describe() == before);
}

void CoordinatorNode::after_event() {
    for (uint32_t life = 0; life < lives_.size(); ++life) arm(life);
}

void CoordinatorNode::arm(uint32_t number) {
    Life& life = lives_[number];
    if (!life.core) return;
    const TimeUs deadline = life.core->deadline();
    if (deadline == kNever || deadline >= life.tick_at) return;
    life.tick_at = std::max(deadline, world_.now());
    world_.schedule(life.tick_at - world_.now(), EventKind::kTick, kCoordinatorNode, number);
}

void CoordinatorNode::handle(const Event& event) {
    switch (event.kind) {
        case EventKind::kTick: {
            Life& life = lives_[event.object];
            if (!life.core || life.tick_at > world_.now()) return;
            life.tick_at = kNever;
            if (life.core->deadline() <= world_.now()) life.core->tick(world_.now());
            return drain();
        }
        case EventKind::kRestart: return start(std::move(lives_.back().stored));
        case EventKind::kDeath: return end(event.object);
        case EventKind::kPersisted: {
            Life& life = lives_[event.object];
            if (!life.core) return;
            // A record covers those before it.
            while (!life.unstored.empty() && life.unstored.front().first <= event.number) {
                life.stored_before = std::exchange(life.stored, std::move(life.unstored.front().second));
                life.unstored.pop_front();
            }
            life.core->persisted(world_.now(), event.number);
            return drain();
        }
        case EventKind::kStreamOpened: {
            Stream& stream = *streams_[event.object];
            stream.life = listening();
            if (!core_of(stream)) {
                stream.closing = true;  // refused
                return tell(stream, kMemberSide, world_.latency(kCoordinatorNode, stream.node));
            }
            if (stream.closing) return;
            stream.open[kCoordinatorSide] = true;
            core_of(stream)->opened(world_.now(), stream.index + 1, World::name(stream.node));
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
