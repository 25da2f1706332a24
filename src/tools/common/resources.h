// What this process has used: processor time and memory, from the operating system. Any thread.
#pragma once

#include <cstdint>

namespace pccl::tools {

/// User and system time of all threads.
double cpu_seconds();

/// Bytes resident now; 0 where the system does not tell.
uint64_t resident_bytes();

/// Most bytes resident since reset_peak_resident, or since the start where the system cannot reset the mark.
uint64_t peak_resident_bytes();
bool reset_peak_resident();

/// A clock that all processes of one host share.
int64_t monotonic_ns();

}  // namespace pccl::tools
