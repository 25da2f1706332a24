// Names that messages share: terms, epochs, operations, descriptors, addresses. Limits of lists stand first.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "wire/codec.h"
#include "wire/frame.h"

namespace pccl::wire {

inline constexpr size_t kMembersMax = 1024;
inline constexpr size_t kEndpointsMax = 8;
inline constexpr size_t kDeadLinksMax = 4096;
inline constexpr size_t kOpsMax = 8192;
inline constexpr size_t kTagsMax = 65536 + 1024;
inline constexpr size_t kSegmentMapBytesMax = 16 * 1024;

// ---- names
// --------------------------------------------------------------------------------------------------------

/// A coordinator's time in office, ordered by (count, nonce).
struct Term {
    uint64_t count = 0;
    uint64_t nonce = 0;
    auto operator<=>(const Term&) const = default;
    template <class V>
    void visit(V& v) {
        v(count), v(nonce);
    }
};

/// A numbered, fixed member list of one peer group. Number 0 means none.
struct EpochId {
    Term term;
    uint64_t number = 0;
    auto operator<=>(const EpochId&) const = default;
    bool is_none() const { return number == 0; }
    std::string text() const { return std::to_string(term.count) + "." + std::to_string(number); }
    template <class V>
    void visit(V& v) {
        v.item(term), v(number);
    }
};

enum class OpKind : uint8_t { kReduce = 1, kPendingQuery = 2, kSharedState = 3 };
inline constexpr uint8_t kOpKindLast = 3;

/// The name of a collective. Sequence numbers count the calls of (kind, tag), from 1.
struct OpKey {
    OpKind kind = OpKind::kReduce;
    uint64_t tag = 0;
    uint64_t sequence = 0;
    auto operator<=>(const OpKey&) const = default;
    std::string text() const;
    template <class V>
    void visit(V& v) {
        v(kind), v(tag), v(sequence);
    }
};

/// What must be equal at all participants of a collective; sent whole, so that a difference can be named
/// exactly.
struct Descriptor {
    uint64_t count = 0;
    uint32_t segment_bytes = 0;
    uint8_t dtype = 0;
    uint8_t redop = 0;
    uint8_t codec = 0;  ///< 0: none
    uint8_t plan = 0;   ///< plan::Kind, resolved
    auto operator<=>(const Descriptor&) const = default;
    std::string text() const;
    template <class V>
    void visit(V& v) {
        v(count), v(segment_bytes), v(dtype), v(redop), v(codec), v(plan);
    }
};

/// An address that a peer can be reached at: a numeric address or a host name, and a port in host order.
struct Endpoint {
    std::string host;
    uint16_t port = 0;
    bool operator==(const Endpoint&) const = default;
    /// "host:port", "[v6]:port".
    std::string text() const {
        const bool six = host.find(':') != std::string::npos;
        return (six ? "[" + host + "]" : host) + ":" + std::to_string(port);
    }
    template <class V>
    void visit(V& v) {
        v.text(host), v(port);
    }
};

struct Peer {
    MemberId id;
    std::vector<Endpoint> endpoints;
    bool operator==(const Peer&) const = default;
    template <class V>
    void visit(V& v) {
        v(id), v.list(endpoints, kEndpointsMax);
    }
};

/// An unordered pair of members.
struct Pair {
    MemberId a, b;
    auto operator<=>(const Pair&) const = default;
    template <class V>
    void visit(V& v) {
        v(a), v(b);
    }
};

}  // namespace pccl::wire
