// Element-wise reductions over plain memory, for each element type and operator of the public interface.
//
// Pure functions on the caller's thread: no state, no allocation, callable from any number of threads. The
// widest instruction set of the machine is chosen at run time, and the result is bit for bit the same on each
// of them and for either order of the two operands: members with different machines that fold the same inputs
// hold equal bits.
//
// Arithmetic:
// - Integer sums and products wrap around in the element type.
// - float and double follow IEEE 754, rounding to nearest even, with subnormals kept: a calling thread that
// flushes
//   them to zero (as some numerical programs do) has its mode set aside for the duration of the call.
// - float16 and bfloat16 are folded pairwise: both operands are widened to float, folded, and rounded to
// nearest even.
// - A result that is not a number is always the one canonical quiet NaN of its type, positive and with an
// empty
//   payload: 0x7fc00000, 0x7ff8000000000000, 0x7e00 (float16), 0x7fc0 (bfloat16). Max and min return it as
//   soon as either operand is one.
// - max(+0, -0) is +0 and min(+0, -0) is -0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace pccl::kernel {

/// The largest number of contributors that `finish_average` divides by.
inline constexpr uint32_t kContributorsMax = 65535;

/// dst[i] = a[i] op b[i] for `count` elements. `dst` may be `a` or `b` itself; other overlaps are not
/// allowed. No pointer needs any alignment. kAvg folds as kSum; `finish_average` divides once everything is
/// folded.
void reduce(void* dst, const void* a, const void* b, size_t count, DataType type, RedOp op);

/// data[i] = data[i] / contributors, for 1 to kContributorsMax contributors. Integers round towards zero.
/// Floats are divided truly (not multiplied by a reciprocal). float16 and bfloat16 are divided as float and
/// then rounded to nearest even, which below 4096 contributors equals the exact quotient rounded once.
void finish_average(void* data, size_t count, DataType type, uint32_t contributors);

/// The name of the instruction set that was chosen at run time, for logs.
const char* instruction_set();

}  // namespace pccl::kernel
