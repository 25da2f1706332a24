// Texts that people and peers write: addresses and filters of interfaces. What is accepted says the same when
// it is printed and read again, nothing of it is skipped, and whatever the filter, the hosts that are told to
// peers are numeric, distinct and no more than asked for.
//
// Input: one byte chooses what the rest is.
#include <net/if.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "input.h"
#include "transport/address.h"
#include "transport/control.h"

using namespace pccl;
using namespace pccl::transport;
using pccl::fuzz::Input;

namespace {

void check_numeric(const std::string& text, uint16_t port) {
    SocketAddress address;
    if (!parse_numeric(text, port, &address)) return;
    REQUIRE(text.find('\0') == std::string::npos);
    REQUIRE((address.family() == AF_INET || address.family() == AF_INET6));
    REQUIRE((address.port() == port && address.length > 0));
    if (const size_t percent = text.find('%'); percent != std::string::npos) {
        const std::string scope = text.substr(percent + 1);
        REQUIRE((if_nametoindex(scope.c_str()) != 0 ||
                 scope.find_first_not_of("0123456789") == std::string::npos));
    }
    SocketAddress again;
    REQUIRE(parse_numeric(address.host(), port, &again));
    REQUIRE((again.host() == address.host() && again.same_host(address)));
    wire::Endpoint endpoint;
    REQUIRE(parse_address(address.text(), &endpoint));
    REQUIRE((endpoint.host == address.host() && endpoint.port == port));
    // A host is of one kind.
    REQUIRE(address.is_loopback() + address.is_wildcard() + address.is_link_local() <= 1);
}

void check_address(const std::string& text) {
    wire::Endpoint endpoint;
    if (!parse_address(text, &endpoint)) return;
    REQUIRE((!endpoint.host.empty() && endpoint.host.find('\0') == std::string::npos));
    const bool six = endpoint.host.find(':') != std::string::npos;
    const std::string again =
        (six ? "[" + endpoint.host + "]" : endpoint.host) + ":" + std::to_string(endpoint.port);
    wire::Endpoint other;
    REQUIRE(parse_address(again, &other));
    REQUIRE((other.host == endpoint.host && other.port == endpoint.port));
}

std::vector<InterfaceAddress> interfaces() {
    std::vector<InterfaceAddress> out;
    const std::pair<const char*, const char*> all[] = {
        {"lo", "127.0.0.1"},       {"lo", "::1"},         {"eth0", "10.1.2.3"},
        {"eth0", "fd00::5"},       {"eth0", "fe80::1"},   {"eth1", "::ffff:192.168.7.9"},
        {"docker0", "172.17.0.1"}, {"ib0", "169.254.3.3"}};
    for (const auto& [name, host] : all) {
        REQUIRE(parse_numeric(host, 0, &out.emplace_back().address));
        out.back().name = name;
    }
    return out;
}

void check_filter(const std::string& text, size_t count_max) {
    static const std::vector<InterfaceAddress> all = interfaces();
    InterfaceFilter filter;
    if (!InterfaceFilter::parse(text, &filter).ok()) return;
    // A lone subnet has the address in it by which it is written, to the last bit.
    const std::string subnet = text.substr(0, text.find('/'));
    SocketAddress written;
    if (subnet.size() < text.size() && text.find(',') == std::string::npos &&
        parse_numeric(subnet, 0, &written))
        REQUIRE(filter.allows("eth0", written));
    for (const char* first : {"", "10.1.2.3", "203.0.113.5", "fe80::1%1"}) {
        const std::vector<std::string> hosts = advertised_hosts(all, filter, first, count_max);
        REQUIRE(hosts.size() <= count_max);
        REQUIRE(std::set<std::string>(hosts.begin(), hosts.end()).size() == hosts.size());
        for (const std::string& host : hosts) {
            SocketAddress address;
            REQUIRE(parse_numeric(host, 0, &address));
            REQUIRE_FALSE(address.is_loopback());
            REQUIRE((!address.is_link_local() || (host == first && hosts.size() == 1)));
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    Input input(data, bytes);
    const uint8_t mode = input.byte();
    const auto rest = input.rest();
    const std::string text(rest.begin(), rest.end());
    switch (mode % 3) {
        case 0: check_numeric(text, static_cast<uint16_t>(mode * 257)); break;
        case 1: check_address(text); break;
        default: check_filter(text, mode / 3 % 9); break;
    }
    return 0;
}
