// What the fuzzers of whole components are made to do: each event is one byte (modulo the count) and then its
// own choices. New ones go to the end, so that kept inputs mean the same.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pccl::fuzz {

enum class HandshakeEvent : uint8_t {
    kOpen,
    kHello,
    kNoiseHello,
    kFrame,
    kData,
    kBytes,
    kEndStream,
    kHangUp,
    kTime,
    kClose,
    kAnswer,
    kSendData,
    kCut,
    kRefuse,
};
inline constexpr size_t kHandshakeEvents = 14;

enum class MemberEvent : uint8_t {
    kTime,
    kLinkUp,
    kLinkDown,
    kConnectFailed,
    kCoordinatorUp,
    kCoordinatorDown,
    kPropose,
    kInstall,
    kNoiseOfCoordinator,
    kBytesOfCoordinator,
    kCalled,
    kDone,
    kOffer,
    kNoiseOfPeer,
    kBytesOfPeer,
    kData,
    kNoiseData,
    kLand,
    kPull,
    kSent,
    kReduce,
    kQuery,
    kSynchronize,
    kVote,
    kCancel,
    kForget,
    kLeave,
    kHeard,
    kAsk,
    kCalledKeeping,
};
inline constexpr size_t kMemberEvents = 30;

enum class CoordinatorEvent : uint8_t {
    kOpen,
    kRegister,
    kPrepared,
    kAnswer,
    kVote,
    kWithdraw,
    kLinked,
    kFrozen,
    kSuspect,
    kRequestChange,
    kLeave,
    kNoise,
    kBytes,
    kHangUp,
    kReturn,
    kTime,
    kRestart,
};
inline constexpr size_t kCoordinatorEvents = 17;

}  // namespace pccl::fuzz
