// A coordinator that vanishes and starts again from its record: the run goes on, and what was decided stands.
#include <catch2/catch.hpp>

#include "harness.h"

using namespace pccl;
using namespace pccl::test;

namespace {

using Kind = core::CoordinatorAction::Kind;

/// The coordinator vanishes instead of sending the first frame of this type that follows `after` others.
auto at_frame(wire::Type type, size_t after = 0) {
    return [type, after](const core::CoordinatorAction& action) mutable {
        return action.kind == Kind::kSend && action.type == type && after-- == 0;
    };
}

core::Ticket vote(World& world, size_t index, bool optimize = false) {
    core::Ticket ticket = 0;
    core::Member& member = *world.nodes[index]->member;
    REQUIRE(
        (optimize ? member.optimize_topology(world.now, &ticket) : member.update_topology(world.now, &ticket))
            .text() == "");
    world.settle();
    return ticket;
}

/// Of a call that ended; it is forgotten.
Status outcome(World& world, size_t index, core::Ticket ticket) {
    INFO(world.nodes[index]->member->describe());
    const core::CallResult* result = world.nodes[index]->member->result(ticket);
    REQUIRE(result != nullptr);
    const Status status = result->status;
    world.nodes[index]->member->forget(ticket);
    return status;
}

bool stands(World& world, size_t index, core::Ticket ticket) {
    return world.nodes[index]->member->result(ticket) == nullptr;
}

void restart(World& world) {
    world.start_coordinator();
    world.reconnect_all();
}

void check_whole(World& world, size_t members) {
    for (auto& node : world.nodes) {
        if (!node->alive) continue;
        REQUIRE(node->member->fate().ok());
        REQUIRE(node->member->view().members.size() == members);
    }
    auto all = start_all(world, 64);
    world.settle();
    std::vector<size_t> contributors;
    for (size_t i = 0; i < world.nodes.size(); ++i) {
        if (world.nodes[i]->alive) contributors.push_back(i);
    }
    check_sums(world, all, contributors);
    CHECK(world.violations.empty());
}

}  // namespace

TEST_CASE("restart: operations in flight end, and newcomers are admitted afterwards") {
    World world;
    world.grow(3);
    const wire::EpochId before = world.nodes[0]->member->view().epoch;
    std::vector<Reduction> all, more;
    for (size_t i = 0; i < 3; ++i) all.emplace_back(64, i), more.emplace_back(64, i);
    REQUIRE(all[0].start(world, 0).text() == "");
    world.settle();
    world.crash_coordinator();
    REQUIRE(all[1].start(world, 1).text() == "");
    REQUIRE(more[1].start(world, 1, false, 1).text() == "");
    world.advance(200 * kMillisecond);
    REQUIRE(all[2].start(world, 2).text() == "");
    world.settle();
    check_sums(world, all, {0, 1, 2});
    restart(world);
    for (size_t i : {0, 2}) REQUIRE(more[i].start(world, i, false, 1).text() == "");
    world.settle();
    check_sums(world, more, {0, 1, 2});
    CHECK(world.nodes[0]->member->view().epoch == before);
    world.add();
    world.update();
    check_whole(world, 4);
}

TEST_CASE("restart: an Install that was recorded and reached nobody, or some, reaches all") {
    const size_t reached = GENERATE(0, 1, 2);
    World world;
    world.grow(3);
    world.add();
    world.vanishes_at = at_frame(wire::Type::kInstall, reached);
    std::vector<core::Ticket> votes;
    for (size_t i = 0; i < 3; ++i) votes.push_back(vote(world, i));
    REQUIRE_FALSE(world.coordinator);
    restart(world);
    for (size_t i = 0; i < 3; ++i) CHECK(outcome(world, i, votes[i]).text() == "");
    check_whole(world, 4);
    world.update();
    check_whole(world, 4);
}

TEST_CASE("restart: a proposal that was not recorded is made anew for its members") {
    World world;
    world.grow(3);
    world.hold_data = true;
    auto all = start_all(world, 64);
    world.vanishes_at = at_frame(wire::Type::kPropose, 1);
    world.kill(2);
    REQUIRE_FALSE(world.coordinator);
    world.hold_data = false;
    restart(world);
    world.advance(3 * kSecond);
    check_sums(world, all, {0, 1});
    check_whole(world, 2);
}

TEST_CASE("restart: a member that died while there was no coordinator is dropped") {
    World world;
    world.grow(3);
    world.crash_coordinator();
    world.kill(1);
    auto all = start_all(world, 64);
    restart(world);
    world.advance(3 * kSecond);
    check_sums(world, all, {0, 2});
    check_whole(world, 2);
}

TEST_CASE("restart: with everybody gone a new run begins") {
    World world;
    world.grow(2);
    world.crash_coordinator();
    world.kill(0);
    world.kill(1);
    world.start_coordinator();
    const size_t index = world.add();
    world.advance(15 * kSecond);
    REQUIRE(world.nodes[index]->member->admitted());
    REQUIRE(world.nodes[index]->member->view().members.size() == 1);
}

TEST_CASE("restart: a vote whose answer reached one member only is answered to the other") {
    const bool optimize = GENERATE(false, true);
    World world;
    world.grow(2);
    world.vanishes_at = at_frame(wire::Type::kVoteAnswer, 1);
    const core::Ticket first = vote(world, 0, optimize);
    const core::Ticket second = vote(world, 1, optimize);
    REQUIRE_FALSE(world.coordinator);
    CHECK(stands(world, 0, first) != stands(world, 1, second));
    restart(world);
    CHECK(outcome(world, 0, first).text() == "");
    CHECK(outcome(world, 1, second).text() == "");
    world.add();
    world.update();
    check_whole(world, 3);
}

TEST_CASE("restart: a vote waits for a coordinator that comes back in time") {
    World world;
    world.grow(2);
    world.crash_coordinator();
    const core::Ticket first = vote(world, 0);
    world.advance(5 * kSecond);
    restart(world);
    CHECK(stands(world, 0, first));
    const core::Ticket second = vote(world, 1);
    CHECK(outcome(world, 0, first).text() == "");
    CHECK(outcome(world, 1, second).text() == "");
}

TEST_CASE("restart: a vote that one member gave up fails for the others, who may have gone on") {
    World world;
    world.grow(3);
    world.crash_coordinator();
    const core::Ticket first = vote(world, 0);
    world.advance(8 * kSecond);
    const core::Ticket second = vote(world, 1);
    world.advance(3 * kSecond);
    CHECK(outcome(world, 0, first).code() == Code::UPDATE_TOPOLOGY_FAILED);
    // The time-out is counted from the loss of the coordinator, for each vote alike.
    CHECK(outcome(world, 1, second).code() == Code::UPDATE_TOPOLOGY_FAILED);
    restart(world);
    const core::Ticket third = vote(world, 2);
    CHECK(outcome(world, 2, third).code() == Code::UPDATE_TOPOLOGY_FAILED);
    // Two go on, one tries again: it is called to the operation of the others.
    const core::Ticket again = vote(world, 0);
    CHECK(stands(world, 0, again));
    std::vector<Reduction> all;
    for (size_t i = 0; i < 3; ++i) all.emplace_back(64, i);
    for (size_t i : {1, 2}) REQUIRE(all[i].start(world, i).text() == "");
    world.settle();
    CHECK(outcome(world, 0, again).text() == "");
    REQUIRE(all[0].start(world, 0).text() == "");
    world.settle();
    check_sums(world, all, {0, 1, 2});
    world.update();
    check_whole(world, 3);
}

TEST_CASE("restart: a member that gave up one vote after the other while it was cut off is welcome again") {
    World world;
    world.grow(2);
    Node& node = *world.nodes[0];
    // The coordinator notices later: only silence tells it that the connection broke.
    node.connection = 0;
    node.member->coordinator_down(world.now, "closed");
    world.advance(11 * kSecond);
    for (int i = 0; i < 3; ++i) {
        const core::Ticket ticket = vote(world, 0);
        node.member->tick(world.now);
        world.settle();
        REQUIRE(outcome(world, 0, ticket).code() == Code::UPDATE_TOPOLOGY_FAILED);
    }
    world.reconnect(0);
    REQUIRE(node.member->fate().text() == "");
    for (int i = 0; i < 3; ++i) {
        const core::Ticket ticket = vote(world, 1);
        CHECK(outcome(world, 1, ticket).code() == Code::UPDATE_TOPOLOGY_FAILED);
    }
    world.add();
    world.update();
    check_whole(world, 3);
}

TEST_CASE("restart: a newcomer waits for the coordinator to come back") {
    World world;
    world.grow(2);
    world.add();
    world.crash_coordinator();
    world.advance(2 * kSecond);
    restart(world);
    world.update();
    check_whole(world, 3);
}

TEST_CASE("restart: a leaver whose leave was recorded or not is gone, and the others go on") {
    const wire::Type when = GENERATE(wire::Type::kPropose, wire::Type::kInstall, wire::Type::kLeft);
    World world;
    world.grow(3);
    world.vanishes_at = at_frame(when);
    core::Ticket ticket = 0;
    REQUIRE(world.nodes[1]->member->leave(world.now, &ticket).text() == "");
    world.settle();
    REQUIRE_FALSE(world.coordinator);
    world.advance(2 * kSecond);
    CHECK(outcome(world, 1, ticket).text() == "");
    world.nodes[1]->alive = false;
    restart(world);
    world.advance(3 * kSecond);
    check_whole(world, 2);
}
