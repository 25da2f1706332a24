// Goal: segments tile the operand exactly, in order, within their limits, for any sizes. Method: sweep sizes
// and limits.
#include <catch2/catch.hpp>
#include <random>
#include <string>

#include "plan/plan.h"

namespace pccl::plan {
namespace {

std::string check_segmentation(const Segmentation& cut, uint64_t count, Rank shards) {
    uint64_t end = 0;
    Rank shard_before = 0;
    std::vector<uint64_t> shard_elements(shards, 0);
    std::vector<uint32_t> shard_segments(shards, 0);
    for (uint32_t segment = 0; segment < cut.segments(); ++segment) {
        const Segmentation::Range range = cut.range(segment);
        if (range.offset != end) return "a gap or an overlap";
        if (range.count == 0) return "an empty segment";
        if (range.count * cut.element_bytes() > cut.segment_bytes())
            return "a segment larger than the largest";
        if (range.shard >= shards || range.shard < shard_before) return "shards out of order";
        if (cut.shard_of(segment) != range.shard) return "two answers for the shard";
        if (cut.first_segment(range.shard) + shard_segments[range.shard] != segment)
            return "wrong first segment";
        end += range.count;
        shard_before = range.shard;
        shard_elements[range.shard] += range.count;
        ++shard_segments[range.shard];
    }
    if (end != count) return "not all elements";
    if (cut.segments() > kSegmentsMax) return "too many segments";
    for (Rank shard = 0; shard < shards; ++shard) {
        if (shard_elements[shard] != count / shards + (shard < count % shards))
            return "shards not nearly equal";
        if (shard_segments[shard] != cut.segments_of(shard) && count != 0)
            return "wrong number of segments of a shard";
    }
    return "";
}

TEST_CASE("segments tile the operand exactly", "[plan]") {
    for (const Rank shards : {1, 2, 3, 7, 8, 16, 33, 257, 1000, 1024}) {
        for (const uint64_t count :
             {0, 1, 2, 63, 64, 65, shards - 1, +shards, shards + 1, 4096, 99999, 1000003, 20000000}) {
            for (const uint32_t element_bytes : {1, 2, 4, 8, 16, 64}) {
                for (const uint32_t segment_bytes_max : {1, 100, 4096, 262144, 1 << 20}) {
                    const Segmentation cut(count, element_bytes, shards, segment_bytes_max);
                    INFO(count << " x " << element_bytes << ", " << shards << " shards, max "
                               << segment_bytes_max);
                    REQUIRE(check_segmentation(cut, count, shards) == "");
                    if (count == 0) REQUIRE(cut.segments() == 0);
                }
            }
        }
    }
}

TEST_CASE("huge operands do not overflow", "[plan]") {
    std::mt19937_64 random(7);
    for (int round = 0; round < 60; ++round) {
        const uint64_t count =
            round == 0 ? uint64_t{1} << 60 : (uint64_t{1} << 60) - (random() >> (4 + random() % 56));
        const Rank shards = static_cast<Rank>(1 + random() % kRanksMax);
        const uint32_t element_bytes = static_cast<uint32_t>(1 + random() % 64);
        INFO(count << " x " << element_bytes << ", " << shards << " shards");
        const Segmentation cut(count, element_bytes, shards, 1 << 20);
        REQUIRE(check_segmentation(cut, count, shards) == "");
        REQUIRE(cut.segment_bytes() > 1 << 20);
    }
}

TEST_CASE("segments have sensible sizes", "[plan]") {
    const uint32_t segment_bytes_max = 1 << 20;
    // Large shards: full segments.
    CHECK(Segmentation(64 << 20, 4, 8, segment_bytes_max).segment_bytes() == segment_bytes_max);
    // Middle ones: four per shard, in steps of 64 elements.
    const Segmentation middle(8 * 100000, 4, 8, segment_bytes_max);
    CHECK(middle.segments() == 8 * 4);
    CHECK(middle.segment_bytes() / 4 % 64 == 0);
    CHECK(middle.segment_bytes() >= 100000);
    // Not below 32 KiB: a shard of 60 KiB stays whole.
    CHECK(Segmentation(8 * 15 * 1024, 4, 8, segment_bytes_max).segments() == 8);
    CHECK(Segmentation(8 * 16 * 1024, 4, 8, segment_bytes_max).segments() == 16);
    // Small shards take no more scratch than they need.
    CHECK(Segmentation(8 * 3, 4, 8, segment_bytes_max).segment_bytes() == 12);
    // The epoch's limit holds as long as the table of segments allows.
    for (const uint32_t limit : {4096u, 5000u, 65536u}) {
        CHECK(Segmentation(1000003, 4, 8, limit).segment_bytes() <= limit);
        CHECK(Segmentation(1000003, 8, 3, limit).segment_bytes() <= limit);
    }
    CHECK(Segmentation(uint64_t{1} << 40, 4, 8, 4096).segments() <= kSegmentsMax);
    CHECK(Segmentation(uint64_t{1} << 40, 4, 8, 4096).segments() > kSegmentsMax / 2);
}

}  // namespace
}  // namespace pccl::plan
