#include "sim/process.h"

#include <algorithm>
#include <cstring>

#include "sim/trainer.h"
#include "sim/world.h"

namespace pccl::sim {

namespace {

// Between the end of a call and the moment that the program's thread runs.
constexpr TimeUs kWakeUpMax = 40;

}  // namespace

Process::Process(World& world, int node, uint32_t group, uint32_t generation)
    : world_(world), node_(node), group_(group), generation_(generation) {}

Process::~Process() = default;

void Process::begin() {
    static_cast<Id128&>(id_) = world_.random().next_id();
    world_.history().process_started(node_, id_);
    const Scenario& scenario = world_.scenario();
    core::MemberConfig config;
    config.id = id_;
    config.group = group_;
    config.endpoints = {{World::name(node_), static_cast<uint16_t>(1000 + node_)}};
    config.constants = scenario.constants;
    config.timeouts = scenario.timeouts;
    config.eager_bytes_per_peer = scenario.eager_bytes_per_peer;
    config.parked_slots_per_peer = scenario.parked_slots_per_peer;
    config.mutations = world_.options().mutations;
    if (world_.trace().verbose()) {
        config.log = Logger(LogLevel::kDebug, [this](LogLevel level, std::string_view text) {
            world_.note(node_, "log", kNoNode,
                        [&] { return std::string(log_level_name(level)) + ": " + std::string(text); });
        });
    }
    member_ = std::make_unique<core::Member>(std::move(config));
    trainer_ = std::make_unique<Trainer>(*this);
    connect_to_coordinator();
    program_ = trainer_->main();
    program_.start();
    settle();
}

// ---- calls
// ----------------------------------------------------------------------------------------------------------

CallNumber Process::open(Call call, const Status& status) {
    const CallNumber number = ++last_call_;
    const core::Ticket ticket = call.ticket;
    Call& entry = calls_[number] = std::move(call);
    ++open_calls_;
    if (doomed_) return number;
    entry.begun = world_.now();
    entry.held = member_->describe().find(", frozen for ") != std::string::npos;
    entry.members = member_->view().members;
    if (status.ok()) {
        tickets_[ticket] = number;
    } else {
        entry.outcome = Outcome{status, {}, true};
        entry.outcome->result.status = status;
        evaluate(entry);
    }
    settle();
    return number;
}

CallNumber Process::join() {
    Call call;
    call.kind = Kind::kJoin;
    return open(std::move(call), doomed_ ? Status() : member_->join(world_.now(), &call.ticket));
}

Buffer* Process::take_buffer(const Shape& shape) {
    bool intact = true;
    Buffer* buffer = memory_.take(shape.bytes(), &intact);
    if (!intact) {
        world_.fail("I2", World::name(node_) + ": memory was written after the call that used it had ended");
        buffer->poison();
    }
    return buffer;
}

CallNumber Process::reduce(const CallName& name, const Shape& shape, bool in_place) {
    Call call;
    call.kind = Kind::kReduce;
    call.name = name;
    call.shape = shape;
    call.send = take_buffer(shape);
    call.receive = in_place ? call.send : take_buffer(shape);
    fill_input(call.send->bytes(shape.bytes()), shape, name.input_key(world_.scenario().seed, node_));
    Status status;
    if (!doomed_) {
        world_.history().reduce_called(name, node_, shape);
        world_.note(node_, "call", kNoNode, [&] {
            return name.text() + ", " + std::to_string(shape.count) + " " + name_of(shape.dtype) + " " +
                   name_of(shape.op);
        });
        const core::ReduceCall reduce{
            call.send->data(), call.receive->data(), shape.count, shape.dtype, shape.op, name.tag};
        status = member_->all_reduce(world_.now(), reduce, &call.ticket);
    }
    return open(std::move(call), status);
}

CallNumber Process::query(const CallName& name) {
    Call call;
    call.kind = Kind::kQuery;
    call.name = name;
    world_.note(node_, "call", kNoNode, [&] { return name.text(); });
    const Status status = doomed_ ? Status() : member_->peers_pending(world_.now(), &call.ticket);
    return open(std::move(call), status);
}

CallNumber Process::synchronize(core::SyncCall sync, const CallName* name, std::function<CallName()> after,
                                std::function<uint64_t()> content) {
    Call call;
    call.kind = Kind::kSync;
    call.content = std::move(content);
    call.name_after = std::move(after);
    call.in_step = name != nullptr;
    if (name) call.name = *name;
    world_.note(node_, "call", kNoNode,
                [&] { return "shared state, revision " + std::to_string(sync.revision); });
    const Status status =
        doomed_ ? Status() : member_->synchronize(world_.now(), std::move(sync), &call.ticket);
    return open(std::move(call), status);
}

CallNumber Process::vote(bool optimize) {
    Call call;
    call.kind = Kind::kVote;
    Status status;
    world_.note(node_, "call", kNoNode, [&] { return optimize ? "optimize" : "update"; });
    if (!doomed_ && optimize) status = member_->optimize_topology(world_.now(), &call.ticket);
    if (!doomed_ && !optimize) status = member_->update_topology(world_.now(), &call.ticket);
    return open(std::move(call), status);
}

CallNumber Process::leave() {
    Call call;
    call.kind = Kind::kLeave;
    left_at_ = world_.now();
    world_.note(node_, "call", kNoNode, [] { return "leave"; });
    const Status status = doomed_ ? Status() : member_->leave(world_.now(), &call.ticket);
    return open(std::move(call), status);
}

void Process::cancel(CallNumber number) {
    auto it = calls_.find(number);
    if (doomed_ || it == calls_.end() || it->second.outcome) return;
    world_.note(node_, "call", kNoNode, [&] { return "cancel " + it->second.name.text(); });
    (void)member_->cancel(world_.now(), it->second.ticket);
    settle();
}

void Process::offered(uint64_t content) { world_.history().content_offered(content); }

// ---- ends
// -----------------------------------------------------------------------------------------------------------

void Process::completed(core::Ticket ticket) {
    auto it = tickets_.find(ticket);
    if (it == tickets_.end()) {
        return world_.fail("I3", World::name(node_) + ": ticket " + std::to_string(ticket) +
                                     " ended twice or was never given");
    }
    Call& call = calls_.at(it->second);
    tickets_.erase(it);
    const core::CallResult* result = member_->result(ticket);
    if (!result) return world_.fail("I3", World::name(node_) + ": a completed call has no result");
    call.outcome = Outcome{result->status, *result, false};
    evaluate(call);
    if (call.waiter) {
        wake_after(world_.random().between(0, kWakeUpMax), call.waiter);
        call.waiter = nullptr;
    }
}

void Process::evaluate(Call& call) {
    const Outcome& outcome = *call.outcome;
    const bool success = outcome.status.ok();
    const bool unknown = !member_->fate().ok();
    world_.progress();
    world_.trace().add(static_cast<uint64_t>(outcome.status.code()) * 31 + static_cast<uint64_t>(call.kind));
    world_.note(node_, "ended", kNoNode, [&] {
        return (call.kind == Kind::kReduce || call.kind == Kind::kQuery ? call.name.text() + ": "
                                                                        : std::string()) +
               code_name(outcome.status.code()) + " " + outcome.status.text();
    });
    Ending ending;
    ending.code = outcome.status.code();
    ending.at = world_.now();
    switch (call.kind) {
        case Kind::kReduce: evaluate_reduce(call); break;
        case Kind::kQuery:
            ending.pending = outcome.result.peers_pending;
            world_.history().ended(call.name, node_, ending, unknown);
            break;
        case Kind::kSync:
            if (success) {
                ending.revision = outcome.result.revision;
                ending.content = call.content();
                // The tensors say where in the group's history this call was, for newcomers too.
                call.name = call.name_after();
            }
            if (success || call.in_step) world_.history().ended(call.name, node_, ending, unknown);
            break;
        default: break;
    }
    if (!success && !unknown) check_loss(call);
    world_.statistics().kept_bytes += outcome.result.kept_bytes;
    world_.statistics().redo_kept_bytes += outcome.result.redo_kept_bytes;
    if (success && member_->view().connected) world_.history().view_seen(group_, node_, member_->view());
    if (call.kind == Kind::kReduce && success) {
        world_.faults().step(Fault::When::kCompleted, wire::Type::kData, node_);
    }
}

/// A loss is told only when somebody was lost, and "too few" only to one that is alone. What was decided
/// before the call is told at once, or after the epoch change that it was called in.
void Process::check_loss(const Call& call) {
    const Code code = call.outcome->status.code();
    const std::vector<MemberId>& now = member_->view().members;
    if (code == Code::TOO_FEW_PEERS && now.size() != 1) {
        world_.fail("I3", World::name(node_) + " was told that it is alone in a group of " +
                              std::to_string(now.size()));
    }
    if (code != Code::RANK_CONNECTION_LOST || call.held || call.begun == world_.now()) return;
    const bool all_here = std::all_of(call.members.begin(), call.members.end(), [&](const MemberId& id) {
        return std::find(now.begin(), now.end(), id) != now.end();
    });
    if (all_here) {
        world_.fail("I3", World::name(node_) +
                              " was told of a loss, and nobody was lost: " + call.outcome->status.text());
    }
}

void Process::evaluate_reduce(Call& call) {
    const Outcome& outcome = *call.outcome;
    const uint64_t bytes = call.shape.bytes();
    std::string what;
    for (Buffer* buffer : {call.send, call.receive}) {
        if (world_.network().refers_to(node_, buffer->bytes(bytes), &what)) {
            world_.fail("I2", World::name(node_) + ": " + call.name.text() + " ended while " + what);
        }
        if (!buffer->intact_beyond(bytes)) {
            world_.fail("I2", World::name(node_) + ": " + call.name.text() + " wrote beyond its buffer");
        }
    }
    Ending ending;
    ending.code = outcome.status.code();
    ending.at = world_.now();
    ending.contributors = outcome.result.contributors;
    world_.history().reduce_ended(call.name, node_, ending, !member_->fate().ok(),
                                  call.receive->bytes(bytes));
    check_input(call);
    memory_.give(call.send);
    if (call.receive != call.send) memory_.give(call.receive);
}

/// After an error an input in place is back, and one out of place is never touched.
void Process::check_input(const Call& call) {
    const bool in_place = call.send == call.receive;
    if (in_place && call.outcome->status.ok()) return;
    std::vector<uint8_t> input(call.shape.bytes());
    fill_input(input, call.shape, call.name.input_key(world_.scenario().seed, node_));
    if (input.empty() || std::memcmp(input.data(), call.send->data(), input.size()) == 0) return;
    world_.fail("I2", World::name(node_) + ": " + call.name.text() + " ended with " +
                          code_name(call.outcome->status.code()) + " and its " +
                          (in_place ? "in-place" : "out-of-place") + " input is not what it was");
}

void Process::await_end(CallNumber number, std::coroutine_handle<> handle) {
    Call& call = calls_.at(number);
    if (call.outcome) return wake_after(world_.random().between(0, kWakeUpMax), handle);
    call.waiter = handle;
}

Outcome Process::take_outcome(CallNumber number) {
    auto node = calls_.extract(number);
    Call& call = node.mapped();
    --open_calls_;
    if (member_ && !call.outcome->rejected) {
        member_->forget(call.ticket);
        settle();
    }
    if (member()) group_size_ = member_->view().members.size();
    return std::move(*call.outcome);
}

void Process::wake_after(TimeUs duration, std::coroutine_handle<> handle) {
    waits_[++last_wait_] = handle;
    world_.schedule(duration, EventKind::kWake, node_, 0, 0, last_wait_);
}

void Process::wake(uint64_t wait) {
    auto it = waits_.find(wait);
    if (it == waits_.end() || doomed_) return;
    std::coroutine_handle<> handle = it->second;
    waits_.erase(it);
    handle.resume();
}

// ---- the driver
// -----------------------------------------------------------------------------------------------------

void Process::settle() {
    if (settling_ || doomed_ || !member_) return;
    settling_ = true;
    std::vector<core::Action> actions;
    while (!doomed_) {
        actions.clear();
        actions.swap(member_->outbox());
        if (actions.empty()) {
            world_.network().fill_windows(node_);
            if (doomed_ || member_->outbox().empty()) break;
            continue;
        }
        for (core::Action& action : actions) {
            if (doomed_) break;
            carry_out(action);
        }
    }
    settling_ = false;
    if (!doomed_) arm();
}

void Process::carry_out(core::Action& action) {
    Network& network = world_.network();
    using ActionKind = core::Action::Kind;
    switch (action.kind) {
        case ActionKind::kToCoordinator:
            world_.coordinator().send(node_, action.type, std::move(action.body));
            world_.faults().step(Fault::When::kFrameFrom, action.type, node_);
            return;
        case ActionKind::kToPeer:
            network.send(node_, action.peer, action.type, std::move(action.body));
            world_.faults().step(Fault::When::kFrameFrom, action.type, node_);
            return;
        case ActionKind::kPullData: return network.pull(node_, action.peer);
        case ActionKind::kConnect: return network.connect(node_, action.peer, action.deadline);
        case ActionKind::kCloseLink: return network.close(node_, action.peer, action.incarnation);
        case ActionKind::kCut: return network.cut(node_, &action.key);
        case ActionKind::kCutAll: return network.cut(node_, nullptr);
        case ActionKind::kCompleted: return completed(action.ticket);
        case ActionKind::kCloseCoordinator:
            world_.note(node_, "close", kCoordinatorNode, [&] { return action.text; });
            world_.coordinator().close(node_, false, true);
            if (action.reconnect && !reconnect_scheduled_) {
                reconnect_scheduled_ = true;
                world_.schedule(world_.random().between(0, 2 * kMillisecond), EventKind::kStreamConnect,
                                node_);
            }
            return;
    }
}

void Process::arm() {
    const TimeUs deadline = member_->deadline();
    if (deadline >= tick_at_ || deadline == kNever) return;
    tick_at_ = std::max(deadline, world_.now());
    world_.schedule(tick_at_ - world_.now(), EventKind::kTick, node_);
}

void Process::tick() {
    if (!alive()) return;
    if (tick_at_ > world_.now()) return;
    tick_at_ = kNever;
    if (member_->deadline() <= world_.now()) member_->tick(world_.now());
}

void Process::connect_to_coordinator() {
    if (!alive()) return;
    reconnect_scheduled_ = false;
    world_.coordinator().connect(node_);
}

void Process::coordinator_up() {
    backoff_ = 0;
    member_->coordinator_up(world_.now());
}

void Process::coordinator_down(const std::string& why) {
    member_->coordinator_down(world_.now(), why);
    settle();
    if (doomed_ || !member_->wants_coordinator() || reconnect_scheduled_) return;
    backoff_ = std::min(world_.scenario().timeouts.backoff_cap, std::max<TimeUs>(2 * backoff_, kMillisecond));
    reconnect_scheduled_ = true;
    world_.schedule(world_.random().between(backoff_ / 2, backoff_), EventKind::kStreamConnect, node_);
}

bool Process::coordinator_frame(wire::Type type, std::span<const uint8_t> body, bool newest) {
    if (type == wire::Type::kWelcome) {
        wire::Welcome message;
        if (wire::decode(body, message)) run_ = message.run;
    }
    if (type == wire::Type::kInstall) {
        wire::Install install;
        if (wire::decode(body, install)) {
            for (const wire::Decision& decision : install.decisions) {
                ++world_.statistics().verdicts[static_cast<size_t>(decision.verdict) % 7];
            }
        }
    }
    const bool accepted = member_->coordinator_frame(world_.now(), type, body);
    if (!accepted && newest) {
        world_.fail("I5", World::name(node_) + " refused a frame of type " +
                              std::to_string(static_cast<int>(type)) + " of its own coordinator");
    }
    return accepted;
}

void Process::exit(bool orderly) {
    if (doomed_) return;
    settle();
    doomed_ = true;
    if (member_->fate().code() == Code::EVICTED) survived_ = false;
    world_.note(node_, "exit", kNoNode, [&] { return orderly ? "orderly" : "at once"; });
    world_.schedule(0, EventKind::kDeath, node_, 0, orderly ? 2 : 0);
}

void Process::crash(bool silent) {
    if (doomed_ || !member_) return;
    doomed_ = true;
    survived_ = false;
    world_.schedule(0, EventKind::kDeath, node_, 0, silent ? 1 : 0);
}

void Process::die(bool silent, bool orderly) {
    world_.network().node_gone(node_, silent, orderly);
    world_.coordinator().close(node_, silent, orderly);
    if (!memory_.idle_intact()) {
        world_.fail("I2", World::name(node_) + ": memory was written after the call that used it had ended");
    }
    doomed_ = true;
    waits_.clear();
    program_ = {};
    trainer_.reset();
    member_.reset();
}

std::string Process::describe() const {
    std::string out = World::name(node_) + " group " + std::to_string(group_);
    if (!member_ || doomed_) return out + " gone\n";
    out += " " + (trainer_ ? trainer_->describe() : std::string()) + ", " + std::to_string(open_calls_) +
           " calls open";
    for (const auto& [number, call] : calls_) {
        const char* const kKinds[] = {"join", "reduce", "query", "shared state", "vote", "leave"};
        if (!call.outcome) out += std::string(", waits for ") + kKinds[static_cast<int>(call.kind)];
    }
    return out + "\n" + member_->describe();
}

}  // namespace pccl::sim
