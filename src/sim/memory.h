// The memory of a program: buffers with guarded ends that are overwritten the moment a call on them has
// ended, as the next training step would, and that nobody else may touch from then on.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace pccl::sim {

class Buffer {
   public:
    explicit Buffer(size_t capacity) : storage_(capacity + 2 * kGuardBytes, kPoison) {}

    size_t capacity() const { return storage_.size() - 2 * kGuardBytes; }
    uint8_t* data() { return storage_.data() + kGuardBytes; }
    std::span<uint8_t> bytes(size_t count) { return {data(), count}; }

    /// Fills the whole buffer, guards included.
    void poison() { storage_.assign(storage_.size(), kPoison); }
    /// Nothing was written beyond the first `used` bytes.
    bool intact_beyond(size_t used) const {
        for (size_t i = 0; i < storage_.size(); ++i) {
            if ((i < kGuardBytes || i >= kGuardBytes + used) && storage_[i] != kPoison) return false;
        }
        return true;
    }

   private:
    static constexpr size_t kGuardBytes = 32;
    static constexpr uint8_t kPoison = 0xDB;
    std::vector<uint8_t> storage_;
};

/// Buffers of one process, used again as soon as they are free.
class Memory {
   public:
    /// Null-free; `*was_intact` tells whether a buffer that lay idle still held its poison.
    Buffer* take(size_t bytes, bool* was_intact) {
        *was_intact = true;
        for (size_t i = 0; i < idle_.size(); ++i) {
            if (idle_[i]->capacity() < bytes) continue;
            Buffer* buffer = idle_[i];
            idle_.erase(idle_.begin() + static_cast<std::ptrdiff_t>(i));
            *was_intact = buffer->intact_beyond(0);
            return buffer;
        }
        all_.push_back(std::make_unique<Buffer>(bytes));
        return all_.back().get();
    }
    void give(Buffer* buffer) {
        buffer->poison();
        idle_.push_back(buffer);
    }
    bool idle_intact() const {
        for (const Buffer* buffer : idle_) {
            if (!buffer->intact_beyond(0)) return false;
        }
        return true;
    }

   private:
    std::vector<std::unique_ptr<Buffer>> all_;
    std::vector<Buffer*> idle_;
};

}  // namespace pccl::sim
