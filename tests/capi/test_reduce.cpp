// Reduces through the C interface: every type and operator, in place, several in flight, waiting, cancelling,
// descriptors that differ, and many with retry.
#include <cmath>
#include <cstring>
#include <numeric>

#include "harness.h"

using namespace harness;

namespace {

constexpr pcclRedOp_t kOps[] = {pcclSum, pcclAvg, pcclProd, pcclMax, pcclMin};

/// Small whole numbers, so that every type holds every result exactly. Peer `rank` has values 1 to 3.
int value_at(int rank, size_t index) { return 1 + static_cast<int>((index + static_cast<size_t>(rank)) % 3); }

double wanted_at(pcclRedOp_t op, int world, size_t index) {
    double sum = 0, product = 1, low = 99, high = 0;
    for (int rank = 0; rank < world; ++rank) {
        const double value = value_at(rank, index);
        sum += value, product *= value, low = std::min(low, value), high = std::max(high, value);
    }
    switch (op) {
        case pcclSum: return sum;
        case pcclAvg: return sum / world;
        case pcclProd: return product;
        case pcclMax: return high;
        default: return low;
    }
}

uint16_t half_bits(float value) {  // for the small exact values used here
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint32_t exponent = (bits >> 23 & 0xff) - 127 + 15;
    return static_cast<uint16_t>(value == 0 ? 0 : exponent << 10 | (bits >> 13 & 0x3ff));
}
float from_half_bits(uint16_t half) {
    const uint32_t bits = half == 0 ? 0 : ((half >> 10 & 0x1fu) + 127 - 15) << 23 | (half & 0x3ffu) << 13;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

template <class T>
void store(std::vector<uint8_t>& bytes, size_t index, T value) {
    std::memcpy(bytes.data() + index * sizeof(T), &value, sizeof(T));
}
template <class T>
double load(const std::vector<uint8_t>& bytes, size_t index) {
    T value;
    std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
    return static_cast<double>(value);
}

/// One dtype's store, load and size, so that a test can run over all of them.
struct Type {
    pcclDataType_t type;
    size_t bytes;
    bool integer;
    void (*put)(std::vector<uint8_t>&, size_t, int);
    double (*get)(const std::vector<uint8_t>&, size_t);
};
template <class T>
Type plain(pcclDataType_t type) {
    return {type, sizeof(T), std::is_integral_v<T>,
            [](std::vector<uint8_t>& b, size_t i, int v) { store<T>(b, i, static_cast<T>(v)); }, load<T>};
}
std::vector<Type> types() {
    return {plain<uint8_t>(pcclUint8),
            plain<int8_t>(pcclInt8),
            plain<int16_t>(pcclInt16),
            plain<uint16_t>(pcclUint16),
            plain<uint32_t>(pcclUint32),
            plain<int32_t>(pcclInt32),
            plain<uint64_t>(pcclUint64),
            plain<int64_t>(pcclInt64),
            plain<float>(pcclFloat),
            plain<double>(pcclDouble),
            {pcclFloat16, 2, false,
             [](std::vector<uint8_t>& b, size_t i, int v) { store(b, i, half_bits(static_cast<float>(v))); },
             [](const std::vector<uint8_t>& b, size_t i) {
                 uint16_t half;
                 std::memcpy(&half, b.data() + i * 2, 2);
                 return static_cast<double>(from_half_bits(half));
             }},
            {pcclBFloat16, 2, false,
             [](std::vector<uint8_t>& b, size_t i, int v) {
                 const float value = static_cast<float>(v);
                 std::memcpy(b.data() + i * 2, reinterpret_cast<const uint8_t*>(&value) + 2, 2);
             },
             [](const std::vector<uint8_t>& b, size_t i) {
                 float value = 0;
                 std::memcpy(reinterpret_cast<uint8_t*>(&value) + 2, b.data() + i * 2, 2);
                 return static_cast<double>(value);
             }}};
}

void check_result(Peer& peer, const Type& type, pcclRedOp_t op, int world, size_t count,
                  const std::vector<uint8_t>& got) {
    for (size_t i = 0; i < count; ++i) {
        double wanted = wanted_at(op, world, i);
        if (type.integer) wanted = static_cast<double>(static_cast<int64_t>(wanted));
        const double tolerance = type.integer ? 0 : type.bytes == 2 ? 0.02 : 1e-5;
        if (std::abs(type.get(got, i) - wanted) > tolerance * std::max(1.0, wanted)) {
            peer.expect(false, "type " + std::to_string(type.type) + " op " + std::to_string(op) +
                                   " element " + std::to_string(i) + " is " +
                                   std::to_string(type.get(got, i)) + " and not " + std::to_string(wanted));
        }
    }
}

}  // namespace

TEST_CASE("reduce: every type and operator, apart and in place") {
    const int world = GENERATE(2, 3, 4);
    with_peers(world, [&](Peer& peer, int) {
        int rank = 0;
        peer.ok(pcclGetRank(peer.comm(), &rank), "rank");
        for (const Type& type : types()) {
            for (const pcclRedOp_t op : kOps) {
                for (const size_t count : {size_t{1}, size_t{1025}}) {
                    std::vector<uint8_t> in(count * type.bytes), out(count * type.bytes);
                    for (size_t i = 0; i < count; ++i) type.put(in, i, value_at(rank, i));
                    const auto descriptor = descriptor_of(count, type.type, op);
                    pcclReduceInfo_t info{};
                    peer.ok(pcclAllReduce(in.data(), out.data(), &descriptor, peer.comm(), &info), "reduce");
                    check_result(peer, type, op, world, count, out);
                    peer.expect(info.local_world_size == static_cast<uint32_t>(world), "contributors");
                    peer.ok(pcclAllReduce(in.data(), in.data(), &descriptor, peer.comm(), nullptr),
                            "reduce in place");
                    peer.expect(in == out, "in place equals apart");
                }
            }
        }
    });
}

TEST_CASE("reduce: nothing, unaligned buffers, and megabytes") {
    with_peers(3, [&](Peer& peer, int) {
        int rank = 0;
        peer.ok(pcclGetRank(peer.comm(), &rank), "rank");
        const auto nothing = descriptor_of(0, pcclFloat, pcclSum);
        peer.ok(pcclAllReduce(nullptr, nullptr, &nothing, peer.comm(), nullptr), "count 0");
        const size_t count = 3'000'001;
        std::vector<uint8_t> memory(count * 4 + 1), out(count * 4);
        for (size_t i = 0; i < count; ++i) {
            const float value = static_cast<float>(value_at(rank, i));
            std::memcpy(memory.data() + 1 + i * 4, &value, 4);
        }
        const auto large = descriptor_of(count, pcclFloat, pcclSum);
        pcclReduceInfo_t info{};
        peer.ok(pcclAllReduce(memory.data() + 1, out.data(), &large, peer.comm(), &info), "large");
        check_result(peer, types()[8], pcclSum, 3, count, out);
        peer.expect(info.tx_bytes > 0 && info.rx_bytes > 0, "bytes were counted");
    });
}

TEST_CASE("reduce: several tags in flight, awaited in another order and from another thread") {
    with_peers(3, [&](Peer& peer, int index) {
        constexpr size_t kCount = 5000;
        constexpr uint64_t kTags = 6;
        std::vector<std::vector<int32_t>> buffers(kTags, std::vector<int32_t>(kCount));
        std::vector<pcclAsyncReduceOp_t> handles(kTags);
        for (uint64_t i = 0; i < kTags; ++i) {
            const uint64_t tag = (i + static_cast<uint64_t>(index)) % kTags;  // each peer starts elsewhere
            std::iota(buffers[tag].begin(), buffers[tag].end(), static_cast<int32_t>(tag));
            const auto descriptor = descriptor_of(kCount, pcclInt32, pcclSum, tag);
            peer.ok(pcclAllReduceAsync(buffers[tag].data(), buffers[tag].data(), &descriptor, peer.comm(),
                                       &handles[tag]),
                    "start");
            pcclAsyncReduceOp_t twice{};
            peer.same(pcclAllReduceAsync(buffers[tag].data(), buffers[tag].data(), &descriptor, peer.comm(),
                                         &twice),
                      pcclInvalidArgument, "a tag in flight");
        }
        peer.same(pcclUpdateTopology(peer.comm()), pcclPendingAsyncOps, "update with reduces in flight");
        peer.same(pcclOptimizeTopology(peer.comm()), pcclPendingAsyncOps, "optimise with reduces in flight");
        pcclSharedState_t state{};
        peer.same(pcclSynchronizeSharedState(peer.comm(), &state,
                                             PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR, nullptr),
                  pcclPendingAsyncOps, "synchronise with reduces in flight");
        std::vector<pcclResult_t> results(kTags, pcclInternalError);
        std::thread other([&] {
            for (uint64_t tag = kTags; tag-- > 0;)
                results[tag] = pcclAwaitAsyncReduce(&handles[tag], nullptr);
        });
        other.join();
        for (uint64_t tag = 0; tag < kTags; ++tag) {
            peer.ok(results[tag], "await");
            for (size_t i = 0; i < kCount; ++i) {
                peer.expect(buffers[tag][i] == 3 * static_cast<int32_t>(tag + i),
                            "element of tag " + std::to_string(tag));
            }
        }
        peer.same(pcclAwaitAsyncReduce(handles.data(), nullptr), pcclRankConnectionLost, "second await");
        size_t count = 0;
        pcclRankUuid_t ids[3], members[3];
        peer.ok(pcclGetContributors(peer.comm(), 2, ids, 3, &count), "contributors");
        peer.expect(count == 3, "three contributors");
        peer.ok(pcclGetGroupMembers(peer.comm(), members, 3, &count), "members");
        peer.expect(std::memcmp(ids, members, sizeof ids) == 0, "contributors are the members, by rank");
        peer.same(pcclGetContributors(peer.comm(), 99, ids, 3, &count), pcclInvalidArgument,
                  "no such result");
    });
}

TEST_CASE("reduce: testing and waiting with a time-out do not end an operation") {
    with_peers(2, [&](Peer& peer, int) {
        int rank = 0;
        peer.ok(pcclGetRank(peer.comm(), &rank), "rank");
        float value = 1;
        const auto descriptor = descriptor_of(1, pcclFloat, pcclSum, 5);
        const auto gate = descriptor_of(0, pcclFloat, pcclSum, 6);
        pcclAsyncReduceOp_t handle{};
        bool done = true;
        if (rank == 0) {
            peer.ok(pcclAllReduceAsync(&value, &value, &descriptor, peer.comm(), &handle), "start");
            peer.ok(pcclAsyncReduceTest(&handle, &done), "test");
            peer.expect(!done, "nobody else has called it");
            peer.same(pcclAsyncReduceWait(&handle, 20, nullptr), pcclTimeout, "wait");
            peer.same(pcclAsyncReduceWait(&handle, 0, nullptr), pcclTimeout, "wait");
            peer.ok(pcclAllReduce(nullptr, nullptr, &gate, peer.comm(), nullptr), "gate");
        } else {
            peer.ok(pcclAllReduce(nullptr, nullptr, &gate, peer.comm(), nullptr), "gate");
            peer.ok(pcclAllReduceAsync(&value, &value, &descriptor, peer.comm(), &handle), "start");
        }
        pcclReduceInfo_t info{};
        peer.ok(pcclAsyncReduceWait(&handle, -1, &info), "wait without limit");
        peer.expect(value == 2 && info.local_world_size == 2, "the sum of two");
        peer.same(pcclAsyncReduceTest(&handle, &done), pcclInvalidArgument, "test after the await");
    });
}

TEST_CASE("reduce: a cancelled operation ends on everybody with the input intact") {
    with_peers(2, [&](Peer& peer, int) {
        int rank = 0;
        peer.ok(pcclGetRank(peer.comm(), &rank), "rank");
        std::vector<float> values(1000, 3);
        auto descriptor = descriptor_of(values.size(), pcclFloat, pcclSum, 5);
        pcclAsyncReduceOp_t handle{};
        const auto gate = descriptor_of(0, pcclFloat, pcclSum, 6);
        if (rank == 0) {
            peer.ok(pcclAllReduceAsync(values.data(), values.data(), &descriptor, peer.comm(), &handle),
                    "start");
            peer.ok(pcclAsyncReduceCancel(&handle), "cancel");
            peer.same(pcclAwaitAsyncReduce(&handle, nullptr), pcclCancelled, "await");
            peer.expect(values == std::vector<float>(1000, 3), "input intact");
            peer.ok(pcclAllReduce(nullptr, nullptr, &gate, peer.comm(), nullptr), "gate");
        } else {
            peer.ok(pcclAllReduce(nullptr, nullptr, &gate, peer.comm(), nullptr), "gate");
            peer.same(pcclAllReduce(values.data(), values.data(), &descriptor, peer.comm(), nullptr),
                      pcclCancelled, "late call");
        }
        peer.ok(pcclAllReduce(values.data(), values.data(), &descriptor, peer.comm(), nullptr), "again");
        peer.expect(values == std::vector<float>(1000, 6), "the sum of two");
    });
}

TEST_CASE("reduce: descriptors that differ are an error on everybody, with both in the text") {
    with_peers(2, [&](Peer& peer, int) {
        int rank = 0;
        peer.ok(pcclGetRank(peer.comm(), &rank), "rank");
        std::vector<float> values(2000, 1);
        auto differ = [&](pcclReduceDescriptor_t mine, const char* first, const char* second) {
            peer.same(pcclAllReduce(values.data(), values.data(), &mine, peer.comm(), nullptr),
                      pcclInvalidUsage, "mismatch");
            const std::string text = pcclGetLastError(peer.comm());
            peer.expect(text.find(first) != std::string::npos && text.find(second) != std::string::npos,
                        "both in: " + text);
            peer.expect(values == std::vector<float>(2000, 1), "input intact");
        };
        differ(descriptor_of(rank == 0 ? 1000 : 1001, pcclFloat, pcclSum), "1000", "1001");
        differ(descriptor_of(1000, rank == 0 ? pcclFloat : pcclInt32, pcclSum), "float", "int32");
        differ(descriptor_of(1000, pcclFloat, rank == 0 ? pcclMax : pcclMin), "max", "min");
        const auto right = descriptor_of(2000, pcclFloat, pcclSum);
        peer.ok(pcclAllReduce(values.data(), values.data(), &right, peer.comm(), nullptr), "afterwards");
        peer.expect(values == std::vector<float>(2000, 2), "the sum of two");
    });
}

TEST_CASE("reduce: alone there are too few peers") {
    with_peers(1, [&](Peer& peer, int) {
        float value = 1;
        const auto descriptor = descriptor_of(1, pcclFloat, pcclSum);
        pcclAsyncReduceOp_t handle{};
        peer.same(pcclAllReduce(&value, &value, &descriptor, peer.comm(), nullptr), pcclTooFewPeers,
                  "reduce");
        peer.same(pcclAllReduceAsync(&value, &value, &descriptor, peer.comm(), &handle), pcclTooFewPeers,
                  "async");
        pcclReduceOpDescriptor_t one{&value, &value, descriptor};
        peer.same(pcclAllReduceMultipleWithRetry(&one, 1, peer.comm(), nullptr, 1), pcclTooFewPeers, "many");
        peer.expect(std::strlen(pcclGetLastError(peer.comm())) > 0, "a text");
    });
}

TEST_CASE("reduce: many with a limit on those in flight") {
    const int max_in_flight = GENERATE(1, 3, 100);
    with_peers(3, [&](Peer& peer, int) {
        constexpr size_t kOps = 20;
        std::vector<std::vector<double>> in(kOps), out(kOps);
        std::vector<pcclReduceOpDescriptor_t> descriptors;
        for (size_t i = 0; i < kOps; ++i) {
            in[i].assign(1 + i * 37, static_cast<double>(i));
            out[i].resize(in[i].size());
            descriptors.push_back(
                {in[i].data(), out[i].data(), descriptor_of(in[i].size(), pcclDouble, pcclSum, 100 + i)});
        }
        pcclReduceInfo_t info{};
        peer.ok(pcclAllReduceMultipleWithRetry(descriptors.data(), kOps, peer.comm(), &info, max_in_flight),
                "many");
        for (size_t i = 0; i < kOps; ++i) {
            peer.expect(out[i] == std::vector<double>(in[i].size(), 3.0 * static_cast<double>(i)),
                        "result " + std::to_string(i));
        }
        peer.expect(info.local_world_size == 3 && info.tx_bytes > 0, "the sums of the information");
    });
}
