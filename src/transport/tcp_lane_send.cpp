// The sending half of TcpLane.
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/fault.h"
#include "transport/tcp_lane.h"
#include "transport/tcp_socket.h"
#include "wire/codec.h"

namespace pccl::transport {

namespace {

/// A control buffer that grew beyond this is given back when it is empty.
constexpr size_t kControlBytesKept = 256 * 1024;

}  // namespace

void TcpLane::queue_frame(wire::Type type, std::span<const uint8_t> body) {
    if (fd_ < 0 || ended_) return;
    wire::Preamble preamble;
    preamble.type = type;
    preamble.body_bytes = static_cast<uint32_t>(body.size());
    const auto head = wire::encode_preamble(preamble);
    if (control_sent_ > kControlBytesKept && control_sent_ > control_.size() / 2) {
        control_.erase(control_.begin(), control_.begin() + static_cast<std::ptrdiff_t>(control_sent_));
        control_sent_ = 0;
    }
    control_.insert(control_.end(), head.begin(), head.end());
    control_.insert(control_.end(), body.begin(), body.end());
}

bool TcpLane::start_data() {
    PCCL_ASSERT(!data_active_);
    if (lingering_) return false;
    asking_ = true;
    asked_cut_ = false;
    const bool got = owner_->lane_next_data(*this, data_out_);
    asking_ = false;
    // Whatever the owner did while it was asked may have ended the operation, or the lane.
    if (!got || asked_cut_ || fd_ < 0 || lingering_) {
        data_out_.payload = {};
        return got && asked_cut_ && fd_ >= 0 && !lingering_;
    }
    PCCL_ASSERT(data_out_.payload.size() <= wire::kPayloadBytesMax);
    data_header_.assign(wire::kPreambleBytes, 0);
    wire::Encoder encoder(data_header_);
    encoder.item(data_out_.header);
    wire::Preamble preamble;
    preamble.type = wire::Type::kData;
    preamble.body_bytes = static_cast<uint32_t>(data_header_.size() - wire::kPreambleBytes);
    preamble.payload_bytes = static_cast<uint32_t>(data_out_.payload.size());
    const auto head = wire::encode_preamble(preamble);
    std::memcpy(data_header_.data(), head.data(), head.size());
    data_sent_ = 0;
    data_active_ = true;
    return true;
}

size_t TcpLane::data_left() const {
    return data_active_ ? data_header_.size() + data_out_.payload.size() - data_sent_ : 0;
}

/// One sendmsg.
ssize_t TcpLane::send_some(msghdr& message, size_t total) {
    if (PCCL_FAULT(kWriteAgain)) {
        errno = EAGAIN;
        return -1;
    }
    const size_t bytes = PCCL_FAULT_PART(kShortWrite, total);
    if (bytes < total) shorten(message, bytes);
    return ::sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void TcpLane::pump() {
    size_t pumped = 0;
    while (fd_ >= 0 && !blocked_ && !ended_) {
        while (!data_active_ && start_data() && !data_active_) {
        }
        if (fd_ < 0) return;
        // A data frame that has started must be finished before anything else.
        const bool data_first = data_active_ && data_sent_ > 0;
        iovec parts[3];
        size_t count = 0, total = 0;
        auto add = [&](const uint8_t* data, size_t bytes) {
            if (bytes == 0) return;
            parts[count++] = {const_cast<uint8_t*>(data), bytes};
            total += bytes;
        };
        if (!data_first) add(control_.data() + control_sent_, queued_bytes());
        if (data_active_) {
            const size_t header_sent = std::min(data_sent_, data_header_.size());
            const size_t payload_sent = data_sent_ - header_sent;
            add(data_header_.data() + header_sent, data_header_.size() - header_sent);
            add(data_out_.payload.data() + payload_sent, data_out_.payload.size() - payload_sent);
        }
        if (data_first && count < 3) add(control_.data() + control_sent_, queued_bytes());
        if (total == 0) break;

        msghdr message{};
        message.msg_iov = parts;
        message.msg_iovlen = count;
        const ssize_t n = send_some(message, total);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
            lose(std::string("cannot send: ") + std::strerror(errno));
            return;
        }
        if (n > 0) {
            sent(static_cast<size_t>(n), data_first);
            pumped += static_cast<size_t>(n);
        }
        // A short count means that the socket is full. Above the limit per turn the others come first: the
        // socket reports at once that it takes more.
        if (n < static_cast<ssize_t>(total) || pumped >= kSendBytesPerPump) {
            blocked_ = true;
            update_interest();
        }
    }
    if (fd_ >= 0 && lingering_ && !ended_ && !data_active_ && queued_bytes() == 0) send_end();
}

void TcpLane::sent(size_t bytes, bool data_first) {
    for (int turn = 0; turn < 2 && bytes > 0; ++turn) {
        const bool is_data = (turn == 0) == data_first;
        const size_t taken = std::min(bytes, is_data ? data_left() : queued_bytes());
        bytes -= taken;
        (is_data ? data_sent_ : control_sent_) += taken;
    }
    PCCL_ASSERT(bytes == 0);
    if (data_active_ && data_left() == 0) {
        data_active_ = false;
        data_out_.payload = {};
        if (!private_copy_.empty()) std::vector<uint8_t>().swap(private_copy_);
    }
    if (control_sent_ == control_.size()) {
        control_.clear();
        control_sent_ = 0;
        if (control_.capacity() > kControlBytesKept) control_.shrink_to_fit();
    }
}

void TcpLane::send_end() {
    ended_ = true;
    ::shutdown(fd_, SHUT_WR);
}

void TcpLane::cut(const wire::OpKey* key) {
    if (asking_ && (key == nullptr || data_out_.header.key == *key)) asked_cut_ = true;
    if (placing_ && (key == nullptr || data_in_.key == *key)) placed_cut_ = true;
    if (receiving_ == Receiving::kPayload && (key == nullptr || data_in_.key == *key)) {
        place_ = nullptr;
        landing_ = false;
    }
    if (!data_active_ || (key != nullptr && data_out_.header.key != *key) || !private_copy_.empty()) return;
    if (data_sent_ == 0) {
        data_active_ = false;
        data_out_.payload = {};
        return;
    }
    // The stream must carry as many bytes as the header promised, and the owner's memory may change now.
    const size_t payload_sent = data_sent_ - std::min(data_sent_, data_header_.size());
    const auto rest = data_out_.payload.subspan(payload_sent);
    private_copy_.assign(rest.begin(), rest.end());
    data_sent_ -= payload_sent;
    data_out_.payload = private_copy_;
}

}  // namespace pccl::transport
