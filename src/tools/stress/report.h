// The table at the end and the same figures as JSON.
#pragma once

#include <string>

#include "orchestrator.h"

namespace pccl::stress {

/// Whether the run passed: nothing diverged, was wrong, hung, crashed, was evicted or left badly, and there
/// were iterations.
bool passed(const Orchestrator& run);
void print_table(const Orchestrator& run);
std::string to_json(const Orchestrator& run, const Options& options);

}  // namespace pccl::stress
