// Reductions of float and double, compiled for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/reduce_float.cpp"
#include "hwy/foreach_target.h"  // Must come before highway.h.

#include "hwy/highway.h"
#include "kernel/families.h"
#include "kernel/float_ops-inl.h"
#include "kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pccl::kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class T, class Op>
void fold_floats(const Operands& o) {
    apply_lanes<Turn::kFourVectors>(Op(), hn::ScalableTag<T>(), o.dst, o.bytes, o.a, o.b);
}

template <class T>
void reduce_as(const Operands& operands, RedOp op) {
    switch (op) {
        case RedOp::kSum:
        case RedOp::kAvg: return fold_floats<T, FloatSum>(operands);
        case RedOp::kProd: return fold_floats<T, FloatProd>(operands);
        case RedOp::kMax: return fold_floats<T, FloatMax>(operands);
        case RedOp::kMin: return fold_floats<T, FloatMin>(operands);
    }
}

void reduce_floats_here(const Operands& operands, DataType type, RedOp op) {
    if (type == DataType::kFloat) {
        reduce_as<float>(operands, op);
    } else {
        reduce_as<double>(operands, op);
    }
}

}  // namespace pccl::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pccl::kernel {

HWY_EXPORT(reduce_floats_here);

void reduce_floats(const Operands& operands, DataType type, RedOp op) {
    HWY_DYNAMIC_DISPATCH(reduce_floats_here)(operands, type, op);
}

}  // namespace pccl::kernel
#endif
