// Links between tables that talk over loopback: handshakes, striping, loss, refusals, and strangers at the
// port.
#include "runtime/fake_driver.h"

using namespace pccl;
using namespace pccl::runtime;
using namespace pccl::runtime::testing;

namespace {

LinkOptions with_lanes(uint32_t lanes) {
    LinkOptions options;
    options.lanes = lanes;
    return options;
}

struct Two {
    explicit Two(LinkOptions options = {}) : a(world, 1, options), b(world, 2, options) {}
    bool run(const std::function<bool()>& happened) { return run_until(world, {&a, &b}, happened); }
    void link() {
        a.table->connect(b.id, b.endpoints(), world.now() + 30 * kSecond);
        REQUIRE(run([&] { return !a.ups.empty() && !b.ups.empty(); }));
    }
    World world;
    FakeDriver a, b;
};

/// A bare client of a table's port.
struct Stranger {
    explicit Stranger(const FakeDriver& driver) {
        transport::SocketAddress address;
        REQUIRE(transport::parse_numeric("127.0.0.1", driver.table->port(), &address));
        fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(::connect(fd, address.raw(), address.length) == 0);
    }
    ~Stranger() { ::close(fd); }
    void send(std::span<const uint8_t> bytes) {
        REQUIRE(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0);
    }
    void send_frame(wire::Type type, const std::vector<uint8_t>& body) {
        const auto head = wire::encode_preamble({type, static_cast<uint32_t>(body.size()), 0});
        send(head);
        if (!body.empty()) send(body);
    }
    /// Whether the other side has closed; what it sent before is read away.
    bool closed() {
        char bytes[4096];
        for (;;) {
            const ssize_t n = ::recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
            if (n == 0 || (n < 0 && errno != EAGAIN)) return true;
            if (n < 0) return false;
            received += static_cast<size_t>(n);
        }
    }
    int fd = -1;
    size_t received = 0;
};

wire::Hello hello_of(const FakeDriver& from, const FakeDriver& to) {
    wire::Hello hello;
    hello.run = from.run;
    hello.from = from.id;
    hello.to = to.id;
    hello.incarnation = 99;
    hello.lane = 0;
    hello.lanes = 1;
    return hello;
}

std::vector<uint8_t> bytes_of(size_t count, uint8_t first) {
    std::vector<uint8_t> out(count);
    for (size_t i = 0; i < count; ++i) out[i] = static_cast<uint8_t>(first + i * 7);
    return out;
}

template <class Message>
std::vector<uint8_t> body_of(const Message& message) {
    std::vector<uint8_t> out;
    out.reserve(256);
    wire::Encoder(out).item(message);
    return out;
}

transport::OutgoingData data(uint32_t object, std::span<const uint8_t> payload) {
    transport::OutgoingData out;
    out.header.key.sequence = 1;
    out.header.object = object;
    out.payload = payload;
    return out;
}

}  // namespace

TEST_CASE("connections start from the address that is listened on, however it was written", "[runtime]") {
    World world;
    const FakeDriver a(world, 1, {}, "[127.0.0.2]");
    CHECK(a.table->address().host() == "127.0.0.2");
    transport::SocketAddress address;
    REQUIRE(transport::parse_numeric("127.0.0.1", 0, &address));
    const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::bind(listening, address.raw(), address.length) == 0);
    REQUIRE(::listen(listening, 1) == 0);
    REQUIRE(::getsockname(listening, address.raw(), &address.length) == 0);
    a.table->connect(member_id(2), {{"127.0.0.1", address.port()}}, world.now() + 30 * kSecond);
    transport::SocketAddress from;
    from.length = sizeof from.storage;
    const int accepted = ::accept(listening, from.raw(), &from.length);
    REQUIRE(accepted >= 0);
    CHECK(from.host() == "127.0.0.2");
    ::close(accepted);
    ::close(listening);
}

TEST_CASE("a link comes up at both ends with the same incarnation and carries frames", "[runtime]") {
    const uint32_t lanes = GENERATE(0u, 1u, 2u, 5u, 64u);
    Two two(with_lanes(lanes));
    two.link();
    CHECK(two.a.ups[0].peer == two.b.id);
    CHECK(two.b.ups[0].peer == two.a.id);
    CHECK(two.a.ups[0].incarnation == two.b.ups[0].incarnation);
    CHECK(two.a.table->find(two.b.id)->lanes() == std::max(lanes, 1u));
    CHECK(two.b.table->handshakes() == 0);

    const auto body = bytes_of(100, 3);
    const auto payload = bytes_of(300'000, 9);
    two.a.table->queue_frame(two.b.id, wire::Type::kCalled, body);
    two.b.table->queue_frame(two.a.id, wire::Type::kDone, body);
    for (uint32_t i = 0; i < 40; ++i) two.b.to_send.push_back(data(i, payload));
    two.b.table->data_ready(two.a.id);
    REQUIRE(two.run(
        [&] { return two.a.payloads.size() == 40 && two.a.frames.size() == 1 && two.b.frames.size() == 1; }));
    std::vector<bool> seen(40, false);
    for (const auto& landed : two.a.payloads) {
        CHECK(landed.payload == payload);
        seen[landed.object] = true;
    }
    CHECK(std::count(seen.begin(), seen.end(), true) == 40);
    CHECK(two.a.heard > 0);
    CHECK(two.a.downs.empty());
}

TEST_CASE("the peer's end of a link is a loss here", "[runtime]") {
    Two two(with_lanes(3));
    two.link();
    two.a.table->close(two.b.id, 0);
    REQUIRE(two.run([&] { return !two.b.downs.empty(); }));
    CHECK(two.b.downs[0] == two.b.ups[0]);
    CHECK(two.a.downs.empty());  // asked for, so not reported
    CHECK(two.b.table->links() == 0);
    REQUIRE(two.run([&] { return two.a.table->lingering() == 0; }));
}

TEST_CASE("only the named incarnation is closed", "[runtime]") {
    Two two;
    two.link();
    two.a.table->close(two.b.id, two.a.ups[0].incarnation + 1);
    CHECK(two.a.table->links() == 1);
    two.a.table->close(two.b.id, two.a.ups[0].incarnation);
    CHECK(two.a.table->links() == 0);
}

TEST_CASE("frames queued before the end arrive", "[runtime]") {
    Two two(with_lanes(2));
    two.link();
    const auto body = bytes_of(50'000, 1);
    for (int i = 0; i < 20; ++i) two.a.table->queue_frame(two.b.id, wire::Type::kDone, body);
    two.a.table->close(two.b.id, 0);
    REQUIRE(two.run([&] { return !two.b.downs.empty(); }));
    CHECK(two.b.frames.size() == 20);
}

TEST_CASE("a loss inside a payload gives the place back before the link is down", "[runtime]") {
    Two two;
    two.link();
    const auto payload = bytes_of(16 * 1024 * 1024, 1);
    two.a.to_send.push_back(data(5, payload));
    two.a.table->data_ready(two.b.id);
    two.a.settle();
    // Received in part: closing one end without the rest makes the other see the end of the stream inside the
    // frame.
    REQUIRE(two.run([&] { return two.b.heard > 0; }));
    REQUIRE(two.b.payloads.empty());
    two.a.table.reset();
    REQUIRE(run_until(two.world, {&two.b}, [&] { return !two.b.downs.empty(); }));
    CHECK(two.b.drops == 1);
    CHECK(two.b.events == std::vector<std::string>{"up", "dropped 5", "down"});
}

TEST_CASE("a frame that the core refuses closes the link with a reason", "[runtime]") {
    Two two(with_lanes(2));
    two.link();
    two.b.valid = false;
    two.a.table->queue_frame(two.b.id, wire::Type::kDone, bytes_of(3, 1));
    REQUIRE(two.run([&] { return !two.b.downs.empty() && !two.a.downs.empty(); }));
    CHECK(two.b.down_reasons[0].find("not valid") != std::string::npos);
}

TEST_CASE("a peer that does not read is given up before the queue grows without end", "[runtime]") {
    LinkOptions options = with_lanes(1);
    options.control_bytes_max = 1 << 20;
    Two two(options);
    two.link();
    const auto body = bytes_of(60'000, 1);
    // The other table is not turned, so it does not read.
    for (int i = 0; i < 2000 && two.a.downs.empty(); ++i) {
        two.a.table->queue_frame(two.b.id, wire::Type::kDone, body);
        two.a.settle();
    }
    REQUIRE(two.a.downs.size() == 1);
    CHECK(two.a.down_reasons[0].find("does not read") != std::string::npos);
}

TEST_CASE("who is refused for now tries again until it is expected", "[runtime]") {
    Two two(with_lanes(2));
    int asked = 0;
    two.b.judge = [&](const wire::Hello&) {
        wire::HelloAck ack;
        ack.accepted = ++asked > 3;
        ack.retry = true;
        ack.reason = "not expected here yet";
        return ack;
    };
    two.link();
    CHECK(asked == 5);  // three refusals and two lanes
    CHECK(two.a.failures.empty());
}

TEST_CASE("who is refused for good gives up at once", "[runtime]") {
    Two two;
    two.b.judge = [](const wire::Hello&) {
        wire::HelloAck ack;
        ack.reason = "go away";
        return ack;
    };
    two.a.table->connect(two.b.id, two.b.endpoints(), two.world.now() + 1000 * kSecond);
    REQUIRE(two.run([&] { return !two.a.failures.empty(); }));
    CHECK(two.a.failures[0].find("go away") != std::string::npos);
    CHECK(two.b.ups.empty());
}

TEST_CASE("an address that leads to another peer gives way to the right one", "[runtime]") {
    World world;
    FakeDriver a(world, 1), wrong(world, 2), right(world, 3);
    std::vector<wire::Endpoint> endpoints = wrong.endpoints();
    endpoints.push_back(right.endpoints()[0]);
    a.table->connect(right.id, endpoints, world.now() + 30 * kSecond);
    REQUIRE(run_until(world, {&a, &wrong, &right}, [&] { return !a.ups.empty() && !right.ups.empty(); }));
    CHECK(wrong.ups.empty());
    CHECK(a.ups[0].peer == right.id);
}

TEST_CASE("nobody at the port: tried again until the deadline", "[runtime]") {
    World world;
    FakeDriver a(world, 1);
    auto b = std::make_unique<FakeDriver>(world, 2);
    const auto endpoints = b->endpoints();
    const MemberId peer = b->id;
    b.reset();
    a.table->connect(peer, endpoints, world.now() + 10 * kSecond);
    const TimeUs started = world.now();
    REQUIRE(run_until(world, {&a}, [&] { return world.now() - started > 50 * kMillisecond; }));
    CHECK(a.failures.empty());
    world.skew += 10 * kSecond;
    REQUIRE(run_until(world, {&a}, [&] { return !a.failures.empty(); }));
    CHECK(a.failures[0].find("time-out") != std::string::npos);
    CHECK(a.failures[0].find("refused") != std::string::npos);
}

TEST_CASE("who listens but never answers is given up at the deadline", "[runtime]") {
    World world;
    FakeDriver a(world, 1);
    const int silent = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    transport::SocketAddress address;
    REQUIRE(transport::parse_numeric("127.0.0.1", 0, &address));
    REQUIRE(::bind(silent, address.raw(), address.length) == 0);
    REQUIRE(::listen(silent, 16) == 0);
    a.table->connect(member_id(9), {{"127.0.0.1", transport::local_address(silent).port()}},
                     world.now() + 20 * kSecond);
    const TimeUs started = world.now();
    REQUIRE(run_until(world, {&a}, [&] { return world.now() - started > 20 * kMillisecond; }));
    world.skew += 11 * kSecond;  // beyond the handshake's limit
    REQUIRE(run_until(world, {&a}, [&] { return a.table->deadline() > world.now(); }));
    CHECK(a.failures.empty());
    world.skew += 20 * kSecond;
    REQUIRE(run_until(world, {&a}, [&] { return !a.failures.empty(); }));
    CHECK(a.failures[0].find("time-out") != std::string::npos);
    ::close(silent);
}

TEST_CASE("closing stops an attempt to connect", "[runtime]") {
    World world;
    FakeDriver a(world, 1), b(world, 2);
    a.table->connect(b.id, b.endpoints(), world.now() + 10 * kSecond);
    a.table->close(b.id, 0);
    world.skew += 20 * kSecond;
    for (int i = 0; i < 10; ++i) {
        REQUIRE(run_until(world, {&a, &b}, [] { return true; }));
    }
    CHECK(a.failures.empty());
    CHECK(a.ups.empty());
    CHECK(a.table->deadline() == kNever);
}

TEST_CASE("names are looked up, and numeric addresses do not wait for them", "[runtime]") {
    World world;
    FakeDriver a(world, 1), b(world, 2);
    SECTION("a name alone") {
        a.table->connect(b.id, {{"peer.example", b.table->port()}}, world.now() + 30 * kSecond);
        REQUIRE(a.look_ups.size() == 1);
        CHECK(a.look_ups[0].second.host == "peer.example");
        transport::SocketAddress address;
        REQUIRE(transport::parse_numeric("127.0.0.1", b.table->port(), &address));
        a.table->resolved(b.id, a.look_ups[0].first, {address}, "");
    }
    SECTION("a name that cannot be found is looked up again") {
        a.table->connect(b.id, {{"peer.example", b.table->port()}}, world.now() + 30 * kSecond);
        a.table->resolved(b.id, a.look_ups[0].first, {}, "no such host");
        REQUIRE(run_until(world, {&a, &b}, [&] { return a.look_ups.size() == 2; }));
        transport::SocketAddress address;
        REQUIRE(transport::parse_numeric("127.0.0.1", b.table->port(), &address));
        a.table->resolved(b.id, a.look_ups[1].first, {address}, "");
    }
    SECTION("beside a numeric address") {
        a.table->connect(b.id, {{"peer.example", 1}, b.endpoints()[0]}, world.now() + 30 * kSecond);
    }
    REQUIRE(run_until(world, {&a, &b}, [&] { return !a.ups.empty() && !b.ups.empty(); }));
}

TEST_CASE("a new connection of a peer replaces the old one", "[runtime]") {
    Two two(with_lanes(2));
    two.link();
    two.a.table->connect(two.b.id, two.b.endpoints(), two.world.now() + 30 * kSecond);
    REQUIRE(two.run([&] { return two.a.ups.size() == 2 && two.b.ups.size() == 2; }));
    CHECK(two.b.events == std::vector<std::string>{"up", "down", "up"});
    CHECK(two.b.downs[0] == two.b.ups[0]);
    CHECK(two.b.table->links() == 1);
    two.b.table->queue_frame(two.a.id, wire::Type::kDone, bytes_of(5, 1));
    REQUIRE(two.run([&] { return two.a.frames.size() == 1; }));
}

TEST_CASE("strangers at the port are turned away and disturb nobody", "[runtime]") {
    Two two(with_lanes(2));
    two.link();
    SECTION("random bytes") {
        Stranger stranger(two.b);
        stranger.send(bytes_of(5000, 17));
        REQUIRE(two.run([&] { return stranger.closed(); }));
        CHECK(two.b.logged_text("is not a frame of this protocol"));
    }
    SECTION("a valid frame that is no hello") {
        Stranger stranger(two.b);
        stranger.send_frame(wire::Type::kDone, bytes_of(5, 1));
        REQUIRE(two.run([&] { return stranger.closed(); }));
        CHECK(two.b.logged_text("the first frame is not a hello"));
    }
    SECTION("data before the hello") {
        Stranger stranger(two.b);
        const auto body = body_of(wire::Data{});
        stranger.send(wire::encode_preamble({wire::Type::kData, static_cast<uint32_t>(body.size()), 100}));
        stranger.send(body);
        REQUIRE(two.run([&] { return stranger.closed(); }));
    }
    SECTION("a hello for somebody else gets a reason") {
        Stranger stranger(two.b);
        stranger.send_frame(wire::Type::kHello, body_of(hello_of(two.a, two.a)));
        REQUIRE(two.run([&] { return stranger.closed(); }));
        CHECK(stranger.received > wire::kPreambleBytes);
        CHECK(two.b.logged_text("another member listens here"));
    }
    SECTION("another version of the protocol gets a reason, however its hello goes on") {
        two.b.judge = [](const wire::Hello& hello) {
            wire::HelloAck ack;
            ack.accepted = hello.version == wire::kProtocolVersion;
            ack.reason = "version " + std::to_string(hello.version);
            return ack;
        };
        Stranger stranger(two.b);
        stranger.send_frame(wire::Type::kHello, {0x39, 0x30, 0xaa});
        REQUIRE(two.run([&] { return stranger.closed(); }));
        CHECK(stranger.received > wire::kPreambleBytes);
        CHECK(two.b.logged_text("version 12345"));
    }
    SECTION("impossible numbers of lanes") {
        for (const auto& [lane, lanes] :
             std::vector<std::pair<uint16_t, uint16_t>>{{0, 0}, {1, 1}, {0, 65}, {65535, 65535}}) {
            Stranger stranger(two.b);
            wire::Hello hello = hello_of(two.a, two.b);
            hello.lane = lane;
            hello.lanes = lanes;
            stranger.send_frame(wire::Type::kHello, body_of(hello));
            REQUIRE(two.run([&] { return stranger.closed(); }));
        }
        CHECK(two.b.logged_text("is not valid"));
    }
    SECTION("the same lane twice") {
        Stranger first(two.b), second(two.b);
        wire::Hello hello = hello_of(two.a, two.b);
        hello.lanes = 2;
        first.send_frame(wire::Type::kHello, body_of(hello));
        second.send_frame(wire::Type::kHello, body_of(hello));
        REQUIRE(two.run([&] { return first.closed() || second.closed(); }));
        CHECK(two.b.logged_text("contradicts"));
    }
    SECTION("a connection that closes at once") {
        { Stranger stranger(two.b); }
        REQUIRE(two.run([&] { return two.b.logged_text("the peer closed the connection"); }));
    }
    SECTION("one that says nothing") {
        Stranger stranger(two.b);
        REQUIRE(two.run([&] { return two.b.table->handshakes() == 1; }));
        two.world.skew += 11 * kSecond;
        REQUIRE(two.run([&] { return stranger.closed(); }));
        CHECK(two.b.logged_text("no hello in time"));
    }
    SECTION("a lane without its siblings") {
        Stranger stranger(two.b);
        wire::Hello hello = hello_of(two.a, two.b);
        hello.lanes = 2;
        stranger.send_frame(wire::Type::kHello, body_of(hello));
        REQUIRE(two.run([&] {
            stranger.closed();
            return stranger.received > 0;
        }));
        two.world.skew += 11 * kSecond;
        REQUIRE(two.run([&] { return stranger.closed(); }));
    }
    CHECK(two.b.downs.empty());
    CHECK(two.a.downs.empty());
    CHECK(two.b.table->handshakes() <= 1);
    two.a.table->queue_frame(two.b.id, wire::Type::kDone, bytes_of(5, 1));
    REQUIRE(two.run([&] { return two.b.frames.size() == 1; }));
}

TEST_CASE("silent connections cannot keep a peer out, and messages about them are limited", "[runtime]") {
    LinkOptions options = with_lanes(2);
    options.handshakes_max = 8;
    World world;
    FakeDriver a(world, 1, options), b(world, 2, options);
    std::vector<std::unique_ptr<Stranger>> strangers;
    for (int i = 0; i < 40; ++i) strangers.push_back(std::make_unique<Stranger>(b));
    REQUIRE(run_until(world, {&a, &b}, [&] {
        return std::count_if(strangers.begin(), strangers.end(), [](auto& s) { return s->closed(); }) == 32;
    }));
    CHECK(b.table->handshakes() == 8);
    CHECK(b.logged.size() <= 12);
    a.table->connect(b.id, b.endpoints(), world.now() + 30 * kSecond);
    REQUIRE(run_until(world, {&a, &b}, [&] { return !a.ups.empty() && !b.ups.empty(); }));
}

TEST_CASE("shutting down ends everything in an orderly way", "[runtime]") {
    Two two(with_lanes(2));
    two.link();
    two.a.table->queue_frame(two.b.id, wire::Type::kDone, bytes_of(40'000, 1));
    two.a.table->shut_down();
    CHECK(two.a.table->links() == 0);
    CHECK(two.a.downs.empty());
    REQUIRE(two.run([&] { return !two.b.downs.empty() && two.a.table->lingering() == 0; }));
    CHECK(two.b.frames.size() == 1);
}
