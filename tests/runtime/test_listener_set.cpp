// Which ports a coordinator's addresses get. Goal: port 0 means a free port whatever stands beside it, and
// hosts of one machine share it.
#include <uv.h>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "runtime/listener_set.h"

using namespace pccl;

namespace {

/// Listeners on a loop of their own; `addresses` is empty where the bind failed.
struct Bound {
    explicit Bound(const std::vector<std::string>& listen) {
        uv_loop_init(&loop);
        status = set.bind(&loop, listen, [](uv_stream_t*, int) {});
        addresses = set.addresses();
        for (const std::string& address : addresses) ports.push_back(address.substr(address.rfind(':') + 1));
        first_port = std::to_string(set.port());
    }
    ~Bound() {
        set.close();
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
    }
    Bound(const Bound&) = delete;
    Bound& operator=(const Bound&) = delete;

    uv_loop_t loop{};
    runtime::ListenerSet set;
    Status status;
    std::vector<std::string> addresses, ports;
    std::string first_port;
};

/// A port that was free a moment ago.
std::string free_port() { return Bound({"127.0.0.1:0"}).first_port; }

}  // namespace

TEST_CASE("listeners: port 0 behind a fixed port is a port of its own") {
    const std::string fixed = free_port();
    const Bound bound({"127.0.0.1:" + fixed, "127.0.0.1:0", "127.0.0.2:0"});
    INFO(bound.status.text());
    REQUIRE(bound.status.ok());
    CHECK(bound.first_port == fixed);
    CHECK(bound.ports[0] == fixed);
    CHECK(bound.ports[1] != fixed);
    CHECK(bound.ports[1] != "0");
    CHECK(bound.ports[2] == bound.ports[1]);
    CHECK(bound.addresses[2] == "127.0.0.2:" + bound.ports[2]);
}

TEST_CASE("listeners: hosts share the port that the system chose, one host gets several") {
    const Bound bound({"127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"});
    INFO(bound.status.text());
    REQUIRE(bound.status.ok());
    CHECK(bound.ports[0] == bound.first_port);
    CHECK(bound.ports[1] == bound.ports[0]);
    CHECK(bound.ports[2] != bound.ports[0]);
    CHECK(bound.ports[3] == bound.ports[2]);
    CHECK(bound.ports[4] != bound.ports[0]);
    CHECK(bound.ports[4] != bound.ports[2]);
}

TEST_CASE("listeners: one fixed port twice is refused, and nothing stays bound") {
    const std::string address = "127.0.0.1:" + free_port();
    const Bound twice({address, address});
    CHECK(twice.status.code() == Code::INVALID_USAGE);
    CHECK_THAT(twice.status.text(), Catch::Contains(address));
    CHECK(twice.addresses.empty());
    CHECK(Bound({address}).status.ok());
}
