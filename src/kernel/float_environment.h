// Keeps the floating-point mode of the calling thread out of the results.
//
// Numerical programs commonly switch the flushing of subnormals on, for speed, and some change the rounding.
// Members that fold the same inputs under different modes would hold different bits, so each kernel call runs
// in the default mode and gives the thread its own mode back afterwards.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace pccl::kernel {

#if defined(__SSE2__)

class DefaultFloatEnvironment {
   public:
    DefaultFloatEnvironment() : saved_(_mm_getcsr()) {
        if ((saved_ & kModes) != kExceptionsMasked) {
            _mm_setcsr((saved_ & ~kModes) | kExceptionsMasked);
        }
    }
    ~DefaultFloatEnvironment() {
        if ((saved_ & kModes) != kExceptionsMasked) {
            _mm_setcsr(saved_);
        }
    }
    DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
    DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

   private:
    // Flush to zero, rounding control and denormals-are-zero, together with the masks of the six exceptions:
    // a program that traps on invalid operations must not be killed by a NaN among the gradients.
    static constexpr uint32_t kExceptionsMasked = 0x1f80;
    static constexpr uint32_t kModes = 0x8000 | 0x6000 | 0x0040 | kExceptionsMasked;

    uint32_t saved_;
};

#elif defined(__aarch64__)

class DefaultFloatEnvironment {
   public:
    DefaultFloatEnvironment() {
        asm volatile("mrs %0, fpcr" : "=r"(saved_));
        if ((saved_ & kModes) != 0) {
            asm volatile("msr fpcr, %0" : : "r"(saved_ & ~kModes));
        }
    }
    ~DefaultFloatEnvironment() {
        if ((saved_ & kModes) != 0) {
            asm volatile("msr fpcr, %0" : : "r"(saved_));
        }
    }
    DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
    DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

   private:
    // Alternative half precision, default NaN, flush to zero, rounding mode, flushing of half precision, and
    // traps.
    static constexpr uint64_t kModes = 0x07c89f00;

    uint64_t saved_ = 0;
};

#else

// No mode is known to vary here; the class keeps the call sites alike.
class DefaultFloatEnvironment {
   public:
    DefaultFloatEnvironment() {}
    ~DefaultFloatEnvironment() {}
    DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
    DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;
};

#endif

}  // namespace pccl::kernel
