// XXH3 from the system's library; the only file that includes its header.
#include "kernel/hash.h"

#include <xxhash.h>

#include "base/check.h"

namespace pccl::kernel {

namespace {

Hash128 from_library(const XXH128_hash_t& hash) { return {hash.low64, hash.high64}; }

}  // namespace

Hash128 hash128(const void* data, size_t bytes) {
    PCCL_ASSERT(data != nullptr || bytes == 0);
    return from_library(XXH3_128bits(bytes == 0 ? "" : data, bytes));
}

void Hasher::Release::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

Hasher::Hasher() : state_(XXH3_createState()) { reset(); }
Hasher::~Hasher() = default;
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;

void Hasher::update(const void* data, size_t bytes) {
    PCCL_ASSERT(data != nullptr || bytes == 0);
    if (bytes == 0) {
        return;
    }
    PCCL_ASSERT(XXH3_128bits_update(state_.get(), data, bytes) == XXH_OK);
}

Hash128 Hasher::digest() const { return from_library(XXH3_128bits_digest(state_.get())); }

void Hasher::reset() {
    PCCL_ASSERT(state_ != nullptr);
    PCCL_ASSERT(XXH3_128bits_reset(state_.get()) == XXH_OK);
}

}  // namespace pccl::kernel
