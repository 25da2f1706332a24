// The rules that can be broken on purpose, and the search for the seed that shows it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/mutations.h"
#include "sim/runner.h"

namespace pccl::sim {

struct BrokenRule {
    using Switch = bool core::Mutations::*;
    const char* label;  ///< its name in the protocol, "M1" to "M15", or the invariant that needs it
    const char* name;
    Switch broken;
    /// A defence that does the rule's work and is switched off with it, or null. Its absence alone must break
    /// nothing in the run that counts.
    Switch defence = nullptr;
};

const std::vector<BrokenRule>& broken_rules();

struct Found {
    uint64_t seed = 0;
    uint64_t seeds = 0;      ///< how many were run up to there
    std::string invariants;  ///< that the run broke, once each: "I1 I3"
};

/// The first seed of `count` from `first` on that the broken rule makes fail.
std::optional<Found> find_breach(const BrokenRule& rule, uint64_t first, uint64_t count,
                                 uint32_t members_max);

}  // namespace pccl::sim
