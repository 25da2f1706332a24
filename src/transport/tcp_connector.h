// Opens a TCP connection to whichever of several addresses answers first: the next address is tried when the
// one before failed, or is silent for a moment, while that one stays in the race.
//
// A connection that was handed over need not be the right peer (addresses behind translations are not
// unique), so the owner can ask for the next one. Guarded by the same lock as its poller; the callbacks come
// from ready(), tick(), start() and next(), and may destroy nothing.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "transport/address.h"
#include "transport/poller.h"
#include "transport/tcp_socket.h"

namespace pccl::transport {

class TcpConnector {
   public:
    static constexpr TimeUs kStagger = 250 * kMillisecond;
    struct Callbacks {
        std::function<void(int fd, const SocketAddress& remote)> on_connected;
        std::function<void(const std::string& why)> on_failed;  ///< no address is left
    };

    TcpConnector(Poller& poller, TcpOptions options, std::vector<SocketAddress> addresses,
                 Callbacks callbacks);
    ~TcpConnector();

    void start(TimeUs now);
    /// The connection that was handed over was of no use.
    void next(TimeUs now);
    void close();
    TimeUs deadline() const { return handed_over_ || closed_ ? kNever : next_start_; }
    void tick(TimeUs now);

   private:
    struct Attempt final : Poller::Watcher {
        TcpConnector* connector = nullptr;
        SocketAddress address;
        int fd = -1;
        Poller::Slot slot = 0;
        bool connected = false;
        void ready(uint32_t epoll_events) override { connector->finished(*this, epoll_events); }
    };

    void finished(Attempt& attempt, uint32_t epoll_events);
    void drop(Attempt& attempt);
    void start_one();
    void advance();

    Poller& poller_;
    TcpOptions options_;
    std::vector<SocketAddress> addresses_;
    Callbacks callbacks_;
    size_t started_ = 0;
    std::vector<std::unique_ptr<Attempt>> attempts_;
    TimeUs now_ = 0;
    TimeUs next_start_ = kNever;
    bool handed_over_ = false;
    bool closed_ = false;
    std::string why_;
};

}  // namespace pccl::transport
