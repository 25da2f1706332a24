// A worker: a process that behaves like a training program, over and over until it is asked to leave or is
// killed.
#pragma once

#include <string>

#include "options.h"

namespace pccl::stress {

/// Returns the exit status of the process: 0 after leaving the run gracefully.
int run_worker(const std::string& master, int number, const Options& options);

}  // namespace pccl::stress
