// ControlConnection between two ends in one loop, and against raw sockets that send what no peer would.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transport/control.h"
#include "wire/frame.h"

using namespace pccl;
using transport::ControlConnection;
using Bytes = std::vector<uint8_t>;

namespace {

/// What happened on one end.
struct Log {
    bool open = false;
    bool accept_frames = true;
    std::vector<std::pair<wire::Type, Bytes>> frames;
    std::vector<std::string> closed;

    ControlConnection::Callbacks callbacks() {
        ControlConnection::Callbacks out;
        out.on_open = [this] { open = true; };
        out.on_frame = [this](wire::Type type, std::span<const uint8_t> body) {
            frames.emplace_back(type, Bytes(body.begin(), body.end()));
            return accept_frames;
        };
        out.on_closed = [this](const std::string& why) { closed.push_back(why); };
        return out;
    }
};

/// A loop with a listener on a port of the system's choice; every accepted connection reports to `served`.
struct World {
    uv_loop_t loop{};
    uv_tcp_t listener{};
    uint16_t port = 0;
    Log served;
    std::vector<std::unique_ptr<ControlConnection>> accepted;

    World() {
        uv_loop_init(&loop);
        uv_tcp_init(&loop, &listener);
        listener.data = this;
        sockaddr_in address{};
        uv_ip4_addr("127.0.0.1", 0, &address);
        uv_tcp_bind(&listener, reinterpret_cast<const sockaddr*>(&address), 0);
        REQUIRE(uv_listen(reinterpret_cast<uv_stream_t*>(&listener), 16, [](uv_stream_t* stream, int) {
                    auto* self = static_cast<World*>(stream->data);
                    self->accepted.push_back(ControlConnection::accept(stream, self->served.callbacks()));
                }) == 0);
        int bytes = sizeof address;
        uv_tcp_getsockname(&listener, reinterpret_cast<sockaddr*>(&address), &bytes);
        port = ntohs(address.sin_port);
    }
    ~World() {
        accepted.clear();
        uv_close(reinterpret_cast<uv_handle_t*>(&listener), nullptr);
        uv_run(&loop, UV_RUN_DEFAULT);
        CHECK(uv_loop_close(&loop) == 0);
    }
    /// Runs the loop until `done`; false when nothing came of it in ten seconds.
    bool run_until(const std::function<bool()>& done) {
        uv_timer_t guard;
        bool late = false;
        uv_timer_init(&loop, &guard);
        guard.data = &late;
        uv_timer_start(
            &guard, [](uv_timer_t* t) { *static_cast<bool*>(t->data) = true; }, 10000, 0);
        while (!done() && !late) uv_run(&loop, UV_RUN_ONCE);
        uv_close(reinterpret_cast<uv_handle_t*>(&guard), nullptr);
        uv_run(&loop, UV_RUN_NOWAIT);
        return !late;
    }
    std::unique_ptr<ControlConnection> dial(Log& log, std::vector<wire::Endpoint> endpoints = {}) {
        if (endpoints.empty()) endpoints = {{"127.0.0.1", port}};
        return ControlConnection::connect(&loop, std::move(endpoints), 5 * kSecond, log.callbacks());
    }
};

/// A blocking socket to the world's listener.
struct RawSocket {
    int fd;
    explicit RawSocket(uint16_t port) : fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        uv_ip4_addr("127.0.0.1", port, &address);
        REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    }
    ~RawSocket() { ::close(fd); }
    void write(const void* data, size_t bytes) {
        REQUIRE(::write(fd, data, bytes) == static_cast<ssize_t>(bytes));
    }
};

/// A port that was free a moment ago.
uint16_t closed_port() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    uv_ip4_addr("127.0.0.1", 0, &address);
    socklen_t bytes = sizeof address;
    REQUIRE(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &bytes);
    ::close(fd);
    return ntohs(address.sin_port);
}

}  // namespace

TEST_CASE("control: frames travel both ways, large ones whole") {
    World world;
    Log log;
    auto connection = world.dial(log);
    const Bytes small{1, 2, 3};
    Bytes large(3 << 20);
    for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<uint8_t>(i * 7);
    connection->send(wire::Type::kRegister, small);  // before it is open: kept
    REQUIRE(world.run_until([&] { return log.open && world.served.frames.size() == 1; }));
    CHECK(connection->local_host() == "127.0.0.1");
    CHECK(connection->remote_address() == "127.0.0.1:" + std::to_string(world.port));
    CHECK(world.accepted[0]->remote_address().rfind("127.0.0.1:", 0) == 0);
    world.accepted[0]->send(wire::Type::kWelcome, {});
    world.accepted[0]->send(wire::Type::kInstall, large);
    connection->send(wire::Type::kFrozen, large);
    REQUIRE(world.run_until([&] { return log.frames.size() == 2 && world.served.frames.size() == 2; }));
    CHECK(log.frames[0].first == wire::Type::kWelcome);
    CHECK(log.frames[0].second.empty());
    CHECK(log.frames[1].second == large);
    CHECK(world.served.frames[0].second == small);
    CHECK(world.served.frames[1].second == large);
}

TEST_CASE("control: close_after_flush delivers what was sent, even past unread bytes") {
    World world;
    Log log;
    auto connection = world.dial(log);
    REQUIRE(world.run_until([&] { return log.open && world.accepted.size() == 1; }));
    // Unread bytes at the closing side would reset the connection if it just closed.
    connection->send(wire::Type::kVote, Bytes(100000));
    world.accepted[0]->send(wire::Type::kRefused, Bytes{9});
    world.accepted[0]->close_after_flush("refused");
    REQUIRE(world.run_until([&] { return !log.closed.empty() && !world.served.closed.empty(); }));
    REQUIRE(log.frames.size() == 1);
    CHECK(log.frames[0].second == Bytes{9});
    CHECK(world.served.closed == std::vector<std::string>{"refused"});
    CHECK(world.served.frames.empty());
}

TEST_CASE("control: a flush that the other side does not read ends all the same") {
    World world;
    RawSocket raw(world.port);
    REQUIRE(world.run_until([&] { return world.accepted.size() == 1; }));
    for (int i = 0; i < 3; ++i) world.accepted[0]->send(wire::Type::kInstall, Bytes(8 << 20));
    world.accepted[0]->close_after_flush("enough");
    REQUIRE(world.run_until([&] { return !world.served.closed.empty(); }));
    CHECK(world.served.closed[0] == "enough");
}

TEST_CASE("control: a send queue without end closes the connection") {
    World world;
    RawSocket raw(world.port);
    REQUIRE(world.run_until([&] { return world.accepted.size() == 1; }));
    for (int i = 0; i < 8 && world.served.closed.empty(); ++i) {
        world.accepted[0]->send(wire::Type::kInstall, Bytes(wire::kCoordinatorBodyBytesMax));
    }
    REQUIRE(world.run_until([&] { return !world.served.closed.empty(); }));
    CHECK_THAT(world.served.closed[0], Catch::Contains("does not read"));
}

TEST_CASE("control: what is no frame closes the connection") {
    World world;
    RawSocket raw(world.port);
    SECTION("another protocol") { raw.write("GET / HTTP/1.1\r\n\r\n", 18); }
    SECTION("an absurd length") {
        const auto head = wire::encode_preamble({wire::Type::kRegister, 0xfffffff0u, 0});
        raw.write(head.data(), head.size());
    }
    SECTION("a large body before the first frame was accepted") {
        const auto head = wire::encode_preamble({wire::Type::kRegister, wire::kCoordinatorBodyBytesMax, 0});
        raw.write(head.data(), head.size());
    }
    SECTION("a payload") {
        const auto head = wire::encode_preamble({wire::Type::kData, 0, 16});
        raw.write(head.data(), head.size());
    }
    REQUIRE(world.run_until([&] { return !world.served.closed.empty(); }));
    CHECK_THAT(world.served.closed[0], Catch::Contains("no PCCL control frame"));
    CHECK(world.served.frames.empty());
}

TEST_CASE("control: a frame that is refused closes the connection") {
    World world;
    Log log;
    world.served.accept_frames = false;
    auto connection = world.dial(log);
    connection->send(wire::Type::kVote, Bytes{1});
    connection->send(wire::Type::kVote, Bytes{2});
    REQUIRE(world.run_until([&] { return !log.closed.empty() && !world.served.closed.empty(); }));
    CHECK(world.served.frames.size() == 1);
    CHECK_THAT(world.served.closed[0], Catch::Contains("not valid here"));
    CHECK(log.closed.size() == 1);
}

TEST_CASE("control: a frame in single bytes arrives") {
    World world;
    RawSocket raw(world.port);
    const Bytes body{5, 6, 7, 8};
    const auto head = wire::encode_preamble({wire::Type::kRegister, 4, 0});
    for (const uint8_t byte : head) {
        raw.write(&byte, 1);
        world.run_until([] { return true; });
    }
    raw.write(body.data(), body.size());
    REQUIRE(world.run_until([&] { return world.served.frames.size() == 1; }));
    CHECK(world.served.frames[0].second == body);
}

TEST_CASE("control: endpoints are tried in turn, names are looked up") {
    World world;
    Log log;
    auto connection = world.dial(log, {{"127.0.0.1", closed_port()}, {"localhost", world.port}});
    REQUIRE(world.run_until([&] { return log.open || !log.closed.empty(); }));
    CHECK(log.open);
}

TEST_CASE("control: a failure to connect names every attempt") {
    World world;
    Log log;
    const uint16_t port = closed_port();
    auto connection = world.dial(log, {{"127.0.0.1", port}, {"name.invalid", 1}});
    REQUIRE(world.run_until([&] { return !log.closed.empty(); }));
    CHECK_FALSE(log.open);
    CHECK_THAT(log.closed[0],
               Catch::Contains("127.0.0.1:" + std::to_string(port)) && Catch::Contains("name.invalid"));
}

TEST_CASE("control: nothing is reported after destruction, whatever was going on") {
    World world;
    Log log;
    SECTION("while connecting") { world.dial(log).reset(); }
    SECTION("while looking up") { world.dial(log, {{"localhost", world.port}}).reset(); }
    SECTION("while open, with bytes queued") {
        auto connection = world.dial(log);
        REQUIRE(world.run_until([&] { return log.open; }));
        connection->send(wire::Type::kVote, Bytes(1 << 20));
        connection.reset();
    }
    world.run_until([] { return true; });
    CHECK(log.closed.empty());
}

TEST_CASE("control: the parse of addresses") {
    wire::Endpoint out;
    for (const char* good :
         {"127.0.0.1:0", "host-1.example:65535", "[::1]:48148", "[fe80::1]:1", "localhost:80"}) {
        INFO(good);
        CHECK(transport::parse_address(good, &out));
    }
    for (const char* bad : {"", ":", "host", "host:", ":80", "host:65536", "host:-1", "host:8 0", "host:80x",
                            "::1:80", "[::1]", "[::1]80", "[host]:80", "[127.0.0.1]:80", "256.1.1.1:80",
                            "1.2.3:80", "a b:80", "a/b:80", "host:000080"}) {
        INFO(bad);
        CHECK_FALSE(transport::parse_address(bad, &out));
    }
    REQUIRE(transport::parse_address("[::1]:48148", &out));
    CHECK(out == wire::Endpoint{"::1", 48148});
}
