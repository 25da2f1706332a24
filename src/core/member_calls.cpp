// Calls of the program: checks, queueing while operations cannot start, and starting.
#include <algorithm>
#include <limits>

#include "core/member_state.h"

namespace pccl::core {
namespace {

// Far above any tensor; keeps byte counts and segment sizes within what frames can name.
constexpr uint64_t kOperandBytesMax = uint64_t{1} << 41;

}  // namespace

Status MemberState::check_call() const {
    if (!fate_.ok()) return fate_;
    if (!admitted_) return {Code::INVALID_USAGE, "the communicator is not connected"};
    if (leaving_) return {Code::INVALID_USAGE, "the communicator is leaving the run"};
    return {};
}

bool MemberState::tag_free(wire::OpKind kind, uint64_t tag) const {
    const auto at = tags_.find({kind, tag});
    return at == tags_.end() || at->second.busy == 0;
}

/// Whether the next call of the tag was ended by a decision before it was made: its report must reach the
/// caller, and use up its number, even when the group has one member by now.
bool MemberState::reported_already(uint64_t tag) const {
    const auto at = tags_.find({wire::OpKind::kReduce, tag});
    const uint64_t calls = at == tags_.end() ? 0 : at->second.calls;
    return tombstones_.count({wire::OpKind::kReduce, tag, calls + 1}) != 0;
}

Status MemberState::all_reduce(TimeUs now, const ReduceCall& call, Ticket* ticket) {
    if (Status status = check_call(); !status) return status;
    if (!is_valid(call.dtype) || !is_valid(call.op))
        return {Code::INVALID_ARGUMENT, "all-reduce: unknown data type or operator"};
    if (call.count > kOperandBytesMax / size_of(call.dtype)) {
        return {Code::INVALID_ARGUMENT, "all-reduce: " + std::to_string(call.count) +
                                            " elements are more than an operation can have, which is " +
                                            std::to_string(kOperandBytesMax / size_of(call.dtype))};
    }
    if (!blocked() && alone() && !reported_already(call.tag))
        return {Code::TOO_FEW_PEERS, "all-reduce: the peer group has one member only"};
    if (!tag_free(wire::OpKind::kReduce, call.tag)) {
        return {Code::INVALID_ARGUMENT,
                "all-reduce: tag " + std::to_string(call.tag) + " is in flight until it is awaited"};
    }
    *ticket = new_ticket(wire::OpKind::kReduce, call.tag);
    begin(now, {*ticket, wire::OpKind::kReduce, call, {}});
    return {};
}

Status MemberState::peers_pending(TimeUs now, Ticket* ticket) {
    if (Status status = check_call(); !status) return status;
    if (!tag_free(wire::OpKind::kPendingQuery, 0))
        return {Code::INVALID_USAGE, "a pending query is in flight on another thread"};
    *ticket = new_ticket(wire::OpKind::kPendingQuery, 0);
    begin(now, {*ticket, wire::OpKind::kPendingQuery, {}, {}});
    return {};
}

Status MemberState::synchronize(TimeUs now, SyncCall call, Ticket* ticket) {
    if (Status status = check_call(); !status) return status;
    for (const auto& [open, state] : calls_) {
        if (state.is_op && state.kind == wire::OpKind::kReduce) {
            return {Code::PENDING_ASYNC_OPS, "shared state: reductions that were not awaited are in flight"};
        }
    }
    if (!tag_free(wire::OpKind::kSharedState, 0))
        return {Code::INVALID_USAGE, "a shared-state synchronisation is in flight on another thread"};
    *ticket = new_ticket(wire::OpKind::kSharedState, 0);
    begin(now, {*ticket, wire::OpKind::kSharedState, {}, std::move(call)});
    return {};
}

Status MemberState::vote(TimeUs, wire::VoteKind kind, Ticket* ticket) {
    if (Status status = check_call(); !status) return status;
    if (vote_) return {Code::INVALID_USAGE, "a topology call is in flight on another thread"};
    for (const auto& [open, state] : calls_) {
        if (state.is_op) return {Code::PENDING_ASYNC_OPS, "operations that were not awaited are in flight"};
    }
    *ticket = ++last_ticket_;
    calls_[*ticket] = {};
    const bool tried_again = round_ > round_succeeded_;
    vote_ = StandingVote{kind, ++votes_, *ticket, tried_again || (kind == wire::VoteKind::kUpdate && fresh_)};
    wire::Vote message;
    message.kind = kind;
    message.number = vote_->number;
    message.round = round_ + 1;
    to_coordinator(message);
    if (!ops_.empty()) withdraw_soft_vote();
    return {};
}

Status MemberState::cancel(TimeUs, Ticket ticket) {
    const auto at = calls_.find(ticket);
    if (at == calls_.end() || !at->second.is_op) return {Code::INVALID_ARGUMENT, "cancel: no such operation"};
    if (at->second.result) return {};
    for (QueuedCall& queued : queue_) {
        if (queued.ticket != ticket) continue;
        // The others may have started it: it takes its number here too, and is cancelled by decision.
        queued.cancel = true;
        return {};
    }
    for (auto& [key, op] : ops_) {
        if (op->called && op->ticket == ticket) return cancel_op(*op, who(config_.id) + " cancelled it");
    }
    return {Code::INTERNAL_ERROR, "cancel: an open call without an operation"};
}

Status MemberState::cancel_op(Op& op, const std::string& reason) {
    if (op.cancel) return {};
    op.cancel = true;
    op.cancel_reason = reason;
    if (!frozen_) request_change(wire::ChangeReason::kCancel);
    return {};
}

/// Tags that were called; names that are only known from others, or not forgotten yet, do not count.
size_t MemberState::tags_in_use() const {
    if (tags_.size() <= config_.tags_max) return tags_.size();
    return static_cast<size_t>(
        std::count_if(tags_.begin(), tags_.end(), [](const auto& entry) { return entry.second.calls > 0; }));
}

void MemberState::begin(TimeUs now, QueuedCall call) {
    if (!fate_.ok()) {
        CallResult result;
        result.status = fate_;
        return complete(call.ticket, std::move(result));
    }
    fresh_ = false;
    // What others have begun must start here too, whatever this member's own count of tags is.
    const wire::OpKey first{call.kind, call.reduce.tag, 1};
    const bool full = call.kind == wire::OpKind::kReduce && tags_in_use() > config_.tags_max &&
                      tags_[{call.kind, call.reduce.tag}].calls == 0 && ops_.count(first) == 0;
    if (blocked() || (full && tags_.size() <= wire::kTagsMax / 2)) {
        queue_.push_back(std::move(call));
        if (full && !reset_requested_ && ops_.empty() && !frozen_) {
            reset_requested_ = true;
            request_change(wire::ChangeReason::kTags);
        }
        return;
    }
    switch (call.kind) {
        case wire::OpKind::kReduce: return begin_reduce(now, call.reduce, call.ticket);
        case wire::OpKind::kPendingQuery: return begin_query(now, call.ticket);
        case wire::OpKind::kSharedState: return begin_sync(now, std::move(call.sync), call.ticket);
    }
}

void MemberState::run_queue(TimeUs now) {
    std::deque<QueuedCall> calls;
    calls.swap(queue_);
    for (QueuedCall& call : calls) {
        const Ticket ticket = call.ticket;
        const bool cancelled = call.cancel;
        begin(now, std::move(call));
        if (cancelled) cancel(now, ticket);
    }
}

wire::Descriptor MemberState::describe_reduce(const ReduceCall& call) const {
    wire::Descriptor descriptor;
    descriptor.count = call.count;
    descriptor.segment_bytes = constants_.segment_bytes;
    descriptor.dtype = static_cast<uint8_t>(call.dtype);
    descriptor.redop = static_cast<uint8_t>(call.op);
    descriptor.plan = constants_.plan;
    return descriptor;
}

Op* MemberState::begin_op(TimeUs now, wire::OpKind kind, uint64_t tag, Ticket ticket,
                          const wire::Descriptor& descriptor) {
    TagState& state = tags_[{kind, tag}];
    const wire::OpKey key{kind, tag, ++state.calls};
    if (const auto grave = tombstones_.find(key); grave != tombstones_.end()) {
        CallResult result;
        result.status = grave->second;
        tombstones_.erase(grave);
        if (result.status.code() == Code::MISMATCH) {
            // Others may not have heard of it, and no Install has told them: it stays in the answers.
            wire::OpRecord record;
            record.key = key;
            record.descriptor = descriptor;
            keep_end(std::move(record), result.status);
        }
        complete(ticket, std::move(result));
        return nullptr;
    }
    auto& slot = ops_[key];
    if (!slot) {
        slot = std::make_unique<Op>();
        slot->key = key;
        slot->remote_called.assign(members_.size(), false);
    }
    Op& op = *slot;
    uncount(op);
    op.called = true;
    op.ticket = ticket;
    op.descriptor = descriptor;
    op.contributors = members_;
    op.attempt = epoch_;
    if (const auto resumed = resumed_attempts_.find(key); resumed != resumed_attempts_.end()) {
        op.attempt = resumed->second;
        resumed_attempts_.erase(resumed);
    }
    op.started = now;
    op.timed_from = now;
    op.warn_interval = config_.timeouts.slow_warning;
    op.warn_at = now + op.warn_interval;
    if (op.heard && op.heard->second != descriptor) {
        raise_mismatch(now, op, op.heard->first, op.heard->second);
        return nullptr;
    }
    return &op;
}

void MemberState::begin_reduce(TimeUs now, const ReduceCall& call, Ticket ticket) {
    CallResult failed;
    if (alone() && !reported_already(call.tag)) {
        failed.status = {Code::TOO_FEW_PEERS, "all-reduce: the peer group has one member only"};
        return complete(ticket, std::move(failed));
    }
    const uint32_t element_bytes = static_cast<uint32_t>(size_of(call.dtype));
    auto run = std::make_unique<Collective>(Collective::Buffers{call.send, call.receive, call.dtype, call.op},
                                            slots_, undo_);
    const auto size = static_cast<plan::Rank>(members_.size());
    const plan::Segmentation segmentation(call.count, element_bytes, size, constants_.segment_bytes);
    if (!run->begin(segmentation, size)) {
        failed.status = {Code::RESOURCE_LIMIT,
                         "all-reduce: no memory to keep the input of an in-place operation"};
        return complete(ticket, std::move(failed));
    }
    Op* op = begin_op(now, wire::OpKind::kReduce, call.tag, ticket, describe_reduce(call));
    if (op == nullptr) return;
    op->reduce = call;
    op->run = std::move(run);
    op->run->enter_epoch(
        plan::make_plan(plan_kind(call.count * element_bytes), segmentation, topology_, rank_));
    reenter(now, *op);
}

void MemberState::begin_query(TimeUs now, Ticket ticket) {
    Op* op = begin_op(now, wire::OpKind::kPendingQuery, 0, ticket, {});
    if (op != nullptr) reenter(now, *op);
}

void MemberState::begin_sync(TimeUs now, SyncCall call, Ticket ticket) {
    Op* op = begin_op(now, wire::OpKind::kSharedState, 0, ticket, {});
    if (op == nullptr) return;
    // Who comes to a group that has a state already is given what may differ, too; at the first election of
    // all, each member's own stays.
    const bool newcomer = !synced_once_ && next_revision_ > 0;
    op->shared = std::make_unique<SharedState>(std::move(call), next_revision_, newcomer,
                                               config_.adopt_highest_revision);
    op->shared->enter_epoch(topology_, rank_);
    reenter(now, *op);
}

}  // namespace pccl::core
