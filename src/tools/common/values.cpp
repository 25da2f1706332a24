#include "values.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

namespace pccl::tools {
namespace {

struct TypeFacts {
    pcclDataType_t type;
    size_t bytes;
    const char* names[4];  // the first one is printed
};

constexpr TypeFacts kTypes[] = {
    {pcclUint8, 1, {"uint8", "u8", "byte", ""}},
    {pcclInt8, 1, {"int8", "i8", "char", ""}},
    {pcclInt16, 2, {"int16", "i16", "short", ""}},
    {pcclUint16, 2, {"uint16", "u16", "", ""}},
    {pcclUint32, 4, {"uint32", "u32", "", ""}},
    {pcclInt32, 4, {"int32", "i32", "int", ""}},
    {pcclUint64, 8, {"uint64", "u64", "", ""}},
    {pcclInt64, 8, {"int64", "i64", "", ""}},
    {pcclFloat16, 2, {"half", "float16", "fp16", ""}},
    {pcclBFloat16, 2, {"bfloat16", "bf16", "", ""}},
    {pcclFloat, 4, {"float", "float32", "fp32", "f32"}},
    {pcclDouble, 8, {"double", "float64", "fp64", "f64"}},
};

constexpr const char* kOpNames[] = {"sum", "avg", "prod", "max", "min"};

// The two types that C++ lacks; `value` is the float that they stand for.
struct Half {
    uint16_t bits;
};
struct BFloat {
    uint16_t bits;
};

// Round to nearest, ties to even. Values here are far below the largest half, so there is no overflow to care
// for.
Half to_half(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
    const int exponent = static_cast<int>((bits >> 23) & 0xffu) - 127;
    if (exponent < -25) {
        return {sign};
    }
    const uint32_t fraction = (bits & 0x7fffffu) | 0x800000u;
    const int shift = exponent < -14 ? 13 + (-14 - exponent) : 13;
    uint32_t rounded = fraction >> shift;
    const uint32_t rest = fraction & ((1u << shift) - 1), tie = 1u << (shift - 1);
    rounded += rest > tie || (rest == tie && (rounded & 1u) != 0) ? 1 : 0;
    // The hidden bit adds one to the exponent field, and a carry out of the fraction another one.
    const uint32_t field = exponent < -14 ? 0 : static_cast<uint32_t>(exponent + 14) << 10;
    return {static_cast<uint16_t>(sign | (field + rounded))};
}

BFloat to_bfloat(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

template <class T>
T from_number(double value) {
    if constexpr (std::is_same_v<T, Half>) {
        return to_half(static_cast<float>(value));
    } else if constexpr (std::is_same_v<T, BFloat>) {
        return to_bfloat(static_cast<float>(value));
    } else {
        return static_cast<T>(value);
    }
}

template <class T>
constexpr bool kIsInteger = std::is_integral_v<T>;

// Integers up to this magnitude are exact in T.
template <class T>
constexpr double exact_limit() {
    if constexpr (std::is_same_v<T, Half>) {
        return 2048;
    } else if constexpr (std::is_same_v<T, BFloat>) {
        return 256;
    } else if constexpr (kIsInteger<T>) {
        return std::min(std::ldexp(1.0, sizeof(T) * 8 - (std::is_signed_v<T> ? 1 : 0)), 16777216.0);
    } else {
        return 16777216.0;
    }
}

// The value of one element as an integer, or for the product of floats as a signed power of two.
template <class T>
double element_number(const ValueKind& kind, uint64_t key, uint64_t index) {
    const uint64_t random = mix(key, index);
    if (kind.op == pcclProd) {
        if constexpr (kIsInteger<T>) {
            return static_cast<double>(1 + random % 3);
        }
        // With a power of two from each of 14 members a half is still normal; among more only the sign
        // varies.
        const int exponent = kind.contributors_max <= 14 ? static_cast<int>((random >> 8) % 3) - 1 : 0;
        return std::ldexp((random & 1u) != 0 ? 1.0 : -1.0, exponent);
    }
    double choices = 1000;
    if (kind.op == pcclSum && kIsInteger<T>) {
        choices = std::min(choices, std::ldexp(1.0, sizeof(T) * 8 - 1));  // Sums wrap, which is exact too.
    } else if (kind.op == pcclMin || kind.op == pcclMax) {
        choices = std::min(choices, exact_limit<T>());
    } else {
        choices = std::min(choices, std::floor(exact_limit<T>() / std::max(1u, kind.contributors_max)));
    }
    const uint64_t number = random % static_cast<uint64_t>(std::max(choices, 2.0));
    constexpr bool kHasNegatives = !kIsInteger<T> || std::is_signed_v<T>;
    return static_cast<double>(number) - (kHasNegatives ? std::floor(choices / 2) : 0);
}

// Folds whole numbers modulo 2^64, of which the element type keeps the lower bits.
template <class T>
T fold_integers(const ValueKind& kind, const std::vector<uint64_t>& keys, uint64_t index) {
    T result = from_number<T>(element_number<T>(kind, keys[0], index));
    for (size_t i = 1; i < keys.size(); ++i) {
        const T next = from_number<T>(element_number<T>(kind, keys[i], index));
        const uint64_t a = static_cast<uint64_t>(result), b = static_cast<uint64_t>(next);
        switch (kind.op) {
            case pcclProd: result = static_cast<T>(a * b); break;
            case pcclMax: result = std::max(result, next); break;
            case pcclMin: result = std::min(result, next); break;
            default: result = static_cast<T>(a + b); break;
        }
    }
    if (kind.op == pcclAvg) {
        if constexpr (std::is_signed_v<T>) {
            return static_cast<T>(static_cast<int64_t>(result) / static_cast<int64_t>(keys.size()));
        } else {
            return static_cast<T>(static_cast<uint64_t>(result) / keys.size());
        }
    }
    return result;
}

// Every step is exact in double and, by the choice of the values, in the element type; only the division of
// an average rounds, and it does so in the type of the division: float for the half types.
template <class T>
T fold_floats(const ValueKind& kind, const std::vector<uint64_t>& keys, uint64_t index) {
    double result = element_number<T>(kind, keys[0], index);
    for (size_t i = 1; i < keys.size(); ++i) {
        const double next = element_number<T>(kind, keys[i], index);
        switch (kind.op) {
            case pcclProd: result *= next; break;
            case pcclMax: result = std::max(result, next); break;
            case pcclMin: result = std::min(result, next); break;
            default: result += next; break;
        }
    }
    if (kind.op == pcclAvg) {
        if (std::is_same_v<T, double>) {
            result /= static_cast<double>(keys.size());
        } else {
            result = static_cast<float>(result) / static_cast<float>(keys.size());
        }
    }
    return from_number<T>(result);
}

template <class T>
void compute(const ValueKind& kind, const std::vector<uint64_t>& keys, size_t elements,
             std::vector<uint8_t>& out) {
    out.resize(elements * sizeof(T));
    for (size_t i = 0; i < elements; ++i) {
        T element;
        if constexpr (kIsInteger<T>) {
            element = fold_integers<T>(kind, keys, i);
        } else {
            element = fold_floats<T>(kind, keys, i);
        }
        std::memcpy(out.data() + i * sizeof(T), &element, sizeof(T));
    }
}

// Calls `use` with a value of the C++ type that stands for the element type.
template <class Use>
void with_type(pcclDataType_t type, Use use) {
    switch (type) {
        case pcclUint8: return use(uint8_t{});
        case pcclInt8: return use(int8_t{});
        case pcclInt16: return use(int16_t{});
        case pcclUint16: return use(uint16_t{});
        case pcclUint32: return use(uint32_t{});
        case pcclInt32: return use(int32_t{});
        case pcclUint64: return use(uint64_t{});
        case pcclInt64: return use(int64_t{});
        case pcclFloat16: return use(Half{});
        case pcclBFloat16: return use(BFloat{});
        case pcclFloat: return use(float{});
        case pcclDouble: return use(double{});
    }
}

}  // namespace

const char* type_name(pcclDataType_t type) {
    for (const TypeFacts& facts : kTypes) {
        if (facts.type == type) {
            return facts.names[0];
        }
    }
    return "invalid";
}

const char* op_name(pcclRedOp_t op) {
    const size_t index = static_cast<size_t>(op);
    return index < std::size(kOpNames) ? kOpNames[index] : "invalid";
}

bool parse_type(const std::string& name, pcclDataType_t* type) {
    for (const TypeFacts& facts : kTypes) {
        for (const char* candidate : facts.names) {
            if (!name.empty() && name == candidate) {
                *type = facts.type;
                return true;
            }
        }
    }
    return false;
}

bool parse_op(const std::string& name, pcclRedOp_t* op) {
    for (size_t i = 0; i < std::size(kOpNames); ++i) {
        if (name == kOpNames[i]) {
            *op = static_cast<pcclRedOp_t>(i);
            return true;
        }
    }
    return false;
}

size_t element_bytes(pcclDataType_t type) {
    for (const TypeFacts& facts : kTypes) {
        if (facts.type == type) {
            return facts.bytes;
        }
    }
    return 0;
}

uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t x = a ^ (b * 0x9e3779b97f4a7c15u) ^ 0x2545f4914f6cdd1du;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

Pattern Pattern::input(const ValueKind& kind, uint64_t key, size_t count) {
    return expected(kind, {key}, count);  // Every operator gives back a single value as it is.
}

Pattern Pattern::expected(const ValueKind& kind, const std::vector<uint64_t>& keys, size_t count) {
    Pattern pattern;
    pattern.element_bytes_ = element_bytes(kind.type);
    if (!keys.empty()) {
        with_type(kind.type, [&](auto example) {
            compute<decltype(example)>(kind, keys, std::min(count, kElements), pattern.bytes_);
        });
    }
    return pattern;
}

Pattern Pattern::constant(pcclDataType_t type, double value) {
    Pattern pattern;
    pattern.element_bytes_ = element_bytes(type);
    with_type(type, [&](auto example) {
        const auto element = from_number<decltype(example)>(value);
        pattern.bytes_.resize(kElements * sizeof element);
        for (size_t i = 0; i < kElements; ++i) {
            std::memcpy(pattern.bytes_.data() + i * sizeof element, &element, sizeof element);
        }
    });
    return pattern;
}

void Pattern::fill(void* buffer, size_t count) const {
    uint8_t* out = static_cast<uint8_t*>(buffer);
    size_t left = count * element_bytes_;
    while (left > 0 && !bytes_.empty()) {
        const size_t piece = std::min(left, bytes_.size());
        std::memcpy(out, bytes_.data(), piece);
        out += piece;
        left -= piece;
    }
}

uint64_t Pattern::count_wrong(const void* buffer, size_t count) const {
    if (bytes_.empty()) {
        return count;
    }
    const uint8_t* data = static_cast<const uint8_t*>(buffer);
    size_t left = count * element_bytes_;
    uint64_t wrong = 0;
    while (left > 0) {
        const size_t piece = std::min(left, bytes_.size());
        if (std::memcmp(data, bytes_.data(), piece) != 0) {
            for (size_t at = 0; at < piece; at += element_bytes_) {
                wrong += std::memcmp(data + at, bytes_.data() + at, element_bytes_) != 0 ? 1 : 0;
            }
        }
        data += piece;
        left -= piece;
    }
    return wrong;
}

uint64_t hash_bytes(const void* data, size_t bytes) {
    const uint8_t* at = static_cast<const uint8_t*>(data);
    uint64_t lanes[4] = {1, 2, 3, 4};
    size_t left = bytes;
    for (; left >= 32; left -= 32, at += 32) {
        for (uint64_t& lane : lanes) {
            uint64_t word;
            std::memcpy(&word, at + (&lane - lanes) * 8, 8);
            lane = std::rotl((lane ^ word) * 0x9e3779b97f4a7c15u, 29);
        }
    }
    uint64_t result = mix(bytes, left);
    for (; left > 0; --left, ++at) {
        result = mix(result, *at);
    }
    for (uint64_t lane : lanes) {
        result = mix(result, lane);
    }
    return result;
}

}  // namespace pccl::tools
