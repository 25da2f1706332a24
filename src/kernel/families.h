// Inside the kernel room: one entry point for each family of element types, each dispatching on the
// instruction set. Splitting by family keeps every translation unit, compiled once per instruction set,
// small.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace pccl::kernel {

/// Operands of one reduction as bytes, so that no typed pointer to unaligned memory is ever formed.
struct Operands {
    uint8_t* dst;
    const uint8_t* a;
    const uint8_t* b;
    size_t bytes;
};

void reduce_integers(const Operands& operands, DataType type, RedOp op);
void reduce_floats(const Operands& operands, DataType type, RedOp op);
void reduce_halves(const Operands& operands, DataType type, RedOp op);

void average_integers(uint8_t* data, size_t bytes, DataType type, uint32_t contributors);
void average_floats(uint8_t* data, size_t bytes, DataType type, uint32_t contributors);

}  // namespace pccl::kernel
