// Goal: the division by the number of contributors is exact for each type: integers towards zero even where
// the divisor does not fit the element type, floats truly, halves through float; for odd sizes and
// misalignments.
#include <catch2/catch.hpp>

#include "kernel/instruction_sets.h"
#include "kernel/reduce.h"
#include "kernel/reference.h"
#include "kernel/samples.h"

namespace {

using namespace pccl;
using namespace pccl::test;

constexpr uint32_t kDivisors[] = {1,   2,   3,   4,   5,   7,    8,    10,    49,    64,   100,
                                  127, 128, 200, 255, 256, 1000, 4095, 32767, 65534, 65535};

template <class T>
std::vector<T> averaged(std::vector<T> values, DataType type, uint32_t contributors) {
    kernel::finish_average(values.data(), values.size(), type, contributors);
    return values;
}

/// Numbers around multiples of the divisor, where a quotient that is off by one would show.
template <class T>
Bytes around_multiples(uint32_t divisor, size_t count) {
    Sequence random(divisor);
    Bytes bytes(count * sizeof(T));
    for (size_t i = 0; i < count; ++i) {
        const uint64_t multiple = random.next() / divisor * divisor >> (random.next() % 2 * 8);
        const uint64_t rounded = multiple / divisor * divisor;
        const uint64_t limited =
            sizeof(T) == 8 ? rounded : rounded % (uint64_t{1} << (8 * sizeof(T))) / divisor * divisor;
        store(&bytes[i * sizeof(T)], static_cast<T>(limited + random.next() % 3 - 1));
    }
    return bytes;
}

/// The first `bytes` bytes at an offset, with guard bytes before and after.
Bytes placed(const Bytes& from, size_t bytes, size_t offset) {
    Bytes memory(offset, 0xa5);
    for (size_t at = 0; at < bytes; ++at) {
        memory.push_back(from[at]);
    }
    memory.resize(memory.size() + 8, 0xa5);
    return memory;
}

void check_prefixes(const Bytes& data, DataType type, uint32_t contributors) {
    const Bytes expected = reference_average(data, type, contributors);
    const size_t size = size_of(type);
    for_each_instruction_set([&] {
        for (const size_t count :
             {size_t{0}, size_t{1}, size_t{3}, size_t{17}, size_t{33}, data.size() / size}) {
            for (size_t offset = 0; offset < 4; ++offset) {
                Bytes memory = placed(data, count * size, offset);
                kernel::finish_average(memory.data() + offset, count, type, contributors);
                if (memory != placed(expected, count * size, offset)) {
                    FAIL(name_of(type)
                         << " / " << contributors << ", " << count << " elements at " << offset);
                }
            }
        }
    });
}

}  // namespace

TEST_CASE("averages have the reference's bits on every instruction set", "[kernel]") {
    for (const DataType type : kAllTypes) {
        const Bytes data = sample_elements(type, 1000, 31);
        for (const uint32_t divisor : kDivisors) {
            check_prefixes(data, type, divisor);
        }
        SUCCEED();
    }
}

TEST_CASE("integer quotients are exact around multiples of the divisor", "[kernel]") {
    for (const DataType type : kAllTypes) {
        if (type >= DataType::kFloat16) {
            continue;
        }
        for (const uint32_t divisor : kDivisors) {
            with_type(type, [&](auto zero) {
                check_prefixes(around_multiples<decltype(zero)>(divisor, 500), type, divisor);
            });
        }
        SUCCEED();
    }
}

TEST_CASE("every 8- and 16-bit integer divides exactly", "[kernel]") {
    for (const DataType type : {DataType::kUint8, DataType::kInt8, DataType::kUint16, DataType::kInt16}) {
        Bytes data;
        for (size_t i = 0; i < (size_of(type) == 1 ? 256u : 65536u); ++i) {
            data.push_back(static_cast<uint8_t>(i));
            if (size_of(type) == 2) {
                data.push_back(static_cast<uint8_t>(i >> 8));
            }
        }
        for (const uint32_t divisor : kDivisors) {
            const Bytes expected = reference_average(data, type, divisor);
            for_each_instruction_set([&] {
                Bytes result = data;
                kernel::finish_average(result.data(), data.size() / size_of(type), type, divisor);
                CHECK(result == expected);
            });
        }
    }
}

TEST_CASE("integers divide towards zero", "[kernel]") {
    for_each_instruction_set([] {
        CHECK(averaged<int8_t>({-128, -7, -1, 0, 1, 7, 127}, DataType::kInt8, 2) ==
              std::vector<int8_t>{-64, -3, 0, 0, 0, 3, 63});
        CHECK(averaged<int8_t>({-128, -1, 127}, DataType::kInt8, 200) == std::vector<int8_t>{0, 0, 0});
        CHECK(averaged<uint8_t>({255, 200, 199}, DataType::kUint8, 200) == std::vector<uint8_t>{1, 1, 0});
        CHECK(averaged<int32_t>({INT32_MIN, INT32_MAX, -5}, DataType::kInt32, 3) ==
              std::vector<int32_t>{-715827882, 715827882, -1});
        CHECK(averaged<int64_t>({INT64_MIN, INT64_MAX, -5}, DataType::kInt64, 3) ==
              std::vector<int64_t>{-3074457345618258602, 3074457345618258602, -1});
        CHECK(averaged<uint64_t>({UINT64_MAX}, DataType::kUint64, 65535) ==
              std::vector<uint64_t>{281479271743489});
    });
}

TEST_CASE("floats are divided, not multiplied by a reciprocal", "[kernel]") {
    // 3 * (1/10 rounded) is 0.30000000000000004.
    const std::vector<double> values = {9.0, 7.0, 3.0, 1.0};
    REQUIRE(3.0 * (1.0 / 10.0) != 3.0 / 10.0);
    std::vector<double> expected;
    for (const double value : values) {
        expected.push_back(value / 10.0);
    }
    for_each_instruction_set([&] { CHECK(averaged(values, DataType::kDouble, 10) == expected); });
}

TEST_CASE("below 4096 contributors a half's average is the exact quotient rounded once", "[kernel]") {
    std::vector<uint16_t> values(65536);
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = static_cast<uint16_t>(i);
    }
    for (const DataType type : {DataType::kFloat16, DataType::kBFloat16}) {
        const HalfFormat format = format_of(type);
        for (const uint32_t divisor : {2u, 3u, 7u, 48u, 1023u, 4095u}) {
            // A quotient in double has so many bits to spare that rounding it again is exact.
            std::vector<uint16_t> expected(values.size());
            for (size_t i = 0; i < values.size(); ++i) {
                expected[i] = half_from_double(half_to_double(values[i], format) / divisor, format);
            }
            for_each_instruction_set([&] {
                INFO(name_of(type) << " / " << divisor);
                CHECK(averaged(values, type, divisor) == expected);
            });
        }
    }
}
