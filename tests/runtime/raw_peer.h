// A peer of the coordinator that is bare frames over a socket, so that no member's code is involved.
#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "transport/address.h"
#include "wire/messages.h"

namespace pccl::runtime::testing {

/// A peer of bare frames. Every wait is bounded.
class RawPeer {
   public:
    explicit RawPeer(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        transport::SocketAddress address;
        transport::parse_numeric("127.0.0.1", port, &address);
        connected_ = ::connect(fd_, address.raw(), address.length) == 0;
    }
    ~RawPeer() { ::close(fd_); }
    RawPeer(const RawPeer&) = delete;
    RawPeer& operator=(const RawPeer&) = delete;

    bool connected() const { return connected_; }
    void write(const void* data, size_t bytes) {
        [[maybe_unused]] const auto sent = ::send(fd_, data, bytes, MSG_NOSIGNAL);
    }
    template <class Message>
    void send(const Message& message) {
        const std::vector<uint8_t> body = wire::encode(message);
        const auto head = wire::encode_preamble({Message::kType, static_cast<uint32_t>(body.size()), 0});
        write(head.data(), head.size());
        write(body.data(), body.size());
    }
    /// False when the connection closed, or nothing came for ten seconds.
    bool read(void* data, size_t bytes) {
        auto* at = static_cast<uint8_t*>(data);
        while (bytes > 0) {
            pollfd ready{fd_, POLLIN, 0};
            if (poll(&ready, 1, 10000) <= 0) return false;
            const ssize_t n = ::recv(fd_, at, bytes, 0);
            if (n <= 0) return false;
            at += n, bytes -= static_cast<size_t>(n);
        }
        return true;
    }
    bool next(wire::Type* type, std::vector<uint8_t>* body) {
        std::array<uint8_t, wire::kPreambleBytes> head;
        wire::Preamble preamble;
        if (!read(head.data(), head.size())) return false;
        if (!wire::decode_preamble(head, wire::kCoordinatorBodyBytesMax, preamble)) return false;
        *type = preamble.type;
        body->resize(preamble.body_bytes);
        return read(body->data(), body->size());
    }
    /// Reads frames up to one of this type.
    template <class Message>
    bool await(Message& message) {
        wire::Type type;
        std::vector<uint8_t> body;
        while (next(&type, &body)) {
            if (type == Message::kType) return wire::decode(body, message);
        }
        return false;
    }
    /// Plays a newcomer to an empty group up to its first Install.
    bool join(const wire::Register& message, wire::Install& install) {
        send(message);
        wire::Type type;
        std::vector<uint8_t> body;
        while (next(&type, &body)) {
            wire::Prepare prepare;
            wire::Propose propose;
            if (type == wire::Type::kPrepare && wire::decode(body, prepare)) {
                wire::Prepared prepared;
                prepared.number = prepare.number;
                prepared.ok = true;
                send(prepared);
            }
            if (type == wire::Type::kPropose && wire::decode(body, propose)) {
                wire::Frozen frozen;
                frozen.id = propose.id;
                send(frozen);
                send(wire::Linked{propose.id, {}});
            }
            if (type == wire::Type::kInstall) return wire::decode(body, install);
        }
        return false;
    }
    /// Whether the other side closes within ten seconds.
    bool await_close() {
        uint8_t byte;
        pollfd ready{fd_, POLLIN, 0};
        while (poll(&ready, 1, 10000) > 0) {
            if (::recv(fd_, &byte, 1, 0) <= 0) return true;
        }
        return false;
    }

   private:
    int fd_;
    bool connected_ = false;
};

}  // namespace pccl::runtime::testing
