// Randomness from the operating system; stateless, any thread.
#pragma once

#include <sys/random.h>

#include <cstddef>
#include <cstdint>

#include "base/random.h"

namespace pccl::runtime {

class OsRandom : public RandomSource {
   public:
    uint64_t next() override {
        uint64_t value = 0;
        size_t have = 0;
        while (have < sizeof value) {
            const ssize_t got = getrandom(reinterpret_cast<char*>(&value) + have, sizeof value - have, 0);
            if (got > 0) have += static_cast<size_t>(got);
        }
        return value;
    }
};

}  // namespace pccl::runtime
