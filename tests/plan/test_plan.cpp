// Goal: fresh plans of all ranks fit together and reduce each input exactly once, in one order, whatever
// arrives when. Method: the interpreter runs them on symbolic operands, small ones on integers too, under
// several delivery orders.
#include <catch2/catch.hpp>
#include <cstdio>
#include <set>

#include "plan/interpreter.h"
#include "plan/plan.h"

namespace pccl::plan {
namespace {

using test::Delivery;

constexpr Delivery kDeliveries[] = {Delivery::kRandom, Delivery::kOldestFirst, Delivery::kNewestFirst,
                                    Delivery::kHighestSenderFirst};

Topology complete(Rank size) {
    Topology topology;
    topology.size = size;
    return topology;
}

TEST_CASE("ring and mesh of up to 33 ranks reduce each input once", "[plan]") {
    for (const Rank size : {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 32, 33}) {
        for (const uint64_t count : {0, 1, size - 1, +size, size + 1, 5 * size + 2, 1000}) {
            // A tiny segment limit, so that small shards too are several segments.
            const Segmentation segmentation(count, 4, size, 32);
            for (const Kind kind : {Kind::kRing, Kind::kMesh}) {
                const test::World world = test::make_world(kind, segmentation, complete(size));
                for (const Delivery delivery : kDeliveries) {
                    INFO(name_of(kind) << " of " << size << ", count " << count);
                    REQUIRE(test::check_world(world, delivery, count + size, size <= 17) == "");
                }
            }
        }
    }
}

TEST_CASE("ring and mesh of many ranks reduce each input once", "[plan]") {
    for (const Rank size : {64, 257, 1000}) {
        for (const uint64_t count : {0, 1, 7, size + 1}) {
            const Segmentation segmentation(count, 8, size, 1 << 20);
            for (const Kind kind : {Kind::kRing, Kind::kMesh}) {
                INFO(name_of(kind) << " of " << size << ", count " << count);
                const test::World world = test::make_world(kind, segmentation, complete(size));
                REQUIRE(test::check_world(world, Delivery::kRandom, count, false) == "");
            }
        }
    }
}

TEST_CASE("real data of a million elements", "[plan]") {
    for (const Rank size : {1, 2, 3, 5}) {
        const Segmentation segmentation(1000003, 4, size, 1 << 18);
        for (const Kind kind : {Kind::kRing, Kind::kMesh}) {
            const test::World world = test::make_world(kind, segmentation, complete(size));
            REQUIRE(test::check_world(world, Delivery::kRandom, 1, true) == "");
        }
    }
}

TEST_CASE("a mesh works around dead links", "[plan]") {
    std::mt19937_64 random(3);
    for (int round = 0; round < 150; ++round) {
        const Topology topology = test::random_topology(random, static_cast<Rank>(1 + random() % 20));
        const Segmentation segmentation(random() % 300, 4, topology.size, 64);
        const Kind kind =
            choose(random() % 2 == 0 ? Kind::kAuto : Kind::kRing, segmentation.count() * 4, topology);
        const test::World world = test::make_world(kind, segmentation, topology);
        INFO("round " << round << ", " << topology.size << " ranks, " << topology.dead_links.size()
                      << " dead links");
        for (const Delivery delivery : kDeliveries)
            REQUIRE(test::check_world(world, delivery, random(), true) == "");
    }
}

TEST_CASE("shards may be more or fewer than ranks", "[plan]") {
    for (const Rank size : {1, 2, 3, 7}) {
        for (const Rank shards : {1, 2, 4, 8, 9, 21}) {
            const Segmentation segmentation(333, 4, shards, 64);
            for (const Kind kind : {Kind::kRing, Kind::kMesh}) {
                const test::World world = test::make_world(kind, segmentation, complete(size));
                INFO(name_of(kind) << " of " << size << " with " << shards << " shards");
                REQUIRE(test::check_world(world, Delivery::kRandom, 5, true) == "");
            }
        }
    }
}

TEST_CASE("ring and mesh have their documented shapes", "[plan]") {
    const Segmentation segmentation(4, 4, 4, 1024);
    const Plan ring = make_plan(Kind::kRing, segmentation, complete(4), 1);
    CHECK(ring.node(1).input_to == std::vector<Edge>{{2, false}});
    CHECK(ring.node(1).fold.empty());
    CHECK(ring.node(0).fold == std::vector<Rank>{0, 1});
    CHECK(ring.node(0).partial_to == std::vector<Edge>{{2, false}});
    CHECK(ring.node(2).finishes);
    CHECK(ring.node(2).final_to == std::vector<Rank>{2});
    CHECK(ring.node(3).final_to.empty());
    CHECK(ring.start_order() == std::vector<uint32_t>{1});
    CHECK(ring.neighbours() == std::vector<Rank>{0, 2});
    CHECK(ring.kind() == Kind::kRing);
    CHECK(ring.rank() == 1);
    CHECK(ring.size() == 4);

    const Plan mesh = make_plan(Kind::kMesh, segmentation, complete(4), 1);
    CHECK(mesh.node(1).fold == std::vector<Rank>{0, 1, 2, 3});
    CHECK(mesh.node(1).final_to == std::vector<Rank>{0, 2, 3});
    CHECK(mesh.node(0).input_to == std::vector<Edge>{{0, false}});
    CHECK(mesh.node(2).input_to == std::vector<Edge>{{2, true}});
    CHECK(mesh.node(2).final_from == Rank{2});
    CHECK(mesh.neighbours() == std::vector<Rank>{0, 2, 3});
}

TEST_CASE("only the lowest remote operand of a mesh does not park", "[plan]") {
    for (const Rank size : {2, 3, 8, 17}) {
        const Segmentation segmentation(size, 4, size, 1024);
        const test::World world = test::make_world(Kind::kMesh, segmentation, complete(size));
        for (Rank owner = 0; owner < size; ++owner) {
            for (Rank rank = 0; rank < size; ++rank) {
                if (rank == owner) continue;
                REQUIRE(world.plans[rank].node(owner).input_to.at(0).parks == (rank != (owner == 0 ? 1 : 0)));
            }
        }
    }
}

TEST_CASE("ranks of a mesh send to different owners at each step", "[plan]") {
    const Rank size = 8;
    const Segmentation segmentation(8 * 1000, 4, size, 1024);
    const test::World world = test::make_world(Kind::kMesh, segmentation, complete(size));
    const size_t steps = world.plans[0].start_order().size();
    REQUIRE(steps == 7 * 4);
    for (size_t step = 0; step < steps; ++step) {
        std::set<Rank> owners;
        for (Rank rank = 0; rank < size; ++rank) {
            const Plan& plan = world.plans[rank];
            REQUIRE(plan.start_order().size() == steps);
            owners.insert(plan.node(plan.start_order()[step]).input_to.at(0).to);
        }
        REQUIRE(owners.size() == size);
    }
    CHECK(segmentation.shard_of(world.plans[3].start_order()[0]) == 4);
}

TEST_CASE("ring and mesh move 2(N-1)/N S per rank in each direction", "[plan]") {
    std::printf("plan bytes per rank, least and most, of S = 8000024:\n");
    for (const Rank size : {2, 3, 8, 17, 64}) {
        const Segmentation segmentation(1000003, 8, size, 1 << 20);
        for (const Kind kind : {Kind::kRing, Kind::kMesh}) {
            std::vector<uint64_t> sent(size, 0), received(size, 0);
            for (Rank rank = 0; rank < size; ++rank) {
                const Plan plan = make_plan(kind, segmentation, complete(size), rank);
                for (uint32_t segment = 0; segment < segmentation.segments(); ++segment) {
                    const Node& node = plan.node(segment);
                    const uint64_t bytes = segmentation.range(segment).count * 8;
                    const size_t remote_operands = node.fold.empty() ? 0 : node.fold.size() - 1;
                    sent[rank] +=
                        bytes * (node.input_to.size() + node.partial_to.size() + node.final_to.size());
                    received[rank] += bytes * (remote_operands + node.final_from.has_value());
                }
            }
            const double expected = 2.0 * (size - 1) / size * 8000024;
            const double rounding = 2.0 * size * 8;
            for (const std::vector<uint64_t>* bytes : {&sent, &received}) {
                const auto [least, most] = std::minmax_element(bytes->begin(), bytes->end());
                CHECK(static_cast<double>(*least) >= expected - rounding);
                CHECK(static_cast<double>(*most) <= expected + rounding);
                std::printf("  %s N=%-3d %s %llu to %llu, 2(N-1)/N S = %.0f\n", name_of(kind), size,
                            bytes == &sent ? "out" : "in ", static_cast<unsigned long long>(*least),
                            static_cast<unsigned long long>(*most), expected);
            }
        }
    }
}

}  // namespace
}  // namespace pccl::plan
