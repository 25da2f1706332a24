// What can be said of an epoch's links without looking at data: who reaches whom, and which plan they allow.
#include <algorithm>

#include "plan/plan.h"

namespace pccl::plan {

namespace {

// The choice of kAuto: a pure function for now of size and members; a measured cost model follows.
// Up to here a mesh always wins: it has two one-way delays where a ring has 2(N-1), and moves as many bytes.
constexpr Rank kMeshAlwaysMax = 8;
// Up to here it wins while a shard is so small that delay dominates; beyond, N flows into each member are too
// many.
constexpr Rank kMeshSmallMax = 32;
constexpr uint64_t kMeshSmallShardBytes = 64 * 1024;

std::vector<uint32_t> count_dead_links(const Topology& topology) {
    std::vector<uint32_t> counts(topology.size, 0);
    for (const auto& [a, b] : topology.dead_links) {
        PCCL_ASSERT(a < topology.size && b < topology.size && a != b);
        ++counts[a];
        ++counts[b];
    }
    return counts;
}

}  // namespace

const char* name_of(Kind kind) {
    switch (kind) {
        case Kind::kAuto: return "auto";
        case Kind::kRing: return "ring";
        case Kind::kMesh: return "mesh";
    }
    return "invalid";
}

bool Topology::linked(Rank a, Rank b) const {
    return std::none_of(dead_links.begin(), dead_links.end(), [a, b](const std::pair<Rank, Rank>& link) {
        return (link.first == a && link.second == b) || (link.first == b && link.second == a);
    });
}

std::vector<Rank> Topology::fully_linked() const {
    const std::vector<uint32_t> counts = count_dead_links(*this);
    std::vector<Rank> ranks;
    for (Rank rank = 0; rank < size; ++rank) {
        if (counts[rank] == 0) ranks.push_back(rank);
    }
    return ranks;
}

bool feasible(const Topology& topology) { return !topology.fully_linked().empty(); }

Rank worst_connected(const Topology& topology) {
    PCCL_ASSERT(topology.size > 0);
    const std::vector<uint32_t> counts = count_dead_links(topology);
    Rank worst = 0;
    for (Rank rank = 1; rank < topology.size; ++rank) {
        if (counts[rank] >= counts[worst]) worst = rank;
    }
    return worst;
}

std::optional<Rank> relay_between(const Topology& topology, Rank a, Rank b) {
    PCCL_ASSERT(a < topology.size && b < topology.size);
    std::vector<bool> usable(topology.size, true);
    usable[a] = usable[b] = false;
    for (const auto& [first, second] : topology.dead_links) {
        if (first == a || first == b) usable[second] = false;
        if (second == a || second == b) usable[first] = false;
    }
    for (Rank rank = 0; rank < topology.size; ++rank) {
        if (usable[rank]) return rank;
    }
    return std::nullopt;
}

Kind choose(Kind wish, uint64_t bytes, const Topology& topology) {
    PCCL_ASSERT(topology.size > 0);
    if (!topology.dead_links.empty()) return Kind::kMesh;
    if (wish != Kind::kAuto) return wish;
    if (topology.size <= kMeshAlwaysMax) return Kind::kMesh;
    if (topology.size <= kMeshSmallMax && bytes / topology.size < kMeshSmallShardBytes) return Kind::kMesh;
    return Kind::kRing;
}

}  // namespace pccl::plan
