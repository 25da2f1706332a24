// Reductions of float16 and bfloat16, compiled for each instruction set.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/reduce_half.cpp"
#include "hwy/foreach_target.h"  // Must come before highway.h.

#include "hwy/highway.h"
#include "kernel/families.h"
#include "kernel/half-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pccl::kernel::HWY_NAMESPACE {

template <class Op>
void fold_halves(const Operands& o, DataType type) {
    if (type == DataType::kFloat16) {
        apply_float16(Op(), o.dst, o.bytes, o.a, o.b);
    } else {
        apply_bfloat16(Op(), o.dst, o.bytes, o.a, o.b);
    }
}

void reduce_halves_here(const Operands& operands, DataType type, RedOp op) {
    switch (op) {
        case RedOp::kSum:
        case RedOp::kAvg: return fold_halves<FloatSum>(operands, type);
        case RedOp::kProd: return fold_halves<FloatProd>(operands, type);
        case RedOp::kMax: return fold_halves<FloatMax>(operands, type);
        case RedOp::kMin: return fold_halves<FloatMin>(operands, type);
    }
}

}  // namespace pccl::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pccl::kernel {

HWY_EXPORT(reduce_halves_here);

void reduce_halves(const Operands& operands, DataType type, RedOp op) {
    HWY_DYNAMIC_DISPATCH(reduce_halves_here)(operands, type, op);
}

}  // namespace pccl::kernel
#endif
