// Inputs for the kernels' tests: values at the edges of each type mixed with random ones, from a fixed seed.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "kernel/reference.h"

namespace pccl::test {

inline constexpr DataType kAllTypes[] = {DataType::kUint8,    DataType::kInt8,   DataType::kInt16,
                                         DataType::kUint16,   DataType::kUint32, DataType::kInt32,
                                         DataType::kUint64,   DataType::kInt64,  DataType::kFloat16,
                                         DataType::kBFloat16, DataType::kFloat,  DataType::kDouble};
inline constexpr RedOp kAllOps[] = {RedOp::kSum, RedOp::kAvg, RedOp::kProd, RedOp::kMax, RedOp::kMin};

/// A small fixed generator (splitmix64), so that a failure is the same everywhere.
class Sequence {
   public:
    explicit Sequence(uint64_t seed) : state_(seed) {}

    uint64_t next() {
        uint64_t z = state_ += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
    }

   private:
    uint64_t state_;
};

/// Bit patterns at the edges of a type, positive and negative.
inline std::vector<uint64_t> edge_patterns(DataType type) {
    std::vector<uint64_t> magnitudes;
    switch (type) {
        case DataType::kFloat16:
            magnitudes = {0, 1, 0x3ff, 0x400, 0x3bff, 0x3c00, 0x3c01, 0x7bff, 0x7c00, 0x7c01, 0x7e00, 0x7fff};
            break;
        case DataType::kBFloat16:
            magnitudes = {0, 1, 0x7f, 0x80, 0x3f7f, 0x3f80, 0x3f81, 0x7f7f, 0x7f80, 0x7f81, 0x7fc0, 0x7fff};
            break;
        case DataType::kFloat:
            magnitudes = {0,          1,          0x7fffff,   0x800000,   0x3f7fffff, 0x3f800000,
                          0x3f800001, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff};
            break;
        case DataType::kDouble:
            magnitudes = {0,
                          1,
                          0xfffffffffffffu,
                          0x10000000000000u,
                          0x3fefffffffffffffu,
                          0x3ff0000000000000u,
                          0x7fefffffffffffffu,
                          0x7ff0000000000000u,
                          0x7ff0000000000001u,
                          0x7ff8000000000000u,
                          0x7fffffffffffffffu};
            break;
        default:
            magnitudes = {
                0, 1, 2, 3, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fffffff, 0xffffffff, 0x7fffffffffffffffu};
            break;
    }
    std::vector<uint64_t> patterns = magnitudes;
    const uint64_t sign = uint64_t{1} << (8 * size_of(type) - 1);
    for (const uint64_t magnitude : magnitudes) {
        patterns.push_back(magnitude ^ sign);
    }
    return patterns;
}

/// `count` elements: an edge value every third time, else random bits, half of them with a moderate exponent.
inline Bytes sample_elements(DataType type, size_t count, uint64_t seed) {
    Sequence random(seed);
    const std::vector<uint64_t> edges = edge_patterns(type);
    Bytes bytes(count * size_of(type));
    for (size_t i = 0; i < count; ++i) {
        uint64_t pattern = random.next();
        const uint64_t kind = random.next() % 6;
        if (kind < 2) {
            pattern = edges[pattern % edges.size()];
        } else if (kind < 4 && type >= DataType::kFloat16) {
            const double value =
                std::ldexp(static_cast<double>(pattern >> 11), -53 + static_cast<int>(kind)) - 1.5;
            pattern = type == DataType::kFloat    ? bits_as<uint32_t>(static_cast<float>(value))
                      : type == DataType::kDouble ? bits_as<uint64_t>(value)
                                                  : half_from_double(value, format_of(type));
        }
        for (size_t byte = 0; byte < size_of(type); ++byte) {
            bytes[i * size_of(type) + byte] = static_cast<uint8_t>(pattern >> (8 * byte));
        }
    }
    return bytes;
}

}  // namespace pccl::test
