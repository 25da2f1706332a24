#include "sim/memory_bound.h"

#include <algorithm>
#include <bit>

#include "sim/world.h"

namespace pccl::sim {

namespace {

// Others are ahead of a member by at most two calls of each name; the third is its own.
constexpr size_t kCallsPerName = 3;
// One member says this much about one call in one epoch: called, at most six rounds of the barrier, an offer
// and pulls of a shared state, a mismatch.
constexpr size_t kFramesPerCall = 16;

/// Tags of reductions, the query, the shared state.
size_t names_of(const Scenario& s) { return std::max(s.tags, s.reduces_max) + 2; }

}  // namespace

core::Holdings memory_bound(const Scenario& s, size_t peers) {
    core::Holdings bound;
    bound.operations = kCallsPerName * names_of(s);
    bound.future_frames = peers * bound.operations * kFramesPerCall;
    // The pool hands out powers of two from 256 bytes, which is what a small payload costs.
    const size_t slot = std::bit_ceil(std::max<size_t>(s.constants.segment_bytes, 256));
    const size_t rounding = slot > 256 ? 2 : 1;
    // Eager data of the installed epoch and of the one that is promised, parked operands, and one payload
    // that is being received on each lane.
    const size_t eager = 2 * rounding * s.eager_bytes_per_peer;
    bound.slot_bytes = peers * (eager + (s.parked_slots_per_peer + s.lanes) * slot);
    return bound;
}

size_t queue_bound(const Scenario& s, size_t peers) {
    // A member may speak for others whose link is dead.
    return peers * kCallsPerName * names_of(s) * kFramesPerCall;
}

void check_memory(World& world, Process& process) {
    const core::Holdings held = process.member()->holdings();
    // A member keeps a link's entry as long as anything of its peer.
    const core::Holdings bound = memory_bound(world.scenario(), std::max<size_t>(held.links, 1));
    const auto check = [&](const char* what, size_t has, size_t may) {
        if (has <= may) return;
        world.fail("I4", World::name(process.node()) + " keeps " + std::to_string(has) + " " + what + ", " +
                             std::to_string(may) + " at most were allowed");
    };
    check("operations", held.operations, bound.operations);
    check("frames of a new epoch", held.future_frames, bound.future_frames);
    check("bytes of payload", held.slot_bytes, bound.slot_bytes);
}

}  // namespace pccl::sim
