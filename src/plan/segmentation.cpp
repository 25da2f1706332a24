// Cutting operands into segments. Only sizes enter, so that the cut outlives members, links and epochs.
#include <algorithm>

#include "plan/plan.h"

namespace pccl::plan {

namespace {

// A shard is cut into at least this many segments, so that receiving, folding and sending overlap ...
constexpr uint64_t kShardSegmentsMin = 4;
// ... unless they became so small that the cost per frame shows.
constexpr uint64_t kSegmentBytesMin = 32 * 1024;
// Segments begin at multiples of this many elements within their shard, so that vector loops rarely have a
// tail.
constexpr uint64_t kSegmentElementsStep = 64;

uint64_t divide_up(uint64_t dividend, uint64_t divisor) {
    return dividend / divisor + (dividend % divisor != 0);
}

uint64_t round_up(uint64_t value, uint64_t step) { return divide_up(value, step) * step; }

// Elements of a segment, for shards of at most `shard_elements`. All terms stay below 2^61.
uint64_t choose_segment_elements(uint64_t shard_elements, uint32_t element_bytes, Rank shards,
                                 uint32_t segment_bytes_max) {
    uint64_t elements_max = std::max<uint64_t>(1, segment_bytes_max / element_bytes);
    const bool stepped = elements_max >= kSegmentElementsStep;
    if (stepped) elements_max -= elements_max % kSegmentElementsStep;

    const uint64_t elements_min = divide_up(kSegmentBytesMin, element_bytes);
    uint64_t shard_segments = std::clamp<uint64_t>(shard_elements / elements_min, 1, kShardSegmentsMin);
    shard_segments = std::max(shard_segments, divide_up(shard_elements, elements_max));
    // The table of segments is bounded; an operand that is larger than that gets larger segments.
    shard_segments = std::min<uint64_t>(shard_segments, kSegmentsMax / shards);

    const uint64_t elements = divide_up(shard_elements, shard_segments);
    return std::min(shard_elements, stepped ? round_up(elements, kSegmentElementsStep) : elements);
}

}  // namespace

Segmentation::Segmentation(uint64_t count, uint32_t element_bytes, Rank shards, uint32_t segment_bytes_max)
    : count_(count), element_bytes_(element_bytes), shards_(shards) {
    PCCL_ASSERT(count <= uint64_t{1} << 60);
    PCCL_ASSERT(element_bytes >= 1 && element_bytes <= 64);
    PCCL_ASSERT(shards >= 1 && shards <= kRanksMax);
    if (count == 0) return;
    short_shard_elements_ = count / shards;
    long_shards_ = static_cast<Rank>(count % shards);
    segment_elements_ =
        choose_segment_elements(divide_up(count, shards), element_bytes, shards, segment_bytes_max);
    short_shard_segments_ = static_cast<uint32_t>(divide_up(short_shard_elements_, segment_elements_));
    long_shard_segments_ = static_cast<uint32_t>(divide_up(short_shard_elements_ + 1, segment_elements_));
    long_segments_ = long_shards_ * long_shard_segments_;
    segments_ = long_segments_ + static_cast<uint32_t>(shards - long_shards_) * short_shard_segments_;
    PCCL_ASSERT(segments_ >= 1 && segments_ <= kSegmentsMax);
}

uint32_t Segmentation::first_segment(Rank shard) const {
    PCCL_ASSERT(shard <= shards_);
    if (shard <= long_shards_) return shard * long_shard_segments_;
    return long_segments_ + static_cast<uint32_t>(shard - long_shards_) * short_shard_segments_;
}

uint64_t Segmentation::first_element(Rank shard) const {
    return shard * short_shard_elements_ + std::min(shard, long_shards_);
}

Segmentation::Range Segmentation::range(uint32_t segment) const {
    const Rank shard = shard_of(segment);
    const uint64_t offset_in_shard = (segment - first_segment(shard)) * segment_elements_;
    const uint64_t shard_elements = short_shard_elements_ + (shard < long_shards_);
    return {first_element(shard) + offset_in_shard,
            std::min(segment_elements_, shard_elements - offset_in_shard), shard};
}

}  // namespace pccl::plan
