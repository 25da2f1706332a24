// A coordinator that starts without the record of the run: what its members report decides whether the run
// goes on.
#include <catch2/catch.hpp>

#include "harness.h"

using namespace pccl;
using namespace pccl::test;

namespace {

using Kind = core::CoordinatorAction::Kind;

auto at_frame(wire::Type type, size_t after) {
    return [type, after](const core::CoordinatorAction& action) mutable {
        return action.kind == Kind::kSend && action.type == type && after-- == 0;
    };
}

void use(World& world, bool majority) {
    world.configure = [majority](core::CoordinatorConfig& config) {
        config.majority = majority;
        config.record_lost = true;
    };
    world.crash_coordinator();
    world.record.clear();
    world.start_coordinator();
    world.advance(3 * kSecond);
}

/// The coordinator's process ends, and the next one has no record.
void lose_record(World& world) {
    if (world.coordinator) world.crash_coordinator();
    world.record.clear();
    world.start_coordinator();
}

/// As members do: they connect again whenever their connection closed.
void come_back(World& world, TimeUs for_time = 15 * kSecond) {
    for (TimeUs end = world.now + for_time; world.now < end;) {
        world.reconnect_all();
        world.advance(100 * kMillisecond);
    }
}

bool evicted(World& world, size_t index) {
    return world.nodes[index]->member->fate().code() == Code::EVICTED;
}

void check_whole(World& world, const std::vector<size_t>& members) {
    for (const size_t index : members) {
        INFO(world.nodes[index]->member->describe() << world.coordinator->describe());
        REQUIRE(world.nodes[index]->member->fate().ok());
        REQUIRE(world.nodes[index]->member->view().members.size() == members.size());
    }
    if (members.size() < 2) return;
    std::vector<Reduction> all;
    for (size_t i = 0; i < world.nodes.size(); ++i) all.emplace_back(64, i);
    for (const size_t index : members) REQUIRE(all[index].start(world, index).text() == "");
    world.settle();
    for (const size_t index : members) {
        const core::CallResult* result = all[index].result(world, index);
        REQUIRE(result != nullptr);
        CHECK(result->status.text() == "");
        CHECK(result->contributors.size() == members.size());
        world.nodes[index]->member->forget(all[index].ticket);
    }
    CHECK(world.violations.empty());
}

core::Ticket leave(World& world, size_t index) {
    core::Ticket ticket = 0;
    REQUIRE(world.nodes[index]->member->leave(world.now, &ticket).ok());
    world.settle();
    return ticket;
}

}  // namespace

TEST_CASE("reports: a run whose members are all back goes on without its record") {
    const bool majority = GENERATE(false, true);
    World world;
    use(world, majority);
    world.grow(3);
    const wire::EpochId before = world.nodes[0]->member->view().epoch;
    std::vector<Reduction> all;
    for (size_t i = 0; i < 3; ++i) all.emplace_back(64, i);
    REQUIRE(all[0].start(world, 0).text() == "");
    lose_record(world);
    come_back(world, kSecond);
    for (size_t i : {1, 2}) REQUIRE(all[i].start(world, i).text() == "");
    world.settle();
    check_sums(world, all, {0, 1, 2});
    CHECK(world.nodes[0]->member->view().epoch == before);
    REQUIRE_FALSE(world.record.empty());
    core::Record record;
    REQUIRE(wire::decode(world.record, record));
    CHECK(record.term > before.term);
    CHECK(record.groups.size() == 1);
    world.add();
    world.update();
    check_whole(world, {0, 1, 2, 3});
}

TEST_CASE("reports: without all of them nobody can know, and a new run begins") {
    World world;
    use(world, false);
    world.grow(3);
    world.kill(2);
    come_back(world, kSecond);
    check_whole(world, {0, 1});
    world.crash_coordinator();
    world.kill(1);
    lose_record(world);
    world.reconnect_all();
    const size_t newcomer = world.add();
    CHECK_FALSE(world.nodes[newcomer]->member->admitted());
    come_back(world);
    CHECK(evicted(world, 0));
    CHECK(world.nodes[0]->member->fate().text().find("1 of 2") != std::string::npos);
    check_whole(world, {newcomer});
}

TEST_CASE("reports: by the majority rule a run survives the loss of record and members together") {
    World world;
    use(world, true);
    world.grow(5);
    world.hold_data = true;
    auto all = start_all(world, 64);
    world.crash_coordinator();
    world.kill(1);
    world.kill(4);
    world.hold_data = false;
    lose_record(world);
    come_back(world);
    check_sums(world, all, {0, 2, 3});
    check_whole(world, {0, 2, 3});
}

TEST_CASE("reports: by the majority rule half of a group is not enough") {
    World world;
    use(world, true);
    world.grow(4);
    SECTION("at a change") {
        world.kill(2);
        world.advance(kSecond);
        check_whole(world, {0, 1, 3});
        world.kill(1);
        world.advance(kSecond);
        check_whole(world, {0, 3});
        world.kill(3);
        world.advance(kSecond);
        CHECK(evicted(world, 0));
        CHECK(world.nodes[0]->member->fate().text().find("1 of the 2") != std::string::npos);
    }
    SECTION("at a restart") {
        world.crash_coordinator();
        world.kill(0);
        world.kill(1);
        lose_record(world);
        come_back(world);
        CHECK(evicted(world, 2));
        CHECK(evicted(world, 3));
    }
}

TEST_CASE("reports: those who leave count, until one is alone") {
    World world;
    use(world, true);
    world.grow(3);
    for (const size_t leaver : {0, 1}) {
        const core::Ticket ticket = leave(world, leaver);
        CHECK(world.nodes[leaver]->member->result(ticket) != nullptr);
        world.kill(leaver);
    }
    check_whole(world, {2});
}

TEST_CASE("reports: a member on its way out does not stand for those who may have gone on") {
    World world;
    use(world, true);
    world.grow(3);
    world.vanishes_at = at_frame(wire::Type::kPropose, 0);
    leave(world, 0);
    REQUIRE_FALSE(world.coordinator);
    world.kill(1);
    lose_record(world);
    come_back(world);
    CHECK(evicted(world, 2));
}

TEST_CASE("reports: newcomers wait for the members of an earlier run, and join it") {
    World world;
    use(world, false);
    world.grow(2);
    lose_record(world);
    const size_t newcomer = world.add();
    CHECK_FALSE(world.nodes[newcomer]->member->admitted());
    world.advance(kSecond);
    CHECK_FALSE(world.nodes[newcomer]->member->admitted());
    come_back(world, 3 * kSecond);
    CHECK_FALSE(world.nodes[newcomer]->member->admitted());
    world.update();
    check_whole(world, {0, 1, newcomer});
}

TEST_CASE("reports: an Install that reached some members reaches the others") {
    const bool majority = GENERATE(false, true);
    const size_t reached = GENERATE(1, 2);
    World world;
    use(world, majority);
    world.grow(3);
    world.add();
    // Of four members one or two know the new epoch.
    world.vanishes_at = at_frame(wire::Type::kInstall, reached);
    std::vector<core::Ticket> votes(3);
    for (size_t i = 0; i < 3; ++i)
        REQUIRE(world.nodes[i]->member->update_topology(world.now, &votes[i]).text() == "");
    world.settle();
    REQUIRE_FALSE(world.coordinator);
    lose_record(world);
    come_back(world);
    for (size_t i = 0; i < 3; ++i) {
        INFO(world.nodes[i]->member->describe());
        const core::CallResult* result = world.nodes[i]->member->result(votes[i]);
        REQUIRE(result != nullptr);
        CHECK(result->status.text() == "");
    }
    if (!world.nodes[3]->member->admitted()) world.update();
    check_whole(world, {0, 1, 2, 3});
}

TEST_CASE("reports: whoever was left out of a promised epoch stays out") {
    World world;
    use(world, true);
    world.grow(5);
    world.hold_data = true;
    auto all = start_all(world, 64);
    // Cut off from everybody, it is dropped; one member hears of that, returns, and dies.
    world.vanishes_at = at_frame(wire::Type::kInstall, 1);
    world.disconnect(*world.nodes[4]);
    for (size_t i = 0; i < 4; ++i) world.unreachable.emplace_back(i, 4);
    for (size_t i = 0; i < 4; ++i) world.break_link(i, 4);
    world.settle();
    REQUIRE_FALSE(world.coordinator);
    REQUIRE(world.nodes[0]->member->view().members.size() == 4);
    world.kill(0);
    world.hold_data = false;
    lose_record(world);
    come_back(world);
    CHECK(evicted(world, 4));
    for (const size_t index : {1, 2, 3}) {
        const core::CallResult* result = all[index].result(world, index);
        REQUIRE(result != nullptr);
        CHECK(result->status.text() == "");
        CHECK(result->contributors.size() == 3);
        world.nodes[index]->member->forget(all[index].ticket);
    }
    check_whole(world, {1, 2, 3});
}

TEST_CASE("reports: a record that is older than what its members know is not believed") {
    World world;
    world.grow(2);
    const std::vector<uint8_t> old = world.record;
    world.grow(1);
    world.crash_coordinator();
    world.record = old;
    world.start_coordinator();
    // Whichever comes first: the last one is not even in the record.
    world.reconnect(GENERATE(0, 2));
    come_back(world, 3 * kSecond);
    check_whole(world, {0, 1, 2});
}

TEST_CASE("reports: a run that was given up does not come back, nor does one that is over") {
    World world;
    use(world, false);
    world.grow(2);
    lose_record(world);
    world.reconnect(0);
    world.advance(15 * kSecond);
    CHECK(evicted(world, 0));
    world.reconnect(1);
    CHECK(evicted(world, 1));
}

TEST_CASE("reports: those who promised an epoch with newcomers wait for these") {
    const bool majority = GENERATE(false, true);
    World world;
    use(world, majority);
    world.grow(2);
    world.add();
    world.add();
    world.vanishes_at = at_frame(wire::Type::kInstall, 0);
    std::vector<core::Ticket> votes(2);
    for (size_t i = 0; i < 2; ++i)
        REQUIRE(world.nodes[i]->member->update_topology(world.now, &votes[i]).text() == "");
    world.settle();
    REQUIRE_FALSE(world.coordinator);
    lose_record(world);
    SECTION("members first") {
        for (const size_t index : {0, 1}) world.reconnect(index);
        CHECK_FALSE(evicted(world, 0));
    }
    SECTION("newcomers first, and members late") {
        for (const size_t index : {2, 3}) world.reconnect(index);
        world.advance(4 * kSecond);
    }
    come_back(world, 3 * kSecond);
    world.update();
    check_whole(world, {0, 1, 2, 3});
}

TEST_CASE("reports: by default a newcomer that may have been admitted must come back as well") {
    World world;
    use(world, false);
    world.grow(2);
    world.add();
    world.vanishes_at = at_frame(wire::Type::kInstall, 0);
    std::vector<core::Ticket> votes(2);
    for (size_t i = 0; i < 2; ++i)
        REQUIRE(world.nodes[i]->member->update_topology(world.now, &votes[i]).text() == "");
    world.settle();
    world.kill(2);
    lose_record(world);
    come_back(world);
    CHECK(evicted(world, 0));
    CHECK(evicted(world, 1));
}

TEST_CASE("reports: a founder whose first epoch was never installed founds another run at once") {
    World world;
    world.vanishes_at = at_frame(wire::Type::kInstall, 0);
    world.add();
    REQUIRE_FALSE(world.coordinator);
    world.record.clear();
    world.start_coordinator();
    world.reconnect_all();
    world.reconnect_all();
    world.settle();
    check_whole(world, {0});
}

TEST_CASE("reports: who has reported goes on with no earlier coordinator") {
    const bool majority = GENERATE(false, true);
    World world;
    use(world, majority);
    world.grow(3);
    std::unique_ptr<core::Coordinator> earlier = std::move(world.coordinator);
    for (auto& node : world.nodes) {
        node->connection = 0;
        node->member->coordinator_down(world.now, "closed");
    }
    lose_record(world);
    come_back(world, kSecond);
    check_whole(world, {0, 1, 2});
    // One reaches the earlier coordinator again, which knows now that there was another.
    world.disconnect(*world.nodes[0]);
    std::swap(world.coordinator, earlier);
    world.reconnect(0);
    CHECK(world.coordinator->describe().find("group 0") == std::string::npos);
    world.disconnect(*world.nodes[0]);
    std::swap(world.coordinator, earlier);
    come_back(world, 5 * kSecond);
    check_whole(world, {0, 1, 2});
}

TEST_CASE("reports: a run that changes its rule keeps to the stricter one until all know") {
    World world;
    use(world, true);
    world.grow(5);
    // The next coordinator would let any survivors go on; its first epoch still needs more than half.
    world.configure = [](core::CoordinatorConfig& config) { config.record_lost = true; };
    lose_record(world);
    come_back(world, kSecond);
    check_whole(world, {0, 1, 2, 3, 4});
    for (const size_t index : {2, 3}) {
        for (size_t other = 0; other < 5; ++other) world.unreachable.emplace_back(index, other);
    }
    world.vanishes_at = at_frame(wire::Type::kInstall, 1);
    world.kill(4);
    REQUIRE_FALSE(world.coordinator);
    // Of those who promised its epoch all must come, since the epoch after it needs no half.
    world.kill(0);
    lose_record(world);
    come_back(world);
    for (const size_t index : {1, 2, 3}) CHECK(evicted(world, index));
}

TEST_CASE("reports: a member that reports twice costs the others nothing") {
    World world;
    use(world, false);
    world.grow(3);
    lose_record(world);
    for (const size_t index : {0, 1}) world.reconnect(index);
    core::Record before, after;
    REQUIRE(wire::decode(world.record, before));
    world.disconnect(*world.nodes[0]);
    world.reconnect(0);
    REQUIRE(wire::decode(world.record, after));
    CHECK(after.term == before.term);
    come_back(world, kSecond);
    check_whole(world, {0, 1, 2});
}
