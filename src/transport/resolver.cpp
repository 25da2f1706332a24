#include "transport/resolver.h"

#include <netdb.h>

#include <algorithm>
#include <cstring>

#include "base/contain.h"

namespace pccl::transport {

namespace {

constexpr size_t kAddressesMax = 16;

std::vector<SocketAddress> collect(const addrinfo* list) {
    std::vector<SocketAddress> out;
    for (const addrinfo* at = list; at != nullptr && out.size() < kAddressesMax; at = at->ai_next) {
        if (at->ai_family != AF_INET && at->ai_family != AF_INET6) continue;
        if (at->ai_addrlen > sizeof(sockaddr_storage)) continue;
        SocketAddress address;
        std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
        address.length = at->ai_addrlen;
        out.push_back(address);
    }
    return out;
}

}  // namespace

struct Resolution::Request {
    uv_getaddrinfo_t handle{};
    Callback callback;  // empty when withdrawn
    Resolution* owner = nullptr;
};

std::unique_ptr<Resolution> Resolution::start(uv_loop_t* loop, const std::string& host, uint16_t port,
                                              Callback callback) {
    SocketAddress numeric;
    if (parse_numeric(host, port, &numeric)) {
        callback({numeric}, "");
        return nullptr;
    }
    auto* request = new Request;
    request->callback = std::move(callback);
    request->handle.data = request;
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    auto done = [](uv_getaddrinfo_t* handle, int status, addrinfo* list) {
        std::unique_ptr<Request> owned(static_cast<Request*>(handle->data));
        if (owned->owner != nullptr) owned->owner->request_ = nullptr;
        if (owned->callback) {
            contain(
                [&] {
                    owned->callback(status == 0 ? collect(list) : std::vector<SocketAddress>{},
                                    status == 0 ? "" : uv_strerror(status));
                },
                [&](const char*) { owned->callback({}, {}); });
        }
        uv_freeaddrinfo(list);
    };
    const int rc =
        uv_getaddrinfo(loop, &request->handle, done, host.c_str(), std::to_string(port).c_str(), &hints);
    if (rc != 0) {
        std::unique_ptr<Request> owned(request);
        owned->callback({}, uv_strerror(rc));
        return nullptr;
    }
    request->owner = new Resolution(request);
    return std::unique_ptr<Resolution>(request->owner);
}

Resolution::~Resolution() {
    if (request_ == nullptr) return;
    request_->owner = nullptr;
    // A cancelled request still calls back; one that is running cannot be cancelled.
    request_->callback = nullptr;
    uv_cancel(reinterpret_cast<uv_req_t*>(&request_->handle));
}

}  // namespace pccl::transport
