// The listening sockets of a coordinator: several addresses, IPv4, IPv6 and host names, on one libuv loop.
//
// The thread that runs the loop, or the one that sets it up before.
#pragma once

#include <uv.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/status.h"
#include "transport/address.h"
#include "wire/messages.h"

namespace pccl::runtime {

class ListenerSet {
   public:
    /// Called with the listener to accept from, or with a negative libuv code.
    using OnConnection = std::function<void(uv_stream_t* listener, int status)>;

    /// Binds every "host:port" and listens; all or none. Port 0 lets the system choose: hosts that come with
    /// it once share one port, and a host that comes with it again gets another one. After a failure the loop
    /// has no handles of this set any more.
    Status bind(uv_loop_t* loop, const std::vector<std::string>& listen, OnConnection on_connection);
    /// Stops listening; the handles are freed by the loop.
    void close();

    /// "host:port" in the order given to bind().
    const std::vector<std::string>& addresses() const { return addresses_; }
    /// That of the first address.
    uint16_t port() const { return port_; }

   private:
    struct Listener;

    Status resolve(uv_loop_t* loop, const wire::Endpoint& endpoint,
                   std::vector<transport::SocketAddress>* out) const;
    Status bind_all(uv_loop_t* loop, const std::vector<wire::Endpoint>& endpoints, bool* again);
    Status bind_endpoint(uv_loop_t* loop, const wire::Endpoint& endpoint, uint16_t port, bool v6_only,
                         uint16_t* bound, bool* busy);
    int bind_one(uv_loop_t* loop, const transport::SocketAddress& address, bool v6_only, uint16_t* bound);

    OnConnection on_connection_;
    std::vector<Listener*> listeners_;  // each deletes itself when the loop has closed it
    std::vector<std::string> addresses_;
    uint16_t port_ = 0;
};

}  // namespace pccl::runtime
