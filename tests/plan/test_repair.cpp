// Goal: a repair gives everybody the held segments, computes the others, and spreads the load over the
// holders. Method: the interpreter runs the repair plans of all ranks for random holders and random dead
// links.
#include <catch2/catch.hpp>

#include <algorithm>
#include <set>

#include "plan/interpreter.h"
#include "plan/plan.h"

namespace pccl::plan {
namespace {

using test::Delivery;

Topology complete(Rank size) {
    Topology topology;
    topology.size = size;
    return topology;
}

// Held by each rank with a probability that differs from round to round, segment to segment; some vectors are
// short.
std::vector<std::vector<bool>> random_finals(std::mt19937_64& random, Rank size, uint32_t segments) {
    std::vector<std::vector<bool>> finals(size, std::vector<bool>(segments, false));
    const uint64_t sparse = 1 + random() % 6;
    for (uint32_t segment = 0; segment < segments; ++segment) {
        const uint64_t held_of_ten = random() % sparse == 0 ? random() % 11 : 0;
        for (Rank rank = 0; rank < size; ++rank) finals[rank][segment] = random() % 10 < held_of_ten;
    }
    if (segments > 0) finals[random() % size].resize(random() % segments);
    return finals;
}

TEST_CASE("a repair completes everybody, for random holders and links", "[plan]") {
    std::mt19937_64 random(21);
    for (int round = 0; round < 400; ++round) {
        const Rank size = static_cast<Rank>(1 + random() % 16);
        const Topology topology = round % 3 == 0 ? complete(size) : test::random_topology(random, size);
        const Rank shards = static_cast<Rank>(size + random() % 4);  // begun by more members than are left
        const Segmentation segmentation(random() % 400, 4, shards, 64);
        const Kind kind =
            choose(round % 2 == 0 ? Kind::kRing : Kind::kMesh, segmentation.count() * 4, topology);
        const test::World world = test::make_repair_world(
            kind, segmentation, topology, random_finals(random, size, segmentation.segments()));
        INFO("round " << round << ", " << size << " ranks, " << topology.dead_links.size() << " dead links");
        REQUIRE(test::check_world(world, Delivery::kRandom, random(), true) == "");
        REQUIRE(test::check_world(world, Delivery::kHighestSenderFirst, random(), false) == "");
    }
}

TEST_CASE("those without a link to a holder are served through another", "[plan]") {
    // Rank 3 holds all and is linked to rank 1 only.
    Topology topology = complete(4);
    topology.dead_links = {{3, 0}, {2, 3}};
    const Segmentation segmentation(100, 4, 4, 64);
    const std::vector<bool> all(segmentation.segments(), true);
    const test::World world = test::make_repair_world(Kind::kMesh, segmentation, topology, {{}, {}, {}, all});
    REQUIRE(test::check_world(world, Delivery::kRandom, 1, true) == "");
    for (uint32_t segment = 0; segment < segmentation.segments(); ++segment) {
        CHECK(world.plans[3].node(segment).final_to == std::vector<Rank>{1});
        CHECK(world.plans[1].node(segment).final_from == Rank{3});
        CHECK(world.plans[1].node(segment).final_to == std::vector<Rank>{0, 2});
        CHECK(world.plans[0].node(segment).final_from == Rank{1});
    }
}

TEST_CASE("what all hold is not touched", "[plan]") {
    const Segmentation segmentation(100, 4, 3, 64);
    const std::vector<bool> all(segmentation.segments(), true);
    const Plan plan = make_repair_plan(Kind::kRing, segmentation, complete(3), 1, {all, all, all});
    for (uint32_t segment = 0; segment < segmentation.segments(); ++segment)
        CHECK(plan.node(segment) == Node{});
    CHECK(plan.neighbours().empty());
    CHECK(plan.start_order().empty());
}

TEST_CASE("what nobody holds is computed as in a fresh attempt", "[plan]") {
    const Segmentation segmentation(1000, 4, 5, 64);
    for (const Kind kind : {Kind::kRing, Kind::kMesh}) {
        for (Rank rank = 0; rank < 5; ++rank) {
            const Plan fresh = make_plan(kind, segmentation, complete(5), rank);
            const Plan repair = make_repair_plan(kind, segmentation, complete(5), rank, {});
            for (uint32_t segment = 0; segment < segmentation.segments(); ++segment) {
                REQUIRE(fresh.node(segment) == repair.node(segment));
            }
            CHECK(fresh.start_order() == repair.start_order());
            CHECK(fresh.neighbours() == repair.neighbours());
        }
    }
}

// The homes of an epoch of `size` as its survivors see them when `gone` has left.
std::vector<Rank> homes_without(Kind kind, Rank shards, Rank size, Rank gone) {
    std::vector<Rank> homes = homes_of(kind, shards, complete(size));
    for (Rank& home : homes) home = home == gone ? kNoRank : static_cast<Rank>(home > gone ? home - 1 : home);
    return homes;
}

TEST_CASE("a plan for given homes completes everybody, whatever they are", "[plan]") {
    std::mt19937_64 random(22);
    for (int round = 0; round < 300; ++round) {
        const Rank size = static_cast<Rank>(1 + random() % 12);
        const Topology topology = round % 3 == 0 ? complete(size) : test::random_topology(random, size);
        const Rank shards = static_cast<Rank>(1 + random() % 14);
        const Segmentation segmentation(random() % 400, 4, shards, 64);
        const Kind kind =
            choose(round % 2 == 0 ? Kind::kRing : Kind::kMesh, segmentation.count() * 4, topology);
        std::vector<Rank> homes(shards);
        for (Rank& home : homes) home = random() % 4 == 0 ? kNoRank : static_cast<Rank>(random() % size);
        const test::World world =
            test::make_repair_world(kind, segmentation, topology,
                                    round % 2 == 0 ? std::vector<std::vector<bool>>()
                                                   : random_finals(random, size, segmentation.segments()),
                                    homes);
        INFO("round " << round << ", " << size << " ranks, " << topology.dead_links.size() << " dead links");
        REQUIRE(test::check_world(world, Delivery::kRandom, random(), true) == "");
        REQUIRE(test::check_world(world, Delivery::kHighestSenderFirst, random(), false) == "");
    }
}

TEST_CASE("homes stay with the survivors, and the shards of the one that is gone are dealt out", "[plan]") {
    const Rank size = 5, gone = 1;
    const Segmentation segmentation(40000, 4, size, 256);
    const std::vector<Rank> homes = homes_without(Kind::kMesh, size, size, gone);
    REQUIRE(homes == std::vector<Rank>{0, kNoRank, 1, 2, 3});
    std::vector<uint32_t> dealt(size - 1u, 0);
    for (Rank rank = 0; rank < size - 1; ++rank) {
        const Plan plan = make_repair_plan(Kind::kMesh, segmentation, complete(size - 1), rank, {}, homes);
        for (uint32_t segment = 0; segment < segmentation.segments(); ++segment) {
            const Rank home = homes[segmentation.shard_of(segment)];
            if (home == kNoRank) {
                dealt[rank] += plan.node(segment).finishes;
            } else {
                CHECK(plan.node(segment).finishes == (home == rank));
            }
        }
    }
    const auto [least, most] = std::minmax_element(dealt.begin(), dealt.end());
    CHECK(*most - *least <= 1);
    CHECK(*least >= segmentation.segments_of(gone) / (size - 1u));
}

TEST_CASE("the inputs in a fold are told in its order", "[plan]") {
    const Segmentation segmentation(100, 4, 5, 64);
    const Plan ring = make_plan(Kind::kRing, segmentation, complete(5), 1);
    const Node& chain = ring.node(segmentation.first_segment(3));  // 3, 4, 0, 1, 2
    CHECK(folded_ranks(chain, 0, 5).empty());
    CHECK(folded_ranks(chain, 1, 5) == std::vector<Rank>{3, 4, 0});
    CHECK(folded_ranks(chain, 2, 5) == std::vector<Rank>{3, 4, 0, 1});
    CHECK(folded_ranks(chain, 9, 5) == std::vector<Rank>{3, 4, 0, 1});
    const Plan mesh = make_plan(Kind::kMesh, segmentation, complete(5), 1);
    CHECK(folded_ranks(mesh.node(segmentation.first_segment(1)), 3, 5) == std::vector<Rank>{0, 1, 2});
}

TEST_CASE("holders share the load", "[plan]") {
    const Rank size = 9;
    const Segmentation segmentation(100000, 4, size, 64);
    const uint32_t segments = segmentation.segments();
    std::vector<std::vector<bool>> finals(size, std::vector<bool>(segments, true));
    finals[4].assign(segments, false);
    std::vector<uint32_t> served(size, 0);
    for (Rank rank = 0; rank < size; ++rank) {
        const Plan plan = make_repair_plan(Kind::kMesh, segmentation, complete(size), rank, finals);
        for (uint32_t segment = 0; segment < segments; ++segment) {
            served[rank] += static_cast<uint32_t>(plan.node(segment).final_to.size());
        }
    }
    for (Rank rank = 0; rank < size; ++rank) {
        if (rank == 4) continue;
        CHECK(served[rank] >= segments / 8);
        CHECK(served[rank] <= segments / 8 + 1);
    }
}

TEST_CASE("segments with like holders share a node", "[plan]") {
    const Segmentation segmentation(uint64_t{1} << 24, 4, 4, 4096);
    REQUIRE(segmentation.segments() == 16384);
    std::vector<std::vector<bool>> finals(4, std::vector<bool>(segmentation.segments(), false));
    for (uint32_t segment = 0; segment < segmentation.segments(); ++segment)
        finals[segment % 3][segment] = segment % 5 != 0;
    const Plan plan = make_repair_plan(Kind::kMesh, segmentation, complete(4), 0, finals);
    std::set<const Node*> nodes;
    for (uint32_t segment = 0; segment < segmentation.segments(); ++segment)
        nodes.insert(&plan.node(segment));
    CHECK(nodes.size() <= 4 + 3);
}

TEST_CASE("a large repair is computed for a thousand ranks", "[plan]") {
    const Rank size = 1000;
    const Segmentation segmentation(20000, 4, size, 4);
    std::mt19937_64 random(4);
    const std::vector<std::vector<bool>> finals = random_finals(random, size, segmentation.segments());
    const Plan plan = make_repair_plan(Kind::kRing, segmentation, complete(size), 17, finals);
    for (uint32_t segment = 0; segment < segmentation.segments(); ++segment) {
        const bool holds = segment < finals[17].size() && finals[17][segment];
        const Node& node = plan.node(segment);
        REQUIRE(holds == !(node.finishes || node.final_from.has_value()));
    }
}

}  // namespace
}  // namespace pccl::plan
