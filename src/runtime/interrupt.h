// The program's way to interrupt a blocked call: a function that blocked threads ask now and then, with no
// lock held.
#pragma once

#include <atomic>

#include "base/time.h"

namespace pccl::runtime {

using InterruptCheck = int (*)();

inline constexpr TimeUs kInterruptPeriod = 100 * kMillisecond;

inline std::atomic<InterruptCheck> interrupt_check{nullptr};

/// When a blocked call asks next. Belongs to one call.
class InterruptPoll {
   public:
    explicit InterruptPoll(TimeUs now) : next_(now + kInterruptPeriod) {}

    /// How long to sleep at most before looking again.
    TimeUs sleep(TimeUs now, TimeUs wanted) const {
        if (interrupt_check.load(std::memory_order_relaxed) == nullptr) return wanted;
        const TimeUs left = next_ > now ? next_ - now : 0;
        return left < wanted ? left : wanted;
    }
    bool due(TimeUs now) const {
        return now >= next_ && interrupt_check.load(std::memory_order_relaxed) != nullptr;
    }
    /// Whether the program wants the call to end. It may run code of the program: no lock may be held.
    bool ask(TimeUs now) {
        next_ = now + kInterruptPeriod;
        const InterruptCheck check = interrupt_check.load();
        return check != nullptr && check() != 0;
    }

   private:
    TimeUs next_;
};

}  // namespace pccl::runtime
