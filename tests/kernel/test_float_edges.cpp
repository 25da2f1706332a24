// Goal: NaNs are canonical, zeros have defined signs, and the calling thread's floating-point mode neither
// changes a result nor is changed.
#include <catch2/catch.hpp>
#include <cfenv>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "kernel/instruction_sets.h"
#include "kernel/reduce.h"
#include "kernel/reference.h"
#include "kernel/samples.h"

namespace {

using namespace pccl;
using namespace pccl::test;

constexpr DataType kFloatTypes[] = {DataType::kFloat16, DataType::kBFloat16, DataType::kFloat,
                                    DataType::kDouble};

struct Patterns {
    uint64_t nan;
    uint64_t infinity;
    uint64_t one;
    uint64_t sign;
};

Patterns patterns_of(DataType type) {
    switch (type) {
        case DataType::kFloat16: return {0x7e00, 0x7c00, 0x3c00, 0x8000};
        case DataType::kBFloat16: return {0x7fc0, 0x7f80, 0x3f80, 0x8000};
        case DataType::kFloat: return {0x7fc00000, 0x7f800000, 0x3f800000, 0x80000000};
        default: return {0x7ff8000000000000, 0x7ff0000000000000, 0x3ff0000000000000, 0x8000000000000000};
    }
}

#if defined(__SSE2__)
constexpr uint64_t kFlushing = 0x8040;  // Flush to zero, denormals are zero.
uint64_t float_mode() { return _mm_getcsr(); }
void set_float_mode(uint64_t mode) { _mm_setcsr(static_cast<uint32_t>(mode)); }
#elif defined(__aarch64__)
constexpr uint64_t kFlushing = 0x01000000;
uint64_t float_mode() {
    uint64_t mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
void set_float_mode(uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#endif

/// Folds two elements, repeated so that whole vectors and the remainder are both used; all must agree.
uint64_t folded(uint64_t a, uint64_t b, DataType type, RedOp op) {
    constexpr size_t kCount = 67;
    const size_t size = size_of(type);
    Bytes left(kCount * size);
    Bytes right(kCount * size);
    for (size_t i = 0; i < kCount; ++i) {
        std::memcpy(&left[i * size], &a, size);
        std::memcpy(&right[i * size], &b, size);
    }
    kernel::reduce(left.data(), left.data(), right.data(), kCount, type, op);
    uint64_t first = 0;
    std::memcpy(&first, left.data(), size);
    for (size_t i = 1; i < kCount; ++i) {
        uint64_t other = 0;
        std::memcpy(&other, &left[i * size], size);
        REQUIRE(other == first);
    }
    return first;
}

}  // namespace

TEST_CASE("every NaN that comes out is the canonical one", "[kernel]") {
    for_each_instruction_set([] {
        for (const DataType type : kFloatTypes) {
            const auto [nan, infinity, one, sign] = patterns_of(type);
            INFO(name_of(type));
            // Quiet, negative, signalling and with a payload.
            for (const uint64_t bad : {nan, nan | sign, infinity | 1, infinity | 1 | sign, nan | 5}) {
                for (const RedOp op : kAllOps) {
                    for (const uint64_t other : {one, uint64_t{0}, infinity, nan | sign, infinity | 2}) {
                        CHECK(folded(bad, other, type, op) == nan);
                        CHECK(folded(other, bad, type, op) == nan);
                    }
                }
            }
            CHECK(folded(infinity, infinity | sign, type, RedOp::kSum) == nan);
            CHECK(folded(infinity | sign, 0, type, RedOp::kProd) == nan);
            CHECK(folded(0, infinity, type, RedOp::kProd) == nan);

            uint64_t averaged = infinity | 1 | sign;
            kernel::finish_average(&averaged, 1, type, 3);
            CHECK((averaged & (sign | (sign - 1))) == nan);
        }
    });
}

TEST_CASE("zeros and infinities have defined signs", "[kernel]") {
    for_each_instruction_set([] {
        for (const DataType type : kFloatTypes) {
            const auto [nan, infinity, one, sign] = patterns_of(type);
            const uint64_t minus_zero = sign;
            INFO(name_of(type));
            CHECK(folded(0, minus_zero, type, RedOp::kMax) == 0);
            CHECK(folded(minus_zero, 0, type, RedOp::kMax) == 0);
            CHECK(folded(minus_zero, minus_zero, type, RedOp::kMax) == minus_zero);
            CHECK(folded(0, minus_zero, type, RedOp::kMin) == minus_zero);
            CHECK(folded(minus_zero, 0, type, RedOp::kMin) == minus_zero);
            CHECK(folded(0, 0, type, RedOp::kMin) == 0);
            CHECK(folded(0, minus_zero, type, RedOp::kSum) == 0);
            CHECK(folded(minus_zero, minus_zero, type, RedOp::kSum) == minus_zero);
            CHECK(folded(one, one | sign, type, RedOp::kSum) == 0);
            CHECK(folded(minus_zero, one, type, RedOp::kProd) == minus_zero);
            CHECK(folded(infinity, one | sign, type, RedOp::kMax) == infinity);
            CHECK(folded(infinity | sign, one, type, RedOp::kMin) == (infinity | sign));
            CHECK(folded(infinity, one | sign, type, RedOp::kSum) == infinity);
            CHECK(folded(infinity, one | sign, type, RedOp::kProd) == (infinity | sign));
        }
    });
}

TEST_CASE("subnormals are kept", "[kernel]") {
    for_each_instruction_set([] {
        for (const DataType type : kFloatTypes) {
            CHECK(folded(1, 1, type, RedOp::kSum) == 2);
            CHECK(folded(1, 2, type, RedOp::kMax) == 2);
            CHECK(folded(3, patterns_of(type).one, type, RedOp::kProd) == 3);
        }
    });
}

TEST_CASE("the thread's rounding mode does not reach the results", "[kernel]") {
    for (const DataType type : kFloatTypes) {
        const Bytes a = sample_elements(type, 300, 11);
        const Bytes b = sample_elements(type, 300, 12);
        const Bytes expected = reference_reduce(a, b, type, RedOp::kProd);
        const Bytes expected_average = reference_average(a, type, 7);
        for_each_instruction_set([&] {
            Bytes result(a.size());
            Bytes average = a;
            std::fesetround(FE_UPWARD);
            kernel::reduce(result.data(), a.data(), b.data(), 300, type, RedOp::kProd);
            kernel::finish_average(average.data(), 300, type, 7);
            const int mode_after = std::fegetround();
            std::fesetround(FE_TONEAREST);
            CHECK(result == expected);
            CHECK(average == expected_average);
            CHECK(mode_after == FE_UPWARD);
        });
    }
}

#if defined(__SSE2__) || defined(__aarch64__)
TEST_CASE("a thread that flushes subnormals gets the same results and keeps its mode", "[kernel]") {
    for (const DataType type : kFloatTypes) {
        const Bytes a = sample_elements(type, 300, 21);
        const Bytes b = sample_elements(type, 300, 22);
        for (const RedOp op : kAllOps) {
            const Bytes expected = reference_reduce(a, b, type, op);
            for_each_instruction_set([&] {
                Bytes result(a.size());
                const uint64_t mode = float_mode();
                set_float_mode(mode | kFlushing);
                kernel::reduce(result.data(), a.data(), b.data(), 300, type, op);
                const uint64_t mode_after = float_mode();
                set_float_mode(mode);
                CHECK(result == expected);
                CHECK((mode_after & kFlushing) == kFlushing);
            });
        }
    }
}
#endif
