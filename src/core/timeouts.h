// The hierarchy of time-outs, all derived from liveness unless set. See docs/timeouts.md.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/time.h"

namespace pccl::core {

/// Wishes in microseconds; 0 means derive.
struct TimeoutWishes {
    TimeUs connect = 0, heartbeat = 0, liveness = 0, freeze = 0, recovery = 0, backoff_cap = 0,
           slow_warning = 0;
    TimeUs operation = 0;
};

struct Timeouts {
    TimeUs connect = 10 * kSecond;       ///< one TCP connect and handshake
    TimeUs heartbeat = 1 * kSecond;      ///< on idle lanes and to the coordinator
    TimeUs liveness = 5 * kSecond;       ///< silence after which a lane or a member is suspected
    TimeUs freeze = 10 * kSecond;        ///< an epoch change that does not complete is proposed anew
    TimeUs recovery = 10 * kSecond;      ///< without the coordinator, or a member silent towards it
    TimeUs backoff_cap = 1 * kSecond;    ///< between attempts to reconnect
    TimeUs slow_warning = 10 * kSecond;  ///< who has not arrived at an operation
    TimeUs operation = 0;                ///< ends an operation by decision; 0: off

    static Timeouts derive(const TimeoutWishes& wishes);
    /// Sentences that name inconsistent pairs; empty when the set is consistent.
    std::vector<std::string> inconsistencies() const;
};

}  // namespace pccl::core
