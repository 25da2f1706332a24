#include "core/timeouts.h"

namespace pccl::core {

Timeouts Timeouts::derive(const TimeoutWishes& wishes) {
    Timeouts t;
    auto pick = [](TimeUs wish, TimeUs otherwise) { return wish > 0 ? wish : otherwise; };
    t.liveness = pick(wishes.liveness, 5 * kSecond);
    t.connect = pick(wishes.connect, 10 * kSecond);
    t.heartbeat = pick(wishes.heartbeat, std::max<TimeUs>(t.liveness / 5, kMillisecond));
    t.freeze = pick(wishes.freeze, 2 * t.liveness);
    t.recovery = pick(wishes.recovery, 2 * t.liveness);
    t.backoff_cap = pick(wishes.backoff_cap, std::max<TimeUs>(t.liveness / 5, kMillisecond));
    t.slow_warning = pick(wishes.slow_warning, 10 * kSecond);
    t.operation = std::max<TimeUs>(wishes.operation, 0);
    return t;
}

std::vector<std::string> Timeouts::inconsistencies() const {
    std::vector<std::string> out;
    if (heartbeat * 2 > liveness) out.push_back("heartbeat should be at most half of the liveness time-out");
    if (freeze < liveness) out.push_back("the freeze time-out should not be below the liveness time-out");
    if (recovery < liveness) out.push_back("the recovery time-out should not be below the liveness time-out");
    if (backoff_cap * 2 > recovery)
        out.push_back("the back-off cap should be at most half of the recovery time-out");
    return out;
}

}  // namespace pccl::core
