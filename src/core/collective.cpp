#include "core/collective.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "kernel/reduce.h"

namespace pccl::core {

Collective::Collective(const Buffers& buffers, SlotPool& slots, UndoCache& undo)
    : buffers_(buffers),
      slots_(slots),
      undo_cache_(undo),
      in_place_(buffers.send == buffers.receive),
      element_bytes_(static_cast<uint32_t>(size_of(buffers.dtype))) {}

Collective::~Collective() {
    release_parked();
    if (undo_ != nullptr) undo_cache_.give(undo_);
}

bool Collective::begin(const plan::Segmentation& segmentation, uint32_t contributors) {
    release_parked();
    segmentation_ = segmentation;
    contributors_ = contributors;
    const uint32_t n = segmentation.segments();
    remaining_ = n;
    final_.assign(n, false);
    saved_.assign(n, false);
    if (in_place_ && undo_ == nullptr && n > 0) {
        undo_ = undo_cache_.take(segmentation.count() * element_bytes_);
        return undo_ != nullptr;
    }
    return true;
}

void Collective::enter_epoch(plan::Plan plan) {
    release_parked();
    plan_ = std::move(plan);
    const uint32_t n = segments();
    folded_.assign(n, 0);
    receiving_.assign(n, false);
    fold_base_.resize(n);
    uint32_t bits = 0;
    for (uint32_t s = 0; s < n; ++s) {
        fold_base_[s] = bits;
        if (!final_[s]) bits += static_cast<uint32_t>(plan_.node(s).fold.size());
    }
    arrived_.assign(bits, false);
    queues_.assign(plan_.size(), Queue{});
    woken_.clear();
    consumed_.clear();

    for (uint32_t s : plan_.start_order()) {
        if (final_[s]) continue;
        for (const plan::Edge& edge : plan_.node(s).input_to) push_partial(edge.to, {s, true, edge.parks});
    }
    for (uint32_t s = 0; s < n; ++s) {
        const plan::Node& node = plan_.node(s);
        if (final_[s]) {
            for (Rank to : node.final_to) push_final(to, s);
        } else if (node.fold.size() == 1 && node.fold[0] == plan_.rank()) {
            advance(s);
        }
    }
}

void Collective::restore() {
    for (const Parked& entry : parked_) {
        if (entry.charge != wire::Charge::kNone) consumed_.push_back({entry.rank, entry.charge, entry.bytes});
    }
    release_parked();
    if (in_place_) {
        for (uint32_t s = 0; s < segments(); ++s) {
            if (!saved_[s]) continue;
            const auto range = segmentation_.range(s);
            std::memcpy(result(range), undo_ + range.offset * element_bytes_,
                        size_t{range.count} * element_bytes_);
        }
    }
    saved_.assign(segments(), false);
    final_.assign(segments(), false);
    remaining_ = segments();
    queues_.clear();
}

bool Collective::has_data(Rank to) const { return to < queues_.size() && !queues_[to].empty(); }

bool Collective::next(Rank to, const Gate& gate, Out& out) {
    if (to >= queues_.size() || queues_[to].empty()) return false;
    Queue& queue = queues_[to];
    if (queue.finals_at < queue.finals.size()) {
        if (!gate.receiver_called) return false;
        const uint32_t segment = queue.finals[queue.finals_at++];
        const auto range = segmentation_.range(segment);
        out = {wire::Phase::kFinal,
               wire::Charge::kNone,
               segment,
               {result(range), size_t{range.count} * element_bytes_}};
        return true;
    }
    const Pending pending = queue.partials[queue.partials_at];
    const auto range = segmentation_.range(pending.segment);
    const size_t bytes = size_t{range.count} * element_bytes_;
    if (!pending.parks && gate.receiver_called) {
        out.charge = wire::Charge::kNone;
    } else if (pending.parks && gate.all_called && gate.slots_left > 0) {
        out.charge = wire::Charge::kSlot;
    } else if (!(pending.parks && gate.all_called) && eager_cost(bytes) <= gate.eager_left) {
        out.charge = wire::Charge::kEager;
    } else {
        return false;
    }
    ++queue.partials_at;
    out.phase = wire::Phase::kPartial;
    out.segment = pending.segment;
    out.payload = {pending.input ? input(pending.segment, range) : result(range), bytes};
    return true;
}

Collective::Landing Collective::place(Rank from, const wire::Data& header, uint32_t bytes, uint8_t* slot) {
    const uint32_t segment = header.object;
    if (segment >= segments()) return {nullptr, false, "a segment beyond the operation's last"};
    const auto range = segmentation_.range(segment);
    if (bytes != size_t{range.count} * element_bytes_ || header.offset != 0)
        return {nullptr, false, "a segment of a wrong size"};
    const plan::Node& node = plan_.node(segment);
    if (final_[segment]) return {nullptr, false, "data for a segment that is final"};
    if (header.phase == wire::Phase::kFinal) {
        if (node.final_from != from || receiving_[segment])
            return {nullptr, false, "a result that is not due"};
        receiving_[segment] = true;
        save(segment, range);
        return {result(range), false, nullptr};
    }
    if (header.phase != wire::Phase::kPartial)
        return {nullptr, false, "a phase that the operation does not have"};
    const int index = fold_index(node, from);
    if (index < 0 || arrived_[fold_base_[segment] + static_cast<uint32_t>(index)])
        return {nullptr, false, "an operand that is not due"};
    const bool self_is_first = node.fold[0] == plan_.rank();
    const bool consumed_at_once = index == (self_is_first ? 1 : 0);
    if (header.charge == wire::Charge::kNone && !consumed_at_once)
        return {nullptr, false, "an operand without the credit that it needs"};
    arrived_[fold_base_[segment] + static_cast<uint32_t>(index)] = true;
    // An operand that opens the fold and is followed by another remote one becomes the accumulator, so it
    // lands there.
    if (header.charge == wire::Charge::kNone && index == 0 && node.fold.size() > 1 &&
        node.fold[1] != plan_.rank()) {
        save(segment, range);
        return {result(range), false, nullptr};
    }
    if (slot == nullptr) slot = slots_.take(bytes);
    return {slot, slot != nullptr, slot == nullptr ? "no memory for an operand" : nullptr};
}

void Collective::landed(Rank from, const wire::Data& header, uint8_t* data, bool is_slot, uint32_t bytes) {
    const uint32_t segment = header.object;
    const plan::Node& node = plan_.node(segment);
    if (header.phase == wire::Phase::kFinal) {
        receiving_[segment] = false;
        mark_final(segment, node);
        return;
    }
    if (is_slot) {
        parked_.push_back({segment, from, header.charge, bytes, data});
    } else {
        folded_[segment] = 1;
    }
    advance(segment);
}

void Collective::drop(Rank from, const wire::Data& header) {
    if (header.object >= segments() || final_[header.object]) return;
    if (header.phase == wire::Phase::kFinal) {
        receiving_[header.object] = false;
        return;
    }
    const int index = fold_index(plan_.node(header.object), from);
    if (index >= 0) arrived_[fold_base_[header.object] + static_cast<uint32_t>(index)] = false;
}

std::vector<uint8_t> Collective::finals() const {
    std::vector<uint8_t> bits((segments() + 7) / 8, 0);
    for (uint32_t s = 0; s < segments(); ++s) {
        if (final_[s]) bits[s / 8] = static_cast<uint8_t>(bits[s / 8] | 1u << (s % 8));
    }
    return bits;
}

uint8_t* Collective::result(const plan::Segmentation::Range& range) const {
    return buffers_.receive + range.offset * element_bytes_;
}

const uint8_t* Collective::input(uint32_t segment, const plan::Segmentation::Range& range) const {
    const uint8_t* base = in_place_ && saved_[segment] ? undo_ : buffers_.send;
    return base + range.offset * element_bytes_;
}

void Collective::save(uint32_t segment, const plan::Segmentation::Range& range) {
    if (!in_place_ || saved_[segment]) return;
    std::memcpy(undo_ + range.offset * element_bytes_, result(range), size_t{range.count} * element_bytes_);
    saved_[segment] = true;
}

void Collective::advance(uint32_t segment) {
    const auto range = segmentation_.range(segment);
    const plan::Node& node = plan_.node(segment);
    while (!final_[segment] && folded_[segment] < node.fold.size()) {
        const bool moved =
            folded_[segment] == 0 ? fold_first(segment, range, node) : fold_next(segment, range, node);
        if (!moved) return;
    }
    if (!final_[segment] && !node.fold.empty() && folded_[segment] == node.fold.size())
        folded(segment, range, node);
}

// The first two operands are combined in one pass when one of them is the own input, so that neither is
// copied.
bool Collective::fold_first(uint32_t segment, const plan::Segmentation::Range& range,
                            const plan::Node& node) {
    const Rank self = plan_.rank();
    const bool self_first = node.fold[0] == self;
    const bool pair = node.fold.size() > 1 && (self_first || node.fold[1] == self);
    const size_t bytes = size_t{range.count} * element_bytes_;
    const uint8_t* own = buffers_.send + range.offset * element_bytes_;
    if (in_place_ && saved_[segment]) own = undo_ + range.offset * element_bytes_;
    if (self_first && !pair) {
        save(segment, range);
        if (result(range) != own) std::memcpy(result(range), own, bytes);
        folded_[segment] = 1;
        return true;
    }
    const Rank remote = self_first ? node.fold[1] : node.fold[0];
    const Parked* operand = parked(segment, remote);
    if (operand == nullptr) return false;
    save(segment, range);
    if (pair) {
        kernel::reduce(result(range), self_first ? own : operand->slot, self_first ? operand->slot : own,
                       range.count, buffers_.dtype, buffers_.op);
    } else {
        std::memcpy(result(range), operand->slot, bytes);
    }
    consume(segment, remote);
    folded_[segment] = static_cast<uint16_t>(pair ? 2 : 1);
    return true;
}

bool Collective::fold_next(uint32_t segment, const plan::Segmentation::Range& range, const plan::Node& node) {
    const Rank rank = node.fold[folded_[segment]];
    if (rank == plan_.rank()) {
        kernel::reduce(result(range), result(range), input(segment, range), range.count, buffers_.dtype,
                       buffers_.op);
    } else {
        const Parked* operand = parked(segment, rank);
        if (operand == nullptr) return false;
        kernel::reduce(result(range), result(range), operand->slot, range.count, buffers_.dtype, buffers_.op);
        consume(segment, rank);
    }
    ++folded_[segment];
    return true;
}

void Collective::folded(uint32_t segment, const plan::Segmentation::Range& range, const plan::Node& node) {
    if (!node.finishes) {
        for (const plan::Edge& edge : node.partial_to) push_partial(edge.to, {segment, false, edge.parks});
        return;
    }
    if (buffers_.op == RedOp::kAvg)
        kernel::finish_average(result(range), range.count, buffers_.dtype, contributors_);
    mark_final(segment, node);
}

void Collective::mark_final(uint32_t segment, const plan::Node& node) {
    PCCL_ASSERT(!final_[segment] && remaining_ > 0);
    final_[segment] = true;
    --remaining_;
    for (Rank to : node.final_to) push_final(to, segment);
}

const Collective::Parked* Collective::parked(uint32_t segment, Rank rank) const {
    for (const Parked& entry : parked_) {
        if (entry.segment == segment && entry.rank == rank) return &entry;
    }
    return nullptr;
}

void Collective::consume(uint32_t segment, Rank rank) {
    for (Parked& entry : parked_) {
        if (entry.segment != segment || entry.rank != rank) continue;
        slots_.give(entry.slot);
        if (entry.charge != wire::Charge::kNone) consumed_.push_back({rank, entry.charge, entry.bytes});
        entry = parked_.back();
        parked_.pop_back();
        return;
    }
}

void Collective::push_partial(Rank to, Pending pending) {
    if (queues_[to].empty()) woken_.push_back(to);
    queues_[to].partials.push_back(pending);
}

void Collective::push_final(Rank to, uint32_t segment) {
    if (queues_[to].empty()) woken_.push_back(to);
    queues_[to].finals.push_back(segment);
}

void Collective::release_parked() {
    for (const Parked& entry : parked_) slots_.give(entry.slot);
    parked_.clear();
}

int Collective::fold_index(const plan::Node& node, Rank rank) const {
    const auto at = std::find(node.fold.begin(), node.fold.end(), rank);
    return at == node.fold.end() || rank == plan_.rank() ? -1 : static_cast<int>(at - node.fold.begin());
}

}  // namespace pccl::core
