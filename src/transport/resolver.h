// Name look-up on the loop. Loop thread only.
#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transport/address.h"

namespace pccl::transport {

/// Calls back once with all addresses of `host`, or with none and the cause. Numeric hosts and failures to
/// start call back at once. Destroying the returned object withdraws the callback.
class Resolution {
   public:
    using Callback = std::function<void(std::vector<SocketAddress> addresses, const std::string& error)>;
    static std::unique_ptr<Resolution> start(uv_loop_t* loop, const std::string& host, uint16_t port,
                                             Callback callback);
    ~Resolution();
    /// Whether it has called back.
    bool done() const { return request_ == nullptr; }

   private:
    struct Request;
    explicit Resolution(Request* request) : request_(request) {}
    Request* request_;  // owned by the loop until it has called back; null afterwards
};

}  // namespace pccl::transport
