// The loop under every kernel: unaligned bytes in, an operation on vectors, unaligned bytes out.
//
// Included once per instruction set (see Highway's foreach_target.h), hence the unusual include guard. The
// loop works on bytes: the lane type of the tag `d` may be wider than the element, for operations on several
// elements packed into one lane. The remainder goes through a zero-padded vector on the stack and so through
// the very same operation: there is no second, scalar definition of any result.
#if defined(PCCL_KERNEL_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PCCL_KERNEL_LANES_INL_H_
#undef PCCL_KERNEL_LANES_INL_H_
#else
#define PCCL_KERNEL_LANES_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

#ifdef __FAST_MATH__
#error "Kernels need IEEE arithmetic: results would differ between machines under -ffast-math."
#endif

HWY_BEFORE_NAMESPACE();
namespace pccl::kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> load_bytes(D d, const uint8_t* from) {
#if HWY_TARGET == HWY_SCALAR
    // A vector is one lane here, so bytes cannot be cast to wider lanes.
    hn::TFromD<D> lane;
    memcpy(&lane, from, sizeof(lane));
    return hn::Set(d, lane);
#else
    const hn::Repartition<uint8_t, D> d8;
    return hn::BitCast(d, hn::LoadU(d8, from));
#endif
}

template <class D>
HWY_INLINE void store_bytes(D /*d*/, hn::Vec<D> v, uint8_t* to) {
#if HWY_TARGET == HWY_SCALAR
    const hn::TFromD<D> lane = hn::GetLane(v);
    memcpy(to, &lane, sizeof(lane));
#else
    const hn::Repartition<uint8_t, D> d8;
    hn::StoreU(hn::BitCast(d8, v), d8, to);
#endif
}

/// Whether to take four vectors in one turn of the loop. It pays for operations of a few instructions; longer
/// ones gain nothing, and neither does code without vectors, and both would take very long to compile.
enum class Turn { kOneVector, kFourVectors };

/// dst = op(d, sources...) for a whole number of vectors. Within a turn all loads precede the stores, since
/// `dst` may equal any source.
template <Turn kTurn, class Op, class D, class... Source>
HWY_NOINLINE void apply_whole_vectors(Op op, D d, uint8_t* dst, size_t bytes, const Source*... source) {
    const size_t step = hn::Lanes(d) * sizeof(hn::TFromD<D>);
    size_t at = 0;
    if constexpr (kTurn == Turn::kFourVectors && HWY_TARGET != HWY_SCALAR) {
        for (; bytes - at >= 4 * step; at += 4 * step) {
            const auto v0 = op(d, load_bytes(d, source + at)...);
            const auto v1 = op(d, load_bytes(d, source + at + step)...);
            const auto v2 = op(d, load_bytes(d, source + at + 2 * step)...);
            const auto v3 = op(d, load_bytes(d, source + at + 3 * step)...);
            store_bytes(d, v0, dst + at);
            store_bytes(d, v1, dst + at + step);
            store_bytes(d, v2, dst + at + 2 * step);
            store_bytes(d, v3, dst + at + 3 * step);
        }
    }
    for (; at < bytes; at += step) {
        store_bytes(d, op(d, load_bytes(d, source + at)...), dst + at);
    }
}

/// The last, incomplete vector of a source. The padding is zero, for which every operation is defined.
struct Padded {
    Padded(const uint8_t* from, size_t count) { memcpy(bytes, from, count); }

    HWY_ALIGN uint8_t bytes[HWY_MAX_BYTES] = {};
};

/// dst = op(d, sources...) for `bytes` bytes.
template <Turn kTurn, class Op, class D, class... Source>
void apply_lanes(Op op, D d, uint8_t* dst, size_t bytes, const Source*... source) {
    const size_t step = hn::Lanes(d) * sizeof(hn::TFromD<D>);
    const size_t rest = bytes % step;
    const size_t whole = bytes - rest;
    if (whole != 0) {
        apply_whole_vectors<kTurn>(op, d, dst, whole, source...);
    }
    if (rest != 0) {
        HWY_ALIGN uint8_t padded[HWY_MAX_BYTES];
        apply_whole_vectors<kTurn>(op, d, padded, step, Padded(source + whole, rest).bytes...);
        memcpy(dst + whole, padded, rest);
    }
}

}  // namespace pccl::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // PCCL_KERNEL_LANES_INL_H_
