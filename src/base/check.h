// Assertions on our own invariants; they stay on in release. Never used on anything that a remote side can
// influence.
#pragma once

namespace pccl {

/// Prints the broken invariant to stderr and aborts.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);

}  // namespace pccl

#define PCCL_ASSERT(expression)                           \
    (static_cast<bool>(expression) ? static_cast<void>(0) \
                                   : ::pccl::assertion_failed(#expression, __FILE__, __LINE__))
