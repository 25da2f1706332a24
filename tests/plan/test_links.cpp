// Goal: the questions about links, and the choice of a plan, have the documented answers.
#include <catch2/catch.hpp>
#include <string>

#include "plan/interpreter.h"
#include "plan/plan.h"

namespace pccl::plan {
namespace {

constexpr uint64_t kKiB = 1024;

Topology complete(Rank size) {
    Topology topology;
    topology.size = size;
    return topology;
}

TEST_CASE("links, hubs and feasibility", "[plan]") {
    Topology topology = complete(4);
    CHECK(topology.fully_linked() == std::vector<Rank>{0, 1, 2, 3});
    topology.dead_links = {{3, 1}};
    CHECK_FALSE(topology.linked(1, 3));
    CHECK_FALSE(topology.linked(3, 1));
    CHECK(topology.linked(0, 3));
    CHECK(topology.fully_linked() == std::vector<Rank>{0, 2});
    CHECK(feasible(topology));
    topology.dead_links = {{3, 1}, {0, 2}};
    CHECK_FALSE(feasible(topology));
    CHECK(worst_connected(topology) == 3);
    topology.dead_links = {{3, 1}, {0, 1}, {2, 3}};
    CHECK_FALSE(feasible(topology));
    CHECK(worst_connected(topology) == 3);
    topology.dead_links = {{3, 1}, {0, 1}, {2, 1}};
    CHECK_FALSE(feasible(topology));
    CHECK(worst_connected(topology) == 1);
    CHECK(feasible(complete(1)));
}

TEST_CASE("a relay is the lowest rank that is linked to both", "[plan]") {
    Topology topology = complete(5);
    topology.dead_links = {{0, 4}, {1, 4}, {2, 3}};
    CHECK(relay_between(topology, 0, 4) == Rank{2});
    CHECK(relay_between(topology, 3, 2) == Rank{0});
    CHECK(relay_between(topology, 4, 1) == Rank{2});
    topology = complete(3);
    topology.dead_links = {{0, 1}, {0, 2}};
    CHECK_FALSE(relay_between(topology, 0, 1).has_value());
    CHECK_FALSE(relay_between(complete(2), 0, 1).has_value());
}

TEST_CASE("a relay exists for each dead link of a feasible topology", "[plan]") {
    std::mt19937_64 random(11);
    for (int round = 0; round < 200; ++round) {
        const Topology topology = test::random_topology(random, static_cast<Rank>(3 + random() % 15));
        REQUIRE(feasible(topology));
        for (const auto& [a, b] : topology.dead_links) {
            const std::optional<Rank> relay = relay_between(topology, a, b);
            REQUIRE(relay.has_value());
            REQUIRE(topology.linked(*relay, a));
            REQUIRE(topology.linked(*relay, b));
            REQUIRE(*relay != a);
            REQUIRE(*relay != b);
        }
    }
}

TEST_CASE("the choice of a plan", "[plan]") {
    CHECK(choose(Kind::kAuto, 1 << 30, complete(1)) == Kind::kMesh);
    CHECK(choose(Kind::kAuto, 1 << 30, complete(8)) == Kind::kMesh);
    CHECK(choose(Kind::kAuto, 1 << 30, complete(9)) == Kind::kRing);
    CHECK(choose(Kind::kAuto, 9 * 64 * kKiB - 1, complete(9)) == Kind::kMesh);
    CHECK(choose(Kind::kAuto, 9 * 64 * kKiB, complete(9)) == Kind::kRing);
    CHECK(choose(Kind::kAuto, 0, complete(32)) == Kind::kMesh);
    CHECK(choose(Kind::kAuto, 0, complete(33)) == Kind::kRing);
    CHECK(choose(Kind::kRing, 0, complete(4)) == Kind::kRing);
    CHECK(choose(Kind::kMesh, 1 << 30, complete(100)) == Kind::kMesh);
    Topology broken = complete(100);
    broken.dead_links = {{5, 50}};
    CHECK(choose(Kind::kAuto, 1 << 30, broken) == Kind::kMesh);
    CHECK(choose(Kind::kRing, 1 << 30, broken) == Kind::kMesh);
}

TEST_CASE("names of plan kinds", "[plan]") {
    CHECK(std::string(name_of(Kind::kAuto)) == "auto");
    CHECK(std::string(name_of(Kind::kRing)) == "ring");
    CHECK(std::string(name_of(Kind::kMesh)) == "mesh");
    CHECK(std::string(name_of(static_cast<Kind>(9))) == "invalid");
}

}  // namespace
}  // namespace pccl::plan
