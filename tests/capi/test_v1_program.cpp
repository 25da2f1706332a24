// Programs in the style of PCCL 1.0, compiled as C99, several at once against a coordinator made by the 1.0
// calls.
#include <cstring>

#include "harness.h"
#include "v1_program.h"

TEST_CASE("a program in the style of PCCL 1.0 runs") {
    constexpr int kPeers = 3, kSteps = 10;
    // A coordinator of 1.0 has a fixed port; one that is free right now will do.
    uint16_t port = 0;
    {
        harness::Master master;
        port = master.port();
    }
    ccoip_socket_address_t address{};
    address.inet.protocol = inetIPv4;
    address.port = port;
    pcclMasterInstance_t* master = nullptr;
    REQUIRE(pcclCreateMaster(address, &master) == pcclSuccess);
    REQUIRE(pcclRunMaster(master) == pcclSuccess);
    v1_outcome outcomes[kPeers];
    int failed[kPeers];
    std::vector<std::thread> threads;
    for (int i = 0; i < kPeers; ++i) {
        threads.emplace_back([&, i] { failed[i] = v1_program(port, kPeers, kSteps, &outcomes[i]); });
    }
    for (std::thread& thread : threads) thread.join();
    for (int i = 0; i < kPeers; ++i) {
        INFO(outcomes[i].failure);
        REQUIRE(failed[i] == 0);
        CHECK(outcomes[i].contributors == kPeers);
        CHECK(outcomes[i].revision == kSteps);
        CHECK(outcomes[i].weights[63] == 63.0f * kSteps);
        CHECK(std::memcmp(outcomes[i].weights, outcomes[0].weights, sizeof outcomes[0].weights) == 0);
    }
    CHECK(pcclInterruptMaster(master) == pcclSuccess);
    CHECK(pcclMasterAwaitTermination(master) == pcclSuccess);
    CHECK(pcclDestroyMaster(master) == pcclSuccess);
}
