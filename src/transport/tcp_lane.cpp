#include "transport/tcp_lane.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "transport/tcp_socket.h"

namespace pccl::transport {

TcpLane::TcpLane(Poller& poller, int fd, std::string remote, LaneOwner* owner)
    : poller_(poller), fd_(fd), remote_(std::move(remote)), owner_(owner) {
    PCCL_ASSERT(fd >= 0 && owner != nullptr);
    if (is_same_host(fd_)) {
        capabilities_ |= kLaneSameHost;
        set_same_host_options(fd_);
    }
    if (!poller_.add(fd_, EPOLLIN, this, &slot_)) {
        // Without a watch the lane is of no use; the owner finds it closed.
        ::close(fd_);
        fd_ = -1;
    }
}

TcpLane::~TcpLane() { close(); }

void TcpLane::close() {
    if (fd_ < 0) return;
    poller_.remove(slot_);
    ::close(fd_);
    fd_ = -1;
}

void TcpLane::lose(const std::string& why) {
    if (fd_ < 0) return;
    close();
    owner_->lane_lost(*this, why);
}

void TcpLane::update_interest() {
    if (fd_ < 0) return;
    const uint32_t in = paused_ ? 0u : static_cast<uint32_t>(EPOLLIN);
    const uint32_t out = blocked_ ? static_cast<uint32_t>(EPOLLOUT) : 0u;
    poller_.change(slot_, in | out);
}

void TcpLane::ready(uint32_t epoll_events) {
    if ((epoll_events & EPOLLOUT) != 0 && blocked_) {
        blocked_ = false;
        update_interest();
        owner_->lane_writable(*this);
        if (fd_ < 0) return;
    }
    if (paused_) {
        // Nothing may be read now, but a dead connection would be reported without end.
        if ((epoll_events & (EPOLLERR | EPOLLHUP)) != 0) lose("the connection was reset");
        return;
    }
    if ((epoll_events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP)) == 0) return;
    if (lingering_) {
        receive_discarding();
    } else {
        receive();
    }
}

void TcpLane::pause() {
    if (paused_) return;
    paused_ = true;
    update_interest();
}

void TcpLane::resume() {
    if (!paused_) return;
    paused_ = false;
    update_interest();
    // Frames that were read ahead would not be announced by the socket again.
    if (!parsing_ && fd_ >= 0) parse();
}

void TcpLane::linger() {
    if (fd_ < 0) return;
    cut(nullptr);
    lingering_ = true;
    resume();
    pump();
}

}  // namespace pccl::transport
