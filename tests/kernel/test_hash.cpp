// Goal: hashes are XXH3's on every platform, and cutting the data into pieces does not change them.
#include <catch2/catch.hpp>
#include <utility>
#include <vector>

#include "kernel/hash.h"
#include "kernel/samples.h"

namespace {

using pccl::kernel::Hash128;
using pccl::kernel::hash128;
using pccl::kernel::Hasher;
using pccl::test::Bytes;

Bytes sample_bytes(size_t count) { return pccl::test::sample_elements(pccl::DataType::kUint8, count, 41); }

}  // namespace

TEST_CASE("hashes have their published values", "[kernel]") {
    CHECK(hash128(nullptr, 0) == Hash128{0x6001c324468d497f, 0x99aa06d3014798d8});
    CHECK(hash128("", 0) == hash128(nullptr, 0));
    CHECK(Hasher().digest() == hash128(nullptr, 0));
}

TEST_CASE("data hashed in pieces hashes the same", "[kernel]") {
    for (const size_t total : {1u, 16u, 17u, 128u, 240u, 241u, 1024u, 5000u, 100000u}) {
        const Bytes data = sample_bytes(total);
        const Hash128 whole = hash128(data.data(), data.size());
        for (const size_t piece : {1u, 7u, 64u, 255u, 1024u, 4097u}) {
            Hasher hasher;
            for (size_t at = 0; at < total; at += piece) {
                hasher.update(data.data() + at, std::min(piece, total - at));
                hasher.update(nullptr, 0);
            }
            CHECK(hasher.digest() == whole);
        }
    }
}

TEST_CASE("a digest may be taken on the way, and a reset starts anew", "[kernel]") {
    const Bytes data = sample_bytes(3000);
    Hasher hasher;
    hasher.update(data.data(), 1000);
    CHECK(hasher.digest() == hash128(data.data(), 1000));
    hasher.update(data.data() + 1000, 2000);
    CHECK(hasher.digest() == hash128(data.data(), 3000));
    Hasher moved = std::move(hasher);
    CHECK(moved.digest() == hash128(data.data(), 3000));
    moved.reset();
    moved.update(data.data(), 5);
    CHECK(moved.digest() == hash128(data.data(), 5));
}

TEST_CASE("one changed bit changes both halves", "[kernel]") {
    Bytes data = sample_bytes(4096);
    const Hash128 before = hash128(data.data(), data.size());
    data[2000] ^= 1;
    const Hash128 after = hash128(data.data(), data.size());
    CHECK(before.low != after.low);
    CHECK(before.high != after.high);
    CHECK((before < after) != (after < before));
}

TEST_CASE("misaligned data hashes the same", "[kernel]") {
    const Bytes data = sample_bytes(777);
    Bytes shifted(1, 0);
    shifted.insert(shifted.end(), data.begin(), data.end());
    CHECK(hash128(shifted.data() + 1, data.size()) == hash128(data.data(), data.size()));
}
