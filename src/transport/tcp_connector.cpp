#include "transport/tcp_connector.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace pccl::transport {

TcpConnector::TcpConnector(Poller& poller, TcpOptions options, std::vector<SocketAddress> addresses,
                           Callbacks callbacks)
    : poller_(poller),
      options_(options),
      addresses_(std::move(addresses)),
      callbacks_(std::move(callbacks)) {}

TcpConnector::~TcpConnector() { close(); }

void TcpConnector::close() {
    closed_ = true;
    for (auto& attempt : attempts_) drop(*attempt);
}

void TcpConnector::drop(Attempt& attempt) {
    if (attempt.fd < 0) return;
    poller_.remove(attempt.slot);
    ::close(attempt.fd);
    attempt.fd = -1;
}

void TcpConnector::start(TimeUs now) {
    now_ = now;
    advance();
}

void TcpConnector::next(TimeUs now) {
    PCCL_ASSERT(handed_over_);
    handed_over_ = false;
    now_ = now;
    advance();
}

void TcpConnector::tick(TimeUs now) {
    if (handed_over_ || closed_ || now < next_start_) return;
    now_ = now;
    start_one();
    advance();
}

void TcpConnector::start_one() {
    next_start_ = kNever;
    while (started_ < addresses_.size()) {
        auto attempt = std::make_unique<Attempt>();
        attempt->connector = this;
        attempt->address = addresses_[started_++];
        std::string error;
        attempt->fd = start_connect(attempt->address, options_, &error);
        if (attempt->fd >= 0 && !poller_.add(attempt->fd, EPOLLOUT, attempt.get(), &attempt->slot)) {
            error = "cannot watch a connection";
            ::close(attempt->fd);
            attempt->fd = -1;
        }
        if (attempt->fd < 0) {
            why_ += (why_.empty() ? "" : "; ") + error;
            continue;
        }
        attempts_.push_back(std::move(attempt));
        next_start_ = started_ < addresses_.size() ? now_ + kStagger : kNever;
        return;
    }
}

/// Hands over a connection that is ready, or starts another, or gives up.
void TcpConnector::advance() {
    while (!handed_over_ && !closed_) {
        const auto live = [](const auto& a) { return a->fd >= 0; };
        const auto ready = std::find_if(attempts_.begin(), attempts_.end(),
                                        [](const auto& a) { return a->fd >= 0 && a->connected; });
        if (ready != attempts_.end()) {
            Attempt& attempt = **ready;
            poller_.remove(attempt.slot);
            const int fd = attempt.fd;
            attempt.fd = -1;
            handed_over_ = true;
            callbacks_.on_connected(fd, attempt.address);
            return;
        }
        if (std::any_of(attempts_.begin(), attempts_.end(), live)) return;
        if (started_ == addresses_.size()) {
            closed_ = true;
            callbacks_.on_failed(why_.empty() ? "there is no address to connect to" : why_);
            return;
        }
        start_one();
    }
}

void TcpConnector::finished(Attempt& attempt, uint32_t) {
    if (attempt.connected) {
        // It waits for its turn; only an error is still reported.
        const std::string text = attempt.address.text();
        drop(attempt);
        why_ += (why_.empty() ? "" : "; ") + text + ": closed";
        return;
    }
    const int error = connect_result(attempt.fd);
    if (error == 0) {
        attempt.connected = true;
        poller_.change(attempt.slot, 0);
    } else {
        why_ += (why_.empty() ? "" : "; ") + attempt.address.text() + ": " + std::strerror(error);
        drop(attempt);
        // The next address need not wait for its moment.
        if (!handed_over_ && started_ < addresses_.size()) start_one();
    }
    if (!handed_over_) advance();
}

}  // namespace pccl::transport
