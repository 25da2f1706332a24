// Inputs of reductions, made so that every order of folding gives the same bits, and the exact result to
// compare with. Written without the kernels of the library, so that a fault of theirs does not hide.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/dtype.h"

namespace pccl::sim {

/// What a reduction is about, without the buffers.
struct Shape {
    uint64_t count = 0;
    DataType dtype = DataType::kFloat;
    RedOp op = RedOp::kSum;
    bool operator==(const Shape&) const = default;
    uint64_t bytes() const { return count * size_of(dtype); }
};

/// Types that the reference knows: all but the 16-bit floats.
const std::vector<DataType>& reference_types();

/// The input that belongs to `key`.
void fill_input(std::span<uint8_t> out, const Shape& shape, uint64_t key);

/// The reduction of the inputs of `keys`, averages divided by their number.
std::vector<uint8_t> expected_result(const Shape& shape, const std::vector<uint64_t>& keys);

}  // namespace pccl::sim
