// The reference reduction agrees with hand-made values, and with the library's kernels.
#include <catch2/catch.hpp>

#include <cstring>
#include <vector>

#include "kernel/reduce.h"
#include "sim/payload.h"

using namespace pccl;
using namespace pccl::sim;

TEST_CASE("the reference equals the kernels for every type and operator") {
    for (DataType type : reference_types()) {
        for (int op = 0; op < kRedOpCount; ++op) {
            const Shape shape{37, type, static_cast<RedOp>(op)};
            const std::vector<uint64_t> keys = {11, 12, 13};
            std::vector<uint8_t> folded(shape.bytes()), input(shape.bytes());
            fill_input(folded, shape, keys[0]);
            for (size_t k = 1; k < keys.size(); ++k) {
                fill_input(input, shape, keys[k]);
                kernel::reduce(folded.data(), folded.data(), input.data(), shape.count, type, shape.op);
            }
            if (shape.op == RedOp::kAvg) kernel::finish_average(folded.data(), shape.count, type, 3);
            INFO(name_of(type) << " " << name_of(shape.op));
            CHECK(folded == expected_result(shape, keys));
        }
    }
}

TEST_CASE("the order of contributors does not matter") {
    for (DataType type : reference_types()) {
        for (int op = 0; op < kRedOpCount; ++op) {
            const Shape shape{20, type, static_cast<RedOp>(op)};
            INFO(name_of(type) << " " << name_of(shape.op));
            CHECK(expected_result(shape, {1, 2, 3, 4, 5, 6, 7, 8}) ==
                  expected_result(shape, {8, 3, 1, 7, 2, 6, 5, 4}));
        }
    }
}

TEST_CASE("a sum without elements is empty") {
    CHECK(expected_result({0, DataType::kFloat, RedOp::kSum}, {1, 2}).empty());
}
