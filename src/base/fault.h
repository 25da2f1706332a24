// Fault sites: places where the code can be made to meet what a kernel or an allocator does once in a blue
// moon. A build with PCCL_FAULT_SITES (the sanitizer presets) has them; in any other build PCCL_FAULT is
// false and nothing of this is left.
//
// A process enables sites through the environment, read once when it starts:
//     PCCL_FAULT_SITES=name:probability,name:probability:most;seed
// where `most` limits how often it strikes.
// Whether the n-th passage of a site strikes follows from seed, site and n alone. A site that is not enabled
// costs one relaxed load.
//
// Threads: everything may be called from any thread.
#pragma once

#ifdef PCCL_FAULT_SITES

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

namespace pccl::fault {

enum class Site : uint8_t {
    kShortWrite,        ///< a lane's socket takes a part of what is written
    kWriteAgain,        ///< a lane's socket takes nothing
    kShortRead,         ///< a lane's socket gives a part of what is there
    kReadAgain,         ///< a lane's socket gives nothing, although it was reported readable
    kSpuriousWakeup,    ///< a descriptor is reported readable without a cause
    kEarlyReturn,       ///< waiting for descriptors ends at once, with none
    kReverseOrder,      ///< descriptors that are ready are served last first
    kTinyWindow,        ///< a lane's socket gets the smallest buffers that there are
    kEarlyTimer,        ///< a timer fires at once
    kAcceptFails,       ///< no descriptor is left for a connection that waits
    kConnectFails,      ///< a lane's connection is refused
    kCoordinatorFails,  ///< a connection to the coordinator is refused
    kControlMemory,     ///< no memory for what the coordinator, or a member there, sent
    kSlotMemory,        ///< no memory for data that waits for its place
    kRecordFails,       ///< the durable record cannot be written
    kCount
};

/// What the environment calls it.
const char* name_of(Site site);

/// Enables the sites that `text` names and no others. False, with a reason, when it is not valid; then none
/// is enabled. Empty: none.
bool configure(const std::string& text, std::string* error);

/// How often a site has struck since it was configured.
uint64_t strikes(Site site);

/// Between 1 and `total` - 1, or `total` when that is below 2.
size_t part_of(Site site, size_t total);

extern std::atomic<bool> any_enabled;
bool passes(Site site);
inline bool strikes_now(Site site) { return any_enabled.load(std::memory_order_relaxed) && passes(site); }

}  // namespace pccl::fault

#define PCCL_FAULT(site) (::pccl::fault::strikes_now(::pccl::fault::Site::site))
/// The part of `total` bytes that goes through when the site strikes, else all.
#define PCCL_FAULT_PART(site, total) \
    (PCCL_FAULT(site) ? ::pccl::fault::part_of(::pccl::fault::Site::site, total) : (total))

/// Fails like an allocation when the site strikes.
#define PCCL_FAULT_ALLOCATION(site) \
    if (PCCL_FAULT(site)) throw std::bad_alloc()

#else

#define PCCL_FAULT(site) false
#define PCCL_FAULT_ALLOCATION(site) static_cast<void>(0)
#define PCCL_FAULT_PART(site, total) (total)

#endif
