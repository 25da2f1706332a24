// Plain scalar definitions of every reduction, written independently of the kernels: halves go through double
// and exact scaling instead of bit manipulation, integers through 64-bit arithmetic.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "base/dtype.h"

namespace pccl::test {

using Bytes = std::vector<uint8_t>;

template <class T>
T load(const uint8_t* from) {
    T value;
    std::memcpy(&value, from, sizeof(value));
    return value;
}

template <class T>
void store(uint8_t* to, T value) {
    std::memcpy(to, &value, sizeof(value));
}

template <class To, class From>
To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

/// The layout of a 16-bit floating-point format with one sign bit.
struct HalfFormat {
    int fraction_bits;
    int bias;

    int exponent_all_ones() const { return (1 << (15 - fraction_bits)) - 1; }
    uint16_t infinity() const { return static_cast<uint16_t>(exponent_all_ones() << fraction_bits); }
    uint16_t nan() const { return static_cast<uint16_t>(infinity() | (1 << (fraction_bits - 1))); }
};

inline constexpr HalfFormat kFloat16Format{10, 15};
inline constexpr HalfFormat kBFloat16Format{7, 127};

inline HalfFormat format_of(DataType type) {
    return type == DataType::kFloat16 ? kFloat16Format : kBFloat16Format;
}

/// The exact value.
inline double half_to_double(uint16_t bits, HalfFormat format) {
    const int exponent = (bits & 0x7fff) >> format.fraction_bits;
    const int fraction = bits & ((1 << format.fraction_bits) - 1);
    double magnitude;
    if (exponent == format.exponent_all_ones()) {
        magnitude = fraction == 0 ? std::numeric_limits<double>::infinity() : std::nan("");
    } else if (exponent == 0) {
        magnitude = std::ldexp(fraction, 1 - format.bias - format.fraction_bits);
    } else {
        magnitude =
            std::ldexp(fraction + (1 << format.fraction_bits), exponent - format.bias - format.fraction_bits);
    }
    return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

/// The nearest representable value, ties to even; the canonical NaN for a NaN.
inline uint16_t half_from_double(double value, HalfFormat format) {
    if (std::isnan(value)) {
        return format.nan();
    }
    const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
    const double magnitude = std::fabs(value);
    if (std::isinf(magnitude)) {
        return sign | format.infinity();
    }
    const int exponent_min = 1 - format.bias;
    int exponent = magnitude == 0 ? exponent_min : std::max(std::ilogb(magnitude), exponent_min);
    // In units of the last place; a carry to the next exponent shows as one unit too many bits.
    double units = std::nearbyint(std::ldexp(magnitude, format.fraction_bits - exponent));
    if (units == std::ldexp(1.0, format.fraction_bits + 1)) {
        units /= 2;
        ++exponent;
    }
    if (exponent > format.bias) {
        return sign | format.infinity();
    }
    const int implied_one = 1 << format.fraction_bits;
    const int significand = static_cast<int>(units);
    const int biased = significand < implied_one ? 0 : exponent + format.bias;
    return static_cast<uint16_t>(sign | (biased << format.fraction_bits) | (significand & (implied_one - 1)));
}

template <class T>
T canonical(T value) {
    if (!std::isnan(value)) {
        return value;
    }
    if constexpr (sizeof(T) == 4) {
        return bits_as<T>(uint32_t{0x7fc00000});
    } else {
        return bits_as<T>(uint64_t{0x7ff8000000000000});
    }
}

template <class T>
T reference_float(T a, T b, RedOp op) {
    if (op == RedOp::kProd) {
        return canonical<T>(a * b);
    }
    if (op == RedOp::kSum || op == RedOp::kAvg) {
        return canonical<T>(a + b);
    }
    if (std::isnan(a) || std::isnan(b)) {
        return canonical<T>(std::numeric_limits<T>::quiet_NaN());
    }
    if (a == b) {  // Two zeros may differ in sign.
        const bool want_negative = op == RedOp::kMin;
        return std::signbit(a) == want_negative ? a : b;
    }
    return (a > b) == (op == RedOp::kMax) ? a : b;
}

template <class T>
T reference_integer(T a, T b, RedOp op) {
    switch (op) {
        case RedOp::kSum:
        case RedOp::kAvg: return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
        case RedOp::kProd: return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
        case RedOp::kMax: return a > b ? a : b;
        case RedOp::kMin: return a < b ? a : b;
    }
    return 0;
}

inline uint16_t reference_half(uint16_t a, uint16_t b, HalfFormat format, RedOp op) {
    const auto wide_a = static_cast<float>(half_to_double(a, format));
    const auto wide_b = static_cast<float>(half_to_double(b, format));
    return half_from_double(reference_float(wide_a, wide_b, op), format);
}

/// Calls `function(T{})` with the arithmetic type of `type`; halves, which have none, come as uint16_t.
template <class Function>
void with_type(DataType type, Function function) {
    switch (type) {
        case DataType::kUint8: return function(uint8_t{});
        case DataType::kInt8: return function(int8_t{});
        case DataType::kInt16: return function(int16_t{});
        case DataType::kUint16:
        case DataType::kFloat16:
        case DataType::kBFloat16: return function(uint16_t{});
        case DataType::kUint32: return function(uint32_t{});
        case DataType::kInt32: return function(int32_t{});
        case DataType::kUint64: return function(uint64_t{});
        case DataType::kInt64: return function(int64_t{});
        case DataType::kFloat: return function(float{});
        case DataType::kDouble: return function(double{});
    }
}

inline bool is_half(DataType type) { return type == DataType::kFloat16 || type == DataType::kBFloat16; }

inline Bytes reference_reduce(const Bytes& a, const Bytes& b, DataType type, RedOp op) {
    Bytes result(a.size());
    with_type(type, [&](auto zero) {
        using T = decltype(zero);
        for (size_t at = 0; at + sizeof(T) <= a.size(); at += sizeof(T)) {
            const T x = load<T>(&a[at]);
            const T y = load<T>(&b[at]);
            if constexpr (std::is_floating_point_v<T>) {
                store(&result[at], reference_float(x, y, op));
            } else if constexpr (std::is_same_v<T, uint16_t>) {
                store(&result[at], is_half(type) ? reference_half(x, y, format_of(type), op)
                                                 : reference_integer(x, y, op));
            } else {
                store(&result[at], reference_integer(x, y, op));
            }
        }
    });
    return result;
}

inline Bytes reference_average(const Bytes& data, DataType type, uint32_t contributors) {
    Bytes result(data.size());
    with_type(type, [&](auto zero) {
        using T = decltype(zero);
        using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
        for (size_t at = 0; at + sizeof(T) <= data.size(); at += sizeof(T)) {
            const T x = load<T>(&data[at]);
            if constexpr (std::is_floating_point_v<T>) {
                store(&result[at], canonical<T>(x / static_cast<T>(contributors)));
            } else if (is_half(type)) {
                const HalfFormat format = format_of(type);
                const auto wide = static_cast<float>(half_to_double(static_cast<uint16_t>(x), format));
                const float quotient = wide / static_cast<float>(contributors);
                store(&result[at], static_cast<T>(half_from_double(quotient, format)));
            } else {
                store(&result[at], static_cast<T>(static_cast<Wide>(x) / static_cast<Wide>(contributors)));
            }
        }
    });
    return result;
}

}  // namespace pccl::test
