// The account of a lost member: the same for every survivor, and nothing of it for newcomers.
#include <catch2/catch.hpp>

#include "harness.h"

using namespace pccl;
using namespace pccl::test;

namespace {

const std::vector<core::Failure>& failures(World& world, size_t index) {
    static const std::vector<core::Failure> none;
    const auto& list = world.nodes[index]->member->view().failures;
    return list ? *list : none;
}

}  // namespace

TEST_CASE("failures: all survivors have the same account of a lost member, newcomers none") {
    World world;
    world.grow(4);
    std::vector<Reduction> all;
    for (size_t i = 0; i < 4; ++i) all.emplace_back(64, i);
    for (size_t i : {0, 1}) REQUIRE(all[i].start(world, i).text() == "");
    world.settle();
    world.advance(2 * kSecond);
    world.kill(2);
    for (size_t i : {0, 1, 3}) {
        INFO(i);
        REQUIRE(failures(world, i).size() == 1);
        CHECK(failures(world, i)[0].loss == failures(world, 0)[0].loss);
        CHECK(failures(world, i)[0].number == 1);
        CHECK(failures(world, i)[0].epoch == world.nodes[0]->member->view().epoch);
    }
    const wire::Loss& loss = failures(world, 0)[0].loss;
    CHECK(loss.member == world.nodes[2]->id);
    CHECK(loss.rank == 2);
    CHECK(loss.address == "sim:3");
    CHECK_THAT(loss.cause, Catch::Contains("reports: closed"));
    CHECK(loss.heard);
    CHECK(loss.silent_us <= 2 * kSecond);
    CHECK(loss.unix_time_us > 0);
    CHECK_THAT(loss.operations,
               Catch::Contains("all-reduce tag 0 call 1 (2 of 3 survivors had called it, 0 of "
                               "them complete) was run again by the survivors"));
    REQUIRE(all[3].start(world, 3).text() == "");
    world.settle();
    check_sums(world, all, {0, 1, 3});
    world.add();
    world.update();
    REQUIRE(world.nodes[4]->member->admitted());
    CHECK(failures(world, 4).empty());
    world.kill(0);
    REQUIRE(failures(world, 1).size() == 2);
    CHECK(failures(world, 1)[1].number == 2);
    REQUIRE(failures(world, 4).size() == 1);
    CHECK(failures(world, 4)[0].loss == failures(world, 1)[1].loss);
    CHECK(failures(world, 4)[0].loss.operations == "none");
}

TEST_CASE("failures: a leaver is none") {
    World world;
    world.grow(3);
    core::Ticket ticket = 0;
    REQUIRE(world.nodes[1]->member->leave(world.now, &ticket).text() == "");
    world.settle();
    REQUIRE(world.nodes[0]->member->view().members.size() == 2);
    CHECK(failures(world, 0).empty());
    CHECK(failures(world, 2).empty());
}

TEST_CASE("failures: as many as are kept, the latest") {
    World world;
    world.grow(2);
    for (size_t i = 0; i < core::kFailuresKept + 5; ++i) {
        const size_t index = world.add();
        world.update();
        world.kill(index);
    }
    const auto& list = failures(world, 0);
    REQUIRE(list.size() == core::kFailuresKept);
    CHECK(list.front().number == 6);
    CHECK(list.back().number == core::kFailuresKept + 5);
}
