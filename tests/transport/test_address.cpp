// Address text, and which interfaces are told to peers.
#include <catch2/catch.hpp>

#include "transport/address.h"

using namespace pccl;
using namespace pccl::transport;

namespace {

SocketAddress numeric(const std::string& host, uint16_t port = 0) {
    SocketAddress out;
    REQUIRE(parse_numeric(host, port, &out));
    return out;
}

InterfaceFilter filter(const std::string& text) {
    InterfaceFilter out;
    const Status status = InterfaceFilter::parse(text, &out);
    INFO(status.text());
    REQUIRE(status.ok());
    return out;
}

std::vector<InterfaceAddress> host() {
    return {{"lo", numeric("127.0.0.1")},       {"lo", numeric("::1")},
            {"eth0", numeric("10.1.2.3")},      {"eth0", numeric("fd00::5")},
            {"eth0", numeric("fe80::1")},       {"eth1", numeric("192.168.7.9")},
            {"docker0", numeric("172.17.0.1")}, {"ib0", numeric("169.254.3.3")},
            {"br-12ab", numeric("172.18.0.1")}};
}

using Hosts = std::vector<std::string>;

}  // namespace

TEST_CASE("numeric addresses go to text and back", "[transport]") {
    CHECK(numeric("1.2.3.4", 5).text() == "1.2.3.4:5");
    CHECK(numeric("::1", 48148).text() == "[::1]:48148");
    CHECK(numeric("2001:DB8::0001", 1).host() == "2001:db8::1");
    CHECK(numeric("::ffff:10.0.0.1", 80).text() == "10.0.0.1:80");
    CHECK(numeric("10.0.0.1").same_host(numeric("::ffff:10.0.0.1", 9)));
    SocketAddress out;
    for (const char* text : {"", "localhost", "1.2.3", "1.2.3.4.5", "[::1]", "fe80::1%no-such-interface",
                             "1.2.3.4:5", "::1%", "fe80::1%1junk", "fe80::1%99999999999"}) {
        INFO(text);
        CHECK_FALSE(parse_numeric(text, 1, &out));
    }
    CHECK_FALSE(parse_numeric(std::string("1.2.3.4\0junk", 12), 1, &out));
    CHECK_FALSE(parse_numeric(std::string("::1\0%lo", 7), 1, &out));
}

TEST_CASE("kinds of addresses are told apart", "[transport]") {
    CHECK(numeric("127.3.4.5").is_loopback());
    CHECK(numeric("::1").is_loopback());
    CHECK(numeric("::ffff:127.0.0.1").is_loopback());
    CHECK_FALSE(numeric("128.0.0.1").is_loopback());
    CHECK(numeric("0.0.0.0").is_wildcard());
    CHECK(numeric("::").is_wildcard());
    CHECK(numeric("fe80::9").is_link_local());
    CHECK(numeric("169.254.0.1").is_link_local());
    CHECK_FALSE(numeric("fd00::9").is_link_local());
}

TEST_CASE("without a filter everything but loopback and bridges is told", "[transport]") {
    CHECK(advertised_hosts(host(), filter(""), "", 8) == Hosts{"10.1.2.3", "fd00::5", "192.168.7.9"});
}

TEST_CASE("the address that reached the coordinator comes first", "[transport]") {
    CHECK(advertised_hosts(host(), filter(""), "192.168.7.9", 8) ==
          Hosts{"192.168.7.9", "10.1.2.3", "fd00::5"});
    CHECK(advertised_hosts(host(), filter(""), "127.0.0.1", 8) ==
          Hosts{"127.0.0.1", "10.1.2.3", "fd00::5", "192.168.7.9"});
    CHECK(advertised_hosts(host(), filter(""), "203.0.113.5", 2) == Hosts{"203.0.113.5", "10.1.2.3"});
    CHECK(advertised_hosts(host(), filter(""), "fe80::1%1", 8) ==
          Hosts{"10.1.2.3", "fd00::5", "192.168.7.9"});
    CHECK(advertised_hosts({}, filter(""), "127.0.0.1", 8) == Hosts{"127.0.0.1"});
}

TEST_CASE("filters choose by prefix, name, subnet, and exclude", "[transport]") {
    CHECK(advertised_hosts(host(), filter("eth"), "", 8) == Hosts{"10.1.2.3", "fd00::5", "192.168.7.9"});
    CHECK(advertised_hosts(host(), filter("=eth1"), "10.1.2.3", 8) == Hosts{"192.168.7.9"});
    CHECK(advertised_hosts(host(), filter("10.0.0.0/8"), "", 8) == Hosts{"10.1.2.3"});
    CHECK(advertised_hosts(host(), filter("10.1.2.0/23, fd00::/8"), "", 8) == Hosts{"10.1.2.3", "fd00::5"});
    CHECK(advertised_hosts(host(), filter("^eth1"), "", 8) == Hosts{"10.1.2.3", "fd00::5"});
    CHECK(advertised_hosts(host(), filter("eth,^10.0.0.0/8"), "", 8) == Hosts{"fd00::5", "192.168.7.9"});
    CHECK(advertised_hosts(host(), filter("^=eth0"), "", 8) == Hosts{"192.168.7.9"});
    CHECK(advertised_hosts(host(), filter("docker"), "", 8).empty());
    CHECK(advertised_hosts(host(), filter("=docker0"), "", 8) == Hosts{"172.17.0.1"});
    CHECK(advertised_hosts(host(), filter("0.0.0.0/0"), "", 8) == Hosts{"10.1.2.3", "192.168.7.9"});
    CHECK(filter("eth0").allows("eth00", numeric("10.0.0.1")));
    CHECK_FALSE(filter("=eth0").allows("eth00", numeric("10.0.0.1")));
}

TEST_CASE("a filter that matches nothing leaves nothing, whatever reached the coordinator", "[transport]") {
    for (const char* first : {"", "127.0.0.1", "10.1.2.3", "203.0.113.5", "fe80::1%1"}) {
        INFO(first);
        CHECK(advertised_hosts(host(), filter("nosuch0"), first, 8).empty());
        CHECK(advertised_hosts(host(), filter("172.30.0.0/16"), first, 8).empty());
    }
    // Addresses that others cannot reach are none.
    CHECK(advertised_hosts(host(), filter("=ib0"), "10.1.2.3", 8).empty());
    CHECK(advertised_hosts(host(), filter("eth1"), "127.0.0.1", 8) == Hosts{"127.0.0.1", "192.168.7.9"});
}

TEST_CASE("a v4-mapped subnet is the v4 subnet that it stands for", "[transport]") {
    CHECK(advertised_hosts(host(), filter("::ffff:10.1.2.3/128"), "", 8) == Hosts{"10.1.2.3"});
    CHECK(advertised_hosts(host(), filter("::ffff:192.168.0.0/112"), "", 8) == Hosts{"192.168.7.9"});
    CHECK(advertised_hosts(host(), filter("::ffff:10.1.2.4/128"), "", 8).empty());
    CHECK(advertised_hosts(host(), filter("::ffff:0.0.0.0/64,^=ib0"), "", 8) ==
          Hosts{"10.1.2.3", "192.168.7.9"});
}

TEST_CASE("filters that mean nothing are refused with the reason", "[transport]") {
    InterfaceFilter out;
    for (const char* text : {"^", "=", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/x", "300.0.0.0/8", "fd00::/129",
                             "10.0.0.0/-1", "eth,/8"}) {
        INFO(text);
        const Status status = InterfaceFilter::parse(text, &out);
        CHECK(status.code() == Code::INVALID_ARGUMENT);
        CHECK_FALSE(status.text().empty());
    }
    CHECK(InterfaceFilter::parse(" , ,eth ", &out).ok());
}

TEST_CASE("the host's interfaces can be listed", "[transport]") {
    for (const InterfaceAddress& entry : list_interfaces()) {
        CHECK_FALSE(entry.name.empty());
        CHECK_FALSE(entry.address.host().empty());
    }
}
