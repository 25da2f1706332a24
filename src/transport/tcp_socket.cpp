#include "transport/tcp_socket.h"

#include <netinet/tcp.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/fault.h"

namespace pccl::transport {

namespace {

void set_option(int fd, int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);
}

}  // namespace

void set_lane_options(int fd, const TcpOptions& options) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (PCCL_FAULT(kTinyWindow)) {
        set_option(fd, SOL_SOCKET, SO_SNDBUF, 1);
        set_option(fd, SOL_SOCKET, SO_RCVBUF, 1);
    }
    set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, static_cast<int>(options.unsent_bytes));
    const auto liveness_ms =
        static_cast<int>(std::clamp<TimeUs>(options.liveness / kMillisecond, 100, 3'600'000));
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, liveness_ms);
    const int liveness_s = std::max(1, liveness_ms / 1000);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, liveness_s);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, std::max(1, liveness_s / 3));
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

void shorten(msghdr& message, size_t bytes) {
    size_t count = 0;
    while (bytes > 0) {
        iovec& part = message.msg_iov[count++];
        part.iov_len = std::min(part.iov_len, bytes);
        bytes -= part.iov_len;
    }
    message.msg_iovlen = count;
}

int start_connect(const SocketAddress& to, const TcpOptions& options, std::string* error) {
    const int fd = ::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *error = to.text() + ": " + std::strerror(errno);
        return -1;
    }
    if (PCCL_FAULT(kConnectFails)) {
        *error = to.text() + ": " + std::strerror(ECONNREFUSED);
        ::close(fd);
        return -1;
    }
    set_lane_options(fd, options);
    if (options.source.length != 0 && options.source.family() == to.family() &&
        !options.source.is_wildcard()) {
        SocketAddress source = options.source;
        source.set_port(0);
        if (::bind(fd, source.raw(), source.length) != 0) {
            *error = "cannot bind to " + source.host() + ": " + std::strerror(errno);
            ::close(fd);
            return -1;
        }
    }
    if (::connect(fd, to.raw(), to.length) != 0 && errno != EINPROGRESS && errno != EINTR) {
        *error = to.text() + ": " + std::strerror(errno);
        ::close(fd);
        return -1;
    }
    return fd;
}

int connect_result(int fd) {
    int error = 0;
    socklen_t length = sizeof error;
    if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
    return error;
}

SocketAddress local_address(int fd) {
    SocketAddress out;
    out.length = sizeof out.storage;
    if (::getsockname(fd, out.raw(), &out.length) != 0) out = SocketAddress{};
    return out;
}

SocketAddress remote_address(int fd) {
    SocketAddress out;
    out.length = sizeof out.storage;
    if (::getpeername(fd, out.raw(), &out.length) != 0) out = SocketAddress{};
    return out;
}

bool is_same_host(int fd) {
    const SocketAddress remote = remote_address(fd);
    return remote.is_loopback() || remote.same_host(local_address(fd));
}

void set_same_host_options(int fd) {
    static constexpr char kUnpaced[] = "reno";  // part of every kernel
    ::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, kUnpaced, sizeof kUnpaced - 1);
}

}  // namespace pccl::transport
