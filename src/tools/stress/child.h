// A worker's process as the orchestrator holds it. One thread; a process is ended by its id alone.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "messages.h"
#include "options.h"

namespace pccl::stress {

struct Child {
    int number = 0;
    uint32_t group = 0;
    std::string peer_address;    ///< that its connections to peers come from
    std::string master_address;  ///< host under which it knows the coordinator
    pid_t pid = -1;
    int control = -1;  ///< closed to ask it to leave
    int reports = -1;
    StatusPage* page = nullptr;
    std::string partial;  ///< of a line

    int64_t thaw_at_ns = 0;        ///< 0: it runs
    int breaks = 0;                ///< of the network that concern it now
    int64_t excused_until_ns = 0;  ///< a loss of membership up to here comes from a fault of ours
    bool frozen() const { return thaw_at_ns != 0; }
};

/// Starts the worker with this place and these options. Null, with `error` filled, when it cannot be done.
std::unique_ptr<Child> start_child(const WorkerPlace& place, const std::vector<std::string>& options,
                                   std::string* error);
/// Gives back what belongs to a worker whose process has ended.
void release(Child& child);
void close_descriptor(int* descriptor);

}  // namespace pccl::stress
