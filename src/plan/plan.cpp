// Builds plans: ring and mesh for a fresh all-reduce, and the repair of an interrupted one.
//
// Each rank computes its own nodes only. That the nodes of all ranks fit together (each send is expected
// exactly once) follows from every rank evaluating the same function of the segment; tests/plan checks it by
// running all ranks.
#include "plan/plan.h"

#include <algorithm>
#include <compare>
#include <map>

namespace pccl::plan {

namespace {

// A segment starts at its home, is folded once around the ring, and its result goes round once more.
Node ring_node(Rank home, Rank size, Rank rank) {
    Node node;
    if (size == 1) {
        node.fold = {rank};
        node.finishes = true;
        return node;
    }
    const Rank next = static_cast<Rank>((rank + 1) % size);
    const Rank previous = static_cast<Rank>((rank + size - 1) % size);
    const uint32_t position = (rank + size - home) % size;
    const uint32_t last = size - 1u;
    // A ring never parks: the only remote operand is also the first, so that it is folded as it arrives.
    const Edge edge{.to = next, .parks = false};
    if (position == 0) {
        node.input_to = {edge};
    } else {
        node.fold = {previous, rank};
        node.chain_from = home;
    }
    if (position == last) {
        node.finishes = true;
    } else {
        if (position > 0) node.partial_to = {edge};
        node.final_from = previous;
    }
    // The result stops at the rank before the finisher.
    if (position + 1 != last) node.final_to = {next};
    return node;
}

// The owner folds all inputs in rank order; its first remote operand never waits, the others may.
Node mesh_node(Rank owner, Rank size, Rank rank) {
    Node node;
    if (rank != owner) {
        const Rank first_remote = owner == 0 ? 1 : 0;
        node.input_to = {{.to = owner, .parks = rank != first_remote}};
        node.final_from = owner;
        return node;
    }
    node.finishes = true;
    for (Rank other = 0; other < size; ++other) {
        node.fold.push_back(other);
        if (other != rank) node.final_to.push_back(other);
    }
    return node;
}

// Makes the node of a shard; what is the same for all shards is worked out once.
class NodeMaker {
   public:
    NodeMaker(Kind kind, const Topology& topology, Rank rank)
        : kind_(kind), size_(topology.size), rank_(rank) {
        PCCL_ASSERT(kind == Kind::kRing || kind == Kind::kMesh);
        PCCL_ASSERT(rank < size_ && size_ <= kRanksMax);
        PCCL_ASSERT(kind == Kind::kMesh || topology.dead_links.empty());
        owners_ = topology.fully_linked();
        PCCL_ASSERT(!owners_.empty());
    }

    Rank home(Rank shard) const { return owners_[shard % owners_.size()]; }
    /// Of a segment whose shard's home is `wish`, where that is possible; else all have their part of them.
    Rank home(Rank wish, uint32_t segment) const {
        const bool possible = std::binary_search(owners_.begin(), owners_.end(), wish);
        return possible ? wish : owners_[segment % owners_.size()];
    }
    Node make(Rank home) const {
        return kind_ == Kind::kRing ? ring_node(home, size_, rank_) : mesh_node(home, size_, rank_);
    }

   private:
    Kind kind_;
    Rank size_;
    Rank rank_;
    std::vector<Rank> owners_;
};

// Links as a matrix: a repair asks once for each segment and rank.
class LinkMatrix {
   public:
    explicit LinkMatrix(const Topology& topology) : size_(topology.size) {
        if (topology.dead_links.empty()) return;
        dead_.resize(size_t{size_} * size_, false);
        for (const auto& [a, b] : topology.dead_links) {
            dead_[size_t{a} * size_ + b] = true;
            dead_[size_t{b} * size_ + a] = true;
        }
    }
    bool linked(Rank a, Rank b) const { return dead_.empty() || !dead_[size_t{a} * size_ + b]; }

   private:
    Rank size_;
    std::vector<bool> dead_;
};

// One rank's part in handing out a segment that somebody holds.
struct Fetch {
    std::optional<Rank> from;
    std::vector<Rank> to;
    auto operator<=>(const Fetch&) const = default;
};

// The first of `level` with a link to `rank`, looking from an index that differs by segment and rank, so that
// not one holder serves everything.
std::optional<Rank> parent_of(Rank rank, uint32_t segment, const std::vector<Rank>& level,
                              const LinkMatrix& links) {
    const size_t start = (size_t{segment} + rank) % level.size();
    for (size_t step = 0; step < level.size(); ++step) {
        const Rank candidate = level[(start + step) % level.size()];
        if (links.linked(candidate, rank)) return candidate;
    }
    return std::nullopt;
}

// Breadth first from all holders at once: each level is served by the one before. Where somebody is linked to
// everybody there are at most two levels.
Fetch fetch_of(Rank rank, uint32_t segment, std::vector<Rank> level, std::vector<Rank> needy,
               const LinkMatrix& links) {
    Fetch fetch;
    while (!needy.empty()) {
        std::vector<Rank> served;
        std::vector<Rank> unserved;
        for (const Rank needy_rank : needy) {
            const std::optional<Rank> parent = parent_of(needy_rank, segment, level, links);
            (parent ? served : unserved).push_back(needy_rank);
            if (parent && needy_rank == rank) fetch.from = parent;
            if (parent == rank) fetch.to.push_back(needy_rank);
        }
        PCCL_ASSERT(!served.empty());  // or the topology is not connected, and so not feasible
        level = std::move(served);
        needy = std::move(unserved);
    }
    return fetch;
}

}  // namespace

std::vector<Rank> folded_ranks(const Node& node, size_t operands, Rank size) {
    std::vector<Rank> out;
    for (size_t i = 0; i < std::min(operands, node.fold.size()); ++i) {
        if (i == 0 && node.chain_from) {
            for (Rank r = *node.chain_from; r != node.fold[0]; r = static_cast<Rank>((r + 1) % size))
                out.push_back(r);
        }
        out.push_back(node.fold[i]);
    }
    return out;
}

std::vector<Rank> homes_of(Kind kind, Rank shards, const Topology& topology) {
    const NodeMaker maker(kind, topology, 0);
    std::vector<Rank> out;
    for (Rank shard = 0; shard < shards; ++shard) out.push_back(maker.home(shard));
    return out;
}

Plan::Plan(Kind kind, const Segmentation& segmentation, const Topology& topology, Rank rank)
    : kind_(kind), rank_(rank), size_(topology.size), segmentation_(segmentation) {}

void Plan::find_neighbours() {
    std::vector<bool> met(size_, false);
    for (const Node& node : nodes_) {
        for (const Edge& edge : node.input_to) met[edge.to] = true;
        for (const Edge& edge : node.partial_to) met[edge.to] = true;
        for (const Rank operand : node.fold) met[operand] = true;
        for (const Rank target : node.final_to) met[target] = true;
        if (node.final_from) met[*node.final_from] = true;
    }
    met[rank_] = false;
    for (Rank rank = 0; rank < size_; ++rank) {
        if (met[rank]) neighbours_.push_back(rank);
    }
}

// Interleaved over shards, the next rank's shard first: at any moment the ranks of a mesh send to different
// owners. In a ring only the own shards have an input to send, which then are simply in order.
void Plan::order_starts() {
    const Rank shards = segmentation_.shards();
    const uint32_t shard_segments_max = segmentation_.segments() == 0 ? 0 : segmentation_.segments_of(0);
    for (uint32_t index = 0; index < shard_segments_max; ++index) {
        for (uint32_t step = 1; step <= shards; ++step) {
            const Rank shard = static_cast<Rank>((rank_ + step) % shards);
            if (index >= segmentation_.segments_of(shard)) continue;
            const uint32_t segment = segmentation_.first_segment(shard) + index;
            if (!node(segment).input_to.empty()) start_order_.push_back(segment);
        }
    }
}

Plan make_plan(Kind kind, const Segmentation& segmentation, const Topology& topology, Rank rank) {
    const NodeMaker maker(kind, topology, rank);
    Plan plan(kind, segmentation, topology, rank);
    // Empty shards are the last ones; they have no segment and so need no node.
    const Rank shards = static_cast<Rank>(std::min<uint64_t>(segmentation.shards(), segmentation.count()));
    plan.nodes_.reserve(shards);
    for (Rank shard = 0; shard < shards; ++shard) plan.nodes_.push_back(maker.make(maker.home(shard)));
    plan.find_neighbours();
    plan.order_starts();
    return plan;
}

Plan make_repair_plan(Kind kind, const Segmentation& segmentation, const Topology& topology, Rank rank,
                      const std::vector<std::vector<bool>>& finals, const std::vector<Rank>& homes) {
    PCCL_ASSERT(homes.empty() || homes.size() == segmentation.shards());
    const NodeMaker maker(kind, topology, rank);
    const LinkMatrix links(topology);
    Plan plan(kind, segmentation, topology, rank);
    // Most segments share their node with others: those of one home, and those with like holders.
    std::map<Rank, uint32_t> node_of_home;
    std::map<Fetch, uint32_t> node_of_fetch;
    std::vector<Rank> holders;
    std::vector<Rank> needy;
    for (uint32_t segment = 0; segment < segmentation.segments(); ++segment) {
        holders.clear();
        needy.clear();
        for (Rank other = 0; other < topology.size; ++other) {
            const bool holds =
                other < finals.size() && segment < finals[other].size() && finals[other][segment];
            (holds ? holders : needy).push_back(other);
        }
        const uint32_t new_index = static_cast<uint32_t>(plan.nodes_.size());
        if (holders.empty()) {
            const Rank shard = segmentation.shard_of(segment);
            const Rank home = homes.empty() ? maker.home(shard) : maker.home(homes[shard], segment);
            const auto [entry, is_new] = node_of_home.emplace(home, new_index);
            if (is_new) plan.nodes_.push_back(maker.make(home));
            plan.node_of_segment_.push_back(entry->second);
        } else {
            Fetch fetch = fetch_of(rank, segment, holders, needy, links);
            const auto [entry, is_new] = node_of_fetch.emplace(std::move(fetch), new_index);
            if (is_new) {
                Node node;
                node.final_from = entry->first.from;
                node.final_to = entry->first.to;
                plan.nodes_.push_back(std::move(node));
            }
            plan.node_of_segment_.push_back(entry->second);
        }
    }
    plan.find_neighbours();
    plan.order_starts();
    return plan;
}

}  // namespace pccl::plan
