// Checks of values that come from the other side of a connection, shared by members and the coordinator.
#pragma once

#include <cstdint>
#include <cstring>

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

/// A code that says why something failed: success and unknown values are not such a code.
inline Code failure_code(uint8_t value) {
    const auto code = static_cast<Code>(value);
    const bool known = std::strcmp(code_name(code), "UNKNOWN") != 0;
    return known && code != Code::SUCCESS ? code : Code::INTERNAL_ERROR;
}

}  // namespace pccl::core
