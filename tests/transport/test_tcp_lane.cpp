// Frames over real loopback sockets: every size, interleaving, cuts, pauses, and what a hostile other side
// may send.
#include <algorithm>

#include "transport/lane_end.h"

using namespace pccl;
using namespace pccl::transport;
using namespace pccl::transport::testing;

TEST_CASE("payloads of every size arrive in their place", "[transport]") {
    LanePair pair;
    const size_t sizes[] = {0, 1, 2, 100, 4000, 4095, 4096, 4097, 65535, 65536, 300 * 1024, 3 * 1024 * 1024};
    std::vector<std::vector<uint8_t>> payloads;
    for (size_t bytes : sizes) payloads.push_back(pattern(bytes, static_cast<uint32_t>(bytes)));
    for (size_t i = 0; i < payloads.size(); ++i) pair.left.offer(7, static_cast<uint32_t>(i), payloads[i]);
    pair.left.lane->pump();
    REQUIRE(pair.run([&] { return pair.right.landed.size() == payloads.size(); }));
    for (size_t i = 0; i < payloads.size(); ++i) {
        CHECK(pair.right.landed[i].object == i);
        CHECK(pair.right.landed[i].tag == 7);
        CHECK(pair.right.landed[i].payload == payloads[i]);
    }
    CHECK(pair.left.lost.empty());
    CHECK(pair.right.lost.empty());
}

TEST_CASE("control frames of every size arrive in order", "[transport]") {
    LanePair pair;
    const size_t sizes[] = {0, 1, 11, 12, 4083, 4084, 4085, 4096, 5000, 16 * 1024, 40000, 64 * 1024};
    std::vector<std::vector<uint8_t>> bodies;
    for (size_t bytes : sizes) bodies.push_back(pattern(bytes, static_cast<uint32_t>(bytes) + 5));
    for (int round = 0; round < 3; ++round) {
        for (const auto& body : bodies) pair.left.lane->queue_frame(wire::Type::kCalled, body);
    }
    pair.left.lane->pump();
    REQUIRE(pair.run([&] { return pair.right.frames.size() == 3 * bodies.size(); }));
    for (size_t i = 0; i < pair.right.frames.size(); ++i) {
        CHECK(pair.right.frames[i].type == wire::Type::kCalled);
        CHECK(pair.right.frames[i].body == bodies[i % bodies.size()]);
    }
    CHECK(pair.left.lane->queued_bytes() == 0);
}

TEST_CASE("control frames overtake data that has not started", "[transport]") {
    LanePair pair;
    const auto big = pattern(8 * 1024 * 1024, 1), small = pattern(100, 2);
    std::vector<std::string> order;
    pair.right.on_frame = [&] { order.push_back("control"); };
    pair.right.on_place = [&](const wire::Data& data) {
        order.push_back("data " + std::to_string(data.object));
    };
    pair.left.offer(1, 0, big);
    pair.left.lane->pump();
    REQUIRE(pair.left.lane->blocked());  // the first frame has started and cannot be finished at once
    pair.left.offer(1, 1, small);
    pair.left.lane->queue_frame(wire::Type::kDone, small);
    REQUIRE(pair.run([&] { return pair.right.landed.size() == 2 && pair.right.frames.size() == 1; }));
    CHECK(order == std::vector<std::string>{"data 0", "control", "data 1"});
    CHECK(pair.right.landed[0].payload == big);
}

TEST_CASE("both directions at once, small and large mixed", "[transport]") {
    LanePair pair;
    std::vector<std::vector<uint8_t>> payloads;
    for (uint32_t i = 0; i < 200; ++i)
        payloads.push_back(pattern(i % 7 == 0 ? 200'000 + i : i * 13 % 5000, i));
    for (LaneEnd* end : {&pair.left, &pair.right}) {
        for (uint32_t i = 0; i < payloads.size(); ++i) {
            end->offer(3, i, payloads[i]);
            end->lane->queue_frame(wire::Type::kDone, std::span(payloads[i]).first(payloads[i].size() % 300));
        }
        end->lane->pump();
    }
    REQUIRE(pair.run([&] {
        return pair.left.landed.size() == 200 && pair.right.landed.size() == 200 &&
               pair.left.frames.size() == 200 && pair.right.frames.size() == 200;
    }));
    for (const LaneEnd* end : {&pair.left, &pair.right}) {
        for (uint32_t i = 0; i < payloads.size(); ++i) REQUIRE(end->landed[i].payload == payloads[i]);
    }
}

TEST_CASE("a cut on the sending side leaves the memory alone and the stream whole", "[transport]") {
    LanePair pair;
    auto cut_payload = pattern(8 * 1024 * 1024, 1);
    const auto original = cut_payload;
    const auto next = pattern(5000, 2);
    pair.left.offer(1, 0, cut_payload);
    pair.left.lane->pump();
    REQUIRE(pair.left.lane->blocked());
    const wire::OpKey other = header(2, 0).key, key = header(1, 0).key;
    pair.left.lane->cut(&other);
    pair.left.lane->cut(&key);
    std::fill(cut_payload.begin(), cut_payload.end(), uint8_t{0});  // the owner's memory is its own again
    pair.left.offer(2, 1, next);
    REQUIRE(pair.run([&] { return pair.right.landed.size() == 2; }));
    CHECK(pair.right.landed[0].payload == original);
    CHECK(pair.right.landed[1].payload == next);
}

TEST_CASE("a cut on the receiving side discards the rest", "[transport]") {
    LanePair pair;
    const auto payload = pattern(8 * 1024 * 1024, 1), next = pattern(5000, 2);
    pair.left.offer(1, 0, payload);
    pair.left.offer(2, 1, next);
    pair.left.lane->pump();
    UnfinishedData data;
    REQUIRE(pair.run([&] { return pair.right.lane->unfinished(&data); }));
    CHECK(data.payload_bytes == payload.size());
    CHECK(data.data != nullptr);
    const wire::OpKey key = header(1, 0).key;
    pair.right.lane->cut(&key);
    CHECK_FALSE(pair.right.lane->unfinished(&data));
    REQUIRE(pair.run([&] { return pair.right.landed.size() == 1; }));
    CHECK(pair.right.landed[0].payload == next);
}

TEST_CASE("a cut inside the callbacks that give out memory takes effect", "[transport]") {
    LanePair pair;
    const auto payload = pattern(50'000, 1), next = pattern(50, 2);
    bool first = true;
    pair.right.on_place = [&](const wire::Data& data) {
        if (std::exchange(first, false)) pair.right.lane->cut(&data.key);
    };
    pair.left.offer(1, 0, payload);
    pair.left.offer(2, 1, next);
    pair.left.lane->pump();
    REQUIRE(pair.run([&] { return !pair.right.landed.empty(); }));
    REQUIRE(pair.right.landed.size() == 1);
    CHECK(pair.right.landed[0].object == 1);
}

TEST_CASE("payloads without a place are discarded", "[transport]") {
    LanePair pair;
    pair.right.discard = true;
    const auto big = pattern(1'000'000, 1), small = pattern(10, 2);
    pair.left.offer(1, 0, big);
    pair.left.offer(1, 1, small);
    pair.left.lane->pump();
    pair.left.lane->queue_frame(wire::Type::kDone, small);
    REQUIRE(pair.run([&] {
        pair.left.lane->pump();
        return pair.right.frames.size() == 1;
    }));
    CHECK(pair.right.landed.empty());
}

TEST_CASE("a paused lane keeps what it read ahead", "[transport]") {
    LanePair pair;
    pair.right.on_frame = [&] {
        if (pair.right.frames.size() == 1) pair.right.lane->pause();
    };
    const auto body = pattern(20, 1);
    for (int i = 0; i < 5; ++i) pair.left.lane->queue_frame(wire::Type::kDone, body);
    pair.left.lane->pump();
    REQUIRE(pair.run([&] { return !pair.right.frames.empty(); }));
    Poller::Ready ready;
    pair.poller.wait(0, &ready);
    pair.poller.dispatch(ready);
    CHECK(pair.right.frames.size() == 1);
    pair.right.lane->resume();
    REQUIRE(pair.run([&] { return pair.right.frames.size() == 5; }));
}

TEST_CASE("a lane that lingers delivers everything, then both ends are closed", "[transport]") {
    LanePair pair;
    const auto payload = pattern(4 * 1024 * 1024, 1), body = pattern(30, 2);
    pair.left.offer(1, 0, payload);
    pair.left.lane->pump();
    pair.left.lane->queue_frame(wire::Type::kDone, body);
    pair.right.lane->queue_frame(wire::Type::kDone, body);
    pair.right.lane->pump();  // unread bytes on our side would reset the connection if it were closed
    pair.left.lane->linger();
    REQUIRE(pair.run([&] { return !pair.right.lost.empty(); }));
    REQUIRE(pair.right.landed.size() == 1);
    CHECK(pair.right.landed[0].payload == payload);
    REQUIRE(pair.right.frames.size() == 1);
    CHECK(pair.right.lost == "the peer closed the connection");
    REQUIRE(pair.run([&] { return pair.left.lane->closed(); }));
}

TEST_CASE("frames go over IPv6", "[transport]") {
    SocketAddress six;
    REQUIRE(parse_numeric("::1", 0, &six));
    const int probe = ::socket(AF_INET6, SOCK_STREAM, 0);
    const bool available = probe >= 0 && ::bind(probe, six.raw(), six.length) == 0;
    if (probe >= 0) ::close(probe);
    if (!available) {
        WARN("this host has no IPv6 loopback");
        return;
    }
    LanePair pair("::1");
    const auto payload = pattern(100'000, 1);
    pair.left.offer(1, 0, payload);
    pair.left.lane->pump();
    REQUIRE(pair.run([&] { return pair.right.landed.size() == 1; }));
    CHECK(pair.right.landed[0].payload == payload);
}

TEST_CASE("bytes that are no frame close the lane", "[transport]") {
    const auto garbage = GENERATE(std::string("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                                  std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00", 12),
                                  std::string(64, '\0'), std::string(64, '\xff'));
    RawPair pair;
    pair.send({reinterpret_cast<const uint8_t*>(garbage.data()), garbage.size()});
    REQUIRE(pair.run([&] { return !pair.end.lost.empty(); }));
    CHECK(pair.end.lane->closed());
    CHECK(pair.end.frames.empty());
}

TEST_CASE("absurd lengths close the lane before anything is allocated", "[transport]") {
    struct Claim {
        wire::Type type;
        uint32_t body_bytes, payload_bytes;
    };
    const auto claim = GENERATE(
        Claim{wire::Type::kDone, 0xffffffff, 0}, Claim{wire::Type::kDone, wire::kPeerBodyBytesMax + 1, 0},
        Claim{wire::Type::kDone, 10, 1}, Claim{wire::Type::kData, 80, wire::kPayloadBytesMax + 1});
    RawPair pair;
    pair.end.lane->set_body_bytes_max(wire::kPeerBodyBytesMax);
    const auto head = wire::encode_preamble({claim.type, claim.body_bytes, claim.payload_bytes});
    pair.send(head);
    REQUIRE(pair.run([&] { return !pair.end.lost.empty(); }));
    CHECK(pair.end.lost.find("beyond the limits") != std::string::npos);
}

TEST_CASE("before the handshake a body is limited to that of a hello", "[transport]") {
    RawPair pair;
    pair.send(wire::encode_preamble({wire::Type::kHello, wire::kHelloBodyBytesMax + 1, 0}));
    REQUIRE(pair.run([&] { return !pair.end.lost.empty(); }));
}

TEST_CASE("a data frame whose header does not decode closes the lane", "[transport]") {
    RawPair pair;
    const auto body = pattern(40, 1);
    pair.send(frame_bytes(wire::Type::kData, body, 100));
    REQUIRE(pair.run([&] { return !pair.end.lost.empty(); }));
    CHECK(pair.end.lost == "a data frame's header is not valid");
}

TEST_CASE("frames that come byte by byte are put together", "[transport]") {
    RawPair pair;
    pair.end.lane->set_body_bytes_max(wire::kPeerBodyBytesMax);
    const auto payload = pattern(37, 3), body = pattern(9, 4);
    std::vector<uint8_t> bytes = frame_bytes(wire::Type::kDone, body);
    const auto data =
        frame_bytes(wire::Type::kData, wire::encode(header(4, 2)), static_cast<uint32_t>(payload.size()));
    bytes.insert(bytes.end(), data.begin(), data.end());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    bytes.insert(bytes.end(), bytes.begin(), bytes.begin() + 21);  // the first frame once more
    for (uint8_t byte : bytes) {
        pair.send({&byte, 1});
        Poller::Ready ready;
        pair.poller.wait(100, &ready);
        pair.poller.dispatch(ready);
    }
    REQUIRE(pair.run([&] { return pair.end.frames.size() == 2 && pair.end.landed.size() == 1; }));
    CHECK(pair.end.landed[0].payload == payload);
    CHECK(pair.end.frames[1].body == body);
}

TEST_CASE("a long body that is cut off takes no more memory than came", "[transport]") {
    RawPair pair;
    pair.end.lane->set_body_bytes_max(wire::kPeerBodyBytesMax);
    pair.send(wire::encode_preamble({wire::Type::kDone, wire::kPeerBodyBytesMax, 0}));
    const auto part = pattern(30'000, 1);
    pair.send(part);
    pair.close_raw();
    REQUIRE(pair.run([&] { return !pair.end.lost.empty(); }));
    CHECK(pair.end.lost == "the peer closed the connection inside a frame");
    CHECK(pair.end.frames.empty());
}

TEST_CASE("the end of the stream inside a payload is a loss with the place still known", "[transport]") {
    RawPair pair;
    pair.end.lane->set_body_bytes_max(wire::kPeerBodyBytesMax);
    pair.send(frame_bytes(wire::Type::kData, wire::encode(header(4, 2)), 1000));
    pair.send(pattern(400, 1));
    pair.close_raw();
    REQUIRE(pair.run([&] { return !pair.end.lost.empty(); }));
    CHECK(pair.end.lost == "the peer closed the connection inside a frame");
    UnfinishedData data;
    REQUIRE(pair.end.lane->unfinished(&data));
    CHECK(data.payload_bytes == 1000);
    CHECK(data.header.object == 2);
    CHECK(pair.end.landed.empty());
}

TEST_CASE("a frame that the owner refuses closes the lane with its reason", "[transport]") {
    RawPair pair;
    pair.end.refuse_frames = true;
    pair.send(frame_bytes(wire::Type::kDone, pattern(5, 1)));
    REQUIRE(pair.run([&] { return !pair.end.lost.empty(); }));
    CHECK(pair.end.lost == "refused by the test");
}

TEST_CASE("the owner may close the lane in the middle of a batch", "[transport]") {
    LanePair pair;
    pair.right.on_frame = [&] {
        if (pair.right.frames.size() == 2) pair.right.lane->close();
    };
    const auto body = pattern(20, 1);
    for (int i = 0; i < 5; ++i) pair.left.lane->queue_frame(wire::Type::kDone, body);
    pair.left.lane->pump();
    REQUIRE(pair.run([&] { return pair.right.lane->closed() && !pair.left.lost.empty(); }));
    CHECK(pair.right.frames.size() == 2);
    CHECK(pair.right.lost.empty());
}

TEST_CASE("several lanes share one queue of data", "[transport]") {
    // A slow lane must not hold back the others: whoever is writable pulls the next frame.
    Poller poller;
    std::string error;
    REQUIRE(poller.open(&error));
    LaneEnd sender, receiver;
    std::vector<std::unique_ptr<TcpLane>> lanes;
    std::vector<size_t> taken(3, 0);
    struct Receiver : LaneEnd {};
    std::vector<std::unique_ptr<Receiver>> ends;
    for (int i = 0; i < 3; ++i) {
        const auto [a, b] = connected_sockets(poller);
        lanes.push_back(std::make_unique<TcpLane>(poller, a, "out", &sender));
        ends.push_back(std::make_unique<Receiver>());
        ends.back()->lane = std::make_unique<TcpLane>(poller, b, "in", ends.back().get());
        ends.back()->lane->set_body_bytes_max(wire::kPeerBodyBytesMax);
    }
    ends[0]->lane->pause();  // nobody reads the first lane
    const auto payload = pattern(256 * 1024, 1);
    for (uint32_t i = 0; i < 100; ++i) sender.offer(1, i, payload);
    for (auto& lane : lanes) lane->pump();
    const auto arrived = [&] { return ends[1]->landed.size() + ends[2]->landed.size(); };
    REQUIRE(run_until(poller, [&] { return sender.to_send.empty() && arrived() >= 60; }));
    ends[0]->lane->resume();
    REQUIRE(run_until(poller, [&] { return ends[0]->landed.size() + arrived() == 100; }));
    std::vector<bool> seen(100, false);
    for (const auto& end : ends) {
        for (const auto& landed : end->landed) {
            CHECK_FALSE(seen[landed.object]);
            seen[landed.object] = true;
            CHECK(landed.payload == payload);
        }
    }
}
