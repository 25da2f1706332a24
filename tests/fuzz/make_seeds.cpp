// Writes the corpora that are kept with the fuzzers: make_seeds FOLDER. Each file is small, and the same on
// every machine. Run it again after a change of a message or of the lists of events.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "core/noise.h"
#include "events.h"
#include "round_trip.h"

using namespace pccl;
using namespace pccl::fuzz;

namespace {

using Bytes = std::vector<uint8_t>;
constexpr size_t kSeedBytesMax = 1500;

std::filesystem::path g_folder;

void write(const std::string& target, const std::string& name, const Bytes& bytes) {
    std::filesystem::create_directories(g_folder / target);
    std::ofstream out(g_folder / target / (name + ".seed"), std::ios::binary);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

void append(Bytes& to, std::span<const uint8_t> bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

test::Pool pool() {
    test::Pool out;
    for (uint8_t n = 1; n <= 4; ++n) {
        MemberId id;
        id.data.fill(n);
        out.ids.push_back(id);
    }
    out.terms = {{1, 7}};
    out.epochs = {{{1, 7}, 2}};
    out.keys = {{wire::OpKind::kReduce, 3, 1}};
    return out;
}

/// One message of the type that is not empty and not large.
template <class Message>
Bytes sample(std::mt19937_64& random) {
    const test::Pool from = pool();
    test::Noise noise(random, from);
    for (;;) {
        const Bytes body = wire::encode(noise.make<Message>());
        if (body.size() <= kSeedBytesMax) return body;
    }
}

template <class... Messages>
void write_messages(const std::string& target, Types<Messages...>) {
    std::mt19937_64 random(1);
    uint8_t index = 0;
    const auto one = [&](const Bytes& body) {
        Bytes seed = {index};
        append(seed, body);
        write(target, "message-" + std::to_string(index), seed);
        ++index;
    };
    (one(sample<Messages>(random)), ...);
}

void append_frame(Bytes& to, wire::Type type, const Bytes& body, size_t payload_bytes = 0) {
    append(to, wire::encode_preamble(
                   {type, static_cast<uint32_t>(body.size()), static_cast<uint32_t>(payload_bytes)}));
    append(to, body);
    to.resize(to.size() + payload_bytes, 0x11);
}

void write_streams() {
    std::mt19937_64 random(2);
    const Bytes called = sample<wire::Called>(random), data = sample<wire::Data>(random);
    const Bytes pieces[] = {{255, 255, 255, 255, 255, 255, 255, 255}, {0, 4, 11, 12, 40, 99, 191, 200}};
    for (uint8_t modes = 0; modes < 8; ++modes) {
        Bytes seed = {modes};
        append(seed, pieces[modes % 2]);
        append_frame(seed, wire::Type::kCalled, called);
        append_frame(seed, wire::Type::kData, data, 300);
        append_frame(seed, wire::Type::kHeartbeat, {});
        if (modes % 4 == 0) append_frame(seed, wire::Type::kRelay, Bytes(4200, 3));
        append_frame(seed, wire::Type::kData, data, modes % 3);
        write("frame", "stream-" + std::to_string(modes), seed);
    }
}

uint8_t event(HandshakeEvent e) { return static_cast<uint8_t>(e); }
uint8_t event(MemberEvent e) { return static_cast<uint8_t>(e); }
uint8_t event(CoordinatorEvent e) { return static_cast<uint8_t>(e); }

void write_handshakes() {
    const uint8_t open = event(HandshakeEvent::kOpen), hello = event(HandshakeEvent::kHello);
    // A hello: peer, incarnation, lanes, lane, not bent, connection.
    write("handshake", "one-lane", {open, hello, 0, 1, 1, 0, 0, 0, event(HandshakeEvent::kSendData), 0});
    write("handshake", "two-lanes",
          {open,
           open,
           hello,
           0,
           1,
           2,
           0,
           0,
           0,
           hello,
           0,
           1,
           2,
           1,
           0,
           1,
           event(HandshakeEvent::kAnswer),
           0,
           2,
           5,
           5,
           event(HandshakeEvent::kClose),
           0});
    write("handshake", "replaced",
          {open, hello, 1, 1, 1, 0, 0, 0, open, hello, 1, 2, 1, 0, 0, 1, event(HandshakeEvent::kHangUp), 1});
    write("handshake", "refused",
          {open, hello, 2, 1, 1, 0, 0, 0, open, hello, 3, 1, 1, 0, 0, 1, event(HandshakeEvent::kTime), 250});
    write("handshake", "silent",
          {open, open, open, open, open, open, event(HandshakeEvent::kBytes), 3, 1, 2, 3, 0,
           event(HandshakeEvent::kEndStream), 1, event(HandshakeEvent::kTime), 255});
    write("handshake", "frames",
          {open,
           hello,
           0,
           1,
           1,
           0,
           0,
           0,
           event(HandshakeEvent::kFrame),
           8,
           0,
           0,
           0,
           event(HandshakeEvent::kData),
           5,
           5,
           5,
           5,
           5,
           5,
           5,
           5,
           5,
           5,
           5,
           5,
           5,
           5,
           5,
           5,
           event(HandshakeEvent::kCut),
           event(HandshakeEvent::kRefuse),
           0});
}

/// Called, data and barrier of a reduction by tag 0, and the end of the epoch in the middle of it.
void write_members() {
    const uint8_t reduce = event(MemberEvent::kReduce), called = event(MemberEvent::kCalled);
    const uint8_t data = event(MemberEvent::kData), land = event(MemberEvent::kLand);
    const uint8_t keeping = event(MemberEvent::kCalledKeeping);
    const uint8_t done = event(MemberEvent::kDone), pull = event(MemberEvent::kPull);
    for (uint8_t in_place = 0; in_place < 2; ++in_place) {
        for (uint8_t plan = 0; plan < 3; ++plan) {
            Bytes seed = {static_cast<uint8_t>(50 * plan + 30)};  // four members, in an epoch
            append(seed, Bytes{reduce, 0, in_place});
            for (uint8_t peer = 0; peer < 3; ++peer) append(seed, Bytes{called, 0, 0, 0, 0, peer});
            for (uint8_t peer = 0; peer < 3; ++peer) {
                for (uint8_t object = 0; object < 4; ++object) {
                    for (uint8_t phase = 0; phase < 2; ++phase) {
                        append(seed, Bytes{data, 0, 0, 0, phase, 0, object, peer, 0, 0});
                        append(seed, Bytes{land, peer, 0, 63});
                    }
                }
                append(seed, Bytes{pull, peer, 0, event(MemberEvent::kSent), peer, 0});
            }
            append(seed, Bytes{event(MemberEvent::kPropose), 0, 0, event(MemberEvent::kInstall), 32, 0, 5, 1,
                               0, 0, 0, 0});
            for (uint8_t peer = 0; peer < 3; ++peer) append(seed, Bytes{keeping, 0, 0, 0, 0, 1, peer, peer});
            for (uint8_t peer = 0; peer < 3; ++peer)
                append(seed, Bytes{done, 0, 0, 0, peer % 2u == 0, 0, peer});
            append(seed,
                   Bytes{event(MemberEvent::kForget), 0, reduce, 0, in_place, event(MemberEvent::kTime), 24});
            write("member", "reduce-" + std::to_string(plan) + "-" + std::to_string(in_place), seed);
        }
    }
    // Offers that agree, so that this member serves the others, and ones that outvote it, so that it fetches.
    const uint8_t offer = event(MemberEvent::kOffer), link_down = event(MemberEvent::kLinkDown);
    for (uint8_t differs = 0; differs < 2; ++differs) {
        Bytes sync = {30, event(MemberEvent::kSynchronize), 0, 0, 0, 0};
        for (uint8_t peer = 0; peer < 3; ++peer) {
            append(sync, Bytes{offer, 0, 0, differs});
            if (differs != 0) sync.push_back(0);
            append(sync, Bytes{0, peer});
        }
        for (uint8_t object = 0; object < 2 && differs == 0; ++object) {
            append(sync, Bytes{event(MemberEvent::kAsk), 0, object, 0, 0, object});
            append(sync, Bytes{pull, object, 0, event(MemberEvent::kSent), object, 0});
        }
        for (uint8_t peer = 0; peer < 3 && differs == 1; ++peer) {
            append(sync, Bytes{data, 4, 0, 2, 0, 0, peer, 0, 3, land, peer, 0, 9});
            append(sync, Bytes{data, 4, 0, 2, 0, 1, peer, 0, 4, land, peer, 0, 9});
        }
        append(sync, Bytes{link_down, 1, event(MemberEvent::kTime), 22});
        write("member", "synchronize-" + std::to_string(differs), sync);
    }
    write("member", "vote",
          {30, event(MemberEvent::kVote), 0, event(MemberEvent::kPropose), 2, 0, event(MemberEvent::kInstall),
           2, 0, event(MemberEvent::kQuery)});
    write("member", "join",
          {10, event(MemberEvent::kLinkUp), 0, event(MemberEvent::kLinkUp), 1,
           event(MemberEvent::kConnectFailed), 2, event(MemberEvent::kPropose), 0, 0,
           event(MemberEvent::kInstall), 0, 0, event(MemberEvent::kLeave), 255});
}

void write_coordinators() {
    const uint8_t open = event(CoordinatorEvent::kOpen), enrol = event(CoordinatorEvent::kRegister);
    const uint8_t prepared = event(CoordinatorEvent::kPrepared), answer = event(CoordinatorEvent::kAnswer);
    const uint8_t vote = event(CoordinatorEvent::kVote);
    // One member, then a second one that is admitted by a vote.
    Bytes two = {0, open, 0, enrol, 0, 0, 0, 0, prepared, 0, 0, 0, answer, 0, 0, 0, 0, 0, 0, 0, 0};
    append(two, Bytes{open, 1, enrol, 1, 0, 0, 0, prepared, 1, 0, 0, vote, 0, 0, 0, 0});
    append(two, Bytes{answer, 0, 0, 0, 0, 0, 0, 0, 0, answer, 1, 0, 0, 0, 0, 0, 0, 0});
    write("coordinator", "two", two);
    Bytes lost = two;
    append(lost, Bytes{event(CoordinatorEvent::kSuspect), 0, 1, 1, 1, 0, event(CoordinatorEvent::kTime), 24});
    append(lost,
           Bytes{answer, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, event(CoordinatorEvent::kHangUp), 1});
    write("coordinator", "suspect", lost);
    // Both come back to a coordinator that was restarted.
    Bytes restarted = two;
    append(restarted, Bytes{event(CoordinatorEvent::kRestart)});
    for (uint8_t i = 0; i < 2; ++i)
        append(restarted, Bytes{event(CoordinatorEvent::kReturn), i, 0, 0, 0, 0, 0});
    append(restarted, Bytes{vote, 0, 0, 0, 0, 0, vote, 1, 0, 0, 0, 0, event(CoordinatorEvent::kTime), 24});
    write("coordinator", "restart", restarted);
    Bytes back = two;
    append(back, Bytes{event(CoordinatorEvent::kReturn), 1, 1, 0, 0, 0,
                       event(CoordinatorEvent::kRequestChange), 0, 0, 0});
    append(back, Bytes{event(CoordinatorEvent::kFrozen), 0, 0, 0, 0, 0, 0, 0, event(CoordinatorEvent::kLeave),
                       0, 0});
    write("coordinator", "return", back);
}

/// The files of a record that holds nothing, and of one with members, with the head right or the file's own.
void write_records() {
    std::mt19937_64 random(6);
    core::Record empty;
    empty.term.count = 1;
    core::Record full = empty;
    const test::Pool from = pool();
    do {
        full.groups = {core::GroupRecord{1, from.ids, test::Noise(random, from).make<wire::Install>()}};
    } while (wire::encode(full).size() > kSeedBytesMax);
    for (const core::Record& record : {empty, full}) {
        for (uint8_t mode = 0; mode < 4; ++mode) {
            Bytes seed = {mode};
            append(seed, wire::encode(record));
            write("record", "record-" + std::to_string(record.groups.size()) + "-" + std::to_string(mode),
                  seed);
        }
    }
}

void write_texts() {
    size_t number = 0;
    const auto one = [&](uint8_t mode, std::string_view text) {
        Bytes seed = {mode};
        seed.insert(seed.end(), text.begin(), text.end());
        write("text", "text-" + std::to_string(number++), seed);
    };
    for (const char* host : {"10.1.2.3", "::1", "fe80::1%1", "::ffff:10.0.0.1", "2001:db8::1"}) one(0, host);
    for (const char* address : {"127.0.0.1:48148", "[fd00::5]:1", "node-1.example:65535"}) one(1, address);
    for (const char* filter :
         {"eth", "=eth1,^docker", "10.0.0.0/8, fd00::/8", "^192.168.0.0/16,^=ib0", "::ffff:10.1.2.0/24"})
        one(26, filter);
}

/// Sequences of random choices, which are as good as any.
void write_random(const std::string& target, uint64_t seed, size_t files) {
    std::mt19937_64 random(seed);
    for (size_t i = 0; i < files; ++i) {
        Bytes bytes(200 + random() % 500);
        for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
        write(target, "random-" + std::to_string(i), bytes);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fprintf(stderr, "usage: make_seeds FOLDER\n");
        return 2;
    }
    g_folder = argv[1];
    write_messages("wire_peer", PeerMessages());
    write_messages("wire_coordinator", CoordinatorMessages());
    write_streams();
    write_handshakes();
    write_members();
    write_coordinators();
    write_records();
    write_texts();
    write_random("handshake", 3, 6);
    write_random("member", 4, 20);
    write_random("coordinator", 5, 12);
    return 0;
}
