// Stands in for Catch2 in the fuzzers, which share the rigs of the tests: what a rig requires and does not
// hold ends the process, so that the engine keeps the input that did it.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace pccl::fuzz {

[[noreturn]] inline void requirement_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "pccl: does not hold: %s (%s:%d)\n", expression, file, line);
    std::abort();
}

}  // namespace pccl::fuzz

#define REQUIRE(...)                        \
    (static_cast<bool>(__VA_ARGS__)         \
         ? static_cast<void>(0)             \
         : ::pccl::fuzz::requirement_failed(#__VA_ARGS__, __FILE__, __LINE__))
#define REQUIRE_FALSE(...) REQUIRE(!static_cast<bool>(__VA_ARGS__))
#define INFO(text) static_cast<void>(0)
