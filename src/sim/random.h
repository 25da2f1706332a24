// The simulator's only source of chance: everything random in a run is drawn from generators seeded by its
// one seed.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/random.h"

namespace pccl::sim {

/// A good hash of two numbers (the finaliser of splitmix64).
constexpr uint64_t mix(uint64_t a, uint64_t b = 0) {
    uint64_t z = a + 0x9E3779B97F4A7C15ull * (b + 1);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/// splitmix64: tiny, and every seed is a good one.
class Random final : public RandomSource {
   public:
    explicit Random(uint64_t seed) : state_(seed) {}

    uint64_t next() override {
        state_ += 0x9E3779B97F4A7C15ull;
        return mix(state_);
    }
    /// 0 to bound-1; the bias of the modulo does not matter here.
    uint64_t below(uint64_t bound) {
        PCCL_ASSERT(bound > 0);
        return next() % bound;
    }
    int64_t between(int64_t low, int64_t high) {
        return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low) + 1));
    }
    bool chance(double probability) { return static_cast<double>(next() >> 11) * 0x1.0p-53 < probability; }

    template <class T>
    const T& pick(const std::vector<T>& values) {
        return values[below(values.size())];
    }
    template <class T>
    void shuffle(std::vector<T>& values) {
        for (size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[below(i)]);
    }

   private:
    uint64_t state_;
};

}  // namespace pccl::sim
