// The receiving half of TcpLane.
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/fault.h"
#include "transport/tcp_lane.h"
#include "transport/tcp_socket.h"

namespace pccl::transport {

namespace {

constexpr size_t kScrapBytes = 64 * 1024;
constexpr size_t kBodyStepBytes = 16 * 1024;

}  // namespace

void TcpLane::scrap_reserve() {
    if (scrap_ == nullptr) scrap_ = std::make_unique_for_overwrite<uint8_t[]>(kScrapBytes);
}

/// One recvmsg into whatever is expected next, with the read-ahead buffer behind it.
ssize_t TcpLane::receive_some(size_t* asked) {
    iovec parts[2];
    size_t count = 0;
    *asked = 0;
    auto add = [&](uint8_t* data, size_t bytes) {
        parts[count++] = {data, bytes};
        *asked += bytes;
    };
    bool whole = true;
    if (receiving_ == Receiving::kPayload) {
        const size_t rest = preamble_.payload_bytes - payload_have_;
        if (place_ != nullptr) {
            add(place_ + payload_have_, rest);
        } else {
            scrap_reserve();
            whole = rest <= kScrapBytes;
            add(scrap_.get(), std::min(rest, kScrapBytes));
        }
    } else if (receiving_ == Receiving::kBody) {
        // Memory follows the bytes that really came, not the length that was claimed.
        body_.resize(std::min<size_t>(preamble_.body_bytes, body_have_ + kBodyStepBytes));
        whole = body_.size() == preamble_.body_bytes;
        add(body_.data() + body_have_, body_.size() - body_have_);
    }
    if (whole) {
        // Elsewhere than in a header everything that was read ahead has been parsed.
        if (receiving_ != Receiving::kHeader) PCCL_ASSERT(in_begin_ == in_end_);
        if (in_begin_ > 0) {
            std::memmove(in_.data(), in_.data() + in_begin_, in_end_ - in_begin_);
            in_end_ -= in_begin_;
            in_begin_ = 0;
        }
        add(in_.data() + in_end_, in_.size() - in_end_);
    }
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    if (PCCL_FAULT(kReadAgain)) {
        errno = EAGAIN;
        return -1;
    }
    const size_t bytes = PCCL_FAULT_PART(kShortRead, *asked);
    if (bytes < *asked) shorten(message, bytes);
    for (;;) {
        const ssize_t n = ::recvmsg(fd_, &message, MSG_DONTWAIT);
        if (n >= 0 || errno != EINTR) return n;
    }
}

/// Notes where the bytes of one receive_some went.
void TcpLane::account(size_t bytes) {
    if (receiving_ == Receiving::kPayload) {
        const size_t limit = place_ != nullptr ? preamble_.payload_bytes : kScrapBytes;
        const size_t taken = std::min({bytes, limit, size_t{preamble_.payload_bytes} - payload_have_});
        payload_have_ += static_cast<uint32_t>(taken);
        bytes -= taken;
    } else if (receiving_ == Receiving::kBody) {
        const size_t taken = std::min(bytes, body_.size() - body_have_);
        body_have_ += taken;
        bytes -= taken;
    }
    in_end_ += bytes;
    PCCL_ASSERT(in_end_ <= in_.size());
}

void TcpLane::receive() {
    size_t received = 0;
    while (fd_ >= 0 && !paused_ && !lingering_ && received < kReceiveBytesPerEvent) {
        size_t asked = 0;
        const ssize_t n = receive_some(&asked);
        if (n < 0) {
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                lose(std::string("cannot receive: ") + std::strerror(errno));
            }
            return;
        }
        if (n == 0) {
            const bool inside = receiving_ != Receiving::kHeader || in_begin_ != in_end_;
            lose(inside ? "the peer closed the connection inside a frame" : "the peer closed the connection");
            return;
        }
        if (received == 0) owner_->lane_heard(*this);
        if (fd_ < 0) return;
        received += static_cast<size_t>(n);
        account(static_cast<size_t>(n));
        parse();
        // Less than was asked for means that the socket is empty now.
        if (static_cast<size_t>(n) < asked) return;
    }
}

void TcpLane::receive_discarding() {
    scrap_reserve();
    for (size_t received = 0; received < kReceiveBytesPerEvent;) {
        const ssize_t n = ::recv(fd_, scrap_.get(), kScrapBytes, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (n <= 0) {
            lose("closed");
            return;
        }
        received += static_cast<size_t>(n);
    }
}

/// Hands over everything complete in what was read.
void TcpLane::parse() {
    parsing_ = true;
    while (fd_ >= 0 && !paused_ && !lingering_) {
        if (receiving_ == Receiving::kPayload) {
            parse_payload();
            if (receiving_ == Receiving::kPayload) break;
        } else if (receiving_ == Receiving::kBody) {
            parse_body();
            if (receiving_ == Receiving::kBody) break;
        } else if (!parse_header()) {
            break;
        }
    }
    parsing_ = false;
}

/// True if it made progress and there may be more.
bool TcpLane::parse_header() {
    const size_t have = in_end_ - in_begin_;
    if (have < wire::kPreambleBytes) return false;
    const uint8_t* at = in_.data() + in_begin_;
    if (!wire::decode_preamble(std::span<const uint8_t, wire::kPreambleBytes>(at, wire::kPreambleBytes),
                               body_bytes_max_, preamble_)) {
        lose("what arrived is not a frame of this protocol, or claims a length beyond the limits");
        return false;
    }
    const size_t frame_bytes = wire::kPreambleBytes + preamble_.body_bytes;
    if (frame_bytes > in_.size()) {
        body_.assign(at + wire::kPreambleBytes, at + have);
        body_have_ = body_.size();
        in_begin_ = in_end_ = 0;
        receiving_ = Receiving::kBody;
        return true;
    }
    if (have < frame_bytes) return false;
    in_begin_ += frame_bytes;
    dispatch(preamble_, {at + wire::kPreambleBytes, preamble_.body_bytes});
    return true;
}

void TcpLane::parse_body() {
    if (body_have_ < preamble_.body_bytes) return;
    receiving_ = Receiving::kHeader;
    const std::vector<uint8_t> body = std::move(body_);
    body_.clear();
    dispatch(preamble_, body);
}

void TcpLane::dispatch(const wire::Preamble& preamble, std::span<const uint8_t> body) {
    std::string why;
    if (preamble.type != wire::Type::kData) {
        if (!owner_->lane_frame(*this, preamble.type, body, &why)) {
            lose(why.empty()
                     ? "a frame of type " + std::to_string(static_cast<int>(preamble.type)) + " is not valid"
                     : why);
        }
        return;
    }
    if (!wire::decode(body, data_in_)) {
        lose("a data frame's header is not valid");
        return;
    }
    placing_ = true;
    placed_cut_ = false;
    IncomingPlace place = owner_->lane_place(*this, data_in_, preamble.payload_bytes);
    placing_ = false;
    if (fd_ < 0) return;
    if (place.violation) {
        lose(place.reason.empty() ? "a data frame is not valid here" : place.reason);
        return;
    }
    place_ = placed_cut_ ? nullptr : place.data;
    landing_ = place_ != nullptr;
    payload_have_ = 0;
    receiving_ = Receiving::kPayload;
}

void TcpLane::parse_payload() {
    const size_t taken = std::min<size_t>(in_end_ - in_begin_, preamble_.payload_bytes - payload_have_);
    if (taken > 0) {
        if (place_ != nullptr) std::memcpy(place_ + payload_have_, in_.data() + in_begin_, taken);
        in_begin_ += taken;
        payload_have_ += static_cast<uint32_t>(taken);
    }
    if (payload_have_ == preamble_.payload_bytes) payload_finished();
}

void TcpLane::payload_finished() {
    receiving_ = Receiving::kHeader;
    scrap_.reset();
    if (!landing_) return;
    landing_ = false;
    uint8_t* data = place_;
    place_ = nullptr;
    std::string why;
    if (!owner_->lane_landed(*this, data_in_, data, preamble_.payload_bytes, &why)) {
        lose(why.empty() ? "a payload is not valid" : why);
    }
}

bool TcpLane::unfinished(UnfinishedData* out) const {
    if (receiving_ != Receiving::kPayload || !landing_) return false;
    out->header = data_in_;
    out->data = place_;
    out->payload_bytes = preamble_.payload_bytes;
    return true;
}

}  // namespace pccl::transport
