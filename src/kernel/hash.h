// 128-bit content hashes (XXH3, without a seed), for comparing tensors and digests between members.
//
// Not a cryptographic hash: it detects differences, not forgeries. The value is a pair of numbers that is the
// same on every platform; whoever puts it on a wire chooses the byte order. A Hasher belongs to one thread at
// a time.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>

struct XXH3_state_s;

namespace pccl::kernel {

struct Hash128 {
    uint64_t low = 0;
    uint64_t high = 0;

    friend auto operator<=>(const Hash128&, const Hash128&) = default;
};

/// The hash of `bytes` bytes; `data` may be null when there are none.
Hash128 hash128(const void* data, size_t bytes);

/// The same hash of data that arrives in pieces; how it is cut does not matter.
class Hasher {
   public:
    Hasher();
    ~Hasher();
    Hasher(Hasher&&) noexcept;
    Hasher& operator=(Hasher&&) noexcept;

    /// `data` may be null when `bytes` is 0.
    void update(const void* data, size_t bytes);

    /// The hash of everything since construction or the last reset; more may follow.
    Hash128 digest() const;

    /// Forgets everything.
    void reset();

   private:
    struct Release {
        void operator()(XXH3_state_s* state) const;
    };

    std::unique_ptr<XXH3_state_s, Release> state_;
};

}  // namespace pccl::kernel
