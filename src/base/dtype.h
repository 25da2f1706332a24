// Element types and reduction operators, with the values of the public C interface.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pccl {

enum class DataType : uint8_t {
    kUint8 = 0,
    kInt8 = 1,
    kInt16 = 2,
    kUint16 = 3,
    kUint32 = 4,
    kInt32 = 5,
    kUint64 = 6,
    kInt64 = 7,
    kFloat16 = 8,
    kBFloat16 = 9,
    kFloat = 10,
    kDouble = 11,
};
inline constexpr int kDataTypeCount = 12;

enum class RedOp : uint8_t { kSum = 0, kAvg = 1, kProd = 2, kMax = 3, kMin = 4 };
inline constexpr int kRedOpCount = 5;

constexpr bool is_valid(DataType type) { return static_cast<int>(type) < kDataTypeCount; }
constexpr bool is_valid(RedOp op) { return static_cast<int>(op) < kRedOpCount; }

/// Bytes of one element; 0 for a value outside the enumeration.
constexpr size_t size_of(DataType type) {
    switch (type) {
        case DataType::kUint8:
        case DataType::kInt8: return 1;
        case DataType::kInt16:
        case DataType::kUint16:
        case DataType::kFloat16:
        case DataType::kBFloat16: return 2;
        case DataType::kUint32:
        case DataType::kInt32:
        case DataType::kFloat: return 4;
        case DataType::kUint64:
        case DataType::kInt64:
        case DataType::kDouble: return 8;
    }
    return 0;
}

constexpr const char* name_of(DataType type) {
    constexpr const char* kNames[kDataTypeCount] = {"uint8",   "int8",     "int16",  "uint16",
                                                    "uint32",  "int32",    "uint64", "int64",
                                                    "float16", "bfloat16", "float",  "double"};
    return is_valid(type) ? kNames[static_cast<int>(type)] : "invalid";
}

constexpr const char* name_of(RedOp op) {
    constexpr const char* kNames[kRedOpCount] = {"sum", "avg", "prod", "max", "min"};
    return is_valid(op) ? kNames[static_cast<int>(op)] : "invalid";
}

}  // namespace pccl
