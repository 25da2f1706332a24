#include "core/slots.h"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/fault.h"

namespace pccl::core {
namespace {

constexpr size_t kAlignment = 64;

// The class index stands in the 64 bytes before the slot, so that give() needs only the pointer.
int class_of(const uint8_t* slot) {
    int index;
    std::memcpy(&index, slot - kAlignment, sizeof index);
    return index;
}

}  // namespace

SlotPool::~SlotPool() {
    for (auto& list : free_) {
        for (uint8_t* slot : list) std::free(slot - kAlignment);
    }
}

uint8_t* SlotPool::take(size_t bytes) {
    const size_t rounded = std::bit_ceil(bytes < 256 ? size_t{256} : bytes);
    const int index = std::countr_zero(rounded);
    PCCL_ASSERT(index < kClasses);
    if (PCCL_FAULT(kSlotMemory)) return nullptr;
    if (!free_[index].empty()) {
        uint8_t* slot = free_[index].back();
        free_[index].pop_back();
        bytes_free_ -= rounded;
        bytes_taken_ += rounded;
        return slot;
    }
    auto* block = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, rounded + kAlignment));
    if (block == nullptr) return nullptr;
    bytes_taken_ += rounded;
    std::memcpy(block, &index, sizeof index);
    return block + kAlignment;
}

void SlotPool::give(uint8_t* slot) {
    const int index = class_of(slot);
    const size_t bytes = size_t{1} << index;
    bytes_taken_ -= bytes;
    if (bytes_free_ + bytes > kFreeBytesMax) {
        std::free(slot - kAlignment);
        return;
    }
    bytes_free_ += bytes;
    free_[index].push_back(slot);
}

UndoCache::~UndoCache() {
    if (kept_ != nullptr) std::free(kept_ - kAlignment);
}

uint8_t* UndoCache::take(size_t bytes) {
    // A small operation does not borrow a large buffer, or the next large one would have to allocate.
    if (kept_ != nullptr && kept_bytes_ >= bytes && kept_bytes_ / 4 <= bytes) {
        kept_bytes_ = 0;
        return std::exchange(kept_, nullptr);
    }
    auto* block = static_cast<uint8_t*>(std::malloc(bytes + kAlignment));
    if (block == nullptr) return nullptr;
    std::memcpy(block, &bytes, sizeof bytes);
    return block + kAlignment;
}

void UndoCache::give(uint8_t* buffer) {
    size_t bytes;
    std::memcpy(&bytes, buffer - kAlignment, sizeof bytes);
    if (bytes > kKeptBytesMax || bytes <= kept_bytes_) {
        std::free(buffer - kAlignment);
        return;
    }
    if (kept_ != nullptr) std::free(kept_ - kAlignment);
    kept_ = buffer;
    kept_bytes_ = bytes;
}

}  // namespace pccl::core
