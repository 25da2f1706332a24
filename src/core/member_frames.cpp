// Control frames from peers. Each is decoded and checked before anything changes; what is old is dropped,
// what is of the epoch that this member has promised but not installed is kept, within a bound, until it is.
#include <algorithm>

#include "core/member_state.h"

namespace pccl::core {
namespace {

constexpr size_t kFutureFramesMax = 65536;
constexpr size_t kFutureBytesMax = 32 << 20;
constexpr size_t kTombstonesMax = 4096;
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
            return in_epoch<wire::Mismatch>(from, body,
                                            [&](plan::Rank, const auto& m) { return on_mismatch(now, m); });
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
    if (future_.size() >= kFutureFramesMax || future_bytes_ + body.size() > kFutureBytesMax) {
        log(LogLevel::kWarn, who(from) + " sent more frames of a new epoch than are kept");
        return false;
    }
    future_bytes_ += body.size();
    future_.push_back({from, type, {body.begin(), body.end()}, nullptr, 0});
    return true;
}

Op* MemberState::find_op(const wire::OpKey& key, bool* violation) {
    *violation = false;
    if (const auto at = ops_.find(key); at != ops_.end()) return at->second.get();
    const auto kind = static_cast<uint8_t>(key.kind);
    const bool known_kind =
        kind >= 1 && kind <= wire::kOpKindLast && (key.kind == wire::OpKind::kReduce || key.tag == 0);
    const auto tag = tags_.find({key.kind, key.tag});
    const uint64_t calls = tag == tags_.end() ? 0 : tag->second.calls;
    if (known_kind && (key.sequence <= calls || tombstones_.count(key) != 0)) return nullptr;
    // Others can be ahead by the call that is open here, by what was reported here but not called yet, and by
    // one more.
    uint64_t reported = 0;
    for (auto grave = tombstones_.lower_bound({key.kind, key.tag, 0});
         grave != tombstones_.end() && grave->first.kind == key.kind && grave->first.tag == key.tag;
         ++grave) {
        ++reported;
    }
    if (!known_kind || key.sequence > calls + reported + 2 || ops_.size() >= wire::kOpsMax) {
        *violation = true;
        return nullptr;
    }
    auto op = std::make_unique<Op>();
    op->key = key;
    op->remote_called.assign(members_.size(), false);
    withdraw_soft_vote();
    return (ops_[key] = std::move(op)).get();
}

bool MemberState::on_called(TimeUs now, plan::Rank from, const wire::Called& message) {
    bool impossible = false;
    Op* op = find_op(message.key, &impossible);
    if (op == nullptr) return !impossible;
    if (descriptors_differ(now, *op, members_[from], message.descriptor)) return true;
    if (op->remote_called[from]) return true;
    op->remote_called[from] = true;
    ++op->remote_called_count;
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
    Op* op = find_op(message.key, &impossible);
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
    on_mismatch(now, message);
}

bool MemberState::on_mismatch(TimeUs now, const wire::Mismatch& message) {
    bool impossible = false;
    if (!rank_of(message.first_member) || !rank_of(message.second_member) || message.first == message.second)
        return false;
    Op* op = find_op(message.key, &impossible);
    if (op == nullptr) return !impossible;
    if (!op->called && tombstones_.size() >= kTombstonesMax) return false;
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
        tombstones_[key] = status;
    }
    return true;
}

bool MemberState::on_offer(TimeUs now, plan::Rank from, const wire::Offer& message) {
    if (message.key.kind != wire::OpKind::kSharedState) return false;
    bool impossible = false;
    Op* op = find_op(message.key, &impossible);
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
    const auto to = rank_of(message.to);
    if (message.from != from || !to || !topology_.linked(rank_, *to)) return true;
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
