// The seam for randomness: the operating system in production, a seeded generator in the simulator.
#pragma once

#include <cstdint>

#include "base/ids.h"

namespace pccl {

class RandomSource {
   public:
    virtual ~RandomSource() = default;
    virtual uint64_t next() = 0;

    Id128 next_id() {
        Id128 id;
        const uint64_t halves[2] = {next(), next()};
        std::memcpy(id.data.data(), halves, sizeof halves);
        return id;
    }
};

}  // namespace pccl
