// 128-bit identities. They are drawn by the driver from the operating system (by the simulator from its seed)
// and only compared, hashed and printed elsewhere.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

namespace pccl {

struct Id128 {
    std::array<uint8_t, 16> data{};

    auto operator<=>(const Id128&) const = default;
    bool is_zero() const { return *this == Id128{}; }

    /// 32 lower-case hexadecimal digits.
    std::string hex() const;
    /// The first 8 digits, for logs.
    std::string brief() const { return hex().substr(0, 8); }
};

/// A peer, for as long as it is in the run; never used again after an eviction.
struct MemberId : Id128 {
    auto operator<=>(const MemberId&) const = default;
};

/// All peers under one coordinator.
struct RunId : Id128 {
    auto operator<=>(const RunId&) const = default;
};

}  // namespace pccl

template <>
struct std::hash<pccl::MemberId> {
    size_t operator()(const pccl::MemberId& id) const noexcept {
        // The bits are random already, so any eight of them are a hash.
        uint64_t low;
        std::memcpy(&low, id.data.data(), sizeof low);
        return static_cast<size_t>(low);
    }
};
