// A whole run on this host: a coordinator and all the peers, each a process of its own. No thread may have
// been started before.
#pragma once

#include "options.h"

namespace pccl::perf {

/// Name of the argument that makes the program a coordinator on a free port of the loopback address.
inline constexpr const char* kCoordinatorArgument = "--local-coordinator";

/// Returns the exit status of the program.
int run_locally(int argc, char** argv, const Options& options);
int run_local_coordinator();

}  // namespace pccl::perf
