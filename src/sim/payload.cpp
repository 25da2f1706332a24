#include "sim/payload.h"

#include <cstring>
#include <type_traits>

#include "sim/random.h"

namespace pccl::sim {

namespace {

// Small whole numbers: exact in every type, and so are their sums and products over a group.
template <class T>
T element(RedOp op, Random& random) {
    if (op == RedOp::kProd) return static_cast<T>(1 + random.below(2));
    if constexpr (std::is_floating_point_v<T>) {
        return static_cast<T>(random.between(-500, 500));
    } else {
        return static_cast<T>(random.next());
    }
}

template <class T>
T fold(RedOp op, T a, T b) {
    if constexpr (std::is_integral_v<T>) {
        using U = std::make_unsigned_t<T>;
        // Sums and products wrap around.
        if (op == RedOp::kSum || op == RedOp::kAvg)
            return static_cast<T>(static_cast<U>(static_cast<U>(a) + static_cast<U>(b)));
        if (op == RedOp::kProd) {
            return static_cast<T>(
                static_cast<U>(static_cast<uint64_t>(static_cast<U>(a)) * static_cast<U>(b)));
        }
    } else {
        if (op == RedOp::kSum || op == RedOp::kAvg) return a + b;
        if (op == RedOp::kProd) return a * b;
    }
    return op == RedOp::kMax ? (a < b ? b : a) : (b < a ? b : a);
}

template <class F>
auto with_type(DataType type, F&& f) {
    switch (type) {
        case DataType::kUint8: return f(uint8_t{});
        case DataType::kInt8: return f(int8_t{});
        case DataType::kInt16: return f(int16_t{});
        case DataType::kUint16: return f(uint16_t{});
        case DataType::kUint32: return f(uint32_t{});
        case DataType::kInt32: return f(int32_t{});
        case DataType::kUint64: return f(uint64_t{});
        case DataType::kInt64: return f(int64_t{});
        case DataType::kDouble: return f(double{});
        default: return f(float{});
    }
}

template <class T>
void fold_inputs(const Shape& shape, const std::vector<uint64_t>& keys, std::vector<uint8_t>& out) {
    std::vector<uint8_t> input(shape.bytes());
    for (size_t k = 0; k < keys.size(); ++k) {
        fill_input(k == 0 ? out : input, shape, keys[k]);
        if (k == 0) continue;
        for (uint64_t i = 0; i < shape.count; ++i) {
            T a, b;
            std::memcpy(&a, out.data() + i * sizeof(T), sizeof(T));
            std::memcpy(&b, input.data() + i * sizeof(T), sizeof(T));
            a = fold<T>(shape.op, a, b);
            std::memcpy(out.data() + i * sizeof(T), &a, sizeof(T));
        }
    }
    if (shape.op != RedOp::kAvg || keys.empty()) return;
    for (uint64_t i = 0; i < shape.count; ++i) {
        T value;
        std::memcpy(&value, out.data() + i * sizeof(T), sizeof(T));
        if constexpr (std::is_floating_point_v<T>) {
            value = value / static_cast<T>(keys.size());
        } else if constexpr (std::is_signed_v<T>) {
            value = static_cast<T>(static_cast<int64_t>(value) / static_cast<int64_t>(keys.size()));
        } else {
            value = static_cast<T>(static_cast<uint64_t>(value) / keys.size());
        }
        std::memcpy(out.data() + i * sizeof(T), &value, sizeof(T));
    }
}

}  // namespace

const std::vector<DataType>& reference_types() {
    static const std::vector<DataType> kTypes = {
        DataType::kFloat, DataType::kInt32,  DataType::kDouble, DataType::kUint8,  DataType::kInt8,
        DataType::kInt16, DataType::kUint16, DataType::kUint32, DataType::kUint64, DataType::kInt64};
    return kTypes;
}

void fill_input(std::span<uint8_t> out, const Shape& shape, uint64_t key) {
    Random random(key);
    with_type(shape.dtype, [&](auto zero) {
        using T = decltype(zero);
        for (uint64_t i = 0; i < shape.count; ++i) {
            const T value = element<T>(shape.op, random);
            std::memcpy(out.data() + i * sizeof(T), &value, sizeof(T));
        }
    });
}

std::vector<uint8_t> expected_result(const Shape& shape, const std::vector<uint64_t>& keys) {
    std::vector<uint8_t> out(shape.bytes());
    with_type(shape.dtype, [&](auto zero) { fold_inputs<decltype(zero)>(shape, keys, out); });
    return out;
}

}  // namespace pccl::sim
