// Time as the core sees it: microseconds of a monotonic clock that the driver reads and hands in with every
// event.
#pragma once

#include <cstdint>
#include <limits>

namespace pccl {

using TimeUs = int64_t;

inline constexpr TimeUs kNever = std::numeric_limits<TimeUs>::max();
inline constexpr TimeUs kMillisecond = 1000;
inline constexpr TimeUs kSecond = 1000 * kMillisecond;

}  // namespace pccl
