// Encoding: every message survives a round trip, and no bytes whatever make a decoder read or allocate beyond
// them.
#include <catch2/catch.hpp>
#include <random>

#include "wire/messages.h"

using namespace pccl;
using namespace pccl::wire;

namespace {

MemberId id(uint8_t fill) {
    MemberId out;
    out.data.fill(fill);
    return out;
}

Install sample_install() {
    Install m;
    m.term = {3, 99};
    m.id = {m.term, 17};
    m.members = {{id(1), {{"10.0.0.1", 48149}, {"::1", 1}}}, {id(2), {{"host.example", 65535}}}};
    m.dead_links = {{id(1), id(2)}};
    m.constants = {1, 2, 262144};
    Decision d;
    d.key = {OpKind::kReduce, 1ull << 63, 5};
    d.verdict = Verdict::kFinish;
    d.redo = true;
    d.finals = {{id(2), {0xff, 0x01}}};
    d.text = "because";
    m.decisions = {d};
    m.counters = {{OpKind::kSharedState, 0, 12}};
    m.next_revision = 7;
    m.boundary = true;
    m.globals = {4, 2, 3};
    return m;
}

template <class Message>
void survive(const std::vector<uint8_t>& bytes) {
    Message message;
    (void)decode(bytes, message);
}

void survive_all(const std::vector<uint8_t>& bytes) {
    survive<Hello>(bytes), survive<HelloAck>(bytes), survive<Data>(bytes), survive<Called>(bytes),
        survive<Done>(bytes);
    survive<Credit>(bytes), survive<Mismatch>(bytes), survive<Relay>(bytes), survive<Offer>(bytes),
        survive<Pull>(bytes);
    survive<Register>(bytes), survive<Vote>(bytes), survive<Suspect>(bytes), survive<Frozen>(bytes),
        survive<Linked>(bytes);
    survive<Prepared>(bytes), survive<Welcome>(bytes), survive<Refused>(bytes), survive<Prepare>(bytes),
        survive<Expect>(bytes);
    survive<Propose>(bytes), survive<Install>(bytes), survive<VoteAnswer>(bytes), survive<Pending>(bytes);
}

}  // namespace

TEST_CASE("a message survives the round trip") {
    const Install before = sample_install();
    Install after;
    REQUIRE(decode(encode(before), after));
    REQUIRE(after.id == before.id);
    REQUIRE(after.members == before.members);
    REQUIRE(after.dead_links == before.dead_links);
    REQUIRE(after.decisions == before.decisions);
    REQUIRE(after.counters == before.counters);
    REQUIRE(after.globals == before.globals);
    REQUIRE(encode(after) == encode(before));
}

TEST_CASE("every truncation of a message is refused") {
    const std::vector<uint8_t> whole = encode(sample_install());
    for (size_t n = 0; n < whole.size(); ++n) {
        Install out;
        REQUIRE_FALSE(decode(std::span(whole.data(), n), out));
    }
}

TEST_CASE("unknown optional fields are skipped, unknown required ones refuse the message") {
    std::vector<uint8_t> bytes = encode(Vote{VoteKind::kOptimize, 9, 4});
    std::vector<uint8_t> extended = bytes;
    for (uint8_t b : {0x05, 0x00, 0x03, 0x00, 0x00, 0x00, 0xaa, 0xbb, 0xcc}) extended.push_back(b);
    Vote out;
    REQUIRE(decode(extended, out));
    REQUIRE(out.number == 9);
    extended = bytes;
    for (uint8_t b : {0x05, 0x80, 0x00, 0x00, 0x00, 0x00}) extended.push_back(b);
    REQUIRE_FALSE(decode(extended, out));
}

TEST_CASE("a count that the bytes do not back allocates nothing") {
    std::vector<uint8_t> bytes;
    Encoder encoder(bytes);
    encoder.item(Term{});
    encoder(RunId{});
    encoder.item(EpochId{});
    encoder.number(uint32_t{0xffffffff});
    Propose out;
    REQUIRE_FALSE(decode(bytes, out));
    REQUIRE(out.members.capacity() == 0);
}

TEST_CASE("random bytes and random changes never get past the bounds") {
    std::mt19937_64 random(5);
    const std::vector<uint8_t> sample = encode(sample_install());
    for (int round = 0; round < 3000; ++round) {
        std::vector<uint8_t> noise(random() % 200);
        for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random());
        survive_all(noise);
        std::vector<uint8_t> bent = sample;
        for (int i = 0; i < 3; ++i) bent[random() % bent.size()] = static_cast<uint8_t>(random());
        survive_all(bent);
    }
}

TEST_CASE("preambles are checked") {
    const auto good = encode_preamble({Type::kData, 90, 1000});
    Preamble out;
    REQUIRE(decode_preamble(good, kPeerBodyBytesMax, out));
    REQUIRE(out.payload_bytes == 1000);
    auto bad = good;
    bad[0] ^= 1;
    REQUIRE_FALSE(decode_preamble(bad, kPeerBodyBytesMax, out));
    REQUIRE_FALSE(
        decode_preamble(encode_preamble({Type::kData, kPeerBodyBytesMax + 1, 0}), kPeerBodyBytesMax, out));
    REQUIRE_FALSE(
        decode_preamble(encode_preamble({Type::kData, 90, kPayloadBytesMax + 1}), kPeerBodyBytesMax, out));
    REQUIRE_FALSE(decode_preamble(encode_preamble({Type::kCalled, 90, 1}), kPeerBodyBytesMax, out));
}
