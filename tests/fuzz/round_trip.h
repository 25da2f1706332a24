// The decoders under test as lists of types, and what holds for each of them: what decodes is, but for
// extensions at its end, what it encodes to, and nothing shorter decodes.
#pragma once

#include <catch2/catch.hpp>

#include <algorithm>
#include <span>
#include <vector>

#include "core/coordinator.h"
#include "wire/messages.h"

namespace pccl::fuzz {

template <class... Messages>
struct Types {
    static constexpr size_t kCount = sizeof...(Messages);
};

using PeerMessages = Types<wire::Hello, wire::HelloAck, wire::Data, wire::Called, wire::Done, wire::Credit,
                           wire::Mismatch, wire::Heartbeat, wire::Relay, wire::Offer, wire::Pull>;
using CoordinatorMessages =
    Types<wire::Register, wire::Vote, wire::Withdraw, wire::Suspect, wire::RequestChange, wire::Frozen,
          wire::Linked, wire::Prepared, wire::Leave, wire::Welcome, wire::Refused, wire::Prepare,
          wire::Expect, wire::Propose, wire::Install, wire::VoteAnswer, wire::Pending, wire::Evicted,
          wire::Left, wire::Heartbeat, core::Record>;

template <class Message>
void round_trip(std::span<const uint8_t> body) {
    Message message;
    if (!wire::decode(body, message)) return;
    const std::vector<uint8_t> bytes = wire::encode(message);
    REQUIRE(bytes.size() <= body.size());
    REQUIRE(std::equal(bytes.begin(), bytes.end(), body.begin()));
    Message again;
    REQUIRE(wire::decode(bytes, again));
    REQUIRE(wire::encode(again) == bytes);
    for (const size_t cut : {size_t{1}, bytes.size() / 2}) {
        if (cut == 0 || cut > bytes.size()) continue;
        Message shorter;
        REQUIRE_FALSE(wire::decode(std::span(bytes).first(bytes.size() - cut), shorter));
    }
}

/// The first byte chooses the message.
template <class... Messages>
void round_trip_one(Types<Messages...>, std::span<const uint8_t> input) {
    if (input.empty()) return;
    const size_t chosen = input.front() % sizeof...(Messages);
    size_t index = 0;
    ((index++ == chosen ? round_trip<Messages>(input.subspan(1)) : void()), ...);
}

template <class Message>
bool decodes_as(wire::Type type, std::span<const uint8_t> body) {
    if constexpr (requires { Message::kType; }) {
        Message message;
        return Message::kType == type && wire::decode(body, message);
    }
    return false;
}

/// Whether a body is the message that its type says.
template <class... Messages>
bool decodes(Types<Messages...>, wire::Type type, std::span<const uint8_t> body) {
    return (decodes_as<Messages>(type, body) || ...);
}

}  // namespace pccl::fuzz
