// Entry points of the reductions: checks, the floating-point mode, and the choice of the family.
#include "kernel/reduce.h"

#include "base/check.h"
#include "kernel/families.h"
#include "kernel/float_environment.h"

namespace pccl::kernel {

namespace {

enum class Family : uint8_t { kInteger, kFloat, kHalf };

constexpr Family family_of(DataType type) {
    switch (type) {
        case DataType::kFloat:
        case DataType::kDouble: return Family::kFloat;
        case DataType::kFloat16:
        case DataType::kBFloat16: return Family::kHalf;
        default: return Family::kInteger;
    }
}

}  // namespace

void reduce(void* dst, const void* a, const void* b, size_t count, DataType type, RedOp op) {
    PCCL_ASSERT(is_valid(type) && is_valid(op));
    if (count == 0) {
        return;
    }
    PCCL_ASSERT(dst != nullptr && a != nullptr && b != nullptr);
    PCCL_ASSERT(count <= SIZE_MAX / size_of(type));

    const Operands operands{static_cast<uint8_t*>(dst), static_cast<const uint8_t*>(a),
                            static_cast<const uint8_t*>(b), count * size_of(type)};
    const DefaultFloatEnvironment environment;
    switch (family_of(type)) {
        case Family::kInteger: return reduce_integers(operands, type, op);
        case Family::kFloat: return reduce_floats(operands, type, op);
        case Family::kHalf: return reduce_halves(operands, type, op);
    }
}

void finish_average(void* data, size_t count, DataType type, uint32_t contributors) {
    PCCL_ASSERT(is_valid(type));
    PCCL_ASSERT(contributors >= 1 && contributors <= kContributorsMax);
    if (count == 0) {
        return;
    }
    PCCL_ASSERT(data != nullptr);
    PCCL_ASSERT(count <= SIZE_MAX / size_of(type));

    const DefaultFloatEnvironment environment;
    auto* bytes = static_cast<uint8_t*>(data);
    if (family_of(type) == Family::kInteger) {
        average_integers(bytes, count * size_of(type), type, contributors);
    } else {
        average_floats(bytes, count * size_of(type), type, contributors);
    }
}

}  // namespace pccl::kernel
