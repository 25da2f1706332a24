// Control frames from peers. Each is decoded and checked before anything changes; what is old is dropped,
// what is of the epoch that this member has promised but not installed is kept, within a bound, until it is.
#include <algorithm>

#include "core/checks.h"
#include "core/member_state.h"

namespace pccl::core {
namespace {

constexpr size_t kFutureFramesMax = 65536;
constexpr size_t kFutureBytesMax = 32 << 20;
// Reports made by peers' words, and with those made by decisions; the answer to a proposal can list the
// latter.
constexpr size_t kReportsByPeersMax = wire::kOpsMax / 2;
constexpr size_t kReportsMax = wire::kOpsMax;
constexpr uint8_t kRoundsMax = 16;

}  // namespace

bool MemberState::peer_frame(TimeUs now, const MemberId& peer, wire::Type type,
                             std::span<const uint8_t> body) {
    const auto at = links_.find(peer);
    if (at == links_.end() || !at->second.up) return true;
    at->second.heard = now;
    const bool valid = handle(now, peer, type, body);
    if (!queue_.empty() && !blocked() && fate_.ok()) run_queue(now);
    return valid;
}

template <class Message, class Handler>
bool MemberState::in_epoch(const MemberId& from, std::span<const uint8_t> body, Handler handler) {
    Message message;
    if (!wire::decode(body, message)) return false;
    if (frozen_ && message.epoch == promised_ && promised_ != epoch_) {
        return keep_future(from, Message::kType, body);
    }
    const auto rank = rank_of(from);
    const bool current = message.epoch == epoch_ && (!frozen_ || config_.mutations.no_freeze);
    if (!rank || (!current && !config_.mutations.accept_old_epoch)) return true;
    return handler(*rank, message);
}

bool MemberState::handle(TimeUs now, const MemberId& from, wire::Type type, std::span<const uint8_t> body) {
    switch (type) {
        case wire::Type::kHeartbeat: return true;
        case wire::Type::kCalled:
            return in_epoch<wire::Called>(
                from, body, [&](plan::Rank rank, const auto& m) { return on_called(now, rank, m); });
        case wire::Type::kDone:
            return in_epoch<wire::Done>(
                from, body, [&](plan::Rank rank, const auto& m) { return on_done(now, rank, m); });
        case wire::Type::kCredit:
            return in_epoch<wire::Credit>(from, body,
                                          [&](plan::Rank rank, const auto& m) { return on_credit(rank, m); });
        case wire::Type::kMismatch:
            return in_epoch<wire::Mismatch>(
                from, body, [&](plan::Rank rank, const auto& m) { return on_mismatch(now, rank, m); });
        case wire::Type::kOffer:
            return in_epoch<wire::Offer>(
                from, body, [&](plan::Rank rank, const auto& m) { return on_offer(now, rank, m); });
        case wire::Type::kPull:
            return in_epoch<wire::Pull>(from, body,
                                        [&](plan::Rank rank, const auto& m) { return on_pull(rank, m); });
        case wire::Type::kRelay:
            return in_epoch<wire::Relay>(from, body,
                                         [&](plan::Rank, const auto& m) { return on_relay(now, from, m); });
        default:
            log(LogLevel::kWarn, "a frame of a type that peers do not send, from " + who(from));
            return false;
    }
}

bool MemberState::keep_future(const MemberId& from, wire::Type type, std::span<const uint8_t> body) {
    Flow& flow = links_[from].flow;
    if (over_share(flow.future_frames, future_.size(), kFutureFramesMax) ||
        over_share(flow.future_bytes + body.size(), future_bytes_ + body.size(), kFutureBytesMax)) {
        log(LogLevel::kWarn, who(from) + " sent more frames of a new epoch than are kept");
        return false;
    }
    ++flow.future_frames;
    flow.future_bytes += body.size();
    future_bytes_ += body.size();
    future_.push_back({from, type, {body.begin(), body.end()}, nullptr, 0});
    return true;
}

/// Whether a peer for which `held_for_peer` of the `held` things are kept must not add to them: each peer may
/// have its equal share in any case, and more as long as there is room, but never nearly all.
bool MemberState::over_share(size_t held_for_peer, size_t held, size_t max) const {
    const size_t members = std::max<size_t>({members_.size(), proposal_ ? proposal_->members.size() : 0, 1});
    return held_for_peer >= max - max / 4 || (held >= max && held_for_peer >= max / members);
}

Op* MemberState::find_op(plan::Rank from, const wire::OpKey& key, bool* violation) {
    *violation = false;
    if (const auto at = ops_.find(key); at != ops_.end()) return at->second.get();
    const auto tag = tags_.find({key.kind, key.tag});
    const uint64_t calls = tag == tags_.end() ? 0 : tag->second.calls;
    *violation = !valid(key);
    if (*violation || key.sequence <= calls || tombstones_.count(key) != 0) return nullptr;
    // Others can be ahead by the call that is open here, by what was reported here but not called yet, and by
    // one more.
    uint64_t reported = 0;
    for (auto grave = tombstones_.lower_bound({key.kind, key.tag, 0});
         grave != tombstones_.end() && grave->first.kind == key.kind && grave->first.tag == key.tag;
         ++grave) {
        ++reported;
    }
    Flow& flow = links_[members_[from]].flow;
    if (key.sequence > calls + reported + 2 || over_share(flow.heard_ops, ops_.size(), wire::kOpsMax)) {
        *violation = true;
        return nullptr;
    }
    ++flow.heard_ops;
    auto op = std::make_unique<Op>();
    op->key = key;
    op->remote_called.assign(members_.size(), false);
    op->opened_by = members_[from];
    withdraw_soft_vote();
    return (ops_[key] = std::move(op)).get();
}

/// An operation that is called here, or goes, counts no longer for the peer that was the first to speak of
/// it.
void MemberState::uncount(Op& op) {
    if (!op.opened_by) return;
    const auto link = links_.find(*op.opened_by);
    if (link != links_.end() && link->second.flow.heard_ops > 0) --link->second.flow.heard_ops;
    op.opened_by.reset();
}

/// Keeps the end of an operation for its late caller.
void MemberState::report(const wire::OpKey& key, Status status) {
    if (tombstones_.size() >= kReportsMax && tombstones_.count(key) == 0) {
        log(LogLevel::kError, "too many operations have ended before they were called here: the end of " +
                                  key.text() + " is not kept");
        return;
    }
    tombstones_[key] = std::move(status);
}

bool MemberState::on_called(TimeUs now, plan::Rank from, const wire::Called& message) {
    bool impossible = false;
    Op* op = find_op(from, message.key, &impossible);
    if (op == nullptr) return !impossible;
    if (descriptors_differ(now, *op, members_[from], message.descriptor)) return true;
    // A member's Done can come first, but says nothing of what it keeps.
    if (op->run && !op->run->kept_by(from, message.kept)) return false;
    if (!op->remote_called[from]) {
        op->remote_called[from] = true;
        ++op->remote_called_count;
    }
    if (!op->called) return true;
    if (all_called(*op)) {
        announce_all(*op);
        if (op->run && op->run->segments() == 0) pump(now, *op);
    } else {
        announce(*op, from);
    }
    return true;
}

bool MemberState::on_done(TimeUs now, plan::Rank from, const wire::Done& message) {
    if (message.round >= kRoundsMax) return false;
    bool impossible = false;
    Op* op = find_op(from, message.key, &impossible);
    if (op == nullptr) return !impossible;
    if (descriptors_differ(now, *op, members_[from], message.descriptor)) return true;
    if (op->done.size() <= message.round) op->done.resize(message.round + 1u);
    auto& round = op->done[message.round];
    if (round.empty()) round.assign(members_.size(), false);
    round[from] = true;
    if (!op->remote_called[from]) {
        op->remote_called[from] = true;
        ++op->remote_called_count;
    }
    op->flags |= message.flags & wire::kFlagsKnown;
    if (op->in_barrier) advance_barrier(now, *op);
    return true;
}

bool MemberState::on_credit(plan::Rank from, const wire::Credit& message) {
    Link* link = link_of(from);
    if (link == nullptr) return true;
    Flow& flow = link->flow;
    const bool too_much = message.eager_bytes > config_.eager_bytes_per_peer - flow.eager_left ||
                          message.slots > config_.parked_slots_per_peer - flow.slots_left;
    if (too_much) {
        log(LogLevel::kWarn, who(members_[from]) + " returned more credit than it was owed");
        return false;
    }
    flow.eager_left += message.eager_bytes;
    flow.slots_left += message.slots;
    for (Op* op : std::vector<Op*>(link->ready)) announce(*op, from);
    return true;
}

bool MemberState::descriptors_differ(TimeUs now, Op& op, const MemberId& member,
                                     const wire::Descriptor& theirs) {
    if (!op.called) {
        if (!op.heard) op.heard = {member, theirs};
        return false;
    }
    if (op.descriptor == theirs) return false;
    raise_mismatch(now, op, member, theirs);
    return true;
}

void MemberState::raise_mismatch(TimeUs now, Op& op, const MemberId& member, const wire::Descriptor& theirs) {
    wire::Mismatch message;
    message.epoch = epoch_;
    message.key = op.key;
    message.first_member = config_.id;
    message.first = op.descriptor;
    message.second_member = member;
    message.second = theirs;
    for (plan::Rank r = 0; r < members_.size(); ++r) {
        if (r != rank_) send_to(r, message);
    }
    on_mismatch(now, rank_, message);
}

bool MemberState::on_mismatch(TimeUs now, plan::Rank from, const wire::Mismatch& message) {
    // Whoever notices a difference tells it to all, and is one of the two.
    if (message.first_member != members_[from] || message.second_member == message.first_member ||
        !rank_of(message.second_member) || message.first == message.second)
        return false;
    bool impossible = false;
    Op* op = find_op(from, message.key, &impossible);
    if (op == nullptr) return !impossible;
    if (message.second_member == config_.id && (!op->called || op->descriptor != message.second))
        return false;
    if (!op->called) {
        Flow& flow = links_[members_[from]].flow;
        if (over_share(flow.reports, tombstones_.size(), kReportsByPeersMax)) return false;
        ++flow.reports;
    }
    const Status status{Code::MISMATCH, message.key.text() +
                                            ": descriptors differ: " + who(message.first_member) +
                                            " called it with " + message.first.text() + ", " +
                                            who(message.second_member) + " with " + message.second.text()};
    log(LogLevel::kError, status.text());
    if (op->called) {
        end(now, *op, status);
    } else {
        const wire::OpKey key = op->key;
        erase(*op);
        report(key, status);
    }
    return true;
}

bool MemberState::on_offer(TimeUs now, plan::Rank from, const wire::Offer& message) {
    if (message.key.kind != wire::OpKind::kSharedState ||
        message.strategy > static_cast<uint8_t>(SyncStrategy::kSendOnly))
        return false;
    bool impossible = false;
    Op* op = find_op(from, message.key, &impossible);
    if (op == nullptr) return !impossible;
    if (!op->called) {
        const bool repeated = std::any_of(op->early_offers.begin(), op->early_offers.end(),
                                          [&](const auto& o) { return o.first == from; });
        if (!repeated) op->early_offers.emplace_back(from, message);
        return true;
    }
    if (!op->shared->offered(from, message)) return false;
    pump(now, *op);
    return true;
}

bool MemberState::on_pull(plan::Rank from, const wire::Pull& message) {
    const auto at = ops_.find(message.key);
    if (at == ops_.end()) return true;
    Op& op = *at->second;
    if (!op.called || !op.shared || !op.shared->pulled(from, message)) {
        log(LogLevel::kWarn,
            who(members_[from]) + " pulled a part of the shared state that cannot be served");
        return false;
    }
    for (plan::Rank rank : op.shared->woken()) announce(op, rank);
    op.shared->woken().clear();
    return true;
}

bool MemberState::on_relay(TimeUs now, const MemberId& from, const wire::Relay& message) {
    if (message.type == wire::Type::kRelay || message.type == wire::Type::kData) return false;
    if (message.to == config_.id) {
        // Only the member that relays for a dead link may speak for its other end.
        const auto author = rank_of(message.from);
        if (!author || topology_.linked(rank_, *author)) return false;
        const auto relay = plan::relay_between(topology_, rank_, *author);
        if (!relay || rank_of(from) != relay) return false;
        // What a relayed frame gets wrong is its author's fault, not that of the link that carried it.
        handle(now, message.from, message.type, message.body);
        return true;
    }
    // Forwarding what its receiver must refuse would cost this member its own link to the receiver.
    const auto author = rank_of(message.from);
    const auto to = rank_of(message.to);
    if (message.from != from || !author || !to || topology_.linked(*author, *to) ||
        plan::relay_between(topology_, *author, *to) != rank_)
        return false;
    send_body(*to, wire::Type::kRelay, wire::encode(message));
    return true;
}

/// Sends on the link, or by way of a member linked to both when the link is dead.
void MemberState::send_body(plan::Rank rank, wire::Type type, std::vector<uint8_t> body) {
    plan::Rank hop = rank;
    if (!topology_.linked(rank_, rank)) {
        const auto relay = plan::relay_between(topology_, rank_, rank);
        if (!relay) return;
        wire::Relay message;
        message.epoch = epoch_;
        message.from = config_.id;
        message.to = members_[rank];
        message.type = type;
        message.body = std::move(body);
        body = wire::encode(message);
        type = wire::Type::kRelay;
        hop = *relay;
    }
    Link* link = link_of(hop);
    if (link == nullptr || !link->up) return;
    Action action{Action::Kind::kToPeer};
    action.peer = members_[hop];
    action.type = type;
    action.body = std::move(body);
    outbox_.push_back(std::move(action));
}

}  // namespace pccl::core
