// The frame: what every TCP connection of PCCL carries, between peers and to the coordinator.
//
//   preamble, 12 bytes: u16 magic, u8 type, u8 reserved (0), u32 body_bytes, u32 payload_bytes
//   body:               one encoded message of that type
//   payload:            tensor bytes, only behind a Data body; received straight into their place
//
// A connection's first frame is a hello, so that a port scanner, another protocol or another version is told
// apart before anything else is believed.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace pccl::wire {

inline constexpr uint16_t kMagic = 0xC1CC;
/// Raised with each incompatible change of the wire.
inline constexpr uint16_t kProtocolVersion = 1;

inline constexpr size_t kPreambleBytes = 12;
/// Largest body between peers.
inline constexpr uint32_t kPeerBodyBytesMax = 64 * 1024;
/// Largest body to or from the coordinator (an Install with the maps of many operations).
inline constexpr uint32_t kCoordinatorBodyBytesMax = 16 * 1024 * 1024;
/// Largest body before the hello was accepted.
inline constexpr uint32_t kHelloBodyBytesMax = 4096;
/// Largest payload of a data frame.
inline constexpr uint32_t kPayloadBytesMax = 64 * 1024 * 1024;

enum class Type : uint8_t {
    // Between peers; the first two open a lane.
    kHello = 1,
    kHelloAck = 2,
    kData = 3,
    kCalled = 4,
    kDone = 5,
    kCredit = 6,
    kMismatch = 7,
    kHeartbeat = 8,  // also to and from the coordinator
    kRelay = 9,
    kOffer = 10,
    kPull = 11,

    // Member to coordinator; the first opens the connection.
    kRegister = 32,
    kVote = 33,
    kWithdraw = 34,
    kSuspect = 35,
    kRequestChange = 36,
    kFrozen = 37,
    kLinked = 38,
    kPrepared = 39,
    kLeave = 40,
    kRecalled = 41,

    // Coordinator to member.
    kWelcome = 64,
    kRefused = 65,
    kPrepare = 66,
    kExpect = 67,
    kPropose = 68,
    kInstall = 69,
    kVoteAnswer = 70,
    kPending = 71,
    kEvicted = 72,
    kLeft = 73,
    kRecall = 74,
};

struct Preamble {
    Type type = Type::kHeartbeat;
    uint32_t body_bytes = 0;
    uint32_t payload_bytes = 0;
};

/// False if the magic or the reserved byte is wrong, or a length is beyond the limits given.
bool decode_preamble(std::span<const uint8_t, kPreambleBytes> in, uint32_t body_bytes_max, Preamble& out);
std::array<uint8_t, kPreambleBytes> encode_preamble(const Preamble& preamble);

}  // namespace pccl::wire
