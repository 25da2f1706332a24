// Epoch changes at a member: proposals, and installing a new epoch with the coordinator's decisions.
#include <algorithm>
#include <utility>

#include "core/checks.h"
#include "core/member_state.h"

namespace pccl::core {
namespace {

// What all members together may tell one of what they keep, far below what is kept of frames of a promised
// epoch.
constexpr size_t kKeptMapBytesMax = 16 << 20;

bool contains(const std::vector<wire::Peer>& list, const MemberId& id) {
    return std::any_of(list.begin(), list.end(), [&](const wire::Peer& peer) { return peer.id == id; });
}

/// Members once each, and dead links between two of them.
bool well_formed(const std::vector<wire::Peer>& members, const std::vector<wire::Pair>& dead_links) {
    std::set<MemberId> ids;
    for (const wire::Peer& peer : members) ids.insert(peer.id);
    if (ids.size() != members.size() || members.empty() || members.size() > plan::kRanksMax) return false;
    std::set<wire::Pair> pairs;
    for (const wire::Pair& pair : dead_links) {
        if (!(pair.a < pair.b) || ids.count(pair.a) == 0 || ids.count(pair.b) == 0 ||
            !pairs.insert(pair).second)
            return false;
    }
    return true;
}

/// Some plan exists for these members and links.
bool usable(const wire::Install& message) {
    std::map<MemberId, plan::Rank> ranks;
    for (const wire::Peer& peer : message.members)
        ranks.emplace(peer.id, static_cast<plan::Rank>(ranks.size()));
    plan::Topology topology;
    topology.size = static_cast<plan::Rank>(message.members.size());
    for (const wire::Pair& pair : message.dead_links)
        topology.dead_links.emplace_back(std::min(ranks[pair.a], ranks[pair.b]),
                                         std::max(ranks[pair.a], ranks[pair.b]));
    return plan::feasible(topology);
}

std::vector<bool> unpack(const std::vector<uint8_t>& bits, uint32_t segments) {
    std::vector<bool> out(segments, false);
    for (uint32_t s = 0; s < segments && s / 8 < bits.size(); ++s) out[s] = (bits[s / 8] >> (s % 8) & 1) != 0;
    return out;
}

}  // namespace

plan::Kind MemberState::plan_kind(uint64_t bytes) const {
    return plan::choose(static_cast<plan::Kind>(constants_.plan), bytes, topology_);
}

bool MemberState::on_propose(TimeUs now, wire::Propose message) {
    if (!fate_.ok() || leaving_) return true;  // On its way out: lists may well be without it.
    if (!contains(message.members, config_.id) || !well_formed(message.members, message.dead_links))
        return false;
    const bool stale = message.term < term_ || message.id < promised_ || message.id <= epoch_;
    if (stale || !fate_.ok() || leaving_) return true;
    // It is said again to a member that has registered again. Others may have installed it already, on an
    // earlier answer: what they have sent since then is kept.
    const bool repeated = frozen_ && message.id == promised_;
    if (config_.mutations.thaw_between_proposals && frozen_ &&
        (!repeated || config_.mutations.reuse_epoch_id)) {
        frozen_ = false;
        run_queue(now);
        frozen_ = true;
    }
    promised_ = message.id;
    run_ = message.run;
    proposal_ = std::move(message);
    if (!frozen_) frozen_since_ = now;
    if (!repeated) freeze();
    for (const wire::LostLink& lost : proposal_->lost_links) {
        if (lost.pair.a != config_.id && lost.pair.b != config_.id) continue;
        const MemberId& other = lost.pair.a == config_.id ? lost.pair.b : lost.pair.a;
        const auto at = links_.find(other);
        if (at == links_.end() || !at->second.up || at->second.incarnation != lost.incarnation) continue;
        Action action{Action::Kind::kCloseLink};
        action.peer = other;
        action.incarnation = lost.incarnation;
        action.text = "the other end lost it";
        outbox_.push_back(std::move(action));
        at->second.up = false;
    }
    for (const wire::Peer& peer : proposal_->members) {
        const wire::Pair pair{std::min(peer.id, config_.id), std::max(peer.id, config_.id)};
        const auto& dead = proposal_->dead_links;
        if (peer.id == config_.id || std::find(dead.begin(), dead.end(), pair) != dead.end()) continue;
        if (is_initiator(proposal_->members, peer.id)) connect_to(now, peer);
    }
    to_coordinator(frozen_answer(now));
    report_links();
    return true;
}

bool MemberState::on_install(TimeUs now, wire::Install message) {
    if (!fate_.ok() || leaving_) return true;  // On its way out: lists may well be without it.
    if (!contains(message.members, config_.id) || !well_formed(message.members, message.dead_links))
        return false;
    if (message.term < term_ || message.id != promised_ || message.id <= epoch_ || !frozen_) return true;
    if (!valid(message.constants) || !usable(message) || !all_valid(message.counters)) return false;
    if (std::any_of(message.decisions.begin(), message.decisions.end(),
                    [](const wire::Decision& decision) { return !valid(decision.key); }))
        return false;
    const bool joining = !admitted_;
    installing_ = true;
    adopt(now, message);
    decide_ops(now, message);
    take_future(now);
    installing_ = false;
    if (joining) {
        complete(join_ticket_, {});
        join_ticket_ = 0;
    }
    if (!joining && message.boundary) {
        round_succeeded_ = std::max(round_succeeded_, message.round);
        if (vote_ && message.round == round_ + 1) end_vote({}, true);
    }
    for (plan::Rank r = 0; r < members_.size(); ++r) {
        if (r == rank_ || !topology_.linked(rank_, r)) continue;
        const Link& link = links_[members_[r]];
        if (!link.up) suspect(now, members_[r], true, link.reason.empty() ? "no link" : link.reason);
    }
    installed_ = std::move(message);
    if (!blocked()) run_queue(now);
    return true;
}

/// Who joins has lost nobody.
void MemberState::note_failures(const wire::Install& message) {
    if (message.losses.empty() || !view_.connected) return;
    std::vector<Failure> kept;
    if (view_.failures) kept = *view_.failures;
    for (const wire::Loss& loss : message.losses) {
        kept.push_back({++failures_, message.id, loss});
        log(LogLevel::kWarn, "lost rank " + std::to_string(loss.rank) + " (" + loss.member.brief() +
                                 ") of group " + std::to_string(config_.group) + " at " + loss.address +
                                 ": " + loss.cause + "; interrupted: " + loss.operations);
    }
    if (kept.size() > kFailuresKept)
        kept.erase(kept.begin(), kept.end() - static_cast<ptrdiff_t>(kFailuresKept));
    view_.failures = std::make_shared<const std::vector<Failure>>(std::move(kept));
}

/// Takes over members, links and counters; operations come after.
void MemberState::adopt(TimeUs now, const wire::Install& message) {
    epoch_ = message.id;
    run_ = message.run;
    peers_ = message.members;
    old_members_ = std::exchange(members_, {});
    old_topology_ = topology_;
    kept_map_bytes_ = 0;
    ranks_.clear();
    for (const wire::Peer& peer : peers_) {
        if (peer.id == config_.id) rank_ = static_cast<plan::Rank>(members_.size());
        ranks_[peer.id] = static_cast<plan::Rank>(members_.size());
        members_.push_back(peer.id);
    }
    topology_ = {};
    topology_.size = static_cast<plan::Rank>(members_.size());
    for (const wire::Pair& pair : message.dead_links) {
        topology_.dead_links.emplace_back(std::min(ranks_[pair.a], ranks_[pair.b]),
                                          std::max(ranks_[pair.a], ranks_[pair.b]));
    }
    if (constants_.retry_policy != message.constants.retry_policy || !admitted_) {
        if (message.constants.retry_policy != config_.constants.retry_policy) {
            log(LogLevel::kInfo, std::string("adopting the group's policy: operations are ") +
                                     (message.constants.retry_policy == 0 ? "retried" : "reported") +
                                     " after a loss");
        }
    }
    constants_ = message.constants;
    next_revision_ = std::max(next_revision_, message.next_revision);
    if (!admitted_) {
        admitted_ = true;
        round_ = round_succeeded_ = message.round;
        fresh_ = message.boundary;
        for (const wire::TagCounter& counter : message.counters)
            tags_[{counter.kind, counter.tag}].calls = counter.ended;
    } else if (message.boundary && !message.counters.empty()) {
        // Nothing is open at a boundary. A report that was never fetched by a call is dropped here, so that
        // the next call of its tag has the same number at this member as at the others and at the newcomers.
        for (const wire::TagCounter& counter : message.counters) {
            uint64_t& calls = tags_[{counter.kind, counter.tag}].calls;
            calls = std::max(calls, counter.ended);
        }
        tombstones_.clear();
    }
    note_failures(message);
    view_ = {true, epoch_, members_, message.globals, next_revision_, view_.failures};
    frozen_ = false;
    proposal_.reset();
    prepare_.reset();
    suspicions_.clear();
    for (auto& [id, link] : links_) {
        // What came of this epoch before, landed or on its way, was sent by members that installed it
        // earlier.
        const uint64_t held = link.flow.future_held;
        link.flow = {};
        link.flow.eager_held = held;
        link.flow.eager_left = config_.eager_bytes_per_peer;
        link.flow.slots_left = config_.parked_slots_per_peer;
        link.ready.clear();
        link.pull_announced = false;
        link.heard = now;
    }
    close_strangers();
    log(LogLevel::kInfo, "epoch " + epoch_.text() + " with " + std::to_string(members_.size()) +
                             " members, this is rank " + std::to_string(rank_));
}

void MemberState::decide_ops(TimeUs now, const wire::Install& message) {
    std::map<wire::OpKey, const wire::Decision*> decisions;
    for (const wire::Decision& decision : message.decisions) decisions[decision.key] = &decision;
    resumed_attempts_.clear();
    std::vector<wire::OpKey> keys;
    for (auto& [key, op] : ops_) {
        keys.push_back(key);
        op->remote_called.assign(members_.size(), false);
        op->remote_called_count = 0;
        op->done.clear();
        op->heard.reset();
        for (EarlyData& early : op->early) slots_.give(early.slot);
        op->early.clear();
        if (op->run) op->run->forget_charges();
        op->early_offers.clear();
    }
    std::vector<std::pair<wire::OpKey, const wire::Decision*>> goes_on;
    for (const wire::OpKey& key : keys) {
        Op& op = *ops_[key];
        const auto decision = decisions.find(key);
        if (!op.called) {
            // No cut: whatever is being received now is of the new epoch, perhaps of this very operation.
            ops_.erase(key);
        } else if (decision == decisions.end()) {
            log(LogLevel::kError, "no decision for " + key.text());
            end(now, op,
                {Code::RANK_CONNECTION_LOST, key.text() + ": the coordinator sent no decision for it"});
        } else {
            const wire::Verdict verdict = decision->second->verdict;
            if (verdict == wire::Verdict::kFinish || verdict == wire::Verdict::kResume ||
                (verdict == wire::Verdict::kAbort && decision->second->redo)) {
                goes_on.emplace_back(key, decision->second);
            } else {
                apply(now, op, *decision->second);
            }
        }
    }
    for (const auto& [key, decision] : decisions) apply_unheard(*decision);
    // Every end so far is covered by this Install.
    for (auto& [name, tag] : tags_) tag.last.clear();
    errors_kept_ = 0;
    if (message.reset_counters) {
        tombstones_.clear();
        for (auto& [name, tag] : tags_) tag.calls = 0;
        std::erase_if(tags_, [](const auto& entry) { return entry.second.busy == 0; });
    }
    reset_requested_ = false;
    for (const auto& [key, decision] : goes_on) restart(now, *ops_[key], decision);
}

/// How far the operation was here, for the texts.
const char* MemberState::phase_of(const Op& op) {
    if (op.in_barrier) return "in the commit barrier";
    if (op.shared) return op.shared->elected() ? "while fetching" : "in the election";
    if (!op.run) return "before the commit barrier";
    return op.run->any_final() ? "in the all-gather phase" : "in the reduce-scatter phase";
}

/// A decision that ends the operation here.
void MemberState::apply(TimeUs now, Op& op, const wire::Decision& decision) {
    const std::string what = op.key.text() + ", " + phase_of(op);
    switch (decision.verdict) {
        case wire::Verdict::kCommit:
            // Even the test that breaks this rule needs a result to end with.
            if (!op.in_barrier &&
                (!(config_.mutations.commit_if_any_complete || config_.mutations.commit_on_majority) ||
                 (op.shared && !op.shared->elected()))) {
                return end(now, op,
                           {Code::INTERNAL_ERROR, what + ": committed without this member's result"});
            }
            if (!config_.mutations.flags_left_out) op.flags = decision.flags;
            return end(now, op, {});
        case wire::Verdict::kFail: return end(now, op, {failure_code(decision.code), decision.text});
        case wire::Verdict::kCancel:
            return end(now, op, {Code::CANCELLED, what + ", was cancelled: " + decision.text});
        default: return end(now, op, {Code::RANK_CONNECTION_LOST, what + ": " + decision.text});
    }
}

/// A decision about an operation that was not called here (yet): what its caller will find.
void MemberState::apply_unheard(const wire::Decision& decision) {
    const auto tag = tags_.find({decision.key.kind, decision.key.tag});
    if (tag != tags_.end() && decision.key.sequence <= tag->second.calls) return;
    switch (decision.verdict) {
        case wire::Verdict::kResume: resumed_attempts_[decision.key] = decision.attempt; return;
        case wire::Verdict::kFail: return report(decision.key, {failure_code(decision.code), decision.text});
        case wire::Verdict::kCancel:
            return report(decision.key,
                          {Code::CANCELLED, decision.key.text() + " was cancelled: " + decision.text});
        case wire::Verdict::kAbort:
            if (!decision.redo && !config_.mutations.no_tombstone) {
                report(decision.key,
                       {Code::RANK_CONNECTION_LOST, decision.key.text() + ": " + decision.text});
            }
            return;
        default: return;
    }
}

/// Goes on in the new epoch: the same attempt with what is final, or a fresh one with the survivors.
void MemberState::restart(TimeUs now, Op& op, const wire::Decision* decision) {
    ++op.epochs;
    // A cancellation that came after the answer has not been decided on yet.
    // One that was decided on and goes on, because it can be finished, gets its time anew: asking again at
    // once would only change the epoch again before it is finished.
    if (op.cancel_told) op.timed_from = now;
    op.cancel = op.cancel && !op.cancel_told;
    op.cancel_told = false;
    if (op.cancel) request_change(wire::ChangeReason::kCancel);
    op.in_barrier = false;
    op.round = 0;
    op.rounds.clear();
    op.flags = 0;
    const bool fresh = decision->verdict == wire::Verdict::kAbort;
    if (fresh) {
        op.attempt = epoch_;
        op.contributors = members_;
        if (op.run && alone()) {
            return end(now, op,
                       {Code::TOO_FEW_PEERS,
                        op.key.text() + ": the peer group has one member left: " + decision->text});
        }
    }
    if (op.shared) op.shared->enter_epoch(topology_, rank_);
    if (op.run) rerun(op, *decision);
    reenter(now, op);
}

/// Members that are lost here keep nothing and own nothing; with `keep` all survivors know the attempt, so
/// that they agree on where its shards are folded.
void MemberState::rerun(Op& op, const wire::Decision& decision) {
    const uint64_t bytes = op.reduce.count * size_of(op.reduce.dtype);
    const auto size = static_cast<plan::Rank>(members_.size());
    const bool fresh = decision.verdict == wire::Verdict::kAbort;
    if (fresh && !decision.keep) {
        op.homes.clear();
        op.run->restore();
        const plan::Segmentation segmentation(
            op.reduce.count, static_cast<uint32_t>(size_of(op.reduce.dtype)), size, constants_.segment_bytes);
        op.run->begin(segmentation, size);
        op.run->enter_epoch(plan::make_plan(plan_kind(bytes), segmentation, topology_, rank_));
        return;
    }
    const uint32_t segments = op.run->segments();
    std::vector<std::vector<bool>> finals(members_.size(), std::vector<bool>(segments, !fresh));
    for (const wire::FinalsOf& held : decision.finals) {
        const auto rank = rank_of(held.member);
        if (rank && !fresh) finals[*rank] = unpack(held.finals, segments);
    }
    if (fresh) {
        if (op.homes.empty()) keep_homes(op);
        op.run->begin_again(size);
    }
    // Frames of a new epoch are kept up to a bound at those who have not installed it yet.
    if (kept_map_bytes_ + segments / 8 > kKeptMapBytesMax / members_.size()) op.run->forget_folds();
    kept_map_bytes_ += segments / 8;
    Collective::Moved moved;
    for (const MemberId& id : old_members_) moved.rank_of.push_back(rank_of(id).value_or(plan::kNoRank));
    moved.keep_of_the_gone = config_.mutations.keep_of_the_gone;
    // What is kept is kept in the order of its plan, so a redo does not change to another kind needlessly.
    plan::Kind kind = plan_kind(bytes);
    if (!op.homes.empty()) {
        const bool ring = op.run->plan().kind() == plan::Kind::kRing && topology_.dead_links.empty();
        kind = ring ? plan::Kind::kRing : plan::Kind::kMesh;
    }
    op.run->enter_epoch(
        plan::make_repair_plan(kind, op.run->segmentation(), topology_, rank_, finals, home_ranks(op)),
        &moved);
    op.kept_bytes += op.run->kept_bytes();
    if (fresh) op.redo_kept_bytes += op.run->kept_bytes();
    if (op.run->kept_bytes() > 0 && logs(LogLevel::kInfo))
        log(LogLevel::kInfo, op.key.text() + " goes on with " + std::to_string(op.run->kept_bytes()) +
                                 " bytes of others' inputs that are folded here");
}

/// Where the last epoch folded the shards of an attempt.
void MemberState::keep_homes(Op& op) const {
    const plan::Segmentation& segmentation = op.run->segmentation();
    const std::vector<plan::Rank> ranks =
        plan::homes_of(op.run->plan().kind(), segmentation.shards(), old_topology_);
    for (const plan::Rank rank : ranks) op.homes.push_back(old_members_[rank]);
}

std::vector<plan::Rank> MemberState::home_ranks(const Op& op) const {
    std::vector<plan::Rank> out;
    for (const MemberId& id : op.homes) out.push_back(rank_of(id).value_or(plan::kNoRank));
    return out;
}

/// Tells the others that the operation is called here, and lets it move. It may end in here.
void MemberState::reenter(TimeUs now, Op& op) {
    // Who calls an attempt that others brought from an older epoch is waited for like them.
    const bool to_all = op.run && (op.run->continues() || op.attempt != epoch_);
    if (op.run && (op.run->segments() == 0 || to_all || !op.run->plan().neighbours().empty())) {
        wire::Called called;
        called.epoch = epoch_;
        called.key = op.key;
        called.descriptor = op.descriptor;
        if (op.run->plan().kind() == plan::Kind::kMesh || op.run->segments() == 0 || to_all) {
            // Operands that may have to wait are sent only once all are known to have called; an operation
            // without any is complete then.
            for (plan::Rank r = 0; r < members_.size(); ++r) {
                if (r == rank_) continue;
                called.kept = op.run->kept()[r];
                send_to(r, called);
            }
        } else {
            for (plan::Rank r : op.run->plan().neighbours()) send_to(r, called);
        }
    }
    if (op.shared) {
        wire::Offer offer = op.shared->offer();
        offer.epoch = epoch_;
        offer.key = op.key;
        for (plan::Rank r = 0; r < members_.size(); ++r) {
            if (r != rank_) send_to(r, offer);
        }
        for (const auto& [rank, early] : op.early_offers) op.shared->offered(rank, early);
        op.early_offers.clear();
    }
    take_early(now, op);
    announce_all(op);
    pump(now, op);
}

/// Frames of this epoch that came while it was only promised.
void MemberState::take_future(TimeUs now) {
    std::vector<FutureFrame> frames;
    frames.swap(future_);
    future_bytes_ = 0;
    for (FutureFrame& frame : frames) {
        const bool acceptable = frame.type == wire::Type::kData
                                    ? take_future_data(now, frame)
                                    : handle(now, frame.from, frame.type, frame.body);
        const auto link = links_.find(frame.from);
        if (acceptable || link == links_.end() || !link->second.up) continue;
        Action action{Action::Kind::kCloseLink};
        action.peer = frame.from;
        action.incarnation = link->second.incarnation;
        action.text = "it sent an invalid frame before this epoch was installed here";
        // The driver tells nothing back; on_install reports the loss.
        link->second.up = false;
        link->second.reason = action.text;
        release_in_flight(link->second, nullptr);
        outbox_.push_back(std::move(action));
    }
}

/// False: data of an operation that cannot exist.
bool MemberState::take_future_data(TimeUs now, FutureFrame& frame) {
    wire::Data header;
    const auto rank = rank_of(frame.from);
    bool impossible = false;
    Op* op = wire::decode(frame.body, header) && rank && header.epoch == epoch_
                 ? find_op(*rank, header.key, &impossible)
                 : nullptr;
    Link* link = rank ? link_of(*rank) : nullptr;
    if (op == nullptr || link == nullptr) {
        slots_.give(frame.slot);
        if (link != nullptr) give_back(*rank, header.charge, frame.bytes);
        return !impossible;
    }
    op->rx_bytes += frame.bytes;
    op->early.push_back({frame.from, header, frame.slot, frame.bytes});
    if (!op->called) return true;
    take_early(now, *op);
    pump(now, *op);
    return true;
}

}  // namespace pccl::core
