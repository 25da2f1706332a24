// Options of TCP sockets that carry lanes. Any thread.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <string>

#include "base/time.h"
#include "transport/address.h"

namespace pccl::transport {

struct TcpOptions {
    TimeUs liveness = 5 * kSecond;       ///< unacknowledged bytes or silence for longer end the connection
    SocketAddress source;                ///< connections start from this host, if its length is not 0
    uint32_t unsent_bytes = 256 * 1024;  ///< back-pressure: what the kernel queues beyond the bytes in flight
};

/// Buffer sizes are left to the kernel: setting them switches its tuning off. Errors are ignored: every
/// option only improves a connection that works without it.
void set_lane_options(int fd, const TcpOptions& options);

/// Leaves the first `bytes` bytes of a message.
void shorten(msghdr& message, size_t bytes);

/// A non-blocking socket on its way to `to`. -1 with the cause when that fails at once.
int start_connect(const SocketAddress& to, const TcpOptions& options, std::string* error);

/// The result of a connect that was in progress: 0 or an errno value.
int connect_result(int fd);

SocketAddress local_address(int fd);
SocketAddress remote_address(int fd);

/// Whether both ends are on this host.
bool is_same_host(int fd);

/// For a connected socket whose ends are both on this host: nothing can be lost there, so that pacing only
/// costs time.
void set_same_host_options(int fd);

}  // namespace pccl::transport
