// Shared state through the C interface: newcomers, revisions, elections, strategies, types, evictions.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "harness.h"

using namespace harness;

namespace {

constexpr auto kPopular = PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR;
constexpr auto kReceive = PCCL_SHARED_STATE_SYNC_STRATEGY_RECEIVE_ONLY;
constexpr auto kSend = PCCL_SHARED_STATE_SYNC_STRATEGY_SEND_ONLY;

/// Two float tensors, "weights" and "bias", and one that may differ, "seen".
struct State {
    std::vector<float> weights, bias;
    std::vector<int64_t> seen;
    std::vector<pcclTensorInfo_t> infos;
    pcclSharedState_t state{};

    explicit State(float fill, uint64_t revision = 0) : weights(5000, fill), bias(17, fill), seen(3, 0) {
        infos = {{"weights", weights.data(), weights.size(), pcclFloat, pcclDeviceCpu, false},
                 {"bias", bias.data(), bias.size(), pcclFloat, pcclDeviceCpu, false},
                 {"seen", seen.data(), seen.size(), pcclInt64, pcclDeviceCpu, true}};
        state = {revision, infos.size(), infos.data()};
    }
    State(const State&) = delete;
    bool holds(float value) const {
        return weights == std::vector<float>(weights.size(), value) &&
               bias == std::vector<float>(bias.size(), value);
    }
};
constexpr uint64_t kComparedBytes = (5000 + 17) * 4;

pcclResult_t sync(Peer& peer, State& state, pcclSharedStateSyncStrategy_t strategy = kPopular,
                  pcclSharedStateSyncInfo_t* info = nullptr) {
    return pcclSynchronizeSharedState(peer.comm(), &state.state, strategy, info);
}

int rank_of(Peer& peer) {
    int rank = -1;
    peer.ok(pcclGetRank(peer.comm(), &rank), "rank");
    return rank;
}

}  // namespace

TEST_CASE("shared state: works alone, any first revision, then exactly one more") {
    with_peers(1, [](Peer& peer, int) {
        State state(1, 41);
        pcclSharedStateSyncInfo_t info{9, 9};
        peer.ok(sync(peer, state, kPopular, &info), "first");
        peer.expect(state.state.revision == 41 && info.rx_bytes == 0 && info.tx_bytes == 0,
                    "nothing travelled");
        ++state.state.revision;
        peer.ok(sync(peer, state), "second");
        peer.expect(state.state.revision == 42, "42");
    });
}

TEST_CASE("shared state: equal content moves nothing, and a revision left alone is pulled up") {
    with_peers(3, [](Peer& peer, int) {
        State state(2);
        pcclSharedStateSyncInfo_t info{9, 9};
        for (uint64_t step = 0; step < 4; ++step) {
            if (step == 2 && rank_of(peer) != 1)
                state.state.revision = step;  // one leaves its revision alone
            if (step != 2) state.state.revision = step;
            peer.ok(sync(peer, state, kPopular, &info), "step " + std::to_string(step));
            peer.expect(info.rx_bytes == 0 && info.tx_bytes == 0, "no bytes at step " + std::to_string(step));
            peer.expect(state.state.revision == step, "revision " + std::to_string(step));
        }
    });
}

TEST_CASE("shared state: the content held by most wins and only what differs travels") {
    with_peers(3, [](Peer& peer, int) {
        const int rank = rank_of(peer);
        State state(4);
        if (rank == 0)
            std::fill(state.weights.begin(), state.weights.end(), 9.0f);  // whoever votes first does not win
        state.seen.assign(3, rank);
        pcclSharedStateSyncInfo_t info{};
        peer.ok(sync(peer, state, kPopular, &info), "sync");
        peer.expect(state.holds(4), "the majority's content");
        peer.expect(state.seen == std::vector<int64_t>(3, rank), "what may differ is left alone");
        peer.expect(info.rx_bytes == (rank == 0 ? 5000u * 4 : 0u),
                    "only the tensor that differed: " + std::to_string(info.rx_bytes));
    });
}

TEST_CASE("shared state: a tie is broken the same way on everybody") {
    Master master;
    Problems problems;
    std::mutex mutex;
    std::vector<float> results;
    on_threads(4, problems, [&](int) {
        Peer peer(problems, master.address());
        peer.join(4);
        State state(rank_of(peer) % 2 == 0 ? 1.0f : 2.0f);
        peer.ok(sync(peer, state), "sync");
        peer.expect(state.holds(state.bias[0]), "one content, whole");
        const std::lock_guard lock(mutex);
        results.push_back(state.bias[0]);
    });
    CHECK(results == std::vector<float>(4, results[0]));
}

TEST_CASE("shared state: a newcomer receives everything, also what may differ") {
    Master master;
    Problems problems;
    Event joined;
    on_threads(3, problems, [&](int i) {
        Peer peer(problems, master.address());
        State state(static_cast<float>(i), 0);
        pcclSharedStateSyncInfo_t info{};
        if (i < 2) {
            peer.join(2);
            joined.set();
            std::fill(state.weights.begin(), state.weights.end(), 7.0f);
            std::fill(state.bias.begin(), state.bias.end(), 7.0f);
            state.seen.assign(3, 55);
            for (uint64_t step = 0; step < 5; ++step) {
                state.state.revision = step;
                peer.ok(sync(peer, state), "before");
            }
            peer.grow(3);
            state.state.revision = 5;
        } else {
            joined.wait();
            peer.join(3);
        }
        peer.ok(sync(peer, state, kPopular, &info), "with the newcomer");
        peer.expect(state.holds(7) && state.state.revision == 5, "content and revision of the group");
        peer.expect(state.seen == std::vector<int64_t>(3, 55), "what may differ, too");
        if (i == 2)
            peer.expect(info.rx_bytes >= kComparedBytes && info.rx_bytes <= kComparedBytes + 24, "received");
        if (i < 2) peer.expect(info.rx_bytes == 0, "members receive nothing");
    });
}

TEST_CASE("shared state: above the expected revision is evicted, the others go on") {
    with_peers(3, [](Peer& peer, int) {
        const int rank = rank_of(peer);
        State state(1, 0);
        peer.ok(sync(peer, state), "first");
        state.state.revision = rank == 2 ? 5 : 1;
        if (rank == 2) {
            peer.same(sync(peer, state), pcclInvalidUsage, "too far ahead");
            peer.expect(std::strlen(pcclGetLastError(peer.comm())) > 20, "a text");
            float value = 1;
            const auto descriptor = descriptor_of(1, pcclFloat, pcclSum);
            peer.same(pcclAllReduce(&value, &value, &descriptor, peer.comm(), nullptr),
                      pcclRankConnectionLost, "evicted");
            peer.same(pcclUpdateTopology(peer.comm()), pcclUpdateTopologyFailed, "evicted");
            return;
        }
        peer.ok(sync(peer, state), "the others");
        peer.expect(state.state.revision == 1, "revision 1");
        state.state.revision = 2;
        peer.ok(sync(peer, state), "and again");
        peer.expect(peer.group_size() == 2, "two are left");
    });
}

TEST_CASE("shared state: all members above the expected revision are evicted, as wrong use") {
    with_peers(2, [](Peer& peer, int) {
        State state(1, 0);
        peer.ok(sync(peer, state), "first");
        state.state.revision += 3;
        peer.same(sync(peer, state), pcclInvalidUsage, "too far ahead");
        const std::string text = pcclGetLastError(peer.comm());
        peer.expect(text.find("evicted") != std::string::npos, "an eviction: " + text);
    });
}

TEST_CASE("shared state: another key set than the majority's is evicted") {
    with_peers(3, [](Peer& peer, int) {
        const int rank = rank_of(peer);
        State state(1, 0);
        if (rank == 1) state.infos[1].name = "biases";
        peer.same(sync(peer, state), rank == 1 ? pcclInvalidUsage : pcclSuccess, "sync");
        if (rank == 1) {
            int world = 0;
            peer.same(pcclGetAttribute(peer.comm(), PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE, &world),
                      pcclInvalidUsage, "an evicted peer is in no world");
        } else {
            state.state.revision = 1;
            peer.ok(sync(peer, state), "again");
        }
    });
}

TEST_CASE("shared state: receivers fetch from senders") {
    with_peers(3, [](Peer& peer, int) {
        const int rank = rank_of(peer);
        State state(rank == 0 ? 6.0f : 1.0f);
        pcclSharedStateSyncInfo_t info{};
        peer.ok(sync(peer, state, rank == 0 ? kSend : kReceive, &info), "sync");
        peer.expect(state.holds(6), "the sender's content");
        peer.expect(rank == 0 ? info.tx_bytes > 0 && info.rx_bytes == 0
                              : info.rx_bytes >= kComparedBytes && info.tx_bytes == 0,
                    "bytes");
    });
}

TEST_CASE("shared state: strategies that cannot work") {
    SECTION("only receivers: all evicted") {
        with_peers(2, [](Peer& peer, int) {
            State state(1);
            peer.same(sync(peer, state, kReceive), pcclInvalidUsage, "sync");
        });
    }
    SECTION("two senders that differ: one is evicted") {
        Master master;
        Problems problems;
        std::atomic<int> fine{0}, evicted{0};
        on_threads(2, problems, [&](int) {
            Peer peer(problems, master.address());
            peer.join(2);
            State state(static_cast<float>(rank_of(peer)));
            const pcclResult_t result = sync(peer, state, kSend);
            peer.expect(result == pcclSuccess || result == pcclInvalidUsage,
                        "code " + std::to_string(result));
            ++(result == pcclSuccess ? fine : evicted);
        });
        CHECK(fine == 1);
        CHECK(evicted == 1);
    }
    SECTION("two senders that agree are fine") {
        with_peers(2, [](Peer& peer, int) {
            State state(3);
            peer.ok(sync(peer, state, kSend), "sync");
        });
    }
    SECTION("who enforces stays, who does not is evicted") {
        with_peers(3, [](Peer& peer, int) {
            const int rank = rank_of(peer);
            State state(3);
            const pcclSharedStateSyncStrategy_t mine = rank == 0 ? kPopular : rank == 1 ? kReceive : kSend;
            peer.same(sync(peer, state, mine), rank == 0 ? pcclSuccess : pcclInvalidUsage,
                      "sync of rank " + std::to_string(rank));
        });
    }
}

TEST_CASE("shared state: every type, any alignment, empty and large tensors") {
    with_peers(2, [](Peer& peer, int) {
        const int rank = rank_of(peer);
        constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8};
        std::vector<std::vector<uint8_t>> memory;
        std::vector<std::string> names;
        std::vector<pcclTensorInfo_t> infos;
        for (int type = 0; type < 12; ++type) {
            const size_t count = type == 10 ? 1'000'003 : type == 3 ? 0 : 101;
            memory.emplace_back(count * kSizes[type] + 1, static_cast<uint8_t>(rank == 0 ? 40 + type : 0));
            names.push_back("tensor " + std::to_string(type));
        }
        for (int type = 0; type < 12; ++type) {
            const auto at = static_cast<size_t>(type);
            const size_t count = (memory[at].size() - 1) / kSizes[type];
            infos.push_back({names[at].c_str(), memory[at].data() + 1, count,
                             static_cast<pcclDataType_t>(type), pcclDeviceCpu, false});
        }
        pcclSharedState_t state{0, infos.size(), infos.data()};
        pcclSharedStateSyncInfo_t info{};
        peer.ok(pcclSynchronizeSharedState(peer.comm(), &state, rank == 0 ? kSend : kReceive, &info), "sync");
        for (int type = 0; type < 12; ++type) {
            const auto& bytes = memory[static_cast<size_t>(type)];
            const bool whole =
                std::all_of(bytes.begin() + 1, bytes.end(), [&](uint8_t byte) { return byte == 40 + type; });
            peer.expect(whole, "all bytes of type " + std::to_string(type));
            peer.expect(bytes[0] == (rank == 0 ? 40 + type : 0), "the byte before it");
        }
    });
}
