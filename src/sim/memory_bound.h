// I4: what a member keeps for others never exceeds the windows that it has given them, and what waits to be
// sent to one peer never exceeds what an honest member has to say.
#pragma once

#include <cstddef>

#include "core/member.h"
#include "sim/scenario.h"

namespace pccl::sim {

class World;
class Process;

/// The most that a member of `scenario` may keep, with links to `peers` others.
core::Holdings memory_bound(const Scenario& scenario, size_t peers);

/// The most control frames that may wait in front of one lane.
size_t queue_bound(const Scenario& scenario, size_t peers);

/// Reports a violation when the process keeps more than that.
void check_memory(World& world, Process& process);

}  // namespace pccl::sim
