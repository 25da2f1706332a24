// Collective algorithms as pure data: which rank sends, folds, finishes and forwards which segment.
//
// A buffer is cut into segments by `Segmentation`, which depends on sizes only and so never changes during an
// attempt, whatever happens to members and links. A `Plan` says for one rank what it does with each segment:
// a node of a data-flow graph. Ring, mesh, star, tree and one-shot exchanges, and the repair of an
// interrupted attempt, are all graphs of such nodes, so one executor runs them. Everything here is a pure
// function: all members compute the same without asking. Values are immutable once made and may be read from
// any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"

namespace pccl::plan {

using Rank = uint16_t;

inline constexpr Rank kRanksMax = 1024;
/// A member that has no rank in the epoch.
inline constexpr Rank kNoRank = UINT16_MAX;
inline constexpr uint32_t kSegmentsMax = 65536;

enum class Kind : uint8_t { kAuto = 0, kRing = 1, kMesh = 2 };

/// "auto", "ring", "mesh"; "invalid" for another value.
const char* name_of(Kind kind);

/// How an operand buffer is cut: `shards` nearly equal ranges (the last ones empty when there are fewer
/// elements than shards), each cut into segments of at most `segment_elements`. Segments are numbered
/// through, shard by shard.
class Segmentation {
   public:
    Segmentation() = default;
    /// `segment_bytes_max` is an epoch constant. Segments shrink for small operands, so that a shard is
    /// several of them and the pipeline fills, and grow for huge ones, so that there are at most kSegmentsMax
    /// of them. `element_bytes` is 1 to 64, `shards` 1 to kRanksMax, `count` at most 2^60.
    Segmentation(uint64_t count, uint32_t element_bytes, Rank shards, uint32_t segment_bytes_max);

    uint64_t count() const { return count_; }
    uint32_t element_bytes() const { return element_bytes_; }
    Rank shards() const { return shards_; }
    uint32_t segments() const { return segments_; }
    /// Bytes of the largest segment; what a scratch slot must hold.
    uint64_t segment_bytes() const { return segment_elements_ * element_bytes_; }

    struct Range {
        uint64_t offset;  ///< in elements
        uint64_t count;   ///< in elements, never 0
        Rank shard;
    };
    Range range(uint32_t segment) const;

    /// The shard of a segment; constant time, as it is asked for every frame.
    Rank shard_of(uint32_t segment) const {
        PCCL_ASSERT(segment < segments_);
        if (segment < long_segments_) return static_cast<Rank>(segment / long_shard_segments_);
        return static_cast<Rank>(long_shards_ + (segment - long_segments_) / short_shard_segments_);
    }
    uint32_t first_segment(Rank shard) const;
    uint32_t segments_of(Rank shard) const {
        return shard < long_shards_ ? long_shard_segments_ : short_shard_segments_;
    }

   private:
    uint64_t first_element(Rank shard) const;

    uint64_t count_ = 0;
    uint64_t segment_elements_ = 0;
    uint64_t short_shard_elements_ = 0;  // a long shard has one more
    uint32_t element_bytes_ = 0;
    uint32_t segments_ = 0;
    uint32_t long_segments_ = 0;  // of all long shards together
    uint32_t long_shard_segments_ = 0;
    uint32_t short_shard_segments_ = 0;
    Rank shards_ = 0;
    Rank long_shards_ = 0;
};

/// Where partial data goes. `parks`: the receiver may have to keep the data until operands that come earlier
/// in its fold order have arrived, so the sender needs a credit for it.
struct Edge {
    Rank to;
    bool parks;
    bool operator==(const Edge&) const = default;
};

/// What one rank does with a segment. Operands are folded strictly in the order of `fold`.
struct Node {
    std::vector<Edge> input_to;  ///< gets this rank's own input, untouched
    std::vector<Rank> fold;      ///< operands in order; the own rank: the own input; empty: nothing folded
    /// The first operand is the fold of all inputs from this rank on, around to the operand's sender. None:
    /// it is its sender's input, as all other operands are.
    std::optional<Rank> chain_from;
    std::vector<Edge> partial_to;    ///< gets the folded value, when this rank does not finish the segment
    bool finishes = false;           ///< the folded value, after the average's division, is the result
    std::optional<Rank> final_from;  ///< who sends the result, when this rank lacks it and does not finish it
    std::vector<Rank> final_to;      ///< gets the result from this rank as soon as it has it
    bool operator==(const Node&) const = default;
};

/// The ranks whose inputs are in the first `operands` operands of a node's fold, in the order of folding, in
/// an epoch of `size` ranks.
std::vector<Rank> folded_ranks(const Node& node, size_t operands, Rank size);

/// The links of an epoch: all pairs but the dead ones.
struct Topology {
    Rank size = 0;
    std::vector<std::pair<Rank, Rank>> dead_links;  ///< unordered pairs, each once

    bool linked(Rank a, Rank b) const;
    /// Ranks with a link to every other, ascending.
    std::vector<Rank> fully_linked() const;
};

/// Whether any plan exists: somebody is linked to everybody.
bool feasible(const Topology& topology);

/// Whom to remove when no plan exists: most dead links, among equals the highest rank.
Rank worst_connected(const Topology& topology);

/// The lowest rank that is linked to both, for frames between two ranks whose own link is dead.
std::optional<Rank> relay_between(const Topology& topology, Rank a, Rank b);

/// Turns auto into a plan, a pure function of size and members; a ring over dead links becomes a mesh whose
/// shards are finished by fully linked ranks only.
Kind choose(Kind wish, uint64_t bytes, const Topology& topology);

/// One rank's part in a collective. `node(segment)` is what it does with that segment.
class Plan {
   public:
    Plan() = default;
    const Node& node(uint32_t segment) const {
        return nodes_[node_of_segment_.empty() ? segmentation_.shard_of(segment) : node_of_segment_[segment]];
    }
    Kind kind() const { return kind_; }
    Rank rank() const { return rank_; }
    Rank size() const { return size_; }
    /// Ranks that this rank exchanges data with in either direction, ascending.
    const std::vector<Rank>& neighbours() const { return neighbours_; }
    /// Segments in the order in which this rank should start sending its inputs.
    const std::vector<uint32_t>& start_order() const { return start_order_; }

   private:
    friend Plan make_plan(Kind, const Segmentation&, const Topology&, Rank);
    friend Plan make_repair_plan(Kind, const Segmentation&, const Topology&, Rank,
                                 const std::vector<std::vector<bool>>&, const std::vector<Rank>&);
    Plan(Kind kind, const Segmentation& segmentation, const Topology& topology, Rank rank);
    void find_neighbours();
    void order_starts();

    Kind kind_ = Kind::kMesh;
    Rank rank_ = 0;
    Rank size_ = 0;
    Segmentation segmentation_;
    std::vector<Node> nodes_;
    std::vector<uint32_t> node_of_segment_;  // empty: the node of the segment's shard
    std::vector<Rank> neighbours_;
    std::vector<uint32_t> start_order_;
};

/// The plan of a fresh all-reduce. `kind` must be resolved by choose() for this very topology (no auto, no
/// ring over dead links) and `topology` feasible. The number of shards is usually the topology's size but
/// need not be. ring: reduce-scatter then all-gather along ranks in order; shard s starts at rank s and is
/// finished by rank s-1. mesh: each shard has an owner among the fully linked ranks, which folds all inputs
/// in rank order and sends the result to all (direct reduce-scatter and all-gather).
Plan make_plan(Kind kind, const Segmentation& segmentation, const Topology& topology, Rank rank);

/// The plan that completes an interrupted attempt. `finals[r]` tells which final segments rank r of the new
/// epoch holds; what a short vector lacks is not held. A segment that somebody holds is fetched: along a
/// breadth-first forest over live links from all of its holders, so that those without a direct link to a
/// holder are served too. One that nobody holds is computed by make_plan's node, or where `homes` says, if it
/// is not empty: by shard, ranks of the new epoch, as homes_of() had them in the epoch that made the attempt.
/// The segments of a shard whose home is gone, or cannot own anything any more, are dealt out to all.
Plan make_repair_plan(Kind kind, const Segmentation& segmentation, const Topology& topology, Rank rank,
                      const std::vector<std::vector<bool>>& finals, const std::vector<Rank>& homes = {});

/// For each shard the rank that make_plan makes its owner (mesh) or lets begin it (ring).
std::vector<Rank> homes_of(Kind kind, Rank shards, const Topology& topology);

/// Rounds of the commit barrier. All-to-all in one hop up to kDirectBarrierMax members, then dissemination.
inline constexpr Rank kDirectBarrierMax = 32;
struct BarrierRound {
    std::vector<Rank> send_to;
    std::vector<Rank> receive_from;
};
std::vector<BarrierRound> make_barrier(Rank size, Rank rank);

}  // namespace pccl::plan
