// Structs of the C interface that grow at their end: caller and library may have been compiled with different
// lengths.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <type_traits>

namespace pccl {

/// sizeof the struct when the field at this offset was its last.
template <class Struct>
constexpr size_t bytes_up_to(size_t last_offset, size_t last_bytes) {
    return (last_offset + last_bytes + alignof(Struct) - 1) / alignof(Struct) * alignof(Struct);
}

/// Copies what both sides know: of a longer struct the fields that are known here, of a shorter one those
/// that it has. The rest of `out` stays as it is.
template <class Struct>
void copy_common(const void* from, size_t from_bytes, Struct* out) {
    static_assert(std::is_trivially_copyable_v<Struct>);
    std::memcpy(static_cast<void*>(out), from, std::min(from_bytes, sizeof(Struct)));
}

}  // namespace pccl
