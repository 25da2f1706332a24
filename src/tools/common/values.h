// Known data for checks: inputs that are a function of (a key of the member, the index), chosen so that every
// reduction of them is exact in its element type whatever the order of the additions. A pattern has a prime
// number of elements and is repeated over a buffer, so that filling and checking cost about as much as
// copying. Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "pccl/pccl.h"

namespace pccl::tools {

inline constexpr pcclDataType_t kAllTypes[] = {pcclInt8,    pcclUint8,    pcclInt16, pcclUint16,
                                               pcclInt32,   pcclUint32,   pcclInt64, pcclUint64,
                                               pcclFloat16, pcclBFloat16, pcclFloat, pcclDouble};
inline constexpr pcclRedOp_t kAllOps[] = {pcclSum, pcclProd, pcclMin, pcclMax, pcclAvg};

/// The names of nccl-tests: int8 ... uint64, half, bfloat16, float, double; sum, prod, min, max, avg.
const char* type_name(pcclDataType_t type);
const char* op_name(pcclRedOp_t op);
/// They also take fp16, bf16, fp32, float16 and the like.
bool parse_type(const std::string& name, pcclDataType_t* type);
bool parse_op(const std::string& name, pcclRedOp_t* op);

size_t element_bytes(pcclDataType_t type);

/// What is reduced, and among how many at most: that bounds the values, so that no sum is rounded.
struct ValueKind {
    pcclDataType_t type = pcclFloat;
    pcclRedOp_t op = pcclSum;
    uint32_t contributors_max = 1;
};

/// A well-mixed function of two numbers, for keys and choices.
uint64_t mix(uint64_t a, uint64_t b);

/// Elements that are repeated over a buffer.
class Pattern {
   public:
    static constexpr size_t kElements = 4099;  // prime

    /// The input of one member; only as many elements as `count` needs are computed.
    static Pattern input(const ValueKind& kind, uint64_t key, size_t count);
    /// The exact result of reducing the inputs with these keys.
    static Pattern expected(const ValueKind& kind, const std::vector<uint64_t>& keys, size_t count);

    /// One value everywhere.
    static Pattern constant(pcclDataType_t type, double value);

    void fill(void* buffer, size_t count) const;
    /// Elements of the buffer that differ from the pattern in any bit.
    uint64_t count_wrong(const void* buffer, size_t count) const;

   private:
    std::vector<uint8_t> bytes_;
    size_t element_bytes_ = 1;
};

/// A quick hash of a buffer, the same on all little-endian hosts.
uint64_t hash_bytes(const void* data, size_t bytes);

}  // namespace pccl::tools
