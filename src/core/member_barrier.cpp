// From "my own result is complete" to "the call has returned": the commit barrier, and the ends of
// operations.
#include <algorithm>

#include "core/member_state.h"

namespace pccl::core {

namespace {

constexpr size_t kErrorsKeptMax = 64;

}  // namespace

/// Lets an operation move as far as it can. It may end in here: do not touch `op` afterwards.
void MemberState::pump(TimeUs now, Op& op) {
    if (!op.called || (frozen_ && !config_.mutations.no_freeze)) return;
    if (op.run) {
        for (const Collective::Consumed& used : op.run->consumed())
            give_back(used.rank, used.charge, used.bytes);
        op.run->consumed().clear();
        for (plan::Rank rank : op.run->woken()) announce(op, rank);
        op.run->woken().clear();
    }
    if (op.shared) {
        if (op.shared->elected() && (!op.shared->election().failure.empty() ||
                                     op.shared->election().roles[rank_] == Election::Role::kEvicted)) {
            return elected(now, op);
        }
        serve_shared(op);
    }
    const bool complete = op.run      ? op.run->complete() && (op.run->segments() > 0 || all_called(op))
                          : op.shared ? op.shared->elected() && op.shared->complete()
                                      : true;
    if (complete && !op.in_barrier) return enter_barrier(now, op);
    if (op.in_barrier) advance_barrier(now, op);
}

void MemberState::serve_shared(Op& op) {
    for (SharedState::Request& request : op.shared->take_requests()) {
        request.pull.epoch = epoch_;
        request.pull.key = op.key;
        send_to(request.to, request.pull);
    }
    for (plan::Rank rank : op.shared->woken()) announce(op, rank);
    op.shared->woken().clear();
}

/// This member lost the election of a shared state, or nobody could be elected.
void MemberState::elected(TimeUs now, Op& op) {
    const Election election = op.shared->election();
    if (election.roles[rank_] != Election::Role::kEvicted) {
        return end(now, op, {Code::NO_SHARED_STATE_AVAILABLE, "shared state: " + election.failure});
    }
    const Status status{Code::EVICTED, "shared state: this peer was evicted: " + election.reasons[rank_]};
    // Those that go on wait for this, too: while one does not know the outcome, another must not have
    // returned it.
    op.rounds.assign(1, shared_round(op));
    op.round = 0;
    send_done(op);
    end(now, op, status);
    evict_self(now, status);
}

/// Everybody reports to those that go on; the evicted wait for nobody.
plan::BarrierRound MemberState::shared_round(const Op& op) const {
    plan::BarrierRound out;
    for (plan::Rank r = 0; r < members_.size(); ++r) {
        if (r == rank_) continue;
        out.receive_from.push_back(r);
        if (op.shared->election().roles[r] != Election::Role::kEvicted) out.send_to.push_back(r);
    }
    return out;
}

void MemberState::enter_barrier(TimeUs now, Op& op) {
    op.in_barrier = true;
    op.round = 0;
    sample_flags(op);
    const auto size = static_cast<plan::Rank>(members_.size());
    if (op.shared) {
        op.rounds.assign(1, shared_round(op));
    } else {
        op.rounds = plan::make_barrier(size, rank_);
    }
    if (!op.rounds.empty()) send_done(op);
    // A shared state is served during its barrier: without one it does not disagree, it just never comes.
    if (config_.mutations.no_barrier && !op.shared) return end(now, op, {});
    advance_barrier(now, op);
}

void MemberState::sample_flags(Op& op) {
    if (op.key.kind == wire::OpKind::kPendingQuery && peers_wait_) op.flags |= wire::kFlagPeersPending;
}

void MemberState::send_done(Op& op) {
    wire::Done done;
    done.epoch = epoch_;
    done.key = op.key;
    done.descriptor = op.descriptor;
    done.round = static_cast<uint8_t>(op.round);
    done.flags = op.flags;
    for (plan::Rank to : op.rounds[op.round].send_to) send_to(to, done);
}

bool MemberState::round_passed(const Op& op) const {
    const auto& from = op.rounds[op.round].receive_from;
    if (from.empty()) return true;
    // Later rounds can be heard of first, from others.
    if (op.round >= op.done.size() || op.done[op.round].empty()) return false;
    const auto& done = op.done[op.round];
    const auto reported =
        static_cast<size_t>(std::count_if(from.begin(), from.end(), [&](plan::Rank r) { return done[r]; }));
    return reported == from.size() ||
           (config_.mutations.majority_barrier && !op.shared && (reported + 1) * 2 > members_.size());
}

void MemberState::advance_barrier(TimeUs now, Op& op) {
    while (op.round < op.rounds.size() && round_passed(op)) {
        if (config_.mutations.flags_sampled_again) sample_flags(op);
        if (++op.round < op.rounds.size()) send_done(op);
    }
    if (op.round == op.rounds.size()) end(now, op, {});
}

/// The call ends here. `op` is gone afterwards.
void MemberState::end(TimeUs now, Op& op, const Status& status) {
    CallResult result;
    result.status = status;
    result.tx_bytes = op.tx_bytes;
    result.rx_bytes = op.rx_bytes;
    result.epochs = op.epochs;
    result.kept_bytes = op.kept_bytes;
    result.redo_kept_bytes = op.redo_kept_bytes;
    if (op.shared) {
        result.tx_bytes = op.shared->tx_bytes();
        result.rx_bytes = op.shared->rx_bytes();
        result.received = op.shared->received();
        result.tainted = !status.ok() && op.shared->tainted();
    }
    if (status.ok()) {
        result.contributors = op.contributors;
        result.peers_pending = (op.flags & wire::kFlagPeersPending) != 0;
        if (op.shared) {
            result.revision = op.shared->election().revision;
            next_revision_ = result.revision + 1;
            synced_once_ = true;
            const Election& election = op.shared->election();
            // A program that leaves its revision alone adopts what it has, call after call.
            if (election.adopted_highest) {
                const bool replaced = agreed_content_ && *agreed_content_ != election.content;
                log(replaced ? LogLevel::kWarn : LogLevel::kDebug,
                    "shared state: nobody held the expected revision; the group adopted revision " +
                        std::to_string(result.revision) + ", the highest present" +
                        (replaced ? ", with another content than it had agreed on last" : ""));
            }
            agreed_content_ = election.content;
        }
    } else if (op.run && !config_.mutations.no_restore) {
        op.run->restore();
        for (const Collective::Consumed& unused : op.run->consumed())
            give_back(unused.rank, unused.charge, unused.bytes);
    }
    view_.next_revision = next_revision_;
    keep_end(record_of(op), status);
    const Ticket ticket = op.ticket;
    erase(op);
    complete(ticket, std::move(result));
    if (!queue_.empty() && ops_.empty() && !blocked() && fate_.ok()) run_queue(now);
}

/// Keeps the end of a call for the answers to proposals, until an Install covers it.
void MemberState::keep_end(wire::OpRecord record, const Status& status) {
    TagState& tag = tags_[{record.key.kind, record.key.tag}];
    // A later success tells that all earlier calls of the tag ended everywhere; a later error does not.
    if (status.ok() || tag.last.size() >= kErrorsKeptMax || errors_kept_ >= wire::kOpsMax) tag.last.clear();
    errors_kept_ += status.ok() ? 0 : 1;
    record.state = status.ok() ? wire::OpState::kSuccess : wire::OpState::kError;
    record.error = static_cast<uint8_t>(status.code());
    record.text = status.ok() ? std::string() : status.text();
    record.finals.clear();
    tag.last.push_back(std::move(record));
}

/// Lets go of everything that refers to an operation.
void MemberState::erase(Op& op) {
    uncount(op);
    for (auto& [id, link] : links_) {
        std::erase(link.ready, &op);
        release_in_flight(link, &op.key);
    }
    for (EarlyData& early : op.early) {
        slots_.give(early.slot);
        if (const auto rank = rank_of(early.from); rank && !frozen_)
            give_back(*rank, early.header.charge, early.bytes);
    }
    Action cut{Action::Kind::kCut};
    cut.key = op.key;
    outbox_.push_back(std::move(cut));
    ops_.erase(wire::OpKey(op.key));
}

}  // namespace pccl::core
