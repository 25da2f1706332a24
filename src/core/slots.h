// Buffers for data that cannot land in its final place yet: operands to be folded, and data of operations
// that were not called yet. Bounded by the credits that peers get, never by what a peer claims. Also the
// cache of undo buffers.
//
// Guarded by the owner of the member, like everything in the core.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pccl::core {

/// Hands out 64-byte aligned buffers in power-of-two classes and keeps a bounded number of free ones, so that
/// no chunk costs an allocation.
class SlotPool {
   public:
    SlotPool() = default;
    ~SlotPool();
    SlotPool(const SlotPool&) = delete;
    SlotPool& operator=(const SlotPool&) = delete;

    /// Null when there is no memory.
    uint8_t* take(size_t bytes);
    void give(uint8_t* slot);

    size_t bytes_taken() const { return bytes_taken_; }

   private:
    static constexpr int kClasses = 40;
    static constexpr size_t kFreeBytesMax = 16 << 20;

    std::array<std::vector<uint8_t*>, kClasses> free_;
    size_t bytes_taken_ = 0;
    size_t bytes_free_ = 0;
};

/// Copies of in-place operands, S bytes each. The last one given back is kept when it is not too large,
/// because fresh pages cost about as much as the copy itself.
class UndoCache {
   public:
    UndoCache() = default;
    ~UndoCache();
    UndoCache(const UndoCache&) = delete;
    UndoCache& operator=(const UndoCache&) = delete;

    /// Null when there is no memory.
    uint8_t* take(size_t bytes);
    void give(uint8_t* buffer);

   private:
    static constexpr size_t kKeptBytesMax = 256 << 20;

    uint8_t* kept_ = nullptr;
    size_t kept_bytes_ = 0;
};

}  // namespace pccl::core
