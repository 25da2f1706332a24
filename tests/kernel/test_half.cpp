// Goal: float16 and bfloat16 widen and round exactly, on every instruction set.
// Method: all 65536 values pass through the kernels unchanged, and each is folded with edge values and random
// partners against a reference that works in double.
#include <catch2/catch.hpp>

#include "kernel/instruction_sets.h"
#include "kernel/reduce.h"
#include "kernel/reference.h"
#include "kernel/samples.h"

namespace {

using namespace pccl;
using namespace pccl::test;

constexpr size_t kValueCount = 65536;
constexpr DataType kHalfTypes[] = {DataType::kFloat16, DataType::kBFloat16};
constexpr RedOp kFoldOps[] = {RedOp::kSum, RedOp::kProd, RedOp::kMax, RedOp::kMin};

using Halves = std::vector<uint16_t>;

Halves every_value() {
    Halves values(kValueCount);
    for (size_t i = 0; i < kValueCount; ++i) {
        values[i] = static_cast<uint16_t>(i);
    }
    return values;
}

Halves folded(const Halves& a, const Halves& b, DataType type, RedOp op) {
    Halves result(a.size());
    kernel::reduce(result.data(), a.data(), b.data(), a.size(), type, op);
    return result;
}

Halves folded_by_reference(const Halves& a, const Halves& b, DataType type, RedOp op) {
    Halves result(a.size());
    for (size_t i = 0; i < a.size(); ++i) {
        result[i] = reference_half(a[i], b[i], format_of(type), op);
    }
    return result;
}

}  // namespace

TEST_CASE("the reference conversions agree with known values", "[kernel]") {
    CHECK(half_to_double(0x3c00, kFloat16Format) == 1.0);
    CHECK(half_to_double(0x0001, kFloat16Format) == 5.960464477539063e-08);
    CHECK(half_to_double(0x7bff, kFloat16Format) == 65504.0);
    CHECK(half_from_double(65519.99, kFloat16Format) == 0x7bff);
    CHECK(half_from_double(65520.0, kFloat16Format) == 0x7c00);
    CHECK(half_from_double(-2.9802322387695312e-08, kFloat16Format) == 0x8000);  // A tie, to even.
    CHECK(half_from_double(8.940696716308594e-08, kFloat16Format) == 0x0002);    // A tie, to even.
    CHECK(half_to_double(0xc049, kBFloat16Format) == -3.140625);
    CHECK(half_from_double(3.4e38, kBFloat16Format) == 0x7f80);
    for (const DataType type : kHalfTypes) {
        for (size_t i = 0; i < kValueCount; ++i) {
            const auto bits = static_cast<uint16_t>(i);
            const double value = half_to_double(bits, format_of(type));
            const uint16_t expected = std::isnan(value) ? format_of(type).nan() : bits;
            if (half_from_double(value, format_of(type)) != expected) {
                FAIL(name_of(type) << " " << bits);
            }
        }
    }
}

TEST_CASE("every half survives widening and rounding", "[kernel]") {
    const Halves values = every_value();
    for (const DataType type : kHalfTypes) {
        const HalfFormat format = format_of(type);
        Halves expected = values;
        for (uint16_t& bits : expected) {
            if ((bits & 0x7fff) > format.infinity()) {
                bits = format.nan();
            }
        }
        const auto one = static_cast<uint16_t>(format.bias << format.fraction_bits);
        const Halves ones(kValueCount, one);
        const Halves negative_zeros(kValueCount, 0x8000);
        for_each_instruction_set([&] {
            INFO(name_of(type));
            CHECK(folded(values, values, type, RedOp::kMax) == expected);
            CHECK(folded(values, values, type, RedOp::kMin) == expected);
            CHECK(folded(values, ones, type, RedOp::kProd) == expected);
            CHECK(folded(values, negative_zeros, type, RedOp::kSum) == expected);
            Halves divided = values;
            kernel::finish_average(divided.data(), kValueCount, type, 1);
            CHECK(divided == expected);
        });
    }
}

TEST_CASE("every half folds exactly with edge values and random partners", "[kernel]") {
    const Halves values = every_value();
    Sequence random(7);
    for (const DataType type : kHalfTypes) {
        const std::vector<uint64_t> edges = edge_patterns(type);
        for (int round = 0; round < 12; ++round) {
            Halves partners(kValueCount);
            for (size_t i = 0; i < kValueCount; ++i) {
                // In every third round the exponents are close, so that sums do not merely return one
                // operand.
                const uint64_t bits = random.next();
                const uint64_t near = i ^ (bits & (0x8000u | ((4u << format_of(type).fraction_bits) - 1)));
                partners[i] = static_cast<uint16_t>(round % 3 == 0   ? edges[bits % edges.size()]
                                                    : round % 3 == 1 ? near
                                                                     : bits);
            }
            for (const RedOp op : kFoldOps) {
                const Halves expected = folded_by_reference(values, partners, type, op);
                for_each_instruction_set([&] {
                    INFO(name_of(type) << " " << name_of(op));
                    CHECK(folded(values, partners, type, op) == expected);
                    CHECK(folded(partners, values, type, op) == expected);
                });
            }
        }
    }
}

TEST_CASE("float16 products round ties to even and overflow to infinity", "[kernel]") {
    for_each_instruction_set([] {
        // 1 + 2^-10 squared is 1 + 2^-9 + 2^-20; 65504 doubled overflows; 2^-24 halved is a tie between 0 and
        // 2^-24, and 3 * 2^-24 halved one between 2^-24 and 2 * 2^-24.
        const Halves a = {0x3c01, 0x7bff, 0x0001, 0x0003, 0xfbff};
        const Halves b = {0x3c01, 0x4000, 0x3800, 0x3800, 0x4000};
        CHECK(folded(a, b, DataType::kFloat16, RedOp::kProd) ==
              Halves{0x3c02, 0x7c00, 0x0000, 0x0002, 0xfc00});
    });
}
