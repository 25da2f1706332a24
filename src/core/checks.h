// Checks of values that come from the other side of a connection, shared by members and the coordinator.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/status.h"
#include "plan/plan.h"
#include "wire/messages.h"

namespace pccl::core {

inline constexpr uint32_t kSegmentBytesMin = 16;
inline constexpr uint32_t kSegmentBytesMax = 32 << 20;

inline bool valid(const wire::Constants& constants) {
    return constants.retry_policy <= 1 && constants.plan <= static_cast<uint8_t>(plan::Kind::kMesh) &&
           constants.segment_bytes >= kSegmentBytesMin && constants.segment_bytes <= kSegmentBytesMax;
}

/// No program calls a tag this often; larger numbers would wrap in sums.
inline constexpr uint64_t kSequenceMax = uint64_t{1} << 62;

inline bool valid_name(wire::OpKind kind, uint64_t tag) {
    const auto value = static_cast<uint8_t>(kind);
    return value >= 1 && value <= wire::kOpKindLast && (kind == wire::OpKind::kReduce || tag == 0);
}

inline bool valid(const wire::OpKey& key) {
    return valid_name(key.kind, key.tag) && key.sequence >= 1 && key.sequence <= kSequenceMax;
}

inline bool valid(const wire::TagCounter& counter) {
    return valid_name(counter.kind, counter.tag) && counter.ended <= kSequenceMax;
}

inline bool valid(const wire::OpRecord& record) {
    const auto state = static_cast<uint8_t>(record.state);
    return valid(record.key) && state >= static_cast<uint8_t>(wire::OpState::kIncomplete) &&
           state <= static_cast<uint8_t>(wire::OpState::kError) && record.segments <= plan::kSegmentsMax &&
           record.finals.size() <= (size_t{record.segments} + 7) / 8;
}

/// Host names as the domain name system has them, so that a list of members fits into a frame.
inline bool valid(const wire::Endpoint& endpoint) {
    return !endpoint.host.empty() && endpoint.host.size() <= 255 && endpoint.port != 0;
}

template <class T>
bool all_valid(const std::vector<T>& values) {
    return std::all_of(values.begin(), values.end(), [](const T& value) { return valid(value); });
}

/// A code that says why something failed: success and unknown values are not such a code.
inline Code failure_code(uint8_t value) {
    const auto code = static_cast<Code>(value);
    const bool known = std::strcmp(code_name(code), "UNKNOWN") != 0;
    return known && code != Code::SUCCESS ? code : Code::INTERNAL_ERROR;
}

}  // namespace pccl::core
