// Listening and connecting: ranges of ports, both families, several addresses of which some do not answer.
#include <arpa/inet.h>
#include <poll.h>

#include "transport/lane_end.h"
#include "transport/tcp_socket.h"

using namespace pccl;
using namespace pccl::transport;
using namespace pccl::transport::testing;

namespace {

struct Fixture {
    Fixture() {
        std::string error;
        REQUIRE(poller.open(&error));
    }
    ~Fixture() {
        for (int fd : fds) ::close(fd);
    }
    std::unique_ptr<TcpListener> listener() {
        return std::make_unique<TcpListener>(
            poller,
            [this](int fd, const SocketAddress& remote) {
                fds.push_back(fd);
                accepted_from.push_back(remote);
            },
            [](const std::string&) {});
    }
    TcpConnector::Callbacks callbacks() {
        TcpConnector::Callbacks out;
        out.on_connected = [this](int fd, const SocketAddress& remote) {
            fds.push_back(fd);
            connected.push_back(remote.text());
        };
        out.on_failed = [this](const std::string& why) { failed = why; };
        return out;
    }
    SocketAddress address(const std::string& host, uint16_t port) {
        SocketAddress out;
        REQUIRE(parse_numeric(host, port, &out));
        return out;
    }
    Poller poller;
    std::vector<int> fds;
    std::vector<SocketAddress> accepted_from;
    std::vector<std::string> connected;
    std::string failed;
};

/// A listening socket whose queue is full and never emptied: connections to it hang, as to a host that is
/// gone.
struct Silent {
    explicit Silent(Fixture& f) : address(f.address("127.0.0.1", 0)) {
        fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(::bind(fd, address.raw(), address.length) == 0);
        REQUIRE(::listen(fd, 0) == 0);
        address = local_address(fd);
        for (bool full = false; !full;) {
            std::string error;
            queued.push_back(start_connect(address, {}, &error));
            REQUIRE(queued.back() >= 0);
            pollfd entry{queued.back(), POLLOUT, 0};
            full = ::poll(&entry, 1, 200) == 0;
            REQUIRE(queued.size() < 100);
        }
    }
    ~Silent() {
        ::close(fd);
        for (int each : queued) ::close(each);
    }
    SocketAddress address;
    int fd = -1;
    std::vector<int> queued;
};

/// A port that nobody listens on now.
uint16_t free_port(Fixture& f) {
    auto listener = f.listener();
    REQUIRE(listener->listen("127.0.0.1", 0, 0).ok());
    return listener->port();
}

}  // namespace

TEST_CASE("a listener takes the first free port of its range", "[transport]") {
    Fixture f;
    auto first = f.listener(), second = f.listener(), third = f.listener();
    REQUIRE(first->listen("127.0.0.1", 0, 0).ok());
    const int port = first->port();
    REQUIRE(port != 0);
    const int last = std::min(65535, port + 50);
    if (last > port) {
        REQUIRE(second->listen("127.0.0.1", port, last).ok());
        CHECK(second->port() != port);
    }
    const Status busy = third->listen("127.0.0.1", port, port);
    CHECK(busy.code() == Code::RESOURCE_LIMIT);
    CHECK(busy.text().find(std::to_string(port)) != std::string::npos);
    CHECK(third->listen("127.0.0.1", 10, 9).code() == Code::INVALID_ARGUMENT);
    CHECK(third->listen("127.0.0.1", 1, 65536).code() == Code::INVALID_ARGUMENT);
    CHECK(third->listen("203.0.113.77", 0, 0).code() == Code::RESOURCE_LIMIT);
    CHECK(third->listen("no.such.host.invalid", 0, 0).code() == Code::RESOURCE_LIMIT);
}

TEST_CASE("a listener on every address is reached over both families", "[transport]") {
    Fixture f;
    auto listener = f.listener();
    REQUIRE(listener->listen("", 0, 0).ok());
    TcpConnector four(f.poller, {}, {f.address("127.0.0.1", listener->port())}, f.callbacks());
    four.start(clock_now());
    REQUIRE(run_until(f.poller, [&] { return f.connected.size() == 1 && f.accepted_from.size() == 1; }));
    CHECK(f.accepted_from[0].is_loopback());
    CHECK(f.accepted_from[0].host() == "127.0.0.1");
    if (listener->address().family() != AF_INET6) {
        WARN("this host has no IPv6");
        return;
    }
    TcpConnector six(f.poller, {}, {f.address("::1", listener->port())}, f.callbacks());
    six.start(clock_now());
    REQUIRE(run_until(f.poller, [&] { return f.connected.size() == 2 || !f.failed.empty(); }));
    if (f.failed.empty()) CHECK(f.connected[1] == "[::1]:" + std::to_string(listener->port()));
}

TEST_CASE("an address that refuses gives way to the next", "[transport]") {
    Fixture f;
    const uint16_t closed_port = free_port(f);
    auto listener = f.listener();
    REQUIRE(listener->listen("127.0.0.1", 0, 0).ok());
    TcpConnector connector(f.poller, {},
                           {f.address("127.0.0.1", closed_port), f.address("127.0.0.1", listener->port())},
                           f.callbacks());
    connector.start(clock_now());
    REQUIRE(run_until(f.poller, [&] { return !f.connected.empty(); }));
    CHECK(f.connected[0] == "127.0.0.1:" + std::to_string(listener->port()));
    CHECK(f.failed.empty());
}

TEST_CASE("an address that says nothing does not hold up the next", "[transport]") {
    Fixture f;
    auto listener = f.listener();
    REQUIRE(listener->listen("127.0.0.1", 0, 0).ok());
    Silent silent(f);
    TcpConnector connector(f.poller, {}, {silent.address, f.address("127.0.0.1", listener->port())},
                           f.callbacks());
    TimeUs now = clock_now();
    connector.start(now);
    REQUIRE(run_until(
        f.poller, [&] { return !f.connected.empty(); },
        [&] {
            now += TcpConnector::kStagger;  // virtual: the moment is over
            connector.tick(now);
        }));
    CHECK(f.connected[0] == "127.0.0.1:" + std::to_string(listener->port()));
}

TEST_CASE("the owner can ask for another connection, until no address is left", "[transport]") {
    Fixture f;
    auto one = f.listener(), two = f.listener();
    REQUIRE(one->listen("127.0.0.1", 0, 0).ok());
    REQUIRE(two->listen("127.0.0.1", 0, 0).ok());
    TcpConnector connector(f.poller, {},
                           {f.address("127.0.0.1", one->port()), f.address("127.0.0.1", two->port())},
                           f.callbacks());
    connector.start(clock_now());
    REQUIRE(run_until(f.poller, [&] { return f.connected.size() == 1; }));
    connector.next(clock_now());
    REQUIRE(run_until(f.poller, [&] { return f.connected.size() == 2; }));
    CHECK(f.connected[0] != f.connected[1]);
    CHECK(f.failed.empty());
    connector.next(clock_now());
    CHECK_FALSE(f.failed.empty());
}

TEST_CASE("when all addresses fail the causes are told", "[transport]") {
    Fixture f;
    const uint16_t port = free_port(f);
    TcpConnector connector(f.poller, {}, {f.address("127.0.0.1", port)}, f.callbacks());
    connector.start(clock_now());
    REQUIRE(run_until(f.poller, [&] { return !f.failed.empty(); }));
    CHECK(f.failed.find("127.0.0.1:" + std::to_string(port)) != std::string::npos);
    CHECK(f.failed.find("refused") != std::string::npos);
    f.failed.clear();
    TcpConnector nothing(f.poller, {}, {}, f.callbacks());
    nothing.start(clock_now());
    CHECK_FALSE(f.failed.empty());
}

TEST_CASE("connections start from the source address", "[transport]") {
    Fixture f;
    auto listener = f.listener();
    REQUIRE(listener->listen("127.0.0.1", 0, 0).ok());
    TcpOptions options;
    options.source = f.address("127.0.0.9", 0);
    TcpConnector connector(f.poller, options, {f.address("127.0.0.1", listener->port())}, f.callbacks());
    connector.start(clock_now());
    REQUIRE(run_until(f.poller, [&] { return !f.accepted_from.empty() && !f.connected.empty(); }));
    CHECK(f.accepted_from[0].host() == "127.0.0.9");
    CHECK(is_same_host(f.fds[0]));
}
