// Shared state between members of a world without time: elections, fetches, joiners, deaths.
#include <catch2/catch.hpp>

#include "harness.h"
#include "kernel/hash.h"

using namespace pccl;
using namespace pccl::test;

namespace {

struct State {
    std::vector<std::vector<uint8_t>> tensors;
    std::vector<bool> free;  ///< inequality allowed
    uint64_t revision = 0;
    core::Ticket ticket = 0;

    core::SyncCall call(core::SyncStrategy strategy = core::SyncStrategy::kEnforcePopular) {
        core::SyncCall out;
        out.revision = revision;
        out.strategy = strategy;
        for (size_t i = 0; i < tensors.size(); ++i) {
            core::SharedTensor tensor;
            tensor.name = "t" + std::to_string(i);
            tensor.data = tensors[i].data();
            tensor.count = tensors[i].size();
            tensor.dtype = DataType::kUint8;
            tensor.allow_inequality = i < free.size() && free[i];
            const auto hash = kernel::hash128(tensor.data, tensor.count);
            tensor.hash = {hash.low, hash.high};
            out.tensors.push_back(tensor);
        }
        return out;
    }
};

State filled(uint8_t value, std::vector<size_t> sizes) {
    State out;
    for (size_t size : sizes) out.tensors.emplace_back(size, value);
    return out;
}

void sync(World& world, std::vector<State>& states) {
    for (size_t i = 0; i < states.size(); ++i) {
        if (world.nodes[i]->alive)
            REQUIRE(world.nodes[i]->member->synchronize(world.now, states[i].call(), &states[i].ticket).ok());
    }
    world.settle();
}

const core::CallResult& result(World& world, std::vector<State>& states, size_t i) {
    const core::CallResult* out = world.nodes[i]->member->result(states[i].ticket);
    REQUIRE(out != nullptr);
    return *out;
}

}  // namespace

TEST_CASE("the minority fetches exactly what differs") {
    World world;
    world.grow(3);
    std::vector<State> states{filled(1, {10, 5 << 20, 0}), filled(1, {10, 5 << 20, 0}),
                              filled(1, {10, 5 << 20, 0})};
    states[2].tensors[1].assign(5 << 20, 9);
    sync(world, states);
    for (size_t i = 0; i < 3; ++i) REQUIRE(result(world, states, i).status.text() == "");
    REQUIRE(result(world, states, 2).rx_bytes == 5 << 20);
    REQUIRE(result(world, states, 0).rx_bytes == 0);
    REQUIRE(result(world, states, 0).tx_bytes + result(world, states, 1).tx_bytes == 5 << 20);
    REQUIRE(states[2].tensors == states[0].tensors);
}

TEST_CASE("a newcomer gets everything, tensors that may differ too; later they stay different") {
    World world;
    world.grow(1);
    std::vector<State> states{filled(3, {100, 50})};
    states[0].free = {false, true};
    sync(world, states);
    REQUIRE(result(world, states, 0).status.ok());
    world.nodes[0]->member->forget(states[0].ticket);
    world.grow(1);
    states.push_back(filled(0, {100, 50}));
    states[1].free = {false, true};
    states[0].revision = 1;
    sync(world, states);
    REQUIRE(result(world, states, 1).status.text() == "");
    REQUIRE(result(world, states, 1).revision == 1);
    REQUIRE(result(world, states, 1).rx_bytes == 150);
    REQUIRE(states[1].tensors == states[0].tensors);
    for (size_t i = 0; i < 2; ++i) world.nodes[i]->member->forget(states[i].ticket);
    states[1].tensors[1].assign(50, 77);
    states[0].revision = states[1].revision = 2;
    sync(world, states);
    REQUIRE(result(world, states, 1).rx_bytes == 0);
    REQUIRE(states[1].tensors[1][0] == 77);
}

TEST_CASE("a member with other keys is evicted and the others go on") {
    World world;
    world.grow(3);
    std::vector<State> states{filled(1, {10}), filled(1, {10}), filled(1, {10, 10})};
    sync(world, states);
    REQUIRE(result(world, states, 2).status.code() == Code::EVICTED);
    REQUIRE(world.nodes[2]->member->fate().code() == Code::EVICTED);
    for (size_t i = 0; i < 2; ++i) REQUIRE(result(world, states, i).status.text() == "");
    REQUIRE(world.nodes[0]->member->view().members.size() == 2);
}

TEST_CASE("a revision above the expected one is evicted, also when nobody else stands") {
    for (const size_t members : {1, 2}) {
        World world;
        world.grow(members);
        std::vector<State> states(members, filled(1, {10}));
        sync(world, states);
        for (size_t i = 0; i < members; ++i) {
            REQUIRE(result(world, states, i).status.text() == "");
            world.nodes[i]->member->forget(states[i].ticket);
            states[i].revision = 3;
        }
        sync(world, states);
        for (size_t i = 0; i < members; ++i) {
            CHECK(result(world, states, i).status.code() == Code::EVICTED);
            CHECK_THAT(result(world, states, i).status.text(), Catch::Contains("revision is above"));
            CHECK_FALSE(world.nodes[i]->member->view().connected);
        }
    }
}

TEST_CASE("adopting the highest revision is a warning only where the content is another one") {
    static std::vector<std::string> warnings;
    warnings.clear();
    World world;
    world.tweak = [](core::MemberConfig& config) {
        config.log =
            Logger(LogLevel::kWarn, [](LogLevel, std::string_view text) { warnings.emplace_back(text); });
    };
    world.grow(2);
    std::vector<State> states(2, filled(1, {10}));
    const auto again = [&] {
        sync(world, states);
        for (size_t i = 0; i < 2; ++i) {
            REQUIRE(result(world, states, i).status.text() == "");
            world.nodes[i]->member->forget(states[i].ticket);
        }
    };
    // A program that leaves its revision alone.
    for (int call = 0; call < 3; ++call) again();
    CHECK(warnings.empty());
    for (State& state : states) state.tensors[0].assign(10, 5);
    again();
    REQUIRE(warnings.size() == 2);
    CHECK_THAT(warnings[0], Catch::Contains("another content than it had agreed on last"));
    again();
    CHECK(warnings.size() == 2);
}

TEST_CASE("a death during a fetch is reported, tainted, and the repeated call succeeds") {
    World world;
    world.grow(3);
    std::vector<State> states{filled(1, {9 << 20}), filled(1, {9 << 20}), filled(2, {9 << 20})};
    world.hold_data = true;
    sync(world, states);
    world.hold_data = false;
    world.kill(0);
    REQUIRE(result(world, states, 2).status.code() == Code::RANK_CONNECTION_LOST);
    REQUIRE(result(world, states, 1).status.code() == Code::RANK_CONNECTION_LOST);
    for (size_t i = 1; i < 3; ++i) world.nodes[i]->member->forget(states[i].ticket);
    sync(world, states);
    REQUIRE(result(world, states, 2).status.text() == "");
    REQUIRE(states[2].tensors == states[1].tensors);
}
