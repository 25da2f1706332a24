#include "transport/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>

#include "wire/names.h"

namespace pccl::transport {

namespace {

const sockaddr_in* as_v4(const SocketAddress& a) { return reinterpret_cast<const sockaddr_in*>(&a.storage); }
const sockaddr_in6* as_v6(const SocketAddress& a) {
    return reinterpret_cast<const sockaddr_in6*>(&a.storage);
}

/// The bytes of the address in network order, a v4-mapped one as v4.
std::vector<uint8_t> address_bytes(const SocketAddress& a) {
    if (a.family() == AF_INET) {
        const auto* p = reinterpret_cast<const uint8_t*>(&as_v4(a)->sin_addr);
        return {p, p + 4};
    }
    if (a.family() != AF_INET6) return {};
    const auto* p = reinterpret_cast<const uint8_t*>(&as_v6(a)->sin6_addr);
    if (IN6_IS_ADDR_V4MAPPED(&as_v6(a)->sin6_addr)) return {p + 12, p + 16};
    return {p, p + 16};
}

bool inside(const SocketAddress& address, const SocketAddress& subnet, int prefix_bits) {
    const auto a = address_bytes(address), s = address_bytes(subnet);
    if (a.size() != s.size()) return false;
    // A v4-mapped subnet counts the 96 bits before the v4 address, which are gone here.
    if (subnet.family() == AF_INET6 && s.size() == 4) prefix_bits = std::max(0, prefix_bits - 96);
    for (int bit = 0; bit < prefix_bits; ++bit) {
        const auto at = static_cast<size_t>(bit / 8);
        const int mask = 0x80 >> (bit % 8);
        if ((a[at] & mask) != (s[at] & mask)) return false;
    }
    return true;
}

bool starts_with(const std::string& text, const std::string& start) {
    return text.compare(0, start.size(), start) == 0;
}

}  // namespace

uint16_t SocketAddress::port() const {
    if (family() == AF_INET) return ntohs(as_v4(*this)->sin_port);
    if (family() == AF_INET6) return ntohs(as_v6(*this)->sin6_port);
    return 0;
}

void SocketAddress::set_port(uint16_t port) {
    if (family() == AF_INET) reinterpret_cast<sockaddr_in*>(&storage)->sin_port = htons(port);
    if (family() == AF_INET6) reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port = htons(port);
}

bool SocketAddress::is_loopback() const {
    const auto bytes = address_bytes(*this);
    if (bytes.size() == 4) return bytes[0] == 127;
    return bytes.size() == 16 && IN6_IS_ADDR_LOOPBACK(&as_v6(*this)->sin6_addr);
}

bool SocketAddress::is_wildcard() const {
    const auto bytes = address_bytes(*this);
    return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

bool SocketAddress::is_link_local() const {
    const auto bytes = address_bytes(*this);
    if (bytes.size() == 4) return bytes[0] == 169 && bytes[1] == 254;
    return bytes.size() == 16 && IN6_IS_ADDR_LINKLOCAL(&as_v6(*this)->sin6_addr);
}

std::string SocketAddress::host() const {
    const auto bytes = address_bytes(*this);
    if (bytes.empty()) return {};
    char text[INET6_ADDRSTRLEN] = {};
    inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof text);
    std::string out = text;
    if (bytes.size() == 16 && as_v6(*this)->sin6_scope_id != 0 && is_link_local()) {
        char name[IF_NAMESIZE] = {};
        const uint32_t scope = as_v6(*this)->sin6_scope_id;
        out += "%" + (if_indextoname(scope, name) != nullptr ? std::string(name) : std::to_string(scope));
    }
    return out;
}

std::string SocketAddress::text() const { return wire::Endpoint{host(), port()}.text(); }

bool parse_numeric(const std::string& host, uint16_t port, SocketAddress* out) {
    *out = SocketAddress{};
    // The functions below would end at it, and take what follows for agreed to.
    if (host.find('\0') != std::string::npos) return false;
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out->storage);
    if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        out->length = sizeof(sockaddr_in);
        out->set_port(port);
        return true;
    }
    *out = SocketAddress{};
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out->storage);
    const size_t percent = host.find('%');
    if (inet_pton(AF_INET6, host.substr(0, percent).c_str(), &v6->sin6_addr) != 1) return false;
    v6->sin6_family = AF_INET6;
    out->length = sizeof(sockaddr_in6);
    if (percent != std::string::npos) {
        const std::string scope = host.substr(percent + 1);
        uint32_t index = if_nametoindex(scope.c_str());
        const char* const end = scope.data() + scope.size();
        if (index == 0 && std::from_chars(scope.data(), end, index).ptr != end) return false;
        if (index == 0) return false;
        v6->sin6_scope_id = index;
    }
    out->set_port(port);
    return true;
}

std::vector<InterfaceAddress> list_interfaces() {
    std::vector<InterfaceAddress> out;
    ifaddrs* first = nullptr;
    if (getifaddrs(&first) != 0) return out;
    const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> list(first, &freeifaddrs);
    for (const ifaddrs* at = first; at != nullptr; at = at->ifa_next) {
        if (at->ifa_addr == nullptr || (at->ifa_flags & IFF_UP) == 0) continue;
        const int family = at->ifa_addr->sa_family;
        if (family != AF_INET && family != AF_INET6) continue;
        InterfaceAddress entry;
        entry.name = at->ifa_name;
        entry.address.length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
        std::memcpy(&entry.address.storage, at->ifa_addr, entry.address.length);
        out.push_back(entry);
    }
    return out;
}

bool InterfaceFilter::Entry::matches(const std::string& of_name, const SocketAddress& address) const {
    switch (kind) {
        case Kind::kExact: return of_name == name;
        case Kind::kPrefix: return starts_with(of_name, name);
        case Kind::kSubnet: return inside(address, subnet, prefix_bits);
    }
    return false;
}

Status InterfaceFilter::parse(const std::string& text, InterfaceFilter* out) {
    *out = InterfaceFilter{};
    size_t begin = 0;
    while (begin <= text.size()) {
        const size_t end = std::min(text.find(',', begin), text.size());
        std::string item = text.substr(begin, end - begin);
        begin = end + 1;
        const auto is_space = [](char c) { return c == ' ' || c == '\t'; };
        while (!item.empty() && is_space(item.front())) item.erase(item.begin());
        while (!item.empty() && is_space(item.back())) item.pop_back();
        if (item.empty()) continue;
        Entry entry;
        if (item[0] == '^') {
            entry.exclude = true;
            item.erase(item.begin());
        }
        const auto invalid = [&](const char* why) {
            return Status(Code::INVALID_ARGUMENT, "interface filter: \"" + item + "\" " + why);
        };
        if (const size_t slash = item.find('/'); slash != std::string::npos) {
            entry.kind = Entry::Kind::kSubnet;
            if (!parse_numeric(item.substr(0, slash), 0, &entry.subnet)) return invalid("is not a subnet");
            const std::string bits = item.substr(slash + 1);
            const auto [stop, error] =
                std::from_chars(bits.data(), bits.data() + bits.size(), entry.prefix_bits);
            const int bits_max = entry.subnet.family() == AF_INET ? 32 : 128;
            if (error != std::errc() || stop != bits.data() + bits.size() || entry.prefix_bits < 0 ||
                entry.prefix_bits > bits_max) {
                return invalid("has no valid prefix length");
            }
        } else if (!item.empty() && item[0] == '=') {
            entry.kind = Entry::Kind::kExact;
            entry.name = item.substr(1);
        } else {
            entry.name = item;
        }
        if (entry.kind != Entry::Kind::kSubnet && entry.name.empty()) return invalid("names no interface");
        out->entries_.push_back(entry);
    }
    return {};
}

bool InterfaceFilter::allows(const std::string& name, const SocketAddress& address) const {
    bool any_include = false, included = false, named = false;
    for (const Entry& entry : entries_) {
        const bool hit = entry.matches(name, address);
        if (entry.exclude && hit) return false;
        if (entry.exclude) continue;
        any_include = true;
        included = included || hit;
        named = named || (hit && entry.kind == Entry::Kind::kExact);
    }
    // Every host with a container runtime has the same bridge addresses: peers would reach themselves.
    static const char* const kBridges[] = {"docker", "br-", "veth", "virbr", "cni", "podman"};
    const bool is_bridge = std::any_of(std::begin(kBridges), std::end(kBridges),
                                       [&](const char* bridge) { return starts_with(name, bridge); });
    if (is_bridge) return named;
    return any_include ? included : !address.is_loopback();
}

std::vector<std::string> advertised_hosts(const std::vector<InterfaceAddress>& interfaces,
                                          const InterfaceFilter& filter, const std::string& first,
                                          size_t count_max) {
    std::vector<std::string> out;
    // What the filter asks for is not here at all; anything else would be used against the program's wish.
    if (!filter.empty() && std::none_of(interfaces.begin(), interfaces.end(), [&](const auto& entry) {
            return filter.allows(entry.name, entry.address);
        }))
        return out;
    auto add = [&](const std::string& host) {
        if (out.size() < count_max && std::find(out.begin(), out.end(), host) == out.end())
            out.push_back(host);
    };
    SocketAddress first_address;
    if (parse_numeric(first, 0, &first_address) && !first_address.is_link_local()) {
        // An address that no interface shows (behind a translation of the host's own) is as good as its
        // connection.
        bool shown = false, allowed = first_address.is_loopback();
        for (const InterfaceAddress& entry : interfaces) {
            if (!entry.address.same_host(first_address)) continue;
            shown = true;
            allowed = allowed || filter.allows(entry.name, entry.address);
        }
        if (!shown || allowed) add(first_address.host());
    }
    for (const InterfaceAddress& entry : interfaces) {
        if (entry.address.is_link_local() || entry.address.is_loopback()) continue;
        if (filter.allows(entry.name, entry.address)) add(entry.address.host());
    }
    if (out.empty() && !first.empty() && filter.empty()) add(first);
    return out;
}

}  // namespace pccl::transport
