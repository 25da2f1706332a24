// Socket addresses: numeric text to and from sockaddr, the host's interfaces, and the filter that chooses
// among them. Values are plain data; any thread.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "base/status.h"

namespace pccl::transport {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;

    int family() const { return storage.ss_family; }
    uint16_t port() const;
    void set_port(uint16_t port);
    bool is_loopback() const;
    bool is_wildcard() const;
    bool is_link_local() const;
    /// The host part in numeric form; a v4-mapped address prints as the v4 address that it is.
    std::string host() const;
    /// "1.2.3.4:5", "[::1]:5".
    std::string text() const;
    const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }

    /// The same host, whatever the port.
    bool same_host(const SocketAddress& other) const { return host() == other.host(); }
};

/// A numeric v4 or v6 host, with a scope ("fe80::1%eth0") where it needs one. False for anything else, names
/// included.
bool parse_numeric(const std::string& host, uint16_t port, SocketAddress* out);

struct InterfaceAddress {
    std::string name;
    SocketAddress address;
};

/// Addresses of the interfaces that are up.
std::vector<InterfaceAddress> list_interfaces();

/// Which interfaces and addresses peers are told about. A comma-separated list of "eth" (names that start
/// so), "=eth0" (this name), "10.0.0.0/8" or "fd00::/8" (addresses inside), each with "^" in front to
/// exclude. With no including entry everything is included that is not excluded, apart from loopback and the
/// bridges of container runtimes.
class InterfaceFilter {
   public:
    static Status parse(const std::string& text, InterfaceFilter* out);
    bool allows(const std::string& name, const SocketAddress& address) const;
    /// It was given no entry, so nothing is asked for.
    bool empty() const { return entries_.empty(); }

   private:
    struct Entry {
        enum class Kind { kPrefix, kExact, kSubnet } kind = Kind::kPrefix;
        bool exclude = false;
        std::string name;
        SocketAddress subnet;
        int prefix_bits = 0;
        bool matches(const std::string& name, const SocketAddress& address) const;
    };
    std::vector<Entry> entries_;
};

/// Hosts to tell peers about, best first: `first` (the local end of a connection that works) unless it is
/// empty or the filter rejects it, then the chosen interfaces' addresses. Link-local addresses mean nothing
/// elsewhere and are left out; loopback is only in it as `first`. Where nothing is left without a filter,
/// `first` is better than no host at all; with one that matches nothing the list is empty.
std::vector<std::string> advertised_hosts(const std::vector<InterfaceAddress>& interfaces,
                                          const InterfaceFilter& filter, const std::string& first,
                                          size_t count_max);

}  // namespace pccl::transport
