// float16 and bfloat16: widening to float, rounding back, and operations on them that go through float.
//
// Included once per instruction set (see Highway's foreach_target.h). A pair of 16-bit elements lies in each
// 32-bit lane; the two are widened to two vectors of float without any movement across lanes. Rounding is to
// nearest even and overflows to infinity; a NaN must be canonical before it is packed. The bits are the same
// on every instruction set, with float16 instructions or without.
#if defined(PCCL_KERNEL_HALF_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PCCL_KERNEL_HALF_INL_H_
#undef PCCL_KERNEL_HALF_INL_H_
#else
#define PCCL_KERNEL_HALF_INL_H_
#endif

#include <cstdint>

#include "kernel/float_ops-inl.h"
#include "kernel/lanes-inl.h"

// Whether the instruction set converts float16 itself. (Highway emulates it elsewhere, without rounding to
// nearest.)
#undef PCCL_KERNEL_NATIVE_FLOAT16
#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)) || \
    (HWY_ARCH_ARM_A64 && HWY_TARGET == HWY_NEON)
#define PCCL_KERNEL_NATIVE_FLOAT16 1
#else
#define PCCL_KERNEL_NATIVE_FLOAT16 0
#endif

HWY_BEFORE_NAMESPACE();
namespace pccl::kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// bfloat16 is the upper half of a float.
struct BFloat16Pairs {
    template <class D>
    static HWY_INLINE hn::Vec<hn::RebindToFloat<D>> low(D /*du*/, hn::Vec<D> pair) {
        return hn::BitCast(hn::RebindToFloat<D>(), hn::ShiftLeft<16>(pair));
    }

    template <class D>
    static HWY_INLINE hn::Vec<hn::RebindToFloat<D>> high(D du, hn::Vec<D> pair) {
        return hn::BitCast(hn::RebindToFloat<D>(), hn::And(pair, hn::Set(du, 0xffff0000u)));
    }

    template <class D, class F>
    static HWY_INLINE hn::Vec<D> pack(D du, F low, F high) {
        const auto low_bits = hn::ShiftRight<16>(rounded(du, hn::BitCast(du, low)));
        const auto high_bits = hn::And(rounded(du, hn::BitCast(du, high)), hn::Set(du, 0xffff0000u));
        return hn::Or(low_bits, high_bits);
    }

   private:
    /// Rounds to nearest even in the upper half. Half a unit is added less one, plus one where the kept part
    /// is odd; a carry out of the fraction rightly moves to the next exponent and, from the largest, to
    /// infinity.
    template <class D>
    static HWY_INLINE hn::Vec<D> rounded(D du, hn::Vec<D> bits) {
        const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
        return hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fffu)));
    }
};

/// float16 by integer arithmetic, for instruction sets without conversions.
struct Float16Pairs {
    template <class D>
    static HWY_INLINE hn::Vec<hn::RebindToFloat<D>> low(D du, hn::Vec<D> pair) {
        return widened(du, hn::And(pair, hn::Set(du, 0xffffu)));
    }

    template <class D>
    static HWY_INLINE hn::Vec<hn::RebindToFloat<D>> high(D du, hn::Vec<D> pair) {
        return widened(du, hn::ShiftRight<16>(pair));
    }

    template <class D, class F>
    static HWY_INLINE hn::Vec<D> pack(D du, F low, F high) {
        return hn::Or(rounded(du, low), hn::ShiftLeft<16>(rounded(du, high)));
    }

   private:
    // Exponents of float (bias 127, 23 bits of fraction) against those of float16 (bias 15, 10 bits).
    static constexpr uint32_t kRebias = (127 - 15) << 23;
    static constexpr uint32_t kInfinity16 = 0x7c00u;

    /// `half` holds the element in its lower 16 bits and zeros above.
    template <class D>
    static HWY_INLINE hn::Vec<hn::RebindToFloat<D>> widened(D du, hn::Vec<D> half) {
        const hn::RebindToFloat<D> df;
        const auto magnitude = hn::ShiftLeft<13>(hn::And(half, hn::Set(du, 0x7fffu)));
        const auto exponent = hn::And(magnitude, hn::Set(du, kInfinity16 << 13));
        const auto normal = hn::Add(magnitude, hn::Set(du, kRebias));
        // Infinities and NaNs keep an exponent of all ones.
        const auto special = hn::Add(normal, hn::Set(du, kRebias));
        // A subnormal is the fraction of a number with the smallest normal exponent, less that number's
        // implied one.
        const auto smallest = hn::Set(du, kRebias + (1u << 23));
        const auto subnormal = hn::BitCast(
            du, hn::Sub(hn::BitCast(df, hn::Add(magnitude, smallest)), hn::BitCast(df, smallest)));

        auto bits = hn::IfThenElse(hn::Eq(exponent, hn::Set(du, kInfinity16 << 13)), special, normal);
        bits = hn::IfThenElse(hn::Eq(exponent, hn::Zero(du)), subnormal, bits);
        const auto sign = hn::ShiftLeft<16>(hn::And(half, hn::Set(du, 0x8000u)));
        return hn::BitCast(df, hn::Or(bits, sign));
    }

    /// The nearest float16 in the lower 16 bits of each lane, zeros above.
    template <class D, class F>
    static HWY_INLINE hn::Vec<D> rounded(D du, F value) {
        const hn::RebindToFloat<D> df;
        const hn::RebindToSigned<D> di;
        const auto bits = hn::BitCast(du, value);
        const auto sign = hn::And(bits, hn::Set(du, 0x80000000u));
        const auto magnitude = hn::Xor(bits, sign);
        const auto magnitude_signed = hn::BitCast(di, magnitude);

        // As for bfloat16, with 13 bits dropped and the exponent re-biased.
        const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du, 1u));
        const auto normal =
            hn::ShiftRight<13>(hn::Add(hn::Add(magnitude, hn::Set(du, 0xfffu - kRebias)), odd));
        // Adding 0.5 leaves the units of a float16 subnormal, 2^-24, in the last place of the fraction,
        // rounded.
        const auto half_one = hn::Set(df, 0.5f);
        const auto subnormal = hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(df, magnitude), half_one)),
                                       hn::BitCast(du, half_one));

        const auto is_subnormal = hn::Lt(magnitude_signed, hn::Set(di, (127 - 14) << 23));
        const auto is_beyond = hn::Gt(magnitude_signed, hn::Set(di, ((127 + 16) << 23) - 1));
        auto half = hn::IfThenElse(hn::RebindMask(du, is_subnormal), subnormal, normal);
        half = hn::IfThenElse(hn::RebindMask(du, is_beyond), hn::Set(du, kInfinity16), half);
        half = hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(value)), hn::Set(du, 0x7e00u), half);
        return hn::Or(half, hn::ShiftRight<16>(sign));
    }
};

/// An operation on float lanes, applied to both elements of each pair.
template <class Pairs, class Op>
struct OnPairs {
    template <class D, class... V>
    HWY_INLINE hn::Vec<D> operator()(D du, V... pair) const {
        const hn::RebindToFloat<D> df;
        return Pairs::pack(du, op(df, Pairs::low(du, pair)...), op(df, Pairs::high(du, pair)...));
    }

    Op op;
};

/// dst = op(sources...) where `op` is defined on float lanes.
template <class Op, class... Source>
HWY_INLINE void apply_bfloat16(Op op, uint8_t* dst, size_t bytes, const Source*... source) {
    apply_lanes<Turn::kOneVector>(OnPairs<BFloat16Pairs, Op>{op}, hn::ScalableTag<uint32_t>(), dst, bytes,
                                  source...);
}

#if PCCL_KERNEL_NATIVE_FLOAT16

/// As many float16 elements as there are float lanes, widened and rounded by instructions.
template <class Op>
struct OnFloat16 {
    template <class D, class... V>
    HWY_INLINE hn::Vec<D> operator()(D d16, V... v) const {
        const hn::Rebind<hwy::float16_t, D> dh;
        const hn::Rebind<float, D> df;
        return hn::BitCast(d16, hn::DemoteTo(dh, op(df, hn::PromoteTo(df, hn::BitCast(dh, v))...)));
    }

    Op op;
};

template <class Op, class... Source>
HWY_INLINE void apply_float16(Op op, uint8_t* dst, size_t bytes, const Source*... source) {
    const hn::Rebind<uint16_t, hn::ScalableTag<float>> d16;
    apply_lanes<Turn::kOneVector>(OnFloat16<Op>{op}, d16, dst, bytes, source...);
}

#else

template <class Op, class... Source>
HWY_INLINE void apply_float16(Op op, uint8_t* dst, size_t bytes, const Source*... source) {
    apply_lanes<Turn::kOneVector>(OnPairs<Float16Pairs, Op>{op}, hn::ScalableTag<uint32_t>(), dst, bytes,
                                  source...);
}

#endif

}  // namespace pccl::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // PCCL_KERNEL_HALF_INL_H_
