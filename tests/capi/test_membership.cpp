// Joining, leaving, dying: attributes, ranks and groups, waiting peers, v1-style loops, and children that are
// killed.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "harness.h"

using namespace harness;

namespace {

std::vector<pcclRankUuid_t> members_of(Peer& peer) {
    size_t count = 0;
    peer.ok(pcclGetGroupMembers(peer.comm(), nullptr, 0, &count), "count");
    std::vector<pcclRankUuid_t> out(count);
    peer.ok(pcclGetGroupMembers(peer.comm(), out.data(), out.size(), &count), "members");
    return out;
}

/// Waits for the others by an empty reduce.
void gate(Peer& peer, uint64_t tag) {
    const auto descriptor = descriptor_of(0, pcclUint8, pcclSum, tag);
    peer.ok(pcclAllReduce(nullptr, nullptr, &descriptor, peer.comm(), nullptr),
            "gate " + std::to_string(tag));
}

}  // namespace

TEST_CASE("membership: alone at once, with a world of one") {
    with_peers(1, [](Peer& peer, int) {
        int rank = -1;
        bool pending = true;
        peer.expect(peer.world_size() == 1 && peer.group_size() == 1, "sizes");
        peer.expect(peer.attribute(PCCL_ATTRIBUTE_NUM_DISTINCT_PEER_GROUPS) == 1, "groups");
        peer.expect(peer.attribute(PCCL_ATTRIBUTE_LARGEST_PEER_GROUP_WORLD_SIZE) == 1, "largest");
        peer.ok(pcclGetRank(peer.comm(), &rank), "rank");
        peer.expect(rank == 0, "rank 0");
        peer.ok(pcclArePeersPending(peer.comm(), &pending), "pending");
        peer.expect(!pending, "nobody waits");
        peer.ok(pcclUpdateTopology(peer.comm()), "update");
        peer.same(pcclOptimizeTopology(peer.comm()), pcclInvalidUsage, "optimise alone");
        peer.same(pcclConnect(peer.comm()), pcclInvalidUsage, "connect twice");
    });
}

TEST_CASE("membership: ranks, ids and member lists agree") {
    Master master;
    Problems problems;
    std::mutex mutex;
    std::vector<std::vector<pcclRankUuid_t>> lists(4);
    on_threads(4, problems, [&](int) {
        Peer peer(problems, master.address());
        peer.join(4);
        int rank = -1;
        pcclRankUuid_t id{};
        peer.ok(pcclGetRank(peer.comm(), &rank), "rank");
        peer.ok(pcclGetRankId(peer.comm(), &id), "id");
        const auto members = members_of(peer);
        peer.expect(members.size() == 4 && rank >= 0 && rank < 4, "four members");
        peer.expect(std::memcmp(members[static_cast<size_t>(rank)].data, id.data, 16) == 0,
                    "my place in the list");
        {
            const std::lock_guard lock(mutex);
            lists[static_cast<size_t>(rank)] = members;
        }
        peer.ok(pcclOptimizeTopology(peer.comm()), "optimise");
        peer.expect(peer.group_size() == 4, "still four");
        gate(peer, 1);
    });
    for (const auto& list : lists) {
        REQUIRE(list.size() == 4);
        CHECK(std::memcmp(list.data(), lists[0].data(), 64) == 0);
    }
}

TEST_CASE("membership: groups reduce apart and are counted together") {
    Master master;
    Problems problems;
    on_threads(3, problems, [&](int i) {
        const uint32_t group = i == 2 ? 7 : 3;
        Peer peer(problems, master.address(), pcclOnFailureReport, group);
        peer.join(3);
        peer.expect(peer.group_size() == (group == 7 ? 1 : 2), "group size");
        peer.expect(peer.attribute(PCCL_ATTRIBUTE_NUM_DISTINCT_PEER_GROUPS) == 2, "groups");
        peer.expect(peer.attribute(PCCL_ATTRIBUTE_LARGEST_PEER_GROUP_WORLD_SIZE) == 2, "largest group");
        float value = 1;
        const auto descriptor = descriptor_of(1, pcclFloat, pcclSum);
        const pcclResult_t wanted = group == 7 ? pcclTooFewPeers : pcclSuccess;
        peer.same(pcclAllReduce(&value, &value, &descriptor, peer.comm(), nullptr), wanted, "reduce");
        peer.expect(value == (group == 7 ? 1 : 2), "the group's sum");
        peer.ok(pcclUpdateTopology(peer.comm()), "update over all groups");
    });
}

TEST_CASE("membership: a peer that waits is seen by all at the same call, and admitted by an update") {
    Master master;
    Problems problems;
    Event joined;
    on_threads(3, problems, [&](int i) {
        Peer peer(problems, master.address());
        if (i == 2) {
            // Joins when the first two go round their loop already; they ask before each step.
            joined.wait();
            peer.ok(pcclConnect(peer.comm()), "late connect");
        } else {
            peer.join(2);
            joined.set();
            for (int step = 0; peer.world_size() < 3; ++step) {
                bool pending = false;
                peer.ok(pcclArePeersPending(peer.comm(), &pending), "pending");
                if (pending) peer.ok(pcclUpdateTopology(peer.comm()), "update");
                if (!pending) gate(peer, 8);
            }
        }
        gate(peer, 9);
        peer.expect(peer.world_size() == 3, "three");
    });
}

TEST_CASE("membership: who leaves is not missed, and may come again") {
    Master master;
    Problems problems;
    Event left, seen;
    on_threads(3, problems, [&](int i) {
        Peer peer(problems, master.address());
        peer.join(3);
        gate(peer, 1);
        if (i == 0) {
            peer.ok(pcclLeave(peer.comm()), "leave");
            left.set();
            int value = 0;
            peer.same(pcclGetAttribute(peer.comm(), PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE, &value),
                      pcclInvalidUsage, "left");
            peer.same(pcclLeave(peer.comm()), pcclInvalidUsage, "leave twice");
            seen.wait();
            peer.ok(pcclConnect(peer.comm()), "come again");
        } else {
            left.wait();
            peer.ok(pcclUpdateTopology(peer.comm()), "update");
            peer.expect(peer.group_size() == 2 && peer.world_size() == 2, "two are left");
            gate(peer, 2);
            seen.set();
            peer.grow(3);
        }
        gate(peer, 3);
        peer.expect(peer.world_size() == 3, "three again");
    });
}

TEST_CASE("membership: who leaves in the middle of a reduce is not reported as lost") {
    const int on_failure = GENERATE(pcclOnFailureReport, pcclOnFailureRetry);
    Master master;
    Problems problems;
    Event started[2];
    on_threads(3, problems, [&](int i) {
        Peer peer(problems, master.address(), on_failure);
        peer.join(3);
        if (i == 2) {
            for (Event& event : started) peer.expect(event.wait(), "both have started");
            return peer.ok(pcclLeave(peer.comm()), "leave");
        }
        std::vector<float> values(100000, 1);
        const auto descriptor = descriptor_of(values.size(), pcclFloat, pcclSum, 5);
        pcclAsyncReduceOp_t handle{};
        pcclReduceInfo_t info{};
        peer.ok(pcclAllReduceAsync(values.data(), values.data(), &descriptor, peer.comm(), &handle), "start");
        started[i].set();
        peer.ok(pcclAwaitAsyncReduce(&handle, &info), "the others go on");
        peer.expect(info.local_world_size == 2 && values == std::vector<float>(values.size(), 2.0f),
                    "the sum of two");
        peer.expect(peer.group_size() == 2, "two are left");
        size_t count = 1;
        peer.ok(pcclGetFailures(peer.comm(), 0, nullptr, sizeof(pcclFailure_t), 0, &count), "failures");
        peer.expect(count == 0, "a leaver is no failure");
    });
}

// A child for the test below: stops itself between two calls, and goes on as a program of 1.0 would.
TEST_CASE("child: stops and then tries again while it is not alone", "[.]") {
    const char* arguments = std::getenv("PCCL_CHILD_ARGUMENTS");
    if (arguments == nullptr) return;
    Problems problems;
    Peer peer(problems, arguments);
    peer.join(3);
    gate(peer, 1);
    raise(SIGSTOP);
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    const auto descriptor = descriptor_of(0, pcclUint8, pcclSum, 2);
    int world = 2;
    while (world > 1 && std::chrono::steady_clock::now() < until) {
        REQUIRE(pcclAllReduce(nullptr, nullptr, &descriptor, peer.comm(), nullptr) != pcclSuccess);
        if (pcclGetAttribute(peer.comm(), PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE, &world) == pcclInvalidUsage)
            world = 0;
    }
    REQUIRE(world == 0);
}

TEST_CASE("membership: a peer that was evicted while it stood still sees no world any more") {
    Master master;
    Problems problems;
    Child child("child: stops and then tries again while it is not alone", master.address());
    on_threads(2, problems, [&](int i) {
        Peer peer(problems, master.address(), pcclOnFailureRetry);
        peer.join(3);
        gate(peer, 1);
        if (i == 0) peer.expect(child.wait_stopped(), "the child has stopped");
        gate(peer, 2);
        peer.expect(peer.group_size() == 2, "two are left");
        if (i == 0) child.resume();
        // The child hears of its eviction from a coordinator and a run that are still there.
        if (i == 0) peer.expect(child.wait() == 0, "the child's loop has ended");
        gate(peer, 3);
    });
}

TEST_CASE("membership: communicators outlive their coordinator and end quickly without it") {
    auto master = std::make_unique<Master>();
    Problems problems;
    const std::string address = master->address();
    on_threads(2, problems, [&](int i) {
        Peer peer(problems, address);
        peer.join(2);
        gate(peer, 1);
        if (i == 0) master.reset();
        gate(peer, 2);
        float value = 1;
        const auto descriptor = descriptor_of(1, pcclFloat, pcclSum);
        peer.ok(pcclAllReduce(&value, &value, &descriptor, peer.comm(), nullptr),
                "reduce without the coordinator");
        peer.expect(value == 2, "the sum of two");
        bool pending = true;
        peer.ok(pcclArePeersPending(peer.comm(), &pending), "pending without the coordinator");
    });
}

// A child for the tests below: joins a run of N and reduces until it is killed.
TEST_CASE("child: reduces until killed", "[.]") {
    const char* arguments = std::getenv("PCCL_CHILD_ARGUMENTS");
    if (arguments == nullptr) return;
    const std::string text = arguments;
    const std::string address = text.substr(0, text.find(' '));
    const int world = std::atoi(text.substr(text.find(' ') + 1).c_str());
    Problems problems;
    Peer peer(problems, address);
    peer.join(world);
    std::vector<float> values(200000, 1), out(values.size());
    for (;;) {
        const auto descriptor = descriptor_of(values.size(), pcclFloat, pcclSum, 1);
        const pcclResult_t result =
            pcclAllReduce(values.data(), out.data(), &descriptor, peer.comm(), nullptr);
        if (result != pcclSuccess) return;
    }
}

TEST_CASE("membership: a killed peer is reported once, and the rest goes on with inputs intact") {
    const int on_failure = GENERATE(pcclOnFailureReport, pcclOnFailureRetry);
    Master master;
    Problems problems;
    Child child("child: reduces until killed", master.address() + " 4");
    std::atomic<bool> killed{false};
    std::mutex mutex;
    std::string account;
    on_threads(3, problems, [&](int i) {
        Peer peer(problems, master.address(), on_failure);
        peer.join(4);
        std::vector<float> values(200000);
        int failures = 0, steps_after = 0;
        for (int step = 0; steps_after < 5; ++step) {
            if (i == 0 && step == 10) {
                child.kill();
                killed = true;
            }
            std::fill(values.begin(), values.end(), 1.0f);
            const auto descriptor = descriptor_of(values.size(), pcclFloat, pcclSum, 1);
            pcclReduceInfo_t info{};
            const pcclResult_t result =
                pcclAllReduce(values.data(), values.data(), &descriptor, peer.comm(), &info);
            if (result == pcclRankConnectionLost && on_failure == pcclOnFailureReport) {
                ++failures;
                peer.expect(std::strlen(pcclGetLastError(peer.comm())) > 20, "the failure has a text");
                peer.expect(values == std::vector<float>(values.size(), 1.0f), "input intact");
                peer.expect(peer.group_size() == 3, "the attributes show the new world");
                continue;
            }
            peer.ok(result, "reduce");
            peer.expect(info.local_world_size == 4 || info.local_world_size == 3, "contributors");
            peer.expect(values.front() == static_cast<float>(info.local_world_size) &&
                            values.back() == values.front(),
                        "sum");
            if (info.local_world_size < 4 && ++steps_after < 5) {
                peer.expect(peer.group_size() == 3 && peer.world_size() == 3, "three are left");
            }
        }
        peer.expect(failures <= 1, "one death is reported once");
        size_t count = 0;
        pcclFailure_t accounts[2];
        peer.ok(pcclGetFailures(peer.comm(), 0, accounts, sizeof accounts[0], 2, &count), "failures");
        peer.expect(count == 1 && accounts[0].number == 1, "one death is one failure");
        const std::string text = std::to_string(accounts[0].rank) + " " + accounts[0].address + " " +
                                 accounts[0].cause + " " + accounts[0].operations;
        const std::lock_guard lock(mutex);
        if (account.empty()) account = text;
        peer.expect(account == text, "all survivors have the same account: " + text);
        peer.ok(pcclGetFailures(peer.comm(), 1, nullptr, sizeof accounts[0], 0, &count), "no more failures");
        peer.expect(count == 0, "none after the last");
        peer.same(pcclGetFailures(peer.comm(), 0, accounts, 8, 2, &count), pcclInvalidArgument, "too short");
        peer.same(pcclGetFailures(peer.comm(), 0, nullptr, sizeof accounts[0], 2, &count),
                  pcclInvalidArgument, "nowhere to write to");
    });
    CHECK(killed);
    CHECK_THAT(account, Catch::Contains("127.0.0.1:") && Catch::Contains("reports: "));
}

TEST_CASE("membership: many reduces with retry go on past a killed peer, and end when nobody is left") {
    Master master;
    Problems problems;
    Child first("child: reduces in batches until killed", master.address() + " 4");
    Child second("child: reduces in batches until killed", master.address() + " 4");
    std::atomic<int> batches{0};
    on_threads(2, problems, [&](int i) {
        Peer peer(problems, master.address());
        peer.join(4);
        constexpr size_t kOps = 12;
        std::vector<std::vector<float>> data(kOps, std::vector<float>(20000));
        for (int batch = 0, after = 0; after < 3; ++batch) {
            if (i == 0 && batch == 3) first.kill();
            if (i == 0 && batch == 6) second.kill();
            std::vector<pcclReduceOpDescriptor_t> descriptors;
            for (size_t k = 0; k < kOps; ++k) {
                std::fill(data[k].begin(), data[k].end(), 1.0f);
                descriptors.push_back(
                    {data[k].data(), data[k].data(), descriptor_of(data[k].size(), pcclFloat, pcclSum, k)});
            }
            pcclReduceInfo_t info{};
            peer.ok(pcclAllReduceMultipleWithRetry(descriptors.data(), kOps, peer.comm(), &info, 4), "batch");
            for (const auto& result : data) {
                peer.expect(result.front() >= static_cast<float>(info.local_world_size) &&
                                result.front() <= 4 && result.front() == result.back(),
                            "every result is a sum over its contributors");
            }
            if (info.local_world_size == 2) ++after;
            ++batches;
        }
        // Now one goes away in the middle of a batch that the other has started.
        if (i == 1) {
            peer.expect(peer.group_size() == 2, "two are left");
            return peer.destroy();
        }
        std::vector<float> value(10, 1);
        pcclReduceOpDescriptor_t one{value.data(), value.data(), descriptor_of(10, pcclFloat, pcclSum, 77)};
        peer.same(pcclAllReduceMultipleWithRetry(&one, 1, peer.comm(), nullptr, 1), pcclTooFewPeers, "alone");
        peer.expect(value == std::vector<float>(10, 1), "input intact");
    });
    CHECK(batches > 6);
}

TEST_CASE("child: reduces in batches until killed", "[.]") {
    const char* arguments = std::getenv("PCCL_CHILD_ARGUMENTS");
    if (arguments == nullptr) return;
    const std::string text = arguments;
    Problems problems;
    Peer peer(problems, text.substr(0, text.find(' ')));
    peer.join(std::atoi(text.substr(text.find(' ') + 1).c_str()));
    constexpr size_t kOps = 12;
    std::vector<std::vector<float>> data(kOps, std::vector<float>(20000, 1));
    std::vector<pcclReduceOpDescriptor_t> descriptors;
    for (size_t k = 0; k < kOps; ++k) {
        descriptors.push_back(
            {data[k].data(), data[k].data(), descriptor_of(data[k].size(), pcclFloat, pcclSum, k)});
    }
    for (;;) {
        for (auto& buffer : data) std::fill(buffer.begin(), buffer.end(), 1.0f);
        if (pcclAllReduceMultipleWithRetry(descriptors.data(), kOps, peer.comm(), nullptr, 4) != pcclSuccess)
            return;
    }
}
