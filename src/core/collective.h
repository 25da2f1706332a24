// One all-reduce at one member: runs a plan segment by segment on the caller's buffers.
//
// Inputs stay intact until the end: out of place by not touching them, in place by saving each segment to an
// undo buffer before it is first overwritten. Operands of a segment are folded strictly in the plan's order,
// so the bits do not depend on timing. An operand that is next in the order is consumed as soon as it lands;
// one that comes early keeps its slot, which its sender paid for with a credit.
//
// In a new epoch an attempt goes on with its final segments, and with every fold of its inputs that the new
// plan would make in the same order from members that are still there. Everybody tells the others which of
// their inputs are in what it keeps; nobody sends an input or a fold before all have spoken, and what is kept
// further along is not sent at all. So a result never overtakes a fold that it does not need, which would be
// overwritten while it is being sent. What is kept lives in the caller's buffers, not in slots.
//
// Guarded by the owner of the member. Spans given out by next() and place() stay valid until enter_epoch,
// restore or destruction; the member cuts the driver's use of them before it calls any of these.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/dtype.h"
#include "core/slots.h"
#include "plan/plan.h"
#include "wire/messages.h"

namespace pccl::core {

using plan::Rank;

/// What an eager payload costs of the budget. Small ones cost more than their bytes, because keeping one does
/// too.
constexpr uint64_t eager_cost(uint64_t bytes) { return bytes < 256 ? 256 : bytes; }

class Collective {
   public:
    struct Buffers {
        const uint8_t* send = nullptr;
        uint8_t* receive = nullptr;
        DataType dtype = DataType::kFloat;
        RedOp op = RedOp::kSum;
    };

    /// What is sent next to a rank.
    struct Out {
        wire::Phase phase;
        wire::Charge charge;
        uint32_t segment;
        std::span<const uint8_t> payload;
    };

    /// Whether and how data may go to a rank now.
    struct Gate {
        bool receiver_called = false;
        bool all_called = false;
        uint64_t eager_left = 0;
        uint32_t slots_left = 0;
    };

    /// An operand was used up, so its sender's credit can be returned.
    struct Consumed {
        Rank rank;
        wire::Charge charge;
        uint32_t bytes;
    };

    struct Landing {
        uint8_t* data = nullptr;  ///< null with `error`
        bool is_slot = false;     ///< a slot taken from the pool, which landed() or drop() gets back
        const char* error = nullptr;
    };

    /// Where the members of the last epoch are in the new one.
    struct Moved {
        std::vector<Rank> rank_of;      ///< by old rank; kNoRank: gone
        bool keep_of_the_gone = false;  ///< a broken rule, for tests
        Rank now(Rank old) const { return old < rank_of.size() ? rank_of[old] : plan::kNoRank; }
    };

    Collective(const Buffers& buffers, SlotPool& slots, UndoCache& undo);
    ~Collective();
    Collective(const Collective&) = delete;
    Collective& operator=(const Collective&) = delete;

    /// A fresh attempt: forgets all results. Null undo memory is reported by false.
    bool begin(const plan::Segmentation& segmentation, uint32_t contributors);
    /// An attempt that is cut like the last one, by other contributors: no segment is final any more.
    void begin_again(uint32_t contributors);
    /// Runs the attempt with this plan, in a new epoch: final segments are kept. With `moved` folds are, too,
    /// and all members must enter it so; without, other segments start again from the inputs.
    void enter_epoch(plan::Plan plan, const Moved* moved = nullptr);
    /// Puts the in-place input back and forgets all results.
    void restore();
    /// Forgets what is folded and not final.
    void forget_folds();
    /// The epoch that the charges were paid in is over: nothing is given back for what came in it.
    void forget_charges();

    /// After enter_epoch: by rank, the segments (bit by bit) of whose inputs by that rank this one keeps the
    /// fold. Empty: of none.
    const std::vector<std::vector<uint8_t>>& kept() const { return kept_; }
    /// Bytes of others' inputs that are in kept folds.
    uint64_t kept_bytes() const { return kept_bytes_; }
    /// A rank has said which of this one's inputs it keeps. False: it cannot keep any, or not so many.
    bool kept_by(Rank rank, const std::vector<uint8_t>& segments);
    bool continues() const { return continues_; }

    bool has_data(Rank to) const;
    /// The next frame for a rank that the gate lets through; false if there is none.
    bool next(Rank to, const Gate& gate, Out& out);

    /// Where a payload from `from` goes. One that is here already, in `slot`, stays there.
    Landing place(Rank from, const wire::Data& header, uint32_t bytes, uint8_t* slot = nullptr);
    /// The payload is there. With a slot, the collective owns it from now on.
    void landed(Rank from, const wire::Data& header, uint8_t* data, bool is_slot, uint32_t bytes);
    /// The payload will not come: undoes place(), but for the slot, which the caller gives back.
    void drop(Rank from, const wire::Data& header);

    bool complete() const { return remaining_ == 0; }
    uint32_t segments() const { return segmentation_.segments(); }
    const plan::Segmentation& segmentation() const { return segmentation_; }
    const plan::Plan& plan() const { return plan_; }
    bool any_final() const { return remaining_ < segments(); }
    /// Bit per segment, least significant first.
    std::vector<uint8_t> finals() const;

    /// Ranks for which data became ready since the last call.
    std::vector<Rank>& woken() { return woken_; }
    std::vector<Consumed>& consumed() { return consumed_; }

   private:
    struct Pending {
        uint32_t segment;
        bool input;  ///< the own input rather than the folded value
        bool parks;
    };
    struct Queue {
        std::vector<Pending> partials;
        std::vector<uint32_t> finals;
        size_t partials_at = 0;
        size_t finals_at = 0;
        bool empty() const { return partials_at == partials.size() && finals_at == finals.size(); }
    };
    struct Parked {
        uint32_t segment;
        Rank rank;
        wire::Charge charge;
        uint32_t bytes;
        uint8_t* slot;
    };

    uint8_t* result(const plan::Segmentation::Range& range) const;
    const uint8_t* input(uint32_t segment, const plan::Segmentation::Range& range) const;
    void save(uint32_t segment, const plan::Segmentation::Range& range);
    void queue_inputs();
    void keep_folds(const plan::Plan& old, const std::vector<uint16_t>& folded, std::vector<Parked> parked,
                    const Moved& moved);
    uint16_t kept_operands(const plan::Plan& old, uint32_t segment, uint16_t operands,
                           const Moved& moved) const;
    void list_kept(uint32_t segment);
    bool covered(uint32_t segment) const;
    void advance(uint32_t segment);
    bool fold_first(uint32_t segment, const plan::Segmentation::Range& range, const plan::Node& node);
    bool fold_next(uint32_t segment, const plan::Segmentation::Range& range, const plan::Node& node);
    void folded(uint32_t segment, const plan::Segmentation::Range& range, const plan::Node& node);
    void mark_final(uint32_t segment, const plan::Node& node);
    const Parked* parked(uint32_t segment, Rank rank) const;
    void consume(uint32_t segment, Rank rank);
    void push_partial(Rank to, Pending pending);
    void push_final(Rank to, uint32_t segment);
    void release_parked();
    int fold_index(const plan::Node& node, Rank rank) const;

    Buffers buffers_;
    SlotPool& slots_;
    UndoCache& undo_cache_;
    bool in_place_;
    uint8_t* undo_ = nullptr;

    plan::Segmentation segmentation_;
    plan::Plan plan_;
    uint32_t contributors_ = 0;
    uint32_t element_bytes_;
    uint32_t remaining_ = 0;

    std::vector<bool> final_;
    std::vector<bool> saved_;
    std::vector<uint16_t> folded_;     ///< operands folded so far, by segment
    std::vector<uint32_t> fold_base_;  ///< where a segment's bits start in arrived_
    std::vector<bool> arrived_;        ///< operand placed or landed, by segment and fold index
    std::vector<bool> receiving_;      ///< a final is being received, by segment
    std::vector<Parked> parked_;
    std::vector<Queue> queues_;  ///< by rank
    std::vector<Rank> woken_;
    std::vector<Consumed> consumed_;

    bool continues_ = false;  ///< this epoch was entered with what was kept
    std::vector<bool> told_;  ///< what it keeps, by rank
    size_t untold_ = 0;
    std::vector<std::vector<uint8_t>> kept_;  ///< by rank, bit per segment
    uint64_t kept_bytes_ = 0;
    std::vector<bool> covered_;  ///< the own input is in a fold that another keeps, by segment
};

}  // namespace pccl::core
