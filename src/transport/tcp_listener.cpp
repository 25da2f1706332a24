#include "transport/tcp_listener.h"

#include <netdb.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/fault.h"
#include "transport/tcp_socket.h"

namespace pccl::transport {

namespace {

/// The addresses that a bind address names. Blocks for a name; binding happens on the caller's thread.
std::vector<SocketAddress> bind_candidates(const std::string& host) {
    std::vector<SocketAddress> out;
    SocketAddress numeric;
    if (host.empty()) {
        if (parse_numeric("::", 0, &numeric)) out.push_back(numeric);
        if (parse_numeric("0.0.0.0", 0, &numeric)) out.push_back(numeric);
        return out;
    }
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (parse_numeric(bracketed ? host.substr(1, host.size() - 2) : host, 0, &numeric)) return {numeric};
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* list = nullptr;
    if (::getaddrinfo(host.c_str(), nullptr, &hints, &list) != 0) return out;
    for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
        if (at->ai_addrlen > sizeof(sockaddr_storage)) continue;
        SocketAddress address;
        std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
        address.length = at->ai_addrlen;
        out.push_back(address);
    }
    ::freeaddrinfo(list);
    return out;
}

}  // namespace

TcpListener::TcpListener(Poller& poller, OnAccept on_accept, OnError on_error)
    : poller_(poller), on_accept_(std::move(on_accept)), on_error_(std::move(on_error)) {}

TcpListener::~TcpListener() { close(); }

void TcpListener::close() {
    if (fd_ < 0) return;
    if (!paused_) poller_.remove(slot_);
    ::close(fd_);
    fd_ = -1;
}

int TcpListener::try_bind(const SocketAddress& address, bool dual_stack) {
    const int fd = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    const int one = 1, v6_only = dual_stack ? 0 : 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address.family() == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only);
    if (::bind(fd, address.raw(), address.length) != 0 || ::listen(fd, kBacklog) != 0) {
        const int error = errno;
        ::close(fd);
        return error;
    }
    if (!poller_.add(fd, EPOLLIN, this, &slot_)) {
        ::close(fd);
        return ENOSPC;
    }
    fd_ = fd;
    paused_ = false;
    address_ = local_address(fd);
    return 0;
}

Status TcpListener::listen(const std::string& host, int port_first, int port_last) {
    const auto failed = [&](const std::string& why) {
        return Status(Code::RESOURCE_LIMIT,
                      "cannot listen on " + (host.empty() ? "any address" : host) + ": " + why);
    };
    if (port_first < 0 || port_first > 65535 ||
        (port_first != 0 && (port_last < port_first || port_last > 65535))) {
        return Status(Code::INVALID_ARGUMENT, "the range of ports " + std::to_string(port_first) + " to " +
                                                  std::to_string(port_last) + " is not valid");
    }
    const std::vector<SocketAddress> candidates = bind_candidates(host);
    if (candidates.empty()) return failed("it is no address of this host");
    int error = 0;
    for (int port = port_first; port <= (port_first == 0 ? 0 : port_last); ++port) {
        for (SocketAddress address : candidates) {
            address.set_port(static_cast<uint16_t>(port));
            error = try_bind(address, host.empty());
            if (error == 0) return {};
            // With dual stack the second candidate is for hosts without v6, not for a port that is taken.
            if (error == EADDRINUSE || error == EACCES) break;
        }
        if (error != EADDRINUSE && error != EACCES) break;
    }
    std::string ports = port_first == 0 ? "" : "port " + std::to_string(port_first);
    if (port_first != 0 && port_last != port_first) {
        ports = "ports " + std::to_string(port_first) + " to " + std::to_string(port_last);
    }
    return failed((ports.empty() ? "" : ports + ": ") + std::strerror(error));
}

void TcpListener::ready(uint32_t) {
    for (int i = 0; i < kAcceptsPerEvent && fd_ >= 0; ++i) {
        SocketAddress remote;
        remote.length = sizeof remote.storage;
        const bool refused = PCCL_FAULT(kAcceptFails);
        const int fd =
            refused ? -1 : ::accept4(fd_, remote.raw(), &remote.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            on_accept_(fd, remote);
            continue;
        }
        const int error = refused ? EMFILE : errno;
        if (error == EAGAIN || error == EWOULDBLOCK) return;
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
            poller_.remove(slot_);
            paused_ = true;
            retry_at_ = 0;  // tick() sets the time: nothing here reads a clock
            on_error_(std::string("cannot accept a connection: ") + std::strerror(error));
            return;
        }
        // The connection ended between its arrival and now; the next one may be fine.
    }
}

void TcpListener::tick(TimeUs now) {
    if (!paused_ || fd_ < 0) return;
    if (retry_at_ == 0) {
        retry_at_ = now + 100 * kMillisecond;
    } else if (now >= retry_at_) {
        paused_ = !poller_.add(fd_, EPOLLIN, this, &slot_);
        retry_at_ = 0;
    }
}

}  // namespace pccl::transport
