// A connection between a member and the coordinator: framed messages over a libuv TCP stream.
//
// Loop thread only. Callbacks come from the loop and may call close(), never destroy the object inside
// themselves. A body's buffer grows with the bytes that really arrived, never with a claimed length; the send
// queue is bounded.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/time.h"
#include "wire/messages.h"

namespace pccl::transport {

class ControlConnection {
   public:
    struct Callbacks {
        std::function<void()> on_open;  ///< a connect succeeded; not called for accepted ones
        /// A frame; false closes the connection as a violation. `body` is valid during the call.
        std::function<bool(wire::Type, std::span<const uint8_t> body)> on_frame;
        std::function<void(const std::string& why)> on_closed;  ///< once, also when the connect failed
    };

    /// Tries the endpoints in turn (each resolved to all its addresses) until one connects or `timeout`
    /// passes.
    static std::unique_ptr<ControlConnection> connect(uv_loop_t* loop, std::vector<wire::Endpoint> endpoints,
                                                      TimeUs timeout, Callbacks callbacks);
    static std::unique_ptr<ControlConnection> accept(uv_stream_t* listener, Callbacks callbacks);
    ~ControlConnection();  ///< closes without calling back

    /// Queues a frame. When more than the limit is queued the connection is closed (the other side does not
    /// read).
    void send(wire::Type type, std::span<const uint8_t> body);
    /// Sends what is queued, shuts down and closes; `why` is what on_closed reports.
    void close_after_flush(const std::string& why);
    void close(const std::string& why);

    std::string remote_address() const;  ///< numeric "host:port"; empty before it is open
    std::string local_host() const;      ///< numeric local address of the connection; empty before it is open

    struct Impl;

   private:
    ControlConnection();
    std::shared_ptr<Impl> impl_;  // kept alive by libuv's close callbacks as well
};

/// Splits "host:port", "[v6]:port". False when it does not parse or the port is not 0..65535.
bool parse_address(const std::string& text, wire::Endpoint* out);

}  // namespace pccl::transport
