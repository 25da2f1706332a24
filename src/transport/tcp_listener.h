// A listening TCP socket that hands over accepted, non-blocking connections.
//
// Guarded by the same lock as its poller. When the process is out of descriptors it stops accepting until
// tick() is called after retry_at(), since the pending connection would be announced without end.
#pragma once

#include <functional>
#include <string>

#include "base/status.h"
#include "base/time.h"
#include "transport/address.h"
#include "transport/poller.h"

namespace pccl::transport {

class TcpListener final : private Poller::Watcher {
   public:
    using OnAccept = std::function<void(int fd, const SocketAddress& remote)>;
    /// The cause of a failure to accept; connections that ended before they were accepted are not failures.
    using OnError = std::function<void(const std::string& why)>;

    TcpListener(Poller& poller, OnAccept on_accept, OnError on_error);
    ~TcpListener();

    /// Binds the first free port of the range (0: any free port) at `host`, numeric or a name; empty: every
    /// address of the host, v4 and v6.
    Status listen(const std::string& host, int port_first, int port_last);
    void close();
    uint16_t port() const { return address_.port(); }
    const SocketAddress& address() const { return address_; }

    TimeUs retry_at() const { return paused_ ? retry_at_ : kNever; }
    void tick(TimeUs now);

   private:
    static constexpr int kAcceptsPerEvent = 32;
    static constexpr int kBacklog = 512;

    void ready(uint32_t epoll_events) override;
    /// 0, or the errno value of what failed.
    int try_bind(const SocketAddress& address, bool dual_stack);

    Poller& poller_;
    OnAccept on_accept_;
    OnError on_error_;
    int fd_ = -1;
    Poller::Slot slot_ = 0;
    SocketAddress address_;
    bool paused_ = false;
    TimeUs retry_at_ = 0;
};

}  // namespace pccl::transport
