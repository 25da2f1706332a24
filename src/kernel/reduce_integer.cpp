// Reductions of integers, compiled for each instruction set.
//
// Sums and products are taken in the unsigned type of the same size: two's complement wraps to the same bits,
// and nothing can overflow in the sense of the language.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/reduce_integer.cpp"
#include "hwy/foreach_target.h"  // Must come before highway.h.

#include "hwy/highway.h"
#include "kernel/families.h"
#include "kernel/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pccl::kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

struct IntegerSum {
    template <class D, class V>
    HWY_INLINE V operator()(D /*d*/, V a, V b) const {
        return hn::Add(a, b);
    }
};

struct IntegerProd {
    template <class D, class V>
    HWY_INLINE V operator()(D /*d*/, V a, V b) const {
        return hn::Mul(a, b);
    }
};

/// Products of bytes, two of which lie in each 16-bit lane: no instruction set multiplies bytes.
struct BytePairProd {
    template <class D, class V>
    HWY_INLINE V operator()(D d16, V a, V b) const {
        const V low_mask = hn::Set(d16, uint16_t{0x00ff});
        const V low = hn::And(hn::Mul(a, b), low_mask);
        const V high = hn::Mul(hn::ShiftRight<8>(a), hn::AndNot(low_mask, b));
        return hn::Or(low, high);
    }
};

struct IntegerMax {
    template <class D, class V>
    HWY_INLINE V operator()(D /*d*/, V a, V b) const {
        return hn::Max(a, b);
    }
};

struct IntegerMin {
    template <class D, class V>
    HWY_INLINE V operator()(D /*d*/, V a, V b) const {
        return hn::Min(a, b);
    }
};

template <class T, class Op>
void fold_integers(const Operands& o) {
    apply_lanes<Turn::kFourVectors>(Op(), hn::ScalableTag<T>(), o.dst, o.bytes, o.a, o.b);
}

template <class Unsigned, class Signed>
void reduce_as(const Operands& operands, bool is_signed, RedOp op) {
    switch (op) {
        case RedOp::kSum:
        case RedOp::kAvg: return fold_integers<Unsigned, IntegerSum>(operands);
        case RedOp::kProd:
            if constexpr (sizeof(Unsigned) == 1) {
                return fold_integers<uint16_t, BytePairProd>(operands);
            } else {
                return fold_integers<Unsigned, IntegerProd>(operands);
            }
        case RedOp::kMax:
            return is_signed ? fold_integers<Signed, IntegerMax>(operands)
                             : fold_integers<Unsigned, IntegerMax>(operands);
        case RedOp::kMin:
            return is_signed ? fold_integers<Signed, IntegerMin>(operands)
                             : fold_integers<Unsigned, IntegerMin>(operands);
    }
}

void reduce_integers_here(const Operands& operands, DataType type, RedOp op) {
    switch (type) {
        case DataType::kUint8:
        case DataType::kInt8: return reduce_as<uint8_t, int8_t>(operands, type == DataType::kInt8, op);
        case DataType::kUint16:
        case DataType::kInt16: return reduce_as<uint16_t, int16_t>(operands, type == DataType::kInt16, op);
        case DataType::kUint32:
        case DataType::kInt32: return reduce_as<uint32_t, int32_t>(operands, type == DataType::kInt32, op);
        default: return reduce_as<uint64_t, int64_t>(operands, type == DataType::kInt64, op);
    }
}

}  // namespace pccl::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pccl::kernel {

HWY_EXPORT(reduce_integers_here);

void reduce_integers(const Operands& operands, DataType type, RedOp op) {
    HWY_DYNAMIC_DISPATCH(reduce_integers_here)(operands, type, op);
}

}  // namespace pccl::kernel
#endif
