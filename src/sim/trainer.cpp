#include "sim/trainer.h"

#include <cstring>

#include "kernel/hash.h"
#include "sim/world.h"

namespace pccl::sim {

namespace {

constexpr size_t kMetaBytes = 32;
constexpr TimeUs kAlonePause = 5 * kMillisecond;
constexpr int kVotesTried = 3;  ///< while the coordinator cannot be reached

}  // namespace

Trainer::Trainer(Process& process)
    : process_(process),
      random_(mix(process.world().random().next(), static_cast<uint64_t>(process.node()))),
      scenario_(process.world().scenario()) {
    // Until the group's state is known this is a history of its own.
    at_.lineage = mix(scenario_.seed, static_cast<uint64_t>(process.node()) + 1);
    Random sizes(mix(scenario_.seed, 0x7E));
    tensors_.resize(3);
    tensors_[0].resize(kMetaBytes);
    tensors_[1].resize(sizes.below(1200));
    tensors_[2].resize(4 * sizes.below(100));
}

Task<> Trainer::main() {
    if (!co_await join()) {
        co_await finish(false);
        co_return;
    }
    bool on = co_await synchronize();
    if (on) on = co_await train();
    while (on && at_.step < scenario_.steps) {
        if (random_.chance(scenario_.leave)) break;
        on = co_await top_of_step();
        if (on) on = co_await train();
    }
    co_await finish(on);
}

/// What a step begins with: membership, and the shared state after each change of it.
Task<bool> Trainer::top_of_step() {
    const StepPlan plan = plan_step();
    bool synchronizes = plan.synchronize;
    co_await process_.sleep(think());
    if (alone()) {
        co_await process_.sleep(kAlonePause);
        if (!co_await vote(false)) co_return false;
        synchronizes = true;
    } else {
        bool pending = false;
        if (plan.query) {
            if (!co_await query(&pending)) co_return false;
        }
        if (pending || plan.update) {
            if (!co_await vote(false)) co_return false;
            synchronizes = true;
        } else if (plan.optimize && !alone()) {
            if (!co_await vote(true)) co_return false;
        }
    }
    if (!synchronizes) co_return true;
    const bool on = co_await synchronize();
    co_return on;
}

Task<bool> Trainer::join() {
    doing_ = "joins";
    const CallNumber call = process_.join();
    const Outcome outcome = co_await process_.end_of(call);
    co_return outcome.status.ok();
}

/// Until it succeeds: a death ends the call for everybody, with received tensors undefined.
Task<bool> Trainer::synchronize() {
    doing_ = "synchronizes";
    for (;;) {
        ++at_.position;
        core::SyncCall sync = prepare_tensors();
        const CallName here = name(wire::OpKind::kSharedState, 0);
        const CallNumber call = process_.synchronize(
            std::move(sync), in_step_ ? &here : nullptr, [this] { return name_in_content(); },
            [this] { return content_hash(); });
        const Outcome outcome = co_await process_.end_of(call);
        if (outcome.status.ok()) {
            at_ = meta();
            revision_ = outcome.result.revision + 1;
            tainted_ = false;
            in_step_ = true;
            co_return true;
        }
        if (out()) co_return false;
        tainted_ = tainted_ || outcome.result.tainted;
        if (outcome.status.code() == Code::NO_SHARED_STATE_AVAILABLE) {
            // As from a checkpoint: everybody in step writes the same.
            tainted_ = false;
        } else if (!expected(outcome, "shared state")) {
            co_return false;
        }
    }
}

Task<bool> Trainer::vote(bool optimize) {
    doing_ = optimize ? "optimizes" : "updates";
    for (int attempt = 1;; ++attempt) {
        const CallNumber call = process_.vote(optimize);
        const Outcome outcome = co_await process_.end_of(call);
        if (outcome.status.ok()) co_return true;
        if (out()) co_return false;
        // A topology that stays as it is hurts nobody. Some try again all the same, while others go on.
        if (optimize && random_.chance(0.5)) co_return true;
        if (attempt == kVotesTried) co_return optimize;
    }
}

Task<bool> Trainer::query(bool* pending) {
    doing_ = "queries";
    for (;;) {
        ++at_.position;
        const CallNumber call = process_.query(name(wire::OpKind::kPendingQuery, 0));
        const Outcome outcome = co_await process_.end_of(call);
        *pending = outcome.status.ok() && outcome.result.peers_pending;
        if (outcome.status.ok()) co_return true;
        if (out()) co_return false;
        if (!expected(outcome, "query")) co_return false;
        if (alone()) co_return true;
    }
}

Task<bool> Trainer::train() {
    StepPlan plan = plan_step();
    doing_ = "trains";
    while (!plan.reduces.empty() && !alone()) {
        ++at_.position;
        CallNumber query_call = 0;
        if (plan.query_in_flight) query_call = process_.query(name(wire::OpKind::kPendingQuery, 0));
        const bool on = co_await train_once(&plan.reduces);
        if (query_call != 0) {
            const Outcome outcome = co_await process_.end_of(query_call);
            if (!outcome.status.ok() && !out()) (void)expected(outcome, "query");
        }
        if (!on || out()) co_return false;
    }
    ++at_.step;
    co_return true;
}

/// Launches all, waits for all, and leaves those in `plans` that are to be tried again.
Task<bool> Trainer::train_once(std::vector<ReducePlan>* plans) {
    struct Launched {
        size_t plan;
        CallNumber call;
    };
    std::vector<size_t> order(plans->size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    random_.shuffle(order);
    std::vector<Launched> launched;
    for (size_t i : order) {
        if (random_.chance(0.5)) co_await process_.sleep(think());
        const ReducePlan& plan = (*plans)[i];
        Shape shape = plan.shape;
        if (plan.mismatch && random_.chance(0.3)) ++shape.count;
        launched.push_back(
            {i, process_.reduce(name(wire::OpKind::kReduce, plan.tag), shape, random_.chance(0.5))});
        if (random_.chance(scenario_.cancel)) {
            if (random_.chance(0.5)) co_await process_.sleep(think());
            process_.cancel(launched.back().call);
        }
    }
    random_.shuffle(launched);
    std::vector<bool> again(plans->size(), false);
    bool on = true;
    for (const Launched& one : launched) {
        const Outcome outcome = co_await process_.end_of(one.call);
        again[one.plan] = outcome.status.code() == Code::RANK_CONNECTION_LOST;
        on = judge_reduce(outcome) && on;
    }
    std::vector<ReducePlan> rest;
    for (size_t i = 0; i < plans->size(); ++i) {
        if (again[i]) rest.push_back((*plans)[i]);
    }
    *plans = std::move(rest);
    co_return on;
}

Task<> Trainer::finish(bool leave) {
    doing_ = "finishes";
    World& world = process_.world();
    const core::Member* member = process_.member();
    if (!member) co_return;
    const bool evicted = !leave && member->fate().code() == Code::EVICTED;
    if (evicted) {
        ++world.statistics().evictions;
        if (process_.generation() < scenario_.rejoins)
            world.spawn(process_.group(), process_.generation() + 1);
    }
    // A program that gave up for another reason leaves as well.
    if (leave || (!evicted && member->admitted())) {
        const CallNumber call = process_.leave();
        (void)co_await process_.end_of(call);
    }
    process_.exit(leave || random_.chance(0.5));
}

// ---- decisions
// --------------------------------------------------------------------------------------------------------

Trainer::StepPlan Trainer::plan_step() const {
    Random common(mix(mix(scenario_.seed, at_.lineage), at_.step));
    StepPlan plan;
    plan.query = common.chance(scenario_.query);
    plan.update = common.chance(scenario_.update);
    plan.synchronize = common.chance(scenario_.synchronize);
    plan.optimize = common.chance(scenario_.optimize);
    plan.query_in_flight = common.chance(scenario_.query / 4);
    const uint64_t count = common.below(scenario_.reduces_max + 1);
    std::vector<uint64_t> tags;
    for (uint64_t tag = 1; tag <= std::max<uint64_t>(scenario_.tags, count); ++tag) tags.push_back(tag);
    common.shuffle(tags);
    for (uint64_t i = 0; i < count; ++i) {
        ReducePlan reduce;
        reduce.tag = tags[i];
        reduce.shape.count = common.chance(0.15) ? common.below(4) : common.below(scenario_.count_max + 1);
        reduce.shape.dtype = common.chance(0.5) ? DataType::kFloat : common.pick(reference_types());
        reduce.shape.op = static_cast<RedOp>(common.below(kRedOpCount));
        reduce.mismatch = common.chance(scenario_.mismatch);
        plan.reduces.push_back(reduce);
    }
    return plan;
}

bool Trainer::alone() const { return process_.group_size() < 2; }

bool Trainer::out() const { return !process_.member() || !process_.member()->fate().ok(); }

/// What a program of a sound group can be told besides success.
bool Trainer::expected(const Outcome& outcome, const char* what) {
    const Code code = outcome.status.code();
    if (code == Code::RANK_CONNECTION_LOST) return true;
    if (code == Code::CANCELLED && scenario_.timeouts.operation > 0) return true;
    if (code == Code::TOO_FEW_PEERS && alone()) return true;
    process_.world().fail("I3", World::name(process_.node()) + ": a " + what + " ended with " +
                                    code_name(code) + ": " + outcome.status.text());
    return false;
}

bool Trainer::judge_reduce(const Outcome& outcome) {
    const Code code = outcome.status.code();
    if (outcome.status.ok()) return true;
    if (out()) return false;
    if (code == Code::CANCELLED && scenario_.cancel > 0) return true;
    if ((code == Code::MISMATCH || code == Code::INVALID_USAGE) && scenario_.mismatch > 0) return true;
    if (code == Code::RANK_CONNECTION_LOST && scenario_.constants.retry_policy == 0) {
        process_.world().fail(
            "I3", World::name(process_.node()) +
                      ": a reduction was reported where it is to be retried: " + outcome.status.text());
        return false;
    }
    return expected(outcome, "reduction");
}

TimeUs Trainer::think() {
    const TimeUs time = random_.between(0, scenario_.think_max);
    return process_.node() == scenario_.slow_node ? 20 * time : time;
}

/// Of the call that brought the content of the tensors.
CallName Trainer::name_in_content() const {
    const Meta in = meta();
    return {process_.group(), in.lineage, in.position, wire::OpKind::kSharedState, 0};
}

CallName Trainer::name(wire::OpKind kind, uint64_t tag) const {
    return {process_.group(), at_.lineage, at_.position, kind, tag};
}

// ---- shared state
// -------------------------------------------------------------------------------------------------------

void Trainer::write_content() {
    std::memcpy(tensors_[0].data(), &at_, sizeof at_);
    Random content(mix(at_.lineage, at_.position / 3));
    const bool drifts = in_step_ && random_.chance(scenario_.drift);
    if (drifts) content = Random(random_.next());
    for (size_t t = 1; t < tensors_.size(); ++t) {
        for (uint8_t& byte : tensors_[t]) byte = static_cast<uint8_t>(content.next());
    }
}

/// Newcomers receive, the first member sends, and the others may do either. Whoever finds nobody to send, or
/// sends what loses, is evicted and comes back.
core::SyncStrategy Trainer::choose_strategy() {
    if (!scenario_.send_and_receive) return core::SyncStrategy::kEnforcePopular;
    const core::View& view = process_.member()->view();
    const bool first = !view.members.empty() && view.members.front() == process_.id();
    const bool sends = !tainted_ && (first || (in_step_ && random_.chance(0.5)));
    return sends ? core::SyncStrategy::kSendOnly : core::SyncStrategy::kReceiveOnly;
}

core::SyncCall Trainer::prepare_tensors() {
    core::SyncCall sync;
    sync.strategy = choose_strategy();
    if (!tainted_) {
        write_content();
        // What a receiver holds is not to be spread.
        if (sync.strategy != core::SyncStrategy::kReceiveOnly) process_.offered(content_hash());
    }
    sync.revision = revision_;
    sync.tainted = tainted_;
    const DataType types[] = {DataType::kUint64, DataType::kUint8, DataType::kFloat};
    for (size_t t = 0; t < tensors_.size(); ++t) {
        core::SharedTensor tensor;
        tensor.name = "t" + std::to_string(t);
        tensor.data = tensors_[t].data();
        tensor.dtype = types[t];
        tensor.count = tensors_[t].size() / size_of(types[t]);
        const kernel::Hash128 hash = kernel::hash128(tensors_[t].data(), tensors_[t].size());
        tensor.hash = {hash.low, hash.high};
        sync.tensors.push_back(std::move(tensor));
    }
    return sync;
}

uint64_t Trainer::content_hash() const {
    Trace hash(nullptr);
    for (const auto& tensor : tensors_) hash.add(tensor);
    return hash.hash();
}

Trainer::Meta Trainer::meta() const {
    Meta out;
    std::memcpy(&out, tensors_[0].data(), sizeof out);
    return out;
}

std::string Trainer::describe() const {
    return std::string(doing_) + " at lineage " + std::to_string(at_.lineage % 10000) + " position " +
           std::to_string(at_.position) + " step " + std::to_string(at_.step) + (in_step_ ? "" : ", new");
}

}  // namespace pccl::sim
