#include "sim/world.h"

#include <algorithm>
#include <iterator>

namespace pccl::sim {

namespace {

/// The epoch that a frame speaks of; false when its type speaks of none.
bool epoch_of(wire::Type type, std::span<const uint8_t> body, wire::EpochId* out) {
    using wire::Type;
    wire::Decoder decoder(body);
    switch (type) {
        case Type::kPropose:
        case Type::kInstall: {
            wire::Term term;
            RunId run;
            decoder.item(term);
            decoder(run);
            break;
        }
        case Type::kCalled:
        case Type::kDone:
        case Type::kCredit:
        case Type::kMismatch:
        case Type::kOffer:
        case Type::kPull:
        case Type::kSuspect:
        case Type::kRequestChange:
        case Type::kFrozen:
        case Type::kLinked: break;
        default: return false;
    }
    decoder.item(*out);
    return decoder.ok();
}

}  // namespace

void Statistics::add(const Statistics& other) {
    events += other.events;
    virtual_time += other.virtual_time;
    processes += other.processes;
    faults += other.faults;
    evictions += other.evictions;
    epochs += other.epochs;
    successes += other.successes;
    errors += other.errors;
    for (size_t v = 0; v < std::size(verdicts); ++v) verdicts[v] += other.verdicts[v];
}

World::World(const Scenario& scenario, const RunOptions& options)
    : scenario_(scenario),
      options_(options),
      random_(mix(scenario.seed, 0x30D)),
      trace_(options.trace),
      history_(scenario.seed,
               [this](const char* invariant, const std::string& what) { fail(invariant, what); }),
      network_(*this),
      faults_(*this) {}

World::~World() = default;

RunResult World::run() {
    coordinator_ = std::make_unique<CoordinatorNode>(*this);
    for (const Spawn& spawn : scenario_.spawns) {
        to_spawn_.push_back({spawn.group, 0});
        schedule(spawn.at, EventKind::kSpawn, kNoNode, 0, 0, to_spawn_.size() - 1);
        ++spawns_left_;
    }
    faults_.begin();
    while (!finished() && violations_.size() < options_.violations_max && step()) {
    }
    history_.finish([this](int node, TimeUs at) { return process(node).survived(at); });
    statistics_.virtual_time = now_;
    statistics_.processes = processes_.size();
    statistics_.successes = history_.successes();
    statistics_.errors = history_.errors();
    statistics_.epochs = history_.epochs();
    return {violations_, trace_.hash(), statistics_};
}

bool World::step() {
    if (queue_.empty()) {
        fail("I3", "nothing is left to happen, and programs wait\n" + describe());
        return false;
    }
    Event event = queue_.pop();
    now_ = std::max(now_, event.time);
    if (++statistics_.events > options_.events_max) {
        fail("I3", "no end after " + std::to_string(options_.events_max) + " events\n" + describe());
        return false;
    }
    if (stuck()) {
        fail("I3", "no end, and no call has ended for " +
                       std::to_string((now_ - std::max(progress_, scenario_.faults_end)) / kMillisecond) +
                       " ms although nothing goes wrong any more\n" + describe());
        return false;
    }
    if (auto it = paused_.find(event.node); it != paused_.end()) {
        if (it->second > now_) {
            queue_.put_off(event, it->second);
            return true;
        }
        paused_.erase(it);
    }
    trace_.add(static_cast<uint64_t>(event.time) << 8 | static_cast<uint64_t>(event.kind));
    trace_.add(static_cast<uint64_t>(event.node + 16) << 32 | event.object);
    dispatch(event);
    after(event.node);
    return true;
}

void World::dispatch(const Event& event) {
    const int node = event.node;
    if (node >= 0 && event.kind == EventKind::kDeath) {
        note(node, "death", kNoNode, [] { return std::string(); });
        return process(node).die(event.detail == 1, event.detail == 2);
    }
    // A dead process takes part in nothing, but connections to it are refused.
    if (node >= 0 && !alive(node) && event.kind != EventKind::kHello) return;
    switch (event.kind) {
        case EventKind::kSpawn: {
            const auto [group, generation] = to_spawn_[event.number];
            --spawns_left_;
            processes_.push_back(std::make_unique<Process>(*this, process_count(), group, generation));
            note(process_count() - 1, "spawn", kNoNode, [g = group] { return "group " + std::to_string(g); });
            return processes_.back()->begin();
        }
        case EventKind::kFault: return faults_.handle(event);
        case EventKind::kWake: return process(node).wake(event.number);
        case EventKind::kStreamConnect: return process(node).connect_to_coordinator();
        case EventKind::kReplay: return replay(event);
        case EventKind::kTick:
            if (node >= 0) return process(node).tick();
            return coordinator_->handle(event);
        case EventKind::kRestart:
        case EventKind::kDeath:  // of a process of the coordinator
        case EventKind::kPersisted:
        case EventKind::kStreamOpened:
        case EventKind::kStreamUp:
        case EventKind::kStreamTo:
        case EventKind::kStreamTold: return coordinator_->handle(event);
        default: return network_.handle(event);
    }
}

void World::after(int node) {
    if (node == kCoordinatorNode) coordinator_->after_event();
    if (node >= 0 && alive(node)) process(node).settle();
}

void World::schedule(TimeUs delay, EventKind kind, int node, uint32_t object, uint32_t detail,
                     uint64_t number) {
    Event event;
    event.time = now_ + std::max<TimeUs>(delay, 0);
    event.kind = kind;
    event.node = node;
    event.object = object;
    event.detail = detail;
    event.number = number;
    queue_.push(event);
}

void World::fail(const char* invariant, const std::string& what) {
    note(kNoNode, "VIOLATION", kNoNode, [&] { return std::string(invariant) + " " + what; });
    if (violations_.size() < options_.violations_max) violations_.push_back({invariant, now_, what});
}

bool World::alive(int node) const {
    return node >= 0 && node < process_count() && processes_[static_cast<size_t>(node)]->alive();
}

int World::spawn(uint32_t group, uint32_t generation) {
    to_spawn_.push_back({group, generation});
    ++spawns_left_;
    schedule(random_.between(0, 2 * scenario_.timeouts.backoff_cap), EventKind::kSpawn, kNoNode, 0, 0,
             to_spawn_.size() - 1);
    return static_cast<int>(to_spawn_.size()) - 1;
}

std::string World::name(int node) {
    if (node == kCoordinatorNode) return "C";
    return node < 0 ? "-" : "p" + std::to_string(node);
}

bool World::finished() const {
    if (spawns_left_ > 0) return false;
    return std::all_of(processes_.begin(), processes_.end(),
                       [](const auto& process) { return process->gone(); });
}

bool World::stuck() const {
    // Programs that are out of step can go round for ever, a call ending now and then.
    if (now_ > scenario_.faults_end + 40 * progress_bound(scenario_)) return true;
    return now_ > scenario_.faults_end &&
           now_ - std::max(progress_, scenario_.faults_end) > progress_bound(scenario_);
}

// ---- what the network is like
// -----------------------------------------------------------------------------------------

TimeUs World::latency(int from, int to) {
    const std::pair<int, int> key{std::min(from, to), std::max(from, to)};
    auto it = base_latency_.find(key);
    if (it == base_latency_.end()) {
        it = base_latency_.emplace(key, random_.between(scenario_.latency_min, scenario_.latency_max)).first;
    }
    return it->second + random_.between(0, scenario_.jitter);
}

TimeUs World::stalled_until(int from, int to) const {
    auto it = stalls_.find({from, to});
    return it == stalls_.end() ? 0 : it->second;
}

void World::stall(int from, int to, TimeUs until) {
    TimeUs& entry = stalls_[{from, to}];
    entry = std::max(entry, std::min(until, scenario_.faults_end));
}

void World::pause(int node, TimeUs until) {
    TimeUs& entry = paused_[node];
    entry = std::max(entry, std::min(until, scenario_.faults_end));
}

// ---- I5 ------------------------------------------------------------------------------------------

void World::keep_for_replay(int to, int from, wire::Type type, std::span<const uint8_t> body,
                            uint32_t stream) {
    if (scenario_.replay <= 0 || now_ >= scenario_.faults_end || type == wire::Type::kHeartbeat) return;
    if (!random_.chance(scenario_.replay)) return;
    wire::EpochId epoch;
    if (!epoch_of(type, body, &epoch)) return;
    kept_.push_back({from, stream, type, {body.begin(), body.end()}});
    schedule(random_.between(1, 4 * scenario_.timeouts.liveness), EventKind::kReplay, to,
             static_cast<uint32_t>(kept_.size() - 1));
}

/// A frame of an old epoch that arrives once more must change nothing.
void World::replay(const Event& event) {
    const Kept& kept = kept_[event.object];
    const int from = kept.from, member = event.node >= 0 ? event.node : from;
    wire::EpochId epoch;
    if (!alive(member) || !epoch_of(kept.type, kept.body, &epoch)) return;
    const core::View& view = process(member).member()->view();
    if (!view.connected || !(epoch < view.epoch)) return;
    const bool dropped = event.node >= 0 ? replay_to_member(event.node, kept) : replay_to_coordinator(kept);
    note(event.node, "replay", from, [&] { return "type " + std::to_string(static_cast<int>(kept.type)); });
    if (!dropped) {
        fail("I5", name(event.node) + " did not just drop a frame of type " +
                       std::to_string(static_cast<int>(kept.type)) + " of the old epoch " + epoch.text() +
                       " from " + name(from));
    }
}

bool World::replay_to_member(int node, const Kept& kept) {
    core::Member* member = process(node).member();
    const std::string before = member->describe();
    bool valid = true;
    if (kept.from == kCoordinatorNode) {
        if (!coordinator_->is_current(node, kept.stream)) return true;
        valid = member->coordinator_frame(now_, kept.type, kept.body);
    } else {
        const std::vector<int> linked = network_.neighbours(node);
        if (std::find(linked.begin(), linked.end(), kept.from) == linked.end()) return true;
        valid = member->peer_frame(now_, process(kept.from).id(), kept.type, kept.body);
    }
    return valid && member->outbox().empty() && member->describe() == before;
}

bool World::replay_to_coordinator(const Kept& kept) {
    return !coordinator_->is_current(kept.from, kept.stream) ||
           coordinator_->drops(kept.stream, kept.type, kept.body);
}

std::string World::describe() {
    std::string out = coordinator_->describe();
    for (const auto& process : processes_) {
        if (!process->gone()) out += process->describe();
    }
    return out;
}

RunResult run_scenario(const Scenario& scenario, const RunOptions& options) {
    World world(scenario, options);
    return world.run();
}

}  // namespace pccl::sim
