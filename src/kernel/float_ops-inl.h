// Operations on float and double lanes that define the bits of every result, NaN and signed zeros included.
//
// Included once per instruction set (see Highway's foreach_target.h). None of them multiplies and adds, so
// that a compiler has nothing to contract into a fused operation.
#if defined(PCCL_KERNEL_FLOAT_OPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PCCL_KERNEL_FLOAT_OPS_INL_H_
#undef PCCL_KERNEL_FLOAT_OPS_INL_H_
#else
#define PCCL_KERNEL_FLOAT_OPS_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace pccl::kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> canonical_nan(D d) {
    const hn::RebindToUnsigned<D> du;
    using Bits = hn::TFromD<decltype(du)>;
    constexpr uint64_t kBits = sizeof(Bits) == 8 ? 0x7ff8000000000000u : 0x7fc00000u;
    return hn::BitCast(d, hn::Set(du, static_cast<Bits>(kBits)));
}

/// Machines disagree about the sign and payload of a NaN that arithmetic yields.
template <class D>
HWY_INLINE hn::Vec<D> with_canonical_nan(D d, hn::Vec<D> v) {
    return hn::IfThenElse(hn::IsNaN(v), canonical_nan(d), v);
}

struct FloatSum {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V a, V b) const {
        return with_canonical_nan(d, hn::Add(a, b));
    }
};

struct FloatProd {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V a, V b) const {
        return with_canonical_nan(d, hn::Mul(a, b));
    }
};

// Equal operands have the same bits except for zeros of two signs, where machines disagree about max and min.
// The conjunction of the two is +0, the disjunction -0, and both leave other equal operands as they are.
struct FloatMax {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V a, V b) const {
        const V larger = hn::IfThenElse(hn::Eq(a, b), hn::And(a, b), hn::Max(a, b));
        return hn::IfThenElse(hn::Or(hn::IsNaN(a), hn::IsNaN(b)), canonical_nan(d), larger);
    }
};

struct FloatMin {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V a, V b) const {
        const V smaller = hn::IfThenElse(hn::Eq(a, b), hn::Or(a, b), hn::Min(a, b));
        return hn::IfThenElse(hn::Or(hn::IsNaN(a), hn::IsNaN(b)), canonical_nan(d), smaller);
    }
};

struct FloatDivide {
    template <class D, class V>
    HWY_INLINE V operator()(D d, V v) const {
        return with_canonical_nan(d, hn::Div(v, hn::Set(d, static_cast<hn::TFromD<D>>(divisor))));
    }

    uint32_t divisor;
};

}  // namespace pccl::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // PCCL_KERNEL_FLOAT_OPS_INL_H_
