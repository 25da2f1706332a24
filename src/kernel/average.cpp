// Division of a finished sum by the number of contributors, compiled for each instruction set.
//
// No instruction set divides integers in vectors, so integers are divided in floating point wide enough to be
// exact: the quotient of x by n lies at least 1/n below the next integer unless it is one, and as long as x
// is well below the 24 (or 53) bits of the fraction less the bits of n, rounding the quotient cannot bridge
// that gap. Truncating it therefore yields the exact integer quotient. n has at most 16 bits.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/average.cpp"
#include "hwy/foreach_target.h"  // Must come before highway.h.

#include "hwy/highway.h"
#include "kernel/families.h"
#include "kernel/half-inl.h"
#include "kernel/reduce.h"

HWY_BEFORE_NAMESPACE();
namespace pccl::kernel::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Added to an integral value of smaller magnitude, these leave its two's complement in the low bits of the
// fraction.
inline constexpr float kIntegerShift32 = 12582912.0f;          // 1.5 * 2^23
inline constexpr double kIntegerShift64 = 6755399441055744.0;  // 1.5 * 2^52

/// 8- and 16-bit elements, four or two of them in each 32-bit lane.
template <int kBits, bool kSigned>
struct DivideNarrow {
    template <class D, class V>
    HWY_INLINE V operator()(D du, V v) const {
        V quotients = hn::Or(part<0>(du, v), part<kBits>(du, v));
        if constexpr (kBits == 8) {
            quotients = hn::Or(quotients, hn::Or(part<16>(du, v), part<24>(du, v)));
        }
        return quotients;
    }

    template <int kShift, class D, class V>
    HWY_INLINE V part(D du, V v) const {
        const hn::RebindToSigned<D> di;
        const hn::RebindToFloat<D> df;
        // The element goes to the top of the lane and back down, which extends its sign or clears what is
        // above.
        const auto raised = hn::ShiftLeft<32 - kBits - kShift>(v);
        auto element = hn::BitCast(di, hn::ShiftRight<32 - kBits>(raised));
        if constexpr (kSigned) {
            element = hn::ShiftRight<32 - kBits>(hn::BitCast(di, raised));
        }
        const auto quotient = hn::Trunc(hn::Div(hn::ConvertTo(df, element), hn::Set(df, divisor)));
        const auto bits = hn::BitCast(du, hn::Add(quotient, hn::Set(df, kIntegerShift32)));
        return hn::ShiftLeft<kShift>(hn::And(bits, hn::Set(du, (1u << kBits) - 1)));
    }

    float divisor;
};

/// The lower 32 bits of each 64-bit lane, with zeros above, as a number; and an integral number back,
/// likewise.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToFloat<D>> number_from_low(D du, hn::Vec<D> low) {
    const hn::RebindToFloat<D> df;
    const auto two_to_52 = hn::Set(df, 4503599627370496.0);
    return hn::Sub(hn::BitCast(df, hn::Or(low, hn::BitCast(du, two_to_52))), two_to_52);
}

template <class D>
HWY_INLINE hn::Vec<D> low_from_number(D du, hn::Vec<hn::RebindToFloat<D>> integral) {
    const hn::RebindToFloat<D> df;
    const auto bits = hn::BitCast(du, hn::Add(integral, hn::Set(df, kIntegerShift64)));
    return hn::And(bits, hn::Set(du, uint64_t{0xffffffff}));
}

/// 32-bit elements, two of them in each 64-bit lane.
template <bool kSigned>
struct DivideWord {
    template <class D, class V>
    HWY_INLINE V operator()(D du, V v) const {
        const auto low = quotient(du, hn::And(v, hn::Set(du, uint64_t{0xffffffff})));
        const auto high = quotient(du, hn::ShiftRight<32>(v));
        return hn::Or(low, hn::ShiftLeft<32>(high));
    }

    template <class D, class V>
    HWY_INLINE V quotient(D du, V element) const {
        const hn::RebindToFloat<D> df;
        auto number = number_from_low(du, element);
        if constexpr (kSigned) {
            // With its sign bit flipped the element is larger by 2^31.
            const auto flipped = hn::Xor(element, hn::Set(du, uint64_t{0x80000000}));
            number = hn::Sub(number_from_low(du, flipped), hn::Set(df, 2147483648.0));
        }
        return low_from_number(du, hn::Trunc(hn::Div(number, hn::Set(df, divisor))));
    }

    double divisor;
};

/// 64-bit elements, by long division in base 2^32.
template <bool kSigned>
struct DivideLong {
    template <class D, class V>
    HWY_INLINE V operator()(D du, V v) const {
        if constexpr (kSigned) {
            const hn::RebindToSigned<D> di;
            const auto sign = hn::BitCast(du, hn::BroadcastSignBit(hn::BitCast(di, v)));
            const auto magnitude = hn::Sub(hn::Xor(v, sign), sign);
            return hn::Sub(hn::Xor(quotient(du, magnitude), sign), sign);
        } else {
            return quotient(du, v);
        }
    }

    template <class D, class V>
    HWY_INLINE V quotient(D du, V v) const {
        const hn::RebindToFloat<D> df;
        const auto n = hn::Set(df, divisor);
        const auto high = number_from_low(du, hn::ShiftRight<32>(v));
        const auto low = number_from_low(du, hn::And(v, hn::Set(du, uint64_t{0xffffffff})));
        const auto high_quotient = hn::Trunc(hn::Div(high, n));
        // The remainder is below 2^16 and what it makes with the lower half below 2^48: every step is exact.
        const auto remainder = hn::Sub(high, hn::Mul(high_quotient, n));
        const auto rest = hn::Add(hn::Mul(remainder, hn::Set(df, 4294967296.0)), low);
        const auto low_quotient = hn::Trunc(hn::Div(rest, n));
        return hn::Or(hn::ShiftLeft<32>(low_from_number(du, high_quotient)),
                      low_from_number(du, low_quotient));
    }

    double divisor;
};

template <class Lane, class Op>
void divide_integers(Op op, uint8_t* data, size_t bytes) {
    apply_lanes<Turn::kOneVector>(op, hn::ScalableTag<Lane>(), data, bytes, data);
}

void average_integers_here(uint8_t* data, size_t bytes, DataType type, uint32_t contributors) {
    const auto narrow = static_cast<float>(contributors);
    const auto wide = static_cast<double>(contributors);
    switch (type) {
        case DataType::kUint8: return divide_integers<uint32_t>(DivideNarrow<8, false>{narrow}, data, bytes);
        case DataType::kInt8: return divide_integers<uint32_t>(DivideNarrow<8, true>{narrow}, data, bytes);
        case DataType::kUint16:
            return divide_integers<uint32_t>(DivideNarrow<16, false>{narrow}, data, bytes);
        case DataType::kInt16: return divide_integers<uint32_t>(DivideNarrow<16, true>{narrow}, data, bytes);
        case DataType::kUint32: return divide_integers<uint64_t>(DivideWord<false>{wide}, data, bytes);
        case DataType::kInt32: return divide_integers<uint64_t>(DivideWord<true>{wide}, data, bytes);
        case DataType::kUint64: return divide_integers<uint64_t>(DivideLong<false>{wide}, data, bytes);
        default: return divide_integers<uint64_t>(DivideLong<true>{wide}, data, bytes);
    }
}

void average_floats_here(uint8_t* data, size_t bytes, DataType type, uint32_t contributors) {
    const FloatDivide divide{contributors};
    switch (type) {
        case DataType::kFloat16: return apply_float16(divide, data, bytes, data);
        case DataType::kBFloat16: return apply_bfloat16(divide, data, bytes, data);
        case DataType::kFloat:
            return apply_lanes<Turn::kOneVector>(divide, hn::ScalableTag<float>(), data, bytes, data);
        default: return apply_lanes<Turn::kOneVector>(divide, hn::ScalableTag<double>(), data, bytes, data);
    }
}

const char* instruction_set_here() { return hwy::TargetName(HWY_TARGET); }

}  // namespace pccl::kernel::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pccl::kernel {

HWY_EXPORT(average_integers_here);
HWY_EXPORT(average_floats_here);
HWY_EXPORT(instruction_set_here);

void average_integers(uint8_t* data, size_t bytes, DataType type, uint32_t contributors) {
    if (contributors == 1) {
        return;
    }
    HWY_DYNAMIC_DISPATCH(average_integers_here)(data, bytes, type, contributors);
}

void average_floats(uint8_t* data, size_t bytes, DataType type, uint32_t contributors) {
    HWY_DYNAMIC_DISPATCH(average_floats_here)(data, bytes, type, contributors);
}

const char* instruction_set() { return HWY_DYNAMIC_DISPATCH(instruction_set_here)(); }

}  // namespace pccl::kernel
#endif
