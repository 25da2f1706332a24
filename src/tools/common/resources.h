// What this process and others have used, from the operating system. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace pccl::tools {

/// User and system time of all threads.
double cpu_seconds();

/// Bytes resident now; 0 where the system does not tell.
uint64_t resident_bytes();

/// Most bytes resident since reset_peak_resident, or since the start where the system cannot reset the mark.
uint64_t peak_resident_bytes();
bool reset_peak_resident();

/// Of another process of this user; 0 where the system does not tell.
uint64_t resident_bytes_of(pid_t process);
int descriptors_of(pid_t process);

/// A clock that all processes of one host share.
int64_t monotonic_ns();

}  // namespace pccl::tools
