// What the link layer asks of, and tells, the driver above it; the driver passes it on to the core's Member.
// Tests put a fake in its place.
//
// Everything is called under the progress lock. After each call the driver may have carried out actions of
// the core, so that the link which is calling may be closed when the call returns.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/ids.h"
#include "base/log.h"
#include "base/time.h"
#include "transport/lane.h"
#include "transport/tcp_socket.h"
#include "wire/messages.h"

namespace pccl::runtime {

struct LinkOptions {
    uint32_t lanes = 0;  ///< per link; 0: one on the same host, four elsewhere
    transport::TcpOptions tcp;
    TimeUs handshake = 10 * kSecond;  ///< for a hello, and for its answer
    TimeUs linger = 1 * kSecond;      ///< for the other side to close after we did
    size_t control_bytes_max = 8 << 20;
    size_t handshakes_max = 256;
    size_t lingering_max = 256;
};

inline constexpr uint16_t kLanesMax = 64;
inline constexpr uint16_t kLanesElsewhere = 4;

class LinkEvents {
   public:
    virtual TimeUs now() = 0;
    virtual uint64_t random() = 0;
    virtual const Logger& log() = 0;
    /// The run and the two ends; the link layer fills in the rest.
    virtual wire::Hello make_hello(const MemberId& peer) = 0;
    virtual wire::HelloAck judge_hello(const wire::Hello& hello) = 0;

    virtual void link_up(const MemberId& peer, uint64_t incarnation) = 0;
    virtual void link_down(const MemberId& peer, uint64_t incarnation, const std::string& why) = 0;
    virtual void connect_failed(const MemberId& peer, const std::string& why) = 0;
    virtual void link_heard(const MemberId& peer) = 0;

    virtual bool peer_frame(const MemberId& peer, wire::Type type, std::span<const uint8_t> body) = 0;
    virtual transport::IncomingPlace place(const MemberId& peer, const wire::Data& header,
                                           uint32_t payload_bytes) = 0;
    virtual bool landed(const MemberId& peer, const wire::Data& header, uint8_t* data,
                        uint32_t payload_bytes) = 0;
    virtual void dropped(const MemberId& peer, const wire::Data& header, uint8_t* data,
                         uint32_t payload_bytes) = 0;
    virtual bool next_data(const MemberId& peer, transport::OutgoingData& out) = 0;

    /// Looks up a host name; the answer goes to LinkTable::resolved with the same number.
    virtual void resolve(const MemberId& peer, uint64_t number, const wire::Endpoint& endpoint) = 0;

   protected:
    ~LinkEvents() = default;
};

}  // namespace pccl::runtime
