// Goal: every type and operator gives exactly the reference's bits, for odd sizes, any misalignment, in place
// and out of place, on every instruction set, and writes nothing beyond its range. Method: the expected bits
// of 4099 elements are computed once per type and operator; each run covers a prefix.
#include <catch2/catch.hpp>
#include <string>

#include "kernel/instruction_sets.h"
#include "kernel/reduce.h"
#include "kernel/reference.h"
#include "kernel/samples.h"

namespace {

using namespace pccl;
using namespace pccl::test;

constexpr size_t kSizes[] = {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100, 1000, 4099};
constexpr size_t kSizeMax = 4099;
constexpr size_t kGuard = 64;
constexpr uint8_t kGuardByte = 0xa5;

/// A copy of `bytes` bytes at a given misalignment, surrounded by guard bytes.
class Placed {
   public:
    Placed(const uint8_t* from, size_t bytes, size_t offset)
        : memory_(kGuard + offset + bytes + kGuard, kGuardByte), start_(kGuard + offset), bytes_(bytes) {
        if (bytes != 0) {
            std::memcpy(data(), from, bytes);
        }
    }

    uint8_t* data() { return memory_.data() + start_; }
    bool holds(const uint8_t* expected) { return bytes_ == 0 || std::memcmp(data(), expected, bytes_) == 0; }

    bool guards_intact() const {
        for (size_t at = 0; at < memory_.size(); ++at) {
            const bool inside = at >= start_ && at < start_ + bytes_;
            if (!inside && memory_[at] != kGuardByte) {
                return false;
            }
        }
        return true;
    }

   private:
    Bytes memory_;
    size_t start_;
    size_t bytes_;
};

struct Case {
    DataType type;
    RedOp op;
    Bytes a;
    Bytes b;
    Bytes expected;
};

Case make_case(DataType type, RedOp op) {
    Case made{type, op, sample_elements(type, kSizeMax, 1), sample_elements(type, kSizeMax, 2), {}};
    made.expected = reference_reduce(made.a, made.b, type, op);
    return made;
}

std::string describe(const Case& c, size_t count, size_t offset) {
    return std::string(name_of(c.type)) + " " + name_of(c.op) + " of " + std::to_string(count) +
           " at offset " + std::to_string(offset);
}

void check_out_of_place(const Case& c, size_t count, size_t offset) {
    const size_t bytes = count * size_of(c.type);
    Placed a(c.a.data(), bytes, offset);
    Placed b(c.b.data(), bytes, (offset + 1) % 4);
    Placed dst(c.a.data(), bytes, (offset + 2) % 4);
    kernel::reduce(dst.data(), a.data(), b.data(), count, c.type, c.op);
    const bool inputs_kept = a.holds(c.a.data()) && b.holds(c.b.data());
    const bool right = dst.holds(c.expected.data()) && dst.guards_intact();
    if (!inputs_kept || !right) {
        FAIL("out of place: " << describe(c, count, offset));
    }
}

void check_in_place(const Case& c, size_t count, size_t offset) {
    const size_t bytes = count * size_of(c.type);
    Placed a(c.a.data(), bytes, offset);
    Placed b(c.b.data(), bytes, (offset + 3) % 4);
    kernel::reduce(a.data(), a.data(), b.data(), count, c.type, c.op);
    if (!a.holds(c.expected.data()) || !a.guards_intact() || !b.holds(c.b.data())) {
        FAIL("in place on a: " << describe(c, count, offset));
    }
    Placed again(c.a.data(), bytes, offset);
    kernel::reduce(b.data(), again.data(), b.data(), count, c.type, c.op);
    if (!b.holds(c.expected.data()) || !b.guards_intact() || !again.holds(c.a.data())) {
        FAIL("in place on b: " << describe(c, count, offset));
    }
}

void check_swapped(const Case& c) {
    Bytes dst(c.a.size());
    kernel::reduce(dst.data(), c.b.data(), c.a.data(), kSizeMax, c.type, c.op);
    if (dst != c.expected) {
        FAIL("operands swapped: " << describe(c, kSizeMax, 0));
    }
}

}  // namespace

TEST_CASE("reductions have the reference's bits on every instruction set", "[kernel]") {
    for (const DataType type : kAllTypes) {
        for (const RedOp op : kAllOps) {
            const Case c = make_case(type, op);
            for_each_instruction_set([&] {
                for (const size_t count : kSizes) {
                    for (size_t offset = 0; offset < 4; ++offset) {
                        check_out_of_place(c, count, offset);
                        check_in_place(c, count, offset);
                    }
                }
                check_swapped(c);
            });
            SUCCEED();
        }
    }
}

TEST_CASE("one buffer may be both operands and the result", "[kernel]") {
    for (const DataType type : kAllTypes) {
        const Bytes input = sample_elements(type, 77, 3);
        for (const RedOp op : kAllOps) {
            const Bytes expected = reference_reduce(input, input, type, op);
            for_each_instruction_set([&] {
                Bytes buffer = input;
                kernel::reduce(buffer.data(), buffer.data(), buffer.data(), 77, type, op);
                CHECK(buffer == expected);
            });
        }
    }
}

TEST_CASE("no elements need no memory", "[kernel]") {
    for (const DataType type : kAllTypes) {
        for (const RedOp op : kAllOps) {
            kernel::reduce(nullptr, nullptr, nullptr, 0, type, op);
        }
        kernel::finish_average(nullptr, 0, type, 3);
    }
    SUCCEED();
}

TEST_CASE("the instruction set has a name", "[kernel]") {
    CHECK(std::string(kernel::instruction_set()) != "");
    CHECK(std::string(kernel::instruction_set()) != "Unknown");
}

TEST_CASE("integers wrap around in the element type", "[kernel]") {
    for_each_instruction_set([] {
        const int8_t a8[] = {127, -128, 100, -1, 16, -128};
        const int8_t b8[] = {1, -1, 100, -1, 16, -128};
        int8_t r8[6];
        kernel::reduce(r8, a8, b8, 6, DataType::kInt8, RedOp::kSum);
        CHECK(std::vector<int>(r8, r8 + 6) == std::vector<int>{-128, 127, -56, -2, 32, 0});
        kernel::reduce(r8, a8, b8, 6, DataType::kInt8, RedOp::kProd);
        CHECK(std::vector<int>(r8, r8 + 6) == std::vector<int>{127, -128, 16, 1, 0, 0});

        const int64_t a64[] = {INT64_MAX, INT64_MIN, 0x100000001, -3};
        const int64_t b64[] = {1, -1, 0x100000001, 5};
        int64_t r64[4];
        kernel::reduce(r64, a64, b64, 4, DataType::kInt64, RedOp::kSum);
        CHECK(std::vector<int64_t>(r64, r64 + 4) ==
              std::vector<int64_t>{INT64_MIN, INT64_MAX, 0x200000002, 2});
        kernel::reduce(r64, a64, b64, 4, DataType::kInt64, RedOp::kProd);
        CHECK(std::vector<int64_t>(r64, r64 + 4) ==
              std::vector<int64_t>{INT64_MAX, INT64_MIN, 0x200000001, -15});
    });
}
