#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace pccl {

void assertion_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "pccl: broken invariant: %s (%s:%d)\n", expression, file, line);
    std::abort();
}

}  // namespace pccl
