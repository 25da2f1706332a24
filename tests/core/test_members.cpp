// The membership and commit machine without time or faults of its own: joining, reducing, losing members and
// links.
#include <catch2/catch.hpp>

#include "harness.h"

using namespace pccl;
using namespace pccl::test;

TEST_CASE("the first peer is admitted at once, others at a vote") {
    World world;
    world.add();
    REQUIRE(world.nodes[0]->member->admitted());
    world.add();
    REQUIRE_FALSE(world.nodes[1]->member->admitted());
    world.update();
    REQUIRE(world.nodes[1]->member->admitted());
    REQUIRE(world.nodes[0]->member->view().globals.world_size == 2);
    REQUIRE(world.nodes[1]->member->view().members == world.nodes[0]->member->view().members);
}

TEST_CASE("reductions of many sizes agree for ring and mesh") {
    for (plan::Kind kind : {plan::Kind::kRing, plan::Kind::kMesh}) {
        for (size_t members : {2, 3, 5, 8}) {
            World world;
            world.grow(members, 0, kind);
            std::vector<size_t> everybody(members);
            for (size_t i = 0; i < members; ++i) everybody[i] = i;
            for (size_t count : {0, 1, 2, 7, 100, 4099}) {
                for (bool in_place : {false, true}) {
                    auto all = start_all(world, count, in_place);
                    world.settle();
                    check_sums(world, all, everybody);
                }
            }
        }
    }
}

TEST_CASE("a member lost before it called: survivors are redone without it") {
    World world;
    world.grow(4);
    std::vector<Reduction> all;
    for (size_t i = 0; i < 4; ++i) all.emplace_back(1000, i);
    for (size_t i = 0; i < 3; ++i) REQUIRE(all[i].start(world, i, i == 1).ok());
    world.settle();
    REQUIRE(all[0].result(world, 0) == nullptr);
    world.kill(3);
    check_sums(world, all, {0, 1, 2});
}

TEST_CASE("what survivors had folded before a loss stays folded") {
    for (const plan::Kind plan : {plan::Kind::kMesh, plan::Kind::kRing}) {
        World world;
        world.grow(4, 0, plan);
        std::vector<Reduction> all;
        for (size_t i = 0; i < 4; ++i) all.emplace_back(1000, i);
        for (size_t i = 0; i < 3; ++i) REQUIRE(all[i].start(world, i, i == 1).ok());
        world.settle();
        world.kill(3);
        uint64_t kept = 0;
        for (size_t i = 0; i < 3; ++i) kept += all[i].result(world, i)->kept_bytes;
        // The others' inputs in the shards of three owners, or along the chains up to the lost one.
        const uint64_t shard_bytes = 1000 / 4 * sizeof(float);
        REQUIRE(kept == (plan == plan::Kind::kMesh ? 3 * 2 : 1 + 2 + 1) * shard_bytes);
        check_sums(world, all, {0, 1, 2});
        auto again = start_all(world, 500);
        world.settle();
        check_sums(world, again, {0, 1, 2});
    }
}

TEST_CASE("several are lost one after the other, and each redo keeps what it can") {
    for (const plan::Kind plan : {plan::Kind::kMesh, plan::Kind::kRing}) {
        World world;
        world.grow(6, 0, plan);
        std::vector<Reduction> all;
        for (size_t i = 0; i < 6; ++i) all.emplace_back(3000, i);
        for (size_t i = 0; i < 4; ++i) REQUIRE(all[i].start(world, i, i == 1).ok());
        world.settle();
        world.hold_data = true;
        world.kill(5);
        REQUIRE(all[0].result(world, 0) == nullptr);
        world.hold_data = false;
        REQUIRE(all[4].start(world, 4).ok());
        world.kill(4);
        check_sums(world, all, {0, 1, 2, 3});
    }
}

TEST_CASE("who had not called an attempt cannot know how it was cut, so its redo is cut anew") {
    World world;
    world.grow(4, 0, plan::Kind::kMesh);
    std::vector<Reduction> all;
    for (size_t i = 0; i < 4; ++i) all.emplace_back(1000, i);
    for (size_t i = 0; i < 2; ++i) REQUIRE(all[i].start(world, i).ok());
    world.settle();
    world.kill(3);
    REQUIRE(all[0].result(world, 0) == nullptr);
    REQUIRE(all[2].start(world, 2).ok());
    world.settle();
    for (size_t i = 0; i < 3; ++i) REQUIRE(all[i].result(world, i)->kept_bytes == 0);
    check_sums(world, all, {0, 1, 2});
}

TEST_CASE("an attempt that is resumed keeps its folds, also for one that calls it later") {
    for (const plan::Kind plan : {plan::Kind::kMesh, plan::Kind::kRing}) {
        World world;
        world.grow(4, 0, plan);
        std::vector<Reduction> all;
        for (size_t i = 0; i < 4; ++i) all.emplace_back(1000, i);
        for (size_t i = 0; i < 3; ++i) REQUIRE(all[i].start(world, i).ok());
        world.settle();
        world.break_link(0, 1);
        world.settle();
        REQUIRE(all[3].start(world, 3).ok());
        world.settle();
        REQUIRE(all[0].result(world, 0)->epochs == 1);
        uint64_t kept = 0;
        for (size_t i = 0; i < 4; ++i) kept += all[i].result(world, i)->kept_bytes;
        REQUIRE(kept > 0);
        check_sums(world, all, {0, 1, 2, 3});
    }
}

TEST_CASE("with the report policy each survivor is told exactly once, and inputs are intact") {
    World world(1);
    world.grow(3);
    std::vector<Reduction> all;
    for (size_t i = 0; i < 3; ++i) all.emplace_back(500, i);
    REQUIRE(all[0].start(world, 0, true).ok());
    world.settle();
    world.kill(2);
    REQUIRE(all[0].result(world, 0)->status.code() == Code::RANK_CONNECTION_LOST);
    REQUIRE(all[0].out == all[0].in);
    world.nodes[0]->member->forget(all[0].ticket);
    // The other survivor had not called yet: it is told when it does.
    REQUIRE(all[1].start(world, 1).ok());
    REQUIRE(all[1].result(world, 1)->status.code() == Code::RANK_CONNECTION_LOST);
    world.nodes[1]->member->forget(all[1].ticket);
    auto again = start_all(world, 500);
    world.settle();
    check_sums(world, again, {0, 1});
}

TEST_CASE("a broken link is opened anew and operations resume") {
    World world;
    world.grow(3);
    world.hold_data = true;
    auto all = start_all(world, 2000, true);
    world.settle();
    world.break_link(0, 2);
    world.hold_data = false;
    world.settle();
    check_sums(world, all, {0, 1, 2});
}

TEST_CASE("a pair that cannot talk is served by a plan around it") {
    World world;
    world.grow(4);
    world.unreachable.push_back({1, 3});
    world.break_link(1, 3);
    world.settle();
    REQUIRE(world.nodes[3]->member->view().members.size() == 4);
    for (bool in_place : {false, true}) {
        auto all = start_all(world, 1500, in_place);
        world.settle();
        check_sums(world, all, {0, 1, 2, 3});
    }
}

TEST_CASE("a member with a dead link may lose its coordinator for a moment while the epoch changes") {
    World world;
    world.grow(4);
    world.unreachable = {{0, 1}};
    world.break_link(0, 1);
    world.settle();
    REQUIRE(world.nodes[0]->member->view().members.size() == 4);
    // The change waits for the third, whose connection is down as well.
    world.disconnect(*world.nodes[2]);
    world.kill(3);
    world.disconnect(*world.nodes[1]);
    world.settle();
    world.reconnect(1);
    world.reconnect(2);
    world.advance(kSecond);
    for (const size_t index : {0, 1, 2}) {
        INFO(world.nodes[index]->member->describe());
        CHECK(world.nodes[index]->member->fate().ok());
        CHECK(world.nodes[index]->member->view().members.size() == 3);
    }
}

TEST_CASE("with two members a dead link removes one of them") {
    World world;
    world.grow(2);
    world.unreachable.push_back({0, 1});
    world.break_link(0, 1);
    world.settle();
    REQUIRE(world.nodes[0]->member->view().members.size() == 1);
    REQUIRE(world.nodes[1]->member->fate().code() == Code::EVICTED);
}

TEST_CASE("descriptors that differ end the call at all, with both in the text") {
    World world;
    world.grow(3);
    std::vector<Reduction> all;
    for (size_t i = 0; i < 3; ++i) all.emplace_back(i == 2 ? 11 : 10, i);
    for (size_t i = 0; i < 3; ++i) {
        REQUIRE(all[i].start(world, i, true).ok());
        world.settle();
    }
    for (size_t i = 0; i < 3; ++i) {
        REQUIRE(all[i].result(world, i) != nullptr);
        REQUIRE(all[i].result(world, i)->status.code() == Code::MISMATCH);
        REQUIRE(all[i].result(world, i)->status.text().find("count 11") != std::string::npos);
        REQUIRE(all[i].result(world, i)->status.text().find("count 10") != std::string::npos);
        REQUIRE(all[i].out == all[i].in);
        world.nodes[i]->member->forget(all[i].ticket);
    }
    auto again = start_all(world, 10);
    world.settle();
    check_sums(world, again, {0, 1, 2});
}

TEST_CASE("pending queries answer the same everywhere") {
    World world;
    world.grow(3);
    world.add();
    std::vector<core::Ticket> tickets(3);
    for (size_t i = 0; i < 3; ++i)
        REQUIRE(world.nodes[i]->member->peers_pending(world.now, &tickets[i]).ok());
    world.settle();
    for (size_t i = 0; i < 3; ++i) REQUIRE(world.nodes[i]->member->result(tickets[i])->peers_pending);
}

TEST_CASE("a group that votes is not left waiting when the newcomer that it voted for is gone") {
    World world;
    world.grow(2);
    world.grow(2, 1);
    const auto pending_in = [&](size_t first) {
        core::Ticket tickets[2];
        for (size_t i = 0; i < 2; ++i)
            REQUIRE(world.nodes[first + i]->member->peers_pending(world.now, &tickets[i]).ok());
        world.settle();
        bool answers[2];
        for (size_t i = 0; i < 2; ++i) {
            answers[i] = world.nodes[first + i]->member->result(tickets[i])->peers_pending;
            world.nodes[first + i]->member->forget(tickets[i]);
        }
        REQUIRE(answers[0] == answers[1]);
        return answers[0];
    };
    const size_t newcomer = world.add();
    REQUIRE(pending_in(0));
    core::Ticket votes[4];
    for (size_t i = 0; i < 2; ++i)
        REQUIRE(world.nodes[i]->member->update_topology(world.now, &votes[i]).ok());
    world.kill(newcomer);
    world.settle();
    // The other group, which has not asked yet, learns that it is waited for.
    REQUIRE(world.nodes[0]->member->result(votes[0]) == nullptr);
    REQUIRE(pending_in(2));
    for (size_t i = 2; i < 4; ++i)
        REQUIRE(world.nodes[i]->member->update_topology(world.now, &votes[i]).ok());
    world.settle();
    for (size_t i = 0; i < 4; ++i) REQUIRE(world.nodes[i]->member->result(votes[i])->status.ok());
    REQUIRE_FALSE(pending_in(0));
    REQUIRE_FALSE(pending_in(2));
}

TEST_CASE("a leaver is gone without an error for the others") {
    World world;
    world.grow(3);
    core::Ticket ticket = 0;
    REQUIRE(world.nodes[1]->member->leave(world.now, &ticket).ok());
    world.settle();
    REQUIRE(world.nodes[1]->member->result(ticket) != nullptr);
    world.nodes[1]->alive = false;
    REQUIRE(world.nodes[0]->member->view().members.size() == 2);
    auto all = start_all(world, 100);
    world.settle();
    check_sums(world, all, {0, 2});
}

TEST_CASE("who leaves in the middle of an operation is no loss, whatever the policy") {
    for (const uint8_t policy : {0, 1}) {
        for (const bool all_called : {false, true}) {
            World world(policy);
            world.grow(3);
            std::vector<Reduction> all;
            for (size_t i = 0; i < 3; ++i) all.emplace_back(300, i);
            REQUIRE(all[0].start(world, 0, true).ok());
            if (all_called) REQUIRE(all[1].start(world, 1).ok());
            world.settle();
            core::Ticket ticket = 0;
            REQUIRE(world.nodes[2]->member->leave(world.now, &ticket).ok());
            world.settle();
            REQUIRE(world.nodes[2]->member->result(ticket) != nullptr);
            world.nodes[2]->alive = false;
            if (!all_called) REQUIRE(all[1].start(world, 1).ok());
            world.settle();
            check_sums(world, all, {0, 1});
        }
    }
}

TEST_CASE("who leaves while another dies does not hide the loss") {
    World world(1);
    world.grow(4);
    std::vector<Reduction> all;
    for (size_t i = 0; i < 4; ++i) all.emplace_back(300, i);
    for (size_t i = 0; i < 2; ++i) REQUIRE(all[i].start(world, i, true).ok());
    world.settle();
    core::Ticket ticket = 0;
    REQUIRE(world.nodes[2]->member->leave(world.now, &ticket).ok());
    world.kill(3);
    for (size_t i = 0; i < 2; ++i) {
        REQUIRE(all[i].result(world, i) != nullptr);
        REQUIRE(all[i].result(world, i)->status.code() == Code::RANK_CONNECTION_LOST);
        REQUIRE(all[i].out == all[i].in);
    }
}

TEST_CASE("cancel ends an operation on all participants") {
    World world;
    world.grow(3);
    std::vector<Reduction> all;
    for (size_t i = 0; i < 3; ++i) all.emplace_back(300, i);
    REQUIRE(all[0].start(world, 0, true).ok());
    REQUIRE(all[1].start(world, 1, true).ok());
    world.settle();
    REQUIRE(world.nodes[0]->member->cancel(world.now, all[0].ticket).ok());
    world.settle();
    for (size_t i = 0; i < 2; ++i) {
        REQUIRE(all[i].result(world, i)->status.code() == Code::CANCELLED);
        REQUIRE(all[i].out == all[i].in);
    }
    REQUIRE(all[2].start(world, 2).ok());
    REQUIRE(all[2].result(world, 2)->status.code() == Code::CANCELLED);
}

TEST_CASE("a member whose coordinator connection breaks registers again and goes on") {
    World world;
    world.grow(2);
    Node& node = *world.nodes[1];
    world.coordinator->closed(world.now, node.connection, "reset");
    node.member->coordinator_down(world.now, "reset");
    auto all = start_all(world, 64);
    world.settle();
    check_sums(world, all, {0, 1});
    node.connection = 77;
    world.coordinator->opened(world.now, node.connection, "sim");
    node.member->coordinator_up(world.now);
    world.settle();
    world.add();
    world.update();
    REQUIRE(node.member->view().members.size() == 3);
}

TEST_CASE("many tags: counters are reset at a quiet moment and reductions go on") {
    World world;
    world.grow(2);
    for (uint64_t tag = 0; tag < 4500; ++tag) {
        auto all = start_all(world, 3, false, tag);
        world.settle();
        check_sums(world, all, {0, 1});
    }
}
