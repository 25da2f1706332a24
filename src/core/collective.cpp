#include "core/collective.h"

#include <algorithm>
#include <cstring>
#include <utility>

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
    folded_.clear();
    if (in_place_ && undo_ == nullptr && n > 0) {
        undo_ = undo_cache_.take(segmentation.count() * element_bytes_);
        return undo_ != nullptr;
    }
    return true;
}

/// Saved inputs stay where they were saved: they are read from there.
void Collective::begin_again(uint32_t contributors) {
    contributors_ = contributors;
    for (uint32_t s = 0; s < std::min<size_t>(segments(), folded_.size()); ++s) {
        if (final_[s]) folded_[s] = 0;
    }
    remaining_ = segments();
    final_.assign(segments(), false);
}

void Collective::enter_epoch(plan::Plan plan, const Moved* moved) {
    const plan::Plan old = std::exchange(plan_, std::move(plan));
    const std::vector<uint16_t> folded = std::exchange(folded_, {});
    std::vector<Parked> parked = std::exchange(parked_, {});
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
    kept_.assign(plan_.size(), {});
    kept_bytes_ = 0;
    covered_.clear();
    untold_ = 0;
    continues_ = moved != nullptr && folded.size() == n;
    queue_inputs();
    if (continues_) {
        covered_.assign(n, false);
        told_.assign(plan_.size(), false);
        told_[plan_.rank()] = true;
        untold_ = plan_.size() - 1u;
        return keep_folds(old, folded, std::move(parked), *moved);
    }
    for (const Parked& entry : parked) slots_.give(entry.slot);
}

/// What can be sent or folded from the start.
void Collective::queue_inputs() {
    for (uint32_t s : plan_.start_order()) {
        if (final_[s]) continue;
        for (const plan::Edge& edge : plan_.node(s).input_to) push_partial(edge.to, {s, true, edge.parks});
    }
    for (uint32_t s = 0; s < segments(); ++s) {
        const plan::Node& node = plan_.node(s);
        if (final_[s]) {
            for (Rank to : node.final_to) push_final(to, s);
        } else if (node.fold.size() == 1 && node.fold[0] == plan_.rank()) {
            advance(s);
        }
    }
}

/// Takes over folds, and parked inputs as far as they can be folded now. One that would have to wait longer
/// is let go: the slots of an epoch are for what was paid for in it.
void Collective::keep_folds(const plan::Plan& old, const std::vector<uint16_t>& folded,
                            std::vector<Parked> parked, const Moved& moved) {
    std::vector<uint32_t> touched;
    for (uint32_t s = 0; s < segments(); ++s) {
        if (final_[s] || folded[s] == 0) continue;
        const uint16_t operands = kept_operands(old, s, folded[s], moved);
        if (operands == 0) continue;
        folded_[s] = operands;
        touched.push_back(s);
    }
    for (Parked& entry : parked) {
        const Rank rank = moved.now(entry.rank);
        const plan::Node& node = plan_.node(entry.segment);
        const int index = final_[entry.segment] ? -1 : fold_index(node, rank);
        const bool input = !old.node(entry.segment).chain_from && !node.chain_from;
        if (index < folded_[entry.segment] || !input) {
            slots_.give(entry.slot);
            continue;
        }
        parked_.push_back({entry.segment, rank, wire::Charge::kNone, entry.bytes, entry.slot});
        touched.push_back(entry.segment);
    }
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    for (uint32_t s : touched) {
        advance(s);
        list_kept(s);
    }
    release_parked();
}

/// How many operands of the segment's new node are in what is folded of it, or 0. The inputs in it must be
/// those that the new plan folds first, in its order, so that the result has the same bits as without it.
uint16_t Collective::kept_operands(const plan::Plan& old, uint32_t segment, uint16_t operands,
                                   const Moved& moved) const {
    std::vector<Rank> inputs;
    for (Rank rank : plan::folded_ranks(old.node(segment), operands, old.size())) {
        const Rank now = moved.now(rank);
        if (now != plan::kNoRank) inputs.push_back(now);
        if (now == plan::kNoRank && !moved.keep_of_the_gone) return 0;
    }
    const plan::Node& node = plan_.node(segment);
    for (uint16_t count = 1; count <= node.fold.size(); ++count) {
        const std::vector<Rank> first = plan::folded_ranks(node, count, plan_.size());
        if (first.size() >= inputs.size()) return first == inputs ? count : uint16_t{0};
    }
    return 0;
}

void Collective::list_kept(uint32_t segment) {
    const plan::Node& node = plan_.node(segment);
    for (uint32_t i = 0; i < folded_[segment]; ++i) arrived_[fold_base_[segment] + i] = true;
    for (Rank rank : plan::folded_ranks(node, folded_[segment], plan_.size())) {
        if (rank == plan_.rank()) continue;
        std::vector<uint8_t>& bits = kept_[rank];
        bits.resize((segments() + 7) / 8, 0);
        bits[segment / 8] = static_cast<uint8_t>(bits[segment / 8] | 1u << (segment % 8));
        kept_bytes_ += segmentation_.range(segment).count * element_bytes_;
    }
}

bool Collective::kept_by(Rank rank, const std::vector<uint8_t>& segments_kept) {
    if (!continues_) return segments_kept.empty();
    if (segments_kept.size() > (size_t{segments()} + 7) / 8) return false;
    if (rank >= told_.size() || told_[rank]) return true;
    told_[rank] = true;
    --untold_;
    if (segments_kept.empty()) return true;
    for (uint32_t s = 0; s < segments() && s / 8 < segments_kept.size(); ++s) {
        if ((segments_kept[s / 8] >> (s % 8) & 1) != 0) covered_[s] = true;
    }
    for (Queue& queue : queues_) {
        const auto begin = queue.partials.begin() + static_cast<std::ptrdiff_t>(queue.partials_at);
        queue.partials.erase(
            std::remove_if(begin, queue.partials.end(),
                           [&](const Pending& pending) { return covered_[pending.segment]; }),
            queue.partials.end());
    }
    return true;
}

bool Collective::covered(uint32_t segment) const { return !covered_.empty() && covered_[segment]; }

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
    folded_.assign(folded_.size(), 0);
}

void Collective::forget_charges() {
    for (Parked& entry : parked_) entry.charge = wire::Charge::kNone;
    consumed_.clear();
}

void Collective::forget_folds() {
    release_parked();
    folded_.assign(folded_.size(), 0);
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
    if (untold_ > 0) return false;
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
    const auto refused = [](const char* why) { return Landing{nullptr, false, why}; };
    if (segment >= segments()) return refused("a segment beyond the operation's last");
    const auto range = segmentation_.range(segment);
    if (bytes != size_t{range.count} * element_bytes_ || header.offset != 0)
        return refused("a segment of a wrong size");
    const plan::Node& node = plan_.node(segment);
    if (final_[segment]) return refused("data for a segment that is final");
    if (header.phase == wire::Phase::kFinal) {
        if (node.final_from != from || receiving_[segment]) return refused("a result that is not due");
        receiving_[segment] = true;
        save(segment, range);
        folded_[segment] = 0;  // It is overwritten from here on, even if the rest of the result never comes.
        return {result(range), false, nullptr};
    }
    if (header.phase != wire::Phase::kPartial) return refused("a phase that the operation does not have");
    const int index = fold_index(node, from);
    if (index < 0 || arrived_[fold_base_[segment] + static_cast<uint32_t>(index)])
        return refused("an operand that is not due");
    const bool self_is_first = node.fold[0] == plan_.rank();
    const bool consumed_at_once = index == (self_is_first ? 1 : 0);
    if (header.charge == wire::Charge::kNone && !consumed_at_once)
        return refused("an operand without the credit that it needs");
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
    if (covered(pending.segment)) return;
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
