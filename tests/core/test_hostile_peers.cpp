// What a member does with frames of peers that lie, or are unlucky: each is refused or ignored, what it keeps
// is bounded, and no peer uses up what the others need.
#include <catch2/catch.hpp>

#include "rig.h"

using namespace pccl;
using namespace pccl::test;

namespace {

constexpr uint32_t kBudget = 4 << 20;

wire::Data partial(const Rig& rig, const wire::OpKey& key, uint32_t object = 0, size_t count = 64) {
    wire::Data header;
    header.epoch = rig.epoch;
    header.key = key;
    header.descriptor = rig.descriptor(count);
    header.phase = wire::Phase::kPartial;
    header.charge = wire::Charge::kEager;
    header.object = object;
    return header;
}

/// The peers of a group, each flooding with `frame` of a growing number until refused; how many were taken.
template <class Make>
size_t flood(Rig& rig, size_t peer, size_t frames, Make make) {
    for (size_t i = 0; i < frames; ++i) {
        if (!rig.hear(peer, make(i))) return i;
        rig.take();
    }
    return frames;
}

}  // namespace

TEST_CASE("a peer that claims to keep inputs of an attempt that just began loses its link") {
    Rig rig;
    rig.enter();
    rig.reduce();
    wire::Called called = rig.called(reduce_key(0, 1));
    called.kept = {1};
    REQUIRE_FALSE(rig.hear(0, called));
    called.kept.clear();
    REQUIRE(rig.hear(1, called));
}

TEST_CASE("an empty payload is refused") {
    Rig rig;
    rig.enter();
    REQUIRE(rig.data(0, partial(rig, reduce_key(0, 1)), 0).violation);
}

TEST_CASE("eager data beyond the budget is refused, and what came is given back when it is used up") {
    Rig rig;
    rig.enter();
    uint32_t taken = 0;
    for (uint32_t i = 0; i < 100; ++i) {
        const core::Place place = rig.data(0, partial(rig, reduce_key(i, 1)), 1 << 18);
        if (place.violation) break;
        taken += 1 << 18;
    }
    REQUIRE(taken == kBudget);
    REQUIRE(rig.member->holdings().slot_bytes == kBudget);
    // Another peer has a budget of its own.
    REQUIRE_FALSE(rig.data(1, partial(rig, reduce_key(0, 1)), 1 << 18).violation);
    // Small frames cost more than their bytes, as keeping them does.
    Rig other;
    other.enter();
    size_t frames = 0;
    while (frames < 100000 && !other.data(0, partial(other, reduce_key(0, 1)), 1).violation) ++frames;
    REQUIRE(frames == kBudget / 256);
    REQUIRE(other.member->holdings().slot_bytes <= kBudget);
}

TEST_CASE("slots beyond the allowance are refused") {
    Rig rig(4, 3, [](core::MemberConfig& config) { config.constants.plan = 2; });
    rig.enter();
    rig.reduce(0, 4096);
    // Operands of the last rank in a fold that the first has not opened wait in slots.
    size_t taken = 0;
    bool violation = false;
    for (uint32_t segment = 0; segment < 1024 && !violation; ++segment) {
        wire::Data header = partial(rig, reduce_key(0, 1), segment, 4096);
        header.charge = wire::Charge::kSlot;
        const core::Place place = rig.data(2, header, 64);
        violation = place.violation;
        if (place.data != nullptr) ++taken;
        if (violation && place.reason.find("credit") == std::string::npos) violation = false;
    }
    REQUIRE(violation);
    REQUIRE(taken <= 8);
    REQUIRE(rig.member->holdings().slot_bytes <= 8 * 256);
}

TEST_CASE("data that the operation does not expect is refused") {
    Rig rig;
    rig.enter();
    rig.reduce();
    const wire::OpKey key = reduce_key(0, 1);
    wire::Data header = partial(rig, key, 100000);
    REQUIRE(rig.data(0, header, 64).violation);  // a segment beyond the last
    header.object = 0;
    REQUIRE(rig.data(0, header, 63).violation);  // a size that is not the segment's
    header.offset = 4;
    REQUIRE(rig.data(0, header, 64).violation);
    header = partial(rig, key);
    header.charge = static_cast<wire::Charge>(9);
    REQUIRE(rig.data(0, header, 64).violation);
    header = partial(rig, key);
    header.phase = static_cast<wire::Phase>(9);
    REQUIRE(rig.data(0, header, 64).violation);
    header = partial(rig, key);
    header.phase = wire::Phase::kPulled;
    REQUIRE(rig.data(0, header, 64).violation);
    // For an operation that was not called here only eager operands make sense.
    header = partial(rig, reduce_key(1, 1));
    header.charge = wire::Charge::kNone;
    REQUIRE(rig.data(0, header, 64).violation);
    header = partial(rig, reduce_key(1, 1));
    header.phase = wire::Phase::kFinal;
    REQUIRE(rig.data(0, header, 64).violation);
}

TEST_CASE("data of a promised epoch must come on that epoch's eager credit") {
    Rig rig;
    rig.enter().propose();
    wire::Data header = partial(rig, reduce_key(0, 1));
    header.epoch = rig.promised;
    for (wire::Charge charge : {wire::Charge::kNone, wire::Charge::kSlot}) {
        header.charge = charge;
        REQUIRE(rig.data(0, header, 64).violation);
    }
    header.charge = wire::Charge::kEager;
    for (wire::Phase phase : {wire::Phase::kFinal, wire::Phase::kPulled}) {
        header.phase = phase;
        REQUIRE(rig.data(0, header, 64).violation);
    }
    header.phase = wire::Phase::kPartial;
    uint32_t taken = 0;
    while (taken <= kBudget && !rig.data(0, header, 1 << 18).violation) taken += 1 << 18;
    REQUIRE(taken == kBudget);
    // Once more after another proposal: the slots of the first are free again.
    rig.propose();
    REQUIRE(rig.member->holdings().slot_bytes == 0);
    REQUIRE(rig.member->holdings().future_frames == 0);
    // Data of the epoch that is over is neither kept nor a violation.
    header.epoch = rig.epoch;
    const core::Place old = rig.data(0, header, 64);
    REQUIRE((old.data == nullptr && !old.violation));
}

TEST_CASE("what was kept of a promised epoch and turns out invalid costs its sender the link") {
    Rig rig;
    rig.enter().propose();
    const wire::EpochId next = rig.promised;
    REQUIRE(rig.hear(0, wire::Called{next, reduce_key(3, 9), rig.descriptor(), {}}));
    REQUIRE(rig.hear(1, wire::Called{next, reduce_key(3, 1), rig.descriptor(), {}}));
    rig.take();
    rig.install();
    const auto actions = rig.take();
    std::vector<MemberId> closed;
    for (const core::Action& action : actions) {
        if (action.kind == core::Action::Kind::kCloseLink) closed.push_back(action.peer);
    }
    REQUIRE(closed == std::vector<MemberId>{rig.peer(0)});
    const auto suspicions = Rig::sent<wire::Suspect>(actions);
    REQUIRE(suspicions.size() == 1);
    REQUIRE(suspicions[0].peer == rig.peer(0));
}

TEST_CASE("a flood of frames of a promised epoch leaves room for the other peers") {
    Rig rig(4);
    rig.enter().propose();
    const auto call = [&](size_t i) {
        return wire::Called{rig.promised, reduce_key(i, 1), rig.descriptor(), {}};
    };
    REQUIRE(flood(rig, 0, 1 << 20, call) < 65536);
    const size_t taken = rig.member->holdings().future_frames;
    REQUIRE(taken < 65536);
    REQUIRE(flood(rig, 1, 4096, call) == 4096);
    REQUIRE(flood(rig, 2, 4096, call) == 4096);
    REQUIRE(rig.member->holdings().future_bytes < 64 << 20);
}

TEST_CASE("a flood of calls of absurd tags is bounded and leaves room for the other peers") {
    Rig rig(4);
    rig.enter();
    const auto call = [&](size_t i) { return rig.called(reduce_key(i * 0x9e3779b97f4a7c15ull, 1)); };
    REQUIRE(flood(rig, 0, 100000, call) < wire::kOpsMax);
    REQUIRE(rig.member->holdings().operations < wire::kOpsMax);
    REQUIRE(flood(rig, 1, 2048, [&](size_t i) { return rig.called(reduce_key(i, 1)); }) == 2048);
    const auto done = [&](size_t i) {
        return wire::Done{rig.epoch, reduce_key(1000000 + i, 1), rig.descriptor(), 15, ~0u};
    };
    REQUIRE(flood(rig, 2, 100000, done) >= 2048);
    REQUIRE(rig.member->holdings().operations < 2 * wire::kOpsMax);
    // All of it is forgotten with the epoch.
    rig.propose().install();
    REQUIRE(rig.member->holdings().operations == 0);
    REQUIRE(flood(rig, 0, 2048, call) == 2048);
}

TEST_CASE("operations that this member calls do not count for the peer that was first to speak of them") {
    Rig rig;
    rig.enter();
    for (uint64_t tag = 0; tag < 10000; ++tag) {
        REQUIRE(rig.hear(0, rig.called(reduce_key(tag % 8, tag / 8 + 1))));
        rig.reduce(tag % 8);
        REQUIRE(rig.hear(0, rig.mismatch(reduce_key(tag % 8, tag / 8 + 1), 0, 1)));
        for (const core::Action& action : rig.take()) {
            if (action.kind == core::Action::Kind::kCompleted) rig.member->forget(action.ticket);
        }
    }
    REQUIRE(rig.member->holdings().operations == 0);
}

TEST_CASE("a peer may be ahead in as many operations as this member follows") {
    Rig rig(2);
    rig.enter();
    for (uint64_t tag = 0; tag < 7000; ++tag) {
        REQUIRE(rig.hear(0, rig.called(reduce_key(tag, 1), 1)));
        rig.reduce(tag, 1);
    }
    REQUIRE(rig.member->holdings().operations == 7000);
}

TEST_CASE("names that no operation can have are refused") {
    Rig rig;
    rig.enter();
    for (const wire::OpKey& key :
         {reduce_key(0, 0), reduce_key(0, 3), reduce_key(0, ~0ull), reduce_key(7, (1ull << 62) + 1),
          wire::OpKey{wire::OpKind::kPendingQuery, 1, 1}, wire::OpKey{wire::OpKind::kSharedState, 9, 1},
          wire::OpKey{static_cast<wire::OpKind>(0), 0, 1},
          wire::OpKey{static_cast<wire::OpKind>(99), 0, 1}}) {
        INFO(key.text());
        REQUIRE_FALSE(rig.hear(0, rig.called(key)));
        REQUIRE_FALSE(rig.hear(0, wire::Done{rig.epoch, key, rig.descriptor(), 0, 0}));
        REQUIRE_FALSE(rig.hear(0, rig.mismatch(key, 0, 1)));
        REQUIRE(rig.data(0, partial(rig, key), 64).violation);
    }
    REQUIRE_FALSE(rig.hear(0, wire::Done{rig.epoch, reduce_key(0, 1), rig.descriptor(), 16, 0}));
    REQUIRE(rig.member->holdings().operations == 0);
}

TEST_CASE(
    "a mismatch must be told by one of the two, between two members, and not contradict what is known") {
    Rig rig(4);
    rig.enter();
    const wire::OpKey key = reduce_key(0, 1);
    REQUIRE_FALSE(rig.hear(0, rig.mismatch(key, 1, 2)));  // not the sender
    REQUIRE_FALSE(rig.hear(0, rig.mismatch(key, 0, 0)));
    wire::Mismatch message = rig.mismatch(key, 0, 1);
    message.second_member = member_id(77);
    REQUIRE_FALSE(rig.hear(0, message));
    message = rig.mismatch(key, 0, 1);
    message.second = message.first;
    REQUIRE_FALSE(rig.hear(0, message));
    REQUIRE_FALSE(rig.hear(0, rig.mismatch(key, 0, 3)));  // this member has called nothing
    const core::Ticket ticket = rig.reduce();
    REQUIRE_FALSE(rig.hear(0, rig.mismatch(key, 0, 3)));  // and now something else
    REQUIRE(rig.member->result(ticket) == nullptr);
    REQUIRE(rig.hear(0, rig.mismatch(key, 0, 1)));
    REQUIRE(rig.code(ticket) == Code::MISMATCH);
}

TEST_CASE("a flood of mismatches is bounded and leaves room for the other peers") {
    Rig rig(4);
    rig.enter();
    const auto absurd = [&](size_t i) { return rig.mismatch(reduce_key(i * 12345677, 1), 0, 1); };
    REQUIRE(flood(rig, 0, 100000, absurd) < 4096);
    REQUIRE(flood(rig, 1, 1000, [&](size_t i) { return rig.mismatch(reduce_key(i + 1, 1), 1, 2); }) == 1000);
    REQUIRE(rig.member->holdings().reports <= 5096);
    // The same tag again and again, in many epochs: still bounded, and the answer to a proposal decodes.
    for (int epoch = 0; epoch < 10; ++epoch) {
        flood(rig, 0, 4000, [&](size_t i) {
            return rig.mismatch(reduce_key(1ull << 40 | static_cast<uint64_t>(epoch), i + 1), 0, 1);
        });
        rig.propose();
        const auto answers = rig.sent<wire::Frozen>();
        REQUIRE(answers.size() == 1);
        REQUIRE(wire::encode(answers[0]).size() < wire::kCoordinatorBodyBytesMax);
        rig.install();
    }
    REQUIRE(rig.member->holdings().reports <= wire::kOpsMax);
}

TEST_CASE("credit that is not owed is refused") {
    Rig rig;
    rig.enter();
    REQUIRE_FALSE(rig.hear(0, wire::Credit{rig.epoch, 1, 0}));
    REQUIRE_FALSE(rig.hear(0, wire::Credit{rig.epoch, 0, 1}));
    REQUIRE_FALSE(rig.hear(0, wire::Credit{rig.epoch, ~0ull, ~0u}));
    REQUIRE(rig.hear(0, wire::Credit{rig.epoch, 0, 0}));
}

TEST_CASE("a relayed frame must come from the relay of a dead link, and only its frame counts") {
    Rig rig(4, 3);
    rig.prepare().link_all().propose();
    wire::Install message = rig.install_message();
    message.dead_links = {{rig.peer(2), rig.id()}};
    rig.install(message);
    rig.take();
    const auto relay = [&](size_t from, const wire::OpKey& key) {
        wire::Relay out;
        out.epoch = rig.epoch;
        out.from = rig.peer(from);
        out.to = rig.id();
        out.type = wire::Type::kCalled;
        out.body = wire::encode(rig.called(key));
        return out;
    };
    REQUIRE_FALSE(rig.hear(0, relay(1, reduce_key(1, 1))));  // its author is linked to this member
    REQUIRE_FALSE(rig.hear(0, relay(0, reduce_key(1, 1))));  // and this one is the relay itself
    REQUIRE_FALSE(rig.hear(1, relay(2, reduce_key(1, 1))));  // not the relay of this pair
    wire::Relay stranger = relay(2, reduce_key(1, 1));
    stranger.from = member_id(99);
    REQUIRE_FALSE(rig.hear(0, stranger));
    wire::Relay own = relay(2, reduce_key(1, 1));
    own.from = rig.id();
    REQUIRE_FALSE(rig.hear(0, own));
    wire::Relay nested = relay(2, reduce_key(1, 1));
    nested.type = wire::Type::kRelay;
    nested.body = wire::encode(relay(2, reduce_key(1, 1)));
    REQUIRE_FALSE(rig.hear(0, nested));
    nested.type = wire::Type::kData;
    REQUIRE_FALSE(rig.hear(0, nested));
    REQUIRE(rig.member->holdings().operations == 0);
    REQUIRE(rig.hear(0, relay(2, reduce_key(1, 1))));
    REQUIRE(rig.member->holdings().operations == 1);
    // What its author gets wrong is not the relay's fault.
    REQUIRE(rig.hear(0, relay(2, reduce_key(1, 50))));
    wire::Relay rubbish = relay(2, reduce_key(1, 1));
    rubbish.body.resize(5);
    REQUIRE(rig.hear(0, rubbish));
}

TEST_CASE("only what its receiver accepts is forwarded, so that a peer cannot break others' links") {
    Rig rig(4, 0);
    rig.prepare().link_all().propose();
    wire::Install message = rig.install_message();
    message.dead_links = {{rig.peer(2), rig.peer(3)}};
    rig.install(message);
    rig.take();
    wire::Relay relay;
    relay.epoch = rig.epoch;
    relay.from = rig.peer(2);
    relay.to = rig.peer(3);
    relay.type = wire::Type::kCalled;
    relay.body = wire::encode(rig.called(reduce_key(0, 1)));
    REQUIRE(rig.hear(2, relay));
    REQUIRE(rig.sent<wire::Relay>().size() == 1);
    wire::Relay linked = relay;
    linked.to = rig.peer(1);  // the two have a link of their own
    REQUIRE_FALSE(rig.hear(2, linked));
    wire::Relay self = relay;
    self.to = rig.peer(2);
    REQUIRE_FALSE(rig.hear(2, self));
    wire::Relay forged = relay;
    REQUIRE_FALSE(rig.hear(1, forged));
    wire::Relay stranger = relay;
    stranger.to = member_id(99);
    REQUIRE_FALSE(rig.hear(2, stranger));
    REQUIRE(rig.sent<wire::Relay>().empty());
}

TEST_CASE("offers and pulls of a shared state are checked before the call and after it") {
    Rig rig;
    rig.enter();
    wire::Offer offer;
    offer.epoch = rig.epoch;
    offer.key = {wire::OpKind::kSharedState, 0, 1};
    offer.strategy = 3;
    REQUIRE_FALSE(rig.hear(0, offer));
    offer.strategy = 0;
    offer.key.kind = wire::OpKind::kReduce;
    REQUIRE_FALSE(rig.hear(0, offer));
    offer.key.kind = wire::OpKind::kSharedState;
    REQUIRE(rig.hear(0, offer));
    REQUIRE(rig.hear(0, offer));
    wire::Pull pull;
    pull.epoch = rig.epoch;
    pull.key = offer.key;
    pull.bytes = 16;
    REQUIRE_FALSE(rig.hear(0, pull));  // not called here
    std::vector<uint8_t> content(1000, 1);
    core::SyncCall call;
    call.tensors.push_back({"t", content.data(), content.size(), DataType::kUint8, false, {}});
    core::Ticket ticket = 0;
    REQUIRE(rig.member->synchronize(rig.now, call, &ticket).ok());
    for (auto [object, offset, bytes] : {std::array<uint64_t, 3>{2, 0, 1},
                                         {1, 0, 0},
                                         {1, 0, 1001},
                                         {1, 1000, 1},
                                         {1, ~0ull, 2},
                                         {1, 1, ~0ull}}) {
        pull.object = static_cast<uint32_t>(object);
        pull.offset = offset;
        pull.bytes = bytes;
        REQUIRE_FALSE(rig.hear(0, pull));
    }
    pull.object = 1;
    pull.offset = 0;
    pull.bytes = 1000;
    REQUIRE(flood(rig, 0, 1000, [&](size_t) { return pull; }) == 64);
    // Nothing was asked for, so nothing may come.
    wire::Data header;
    header.epoch = rig.epoch;
    header.key = offer.key;
    header.phase = wire::Phase::kPulled;
    header.object = 1;
    REQUIRE(rig.data(0, header, 1000).violation);
}

TEST_CASE("frames of peers that are no members, of other epochs and of types that peers do not send") {
    Rig rig;
    rig.enter();
    REQUIRE_FALSE(rig.hear(0, wire::Vote{}));
    REQUIRE_FALSE(rig.member->peer_frame(rig.now, rig.peer(0), wire::Type::kCalled, {}));
    wire::Called other = rig.called(reduce_key(0, 1));
    other.epoch.number += 5;
    REQUIRE(rig.hear(0, other));
    rig.member->link_up(rig.now, member_id(99), 1);
    REQUIRE(rig.member->peer_frame(rig.now, member_id(99), wire::Type::kCalled,
                                   wire::encode(rig.called(reduce_key(0, 1)))));
    REQUIRE(rig.member->holdings().operations == 0);
}

TEST_CASE("hellos are judged by version, ends and run") {
    Rig rig;
    rig.enter();
    wire::Hello hello;
    hello.run = rig.run;
    hello.from = rig.peer(0);
    hello.to = rig.id();
    REQUIRE(rig.member->judge_hello(hello).accepted);
    wire::Hello other = hello;
    other.version = wire::kProtocolVersion + 1;
    REQUIRE_FALSE(rig.member->judge_hello(other).accepted);
    REQUIRE(rig.member->judge_hello(other).reason.find("version") != std::string::npos);
    other = hello;
    other.to = rig.peer(1);
    REQUIRE_FALSE(rig.member->judge_hello(other).accepted);
    other = hello;
    other.from = rig.id();  // nobody else speaks for this member
    REQUIRE_FALSE(rig.member->judge_hello(other).accepted);
    REQUIRE_FALSE(rig.member->judge_hello(other).retry);
    other = hello;
    other.from = member_id(99);
    REQUIRE(rig.member->judge_hello(other).retry);
    other = hello;
    other.run = {};
    REQUIRE_FALSE(rig.member->judge_hello(other).accepted);
    rig.member->abandon(rig.now, {Code::INTERNAL_ERROR, "the end"});
    REQUIRE_FALSE(rig.member->judge_hello(hello).accepted);
}
