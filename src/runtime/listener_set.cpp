#include "runtime/listener_set.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "transport/control.h"
#include "transport/uv_text.h"

namespace pccl::runtime {
namespace {

constexpr int kBacklog = 512;
constexpr int kBindAttempts = 16;

}  // namespace

struct ListenerSet::Listener {
    uv_tcp_t tcp{};
    ListenerSet* owner = nullptr;
};

Status ListenerSet::bind(uv_loop_t* loop, const std::vector<std::string>& listen,
                         OnConnection on_connection) {
    on_connection_ = std::move(on_connection);
    if (listen.empty()) return {Code::INVALID_ARGUMENT, "no address to listen on"};
    std::vector<wire::Endpoint> endpoints;
    for (const std::string& text : listen) {
        if (!transport::parse_address(text, &endpoints.emplace_back())) {
            return {Code::INVALID_ARGUMENT,
                    "\"" + text + "\" is no address to listen on; host:port or [v6]:port is"};
        }
    }
    Status status;
    bool again = true;
    for (int attempt = 0; attempt < kBindAttempts && again; ++attempt) {
        status = bind_all(loop, endpoints, &again);
        if (status) return status;
        close();
        uv_run(loop, UV_RUN_NOWAIT);
    }
    return status;
}

void ListenerSet::close() {
    for (Listener* listener : std::exchange(listeners_, {})) {
        uv_close(reinterpret_cast<uv_handle_t*>(&listener->tcp),
                 [](uv_handle_t* handle) { delete static_cast<Listener*>(handle->data); });
    }
    addresses_.clear();
    port_ = 0;
}

Status ListenerSet::resolve(uv_loop_t* loop, const wire::Endpoint& endpoint,
                            std::vector<transport::SocketAddress>* out) const {
    transport::SocketAddress numeric;
    if (transport::parse_numeric(endpoint.host, 0, &numeric)) {
        out->push_back(numeric);
        return {};
    }
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_family = AF_UNSPEC;
    hints.ai_flags = AI_PASSIVE;
    uv_getaddrinfo_t request{};
    const int rc = uv_getaddrinfo(loop, &request, nullptr, endpoint.host.c_str(), nullptr, &hints);
    if (rc != 0)
        return {Code::INVALID_ARGUMENT,
                "cannot look up " + endpoint.host + ": " + transport::uv_error_text(rc)};
    for (const addrinfo* entry = request.addrinfo; entry != nullptr; entry = entry->ai_next) {
        transport::SocketAddress address;
        if (entry->ai_addrlen > sizeof address.storage) continue;
        std::memcpy(&address.storage, entry->ai_addr, entry->ai_addrlen);
        address.length = entry->ai_addrlen;
        const bool seen = std::any_of(out->begin(), out->end(),
                                      [&](const auto& other) { return other.same_host(address); });
        if (!seen) out->push_back(address);
    }
    uv_freeaddrinfo(request.addrinfo);
    return {};
}

/// `again`: a port that the system chose is taken on another address, so that a new attempt may succeed.
Status ListenerSet::bind_all(uv_loop_t* loop, const std::vector<wire::Endpoint>& endpoints, bool* again) {
    *again = false;
    // A socket for all IPv6 addresses would take the IPv4 ones as well, and clash with a listener of their
    // own.
    const bool v6_only = std::any_of(endpoints.begin(), endpoints.end(), [](const wire::Endpoint& endpoint) {
        return endpoint.host.find(':') == std::string::npos;
    });
    std::vector<uint16_t> chosen;           // by the system: the n-th for the n-th port 0 of each host
    std::map<std::string, size_t> asked_0;  // how often each host came with port 0
    for (const wire::Endpoint& endpoint : endpoints) {
        const size_t nth = endpoint.port == 0 ? asked_0[endpoint.host]++ : 0;
        const bool shares = endpoint.port == 0 && nth < chosen.size();
        const uint16_t wanted = shares ? chosen[nth] : endpoint.port;
        uint16_t bound = 0;
        bool busy = false;
        if (Status status = bind_endpoint(loop, endpoint, wanted, v6_only, &bound, &busy); !status) {
            const bool by_chance =
                endpoint.port == 0 || std::find(chosen.begin(), chosen.end(), endpoint.port) != chosen.end();
            *again = busy && by_chance;
            return status;
        }
        if (endpoint.port == 0 && !shares) chosen.push_back(bound);
        if (port_ == 0) port_ = bound;
        addresses_.push_back(wire::Endpoint{endpoint.host, bound}.text());
    }
    return {};
}

/// Binds all the addresses of one name to one port; families that this host lacks do not matter while one is
/// left.
Status ListenerSet::bind_endpoint(uv_loop_t* loop, const wire::Endpoint& endpoint, uint16_t port,
                                  bool v6_only, uint16_t* bound, bool* busy) {
    std::vector<transport::SocketAddress> addresses;
    if (Status status = resolve(loop, endpoint, &addresses); !status) return status;
    int failure = UV_EADDRNOTAVAIL;
    bool any = false;
    for (transport::SocketAddress address : addresses) {
        address.set_port(any ? *bound : port);
        const int rc = bind_one(loop, address, v6_only, bound);
        if (rc == 0) {
            any = true;
            continue;
        }
        failure = rc;
        if (rc == UV_EADDRINUSE || rc == UV_EACCES) {
            any = false;
            *busy = rc == UV_EADDRINUSE;
            break;
        }
    }
    if (any) return {};
    return {Code::INVALID_USAGE, "cannot listen on " + wire::Endpoint{endpoint.host, port}.text() + ": " +
                                     transport::uv_error_text(failure)};
}

int ListenerSet::bind_one(uv_loop_t* loop, const transport::SocketAddress& address, bool v6_only,
                          uint16_t* bound) {
    auto* listener = new Listener;
    if (const int rc = uv_tcp_init(loop, &listener->tcp); rc != 0) {
        delete listener;
        return rc;
    }
    listener->tcp.data = listener;
    listener->owner = this;
    listeners_.push_back(listener);  // from here on close() takes care of it
    uv_tcp_t* tcp = &listener->tcp;
    const unsigned flags = v6_only && address.family() == AF_INET6 ? UV_TCP_IPV6ONLY : 0;
    // libuv sets SO_REUSEADDR, so that a port can be bound again while old connections of it linger.
    if (const int rc = uv_tcp_bind(tcp, address.raw(), flags); rc != 0) return rc;
    const int rc =
        uv_listen(reinterpret_cast<uv_stream_t*>(tcp), kBacklog, [](uv_stream_t* stream, int status) {
            static_cast<Listener*>(stream->data)->owner->on_connection_(stream, status);
        });
    if (rc != 0) return rc;
    transport::SocketAddress name;
    int name_bytes = sizeof name.storage;
    const int named = uv_tcp_getsockname(tcp, name.raw(), &name_bytes);
    *bound = name.port();
    return named;
}

}  // namespace pccl::runtime
