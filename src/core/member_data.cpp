// Data frames: which may be sent now, where received ones go, and the credits that bound what is kept.
//
// Three ways to pay for a frame. None: the receiver called the operation and the plan says that the payload
// is used up as soon as it is there. Slot: all participants called it, so an operand that waits for earlier
// ones waits for data that is on its way; a bounded number per sender. Eager: everything else, out of a
// budget of bytes per sender, so that an operation that was not called yet blocks no other.
#include <algorithm>

#include "base/check.h"
#include "core/member_state.h"

namespace pccl::core {

Collective::Gate MemberState::gate_of(const Op& op, plan::Rank rank, const Link& link) const {
    Collective::Gate gate;
    gate.receiver_called = op.remote_called[rank];
    gate.all_called = all_called(op);
    gate.eager_left = config_.mutations.no_credit ? ~uint64_t{0} : link.flow.eager_left;
    gate.slots_left = link.flow.slots_left;
    return gate;
}

bool MemberState::next_data(TimeUs now, const MemberId& peer, DataOut& out) {
    const auto at = links_.find(peer);
    if (at == links_.end()) return false;
    Link& link = at->second;
    const auto rank = rank_of(peer);
    if (rank && link.up && (!frozen_ || config_.mutations.no_freeze)) {
        for (size_t tried = 0; tried < link.ready.size(); ++tried) {
            Op& op = *link.ready[link.turn++ % link.ready.size()];
            if (!fill(now, op, *rank, link, out)) continue;
            const bool more = op.run ? op.run->has_data(*rank) : op.shared && op.shared->has_data(*rank);
            if (!more) std::erase(link.ready, &op);
            return true;
        }
    }
    link.pull_announced = false;
    return false;
}

bool MemberState::fill(TimeUs now, Op& op, plan::Rank rank, Link& link, DataOut& out) {
    out.header.charge = wire::Charge::kNone;
    out.header.offset = 0;
    if (op.run) {
        Collective::Out piece;
        if (!op.run->next(rank, gate_of(op, rank, link), piece)) return false;
        out.header.phase = piece.phase;
        out.header.charge = piece.charge;
        out.header.object = piece.segment;
        out.payload = piece.payload;
        if (piece.charge == wire::Charge::kEager && !config_.mutations.no_credit)
            link.flow.eager_left -= eager_cost(piece.payload.size());
        if (piece.charge == wire::Charge::kSlot) --link.flow.slots_left;
    } else {
        SharedState::Out piece;
        if (!op.shared || !op.shared->next(rank, piece)) return false;
        out.header.phase = wire::Phase::kPulled;
        out.header.object = piece.object;
        out.header.offset = piece.offset;
        out.payload = piece.payload;
    }
    out.header.epoch = epoch_;
    out.header.key = op.key;
    out.header.descriptor = op.descriptor;
    op.tx_bytes += out.payload.size();
    link.sent = now;
    return true;
}

void MemberState::announce(Op& op, plan::Rank rank) {
    const bool has = op.run ? op.run->has_data(rank) : op.shared && op.shared->has_data(rank);
    Link* link = has ? link_of(rank) : nullptr;
    if (link == nullptr) return;
    if (std::find(link->ready.begin(), link->ready.end(), &op) == link->ready.end())
        link->ready.push_back(&op);
    if (link->pull_announced || !link->up) return;
    link->pull_announced = true;
    Action action{Action::Kind::kPullData};
    action.peer = members_[rank];
    outbox_.push_back(std::move(action));
}

void MemberState::announce_all(Op& op) {
    for (plan::Rank r = 0; r < members_.size(); ++r) {
        if (r != rank_) announce(op, r);
    }
}

/// Counts what a sender charged; false when it exceeds what it was given.
bool MemberState::charge_received(Link& link, wire::Charge charge, uint32_t bytes) {
    if (charge == wire::Charge::kEager) {
        if (config_.mutations.no_credit) return true;
        if (link.flow.eager_held + eager_cost(bytes) > config_.eager_bytes_per_peer) return false;
        link.flow.eager_held += eager_cost(bytes);
    } else if (charge == wire::Charge::kSlot) {
        if (link.flow.slots_held >= config_.parked_slots_per_peer) return false;
        ++link.flow.slots_held;
    }
    return charge <= wire::Charge::kSlot;
}

void MemberState::give_back(plan::Rank rank, wire::Charge charge, uint32_t bytes) {
    Link* link = link_of(rank);
    if (link == nullptr) return;
    Flow& flow = link->flow;
    if (charge == wire::Charge::kEager) {
        // What was charged in an older epoch is held no more.
        const uint64_t back = std::min(eager_cost(bytes), flow.eager_held);
        flow.eager_held -= back;
        flow.eager_due += back;
    } else if (charge == wire::Charge::kSlot && flow.slots_held > 0) {
        --flow.slots_held;
        ++flow.slots_due;
    }
    // Credits go back in lots: a sender that is blocked has the larger part outstanding, which comes back in
    // time.
    if (flow.eager_due * 4 >= config_.eager_bytes_per_peer ||
        flow.slots_due * 2 >= config_.parked_slots_per_peer)
        flush_credits(rank);
}

void MemberState::flush_credits(plan::Rank rank) {
    Flow& flow = link_of(rank)->flow;
    wire::Credit credit;
    credit.epoch = epoch_;
    credit.eager_bytes = flow.eager_due;
    credit.slots = flow.slots_due;
    flow.eager_due = 0;
    flow.slots_due = 0;
    send_to(rank, credit);
}

Place MemberState::place(TimeUs now, const MemberId& peer, const wire::Data& header, uint32_t bytes) {
    const auto at = links_.find(peer);
    if (at == links_.end() || !at->second.up) return {};
    Link& link = at->second;
    link.heard = now;
    const auto violation = [&](const char* why) {
        log(LogLevel::kWarn,
            "closing the link to " + who(peer) + ": " + why + " (" + header.key.text() + ")");
        return Place{nullptr, true, why};
    };
    if (bytes == 0) return violation("an empty payload");
    const bool future = frozen_ && header.epoch == promised_ && header.epoch != epoch_;
    if (future) {
        if (header.charge != wire::Charge::kEager || header.phase != wire::Phase::kPartial)
            return violation("data of a new epoch that does not come on eager credit");
        // That epoch's credits are new; what is still held of the current one does not count against them.
        if (link.flow.future_held + eager_cost(bytes) > config_.eager_bytes_per_peer &&
            !config_.mutations.no_credit)
            return violation("more data of a new epoch than its credit");
        uint8_t* slot = slots_.take(bytes);
        if (slot == nullptr) return violation("no memory for early data");
        link.flow.future_held += eager_cost(bytes);
        link.in_flight.push_back({header.key, slot, true, true});
        return {slot, false, {}};
    }
    const bool old = header.epoch != epoch_ || frozen_;
    const auto rank = rank_of(peer);
    if (!rank || (old && !config_.mutations.accept_old_epoch && !config_.mutations.no_freeze)) return {};
    bool impossible = false;
    Op* op = find_op(*rank, header.key, &impossible);
    if (impossible) return violation("data of an operation that cannot exist");
    if (op == nullptr) return refuse(link, *rank, header, bytes);
    if (!op->called) {
        if (!op->heard) op->heard = {peer, header.descriptor};
        if (header.charge != wire::Charge::kEager || header.phase != wire::Phase::kPartial)
            return violation("data of an operation that was not called here");
        return place_early(link, header, bytes);
    }
    if (descriptors_differ(now, *op, peer, header.descriptor)) return refuse(link, *rank, header, bytes);
    if (op->run) {
        if (!charge_received(link, header.charge, bytes))
            return violation("more data than it was given credit for");
        const Collective::Landing landing = op->run->place(*rank, header, bytes);
        if (landing.error != nullptr) return violation(landing.error);
        link.in_flight.push_back({header.key, landing.data, landing.is_slot, false});
        return {landing.data, false, {}};
    }
    const char* error = "data of an operation that has none";
    uint8_t* data = op->shared ? op->shared->place(*rank, header, bytes, &error) : nullptr;
    if (data == nullptr) return violation(error);
    link.in_flight.push_back({header.key, data, false, false});
    return {data, false, {}};
}

/// Data of an operation that has ended here: discarded, and its credit goes back.
Place MemberState::refuse(Link& link, plan::Rank rank, const wire::Data& header, uint32_t bytes) {
    if (!charge_received(link, header.charge, bytes))
        return {nullptr, true, "more data than it was given credit for"};
    give_back(rank, header.charge, bytes);
    return {};
}

Place MemberState::place_early(Link& link, const wire::Data& header, uint32_t bytes) {
    if (!charge_received(link, header.charge, bytes))
        return {nullptr, true, "more eager data than the budget"};
    uint8_t* slot = slots_.take(bytes);
    if (slot == nullptr) return {nullptr, true, "no memory for early data"};
    link.in_flight.push_back({header.key, slot, true, true});
    return {slot, false, {}};
}

bool MemberState::landed(TimeUs now, const MemberId& peer, const wire::Data& header, uint8_t* data,
                         uint32_t bytes) {
    const auto at = links_.find(peer);
    if (at == links_.end()) return true;
    Link& link = at->second;
    const auto flight = std::find_if(link.in_flight.begin(), link.in_flight.end(),
                                     [&](const InFlight& f) { return f.data == data; });
    if (flight == link.in_flight.end()) return true;
    const InFlight landed_flight = *flight;
    link.in_flight.erase(flight);
    link.received_bytes += bytes;
    if (header.epoch != epoch_ && header.epoch == promised_) {
        FutureFrame frame{peer, wire::Type::kData, wire::encode(header), data, bytes};
        future_.push_back(std::move(frame));
        return true;
    }
    bool impossible = false;
    const auto rank = rank_of(peer);
    Op* op = rank ? find_op(*rank, header.key, &impossible) : nullptr;
    if (op == nullptr) {
        if (landed_flight.is_slot) slots_.give(data);
        if (rank && header.epoch == epoch_) give_back(*rank, header.charge, bytes);
        return !impossible;
    }
    op->rx_bytes += bytes;
    if (landed_flight.is_early) {
        op->early.push_back({peer, header, data, bytes});
        if (!op->called) return true;
        take_early(now, *op);
    } else if (op->run) {
        op->run->landed(*rank, header, data, landed_flight.is_slot, bytes);
    } else if (op->shared) {
        op->shared->landed(*rank, header, bytes);
    }
    pump(now, *op);
    return true;
}

void MemberState::dropped(const MemberId& peer, const wire::Data& header, uint8_t* data, uint32_t) {
    const auto at = links_.find(peer);
    if (at == links_.end()) return;
    auto& flights = at->second.in_flight;
    const auto flight =
        std::find_if(flights.begin(), flights.end(), [&](const InFlight& f) { return f.data == data; });
    if (flight == flights.end()) return;
    if (flight->is_slot) slots_.give(data);
    flights.erase(flight);
    const auto op = ops_.find(header.key);
    const auto rank = rank_of(peer);
    if (op != ops_.end() && op->second->run && rank && header.epoch == epoch_)
        op->second->run->drop(*rank, header);
}

/// Gives back the slots of payloads that are being received: for one operation, or for all.
void MemberState::release_in_flight(Link& link, const wire::OpKey* key) {
    std::erase_if(link.in_flight, [&](const InFlight& flight) {
        if (key != nullptr && flight.key != *key) return false;
        if (flight.is_slot) slots_.give(flight.data);
        return true;
    });
}

/// Hands data that came before the call to the operation, now that it knows where it belongs.
void MemberState::take_early(TimeUs now, Op& op) {
    std::vector<EarlyData> early;
    early.swap(op.early);
    for (EarlyData& data : early) {
        const auto rank = rank_of(data.from);
        Collective::Landing landing;
        if (rank && op.run) landing = op.run->place(*rank, data.header, data.bytes, data.slot);
        if (landing.data == nullptr) {
            log(LogLevel::kWarn, "dropped data of " + op.key.text() + " from " + who(data.from) + ": " +
                                     (landing.error != nullptr ? landing.error : "the operation takes none"));
            if (rank) give_back(*rank, data.header.charge, data.bytes);
            slots_.give(data.slot);
            continue;
        }
        PCCL_ASSERT(data.header.phase == wire::Phase::kPartial);  // place() admits nothing else early
        op.run->landed(*rank, data.header, data.slot, true, data.bytes);
        link_of(*rank)->heard = now;
    }
}

}  // namespace pccl::core
