#include "transport/control.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <utility>

#include "base/contain.h"
#include "base/fault.h"
#include "transport/address.h"
#include "transport/resolver.h"
#include "transport/uv_text.h"
#include "wire/frame.h"

namespace pccl::transport {
namespace {

/// Body limit until the first frame was accepted; a registration may hold lists of members.
constexpr uint32_t kFirstBodyBytesMax = 256 * 1024;
/// More than this queued means that the other side does not read.
constexpr size_t kQueueBytesMax = 4 * size_t{wire::kCoordinatorBodyBytesMax};
constexpr size_t kReadBytes = 64 * 1024;
/// A receive buffer beyond this is given back when it is empty.
constexpr size_t kKeepBytesMax = 1024 * 1024;
constexpr uint64_t kFlushTimeoutMs = 1000;
constexpr TimeUs kAttemptMin = 200 * kMillisecond;
constexpr unsigned kKeepaliveDelayS = 5;
constexpr unsigned kUserTimeoutMs = 20000;

using NameOf = int (*)(const uv_tcp_t*, sockaddr*, int*);  // uv_tcp_getsockname, uv_tcp_getpeername

SocketAddress address_of(const uv_tcp_t* tcp, NameOf name_of) {
    SocketAddress address;
    int bytes = sizeof address.storage;
    if (name_of(tcp, address.raw(), &bytes) != 0) return {};
    address.length = static_cast<socklen_t>(bytes);
    return address;
}

void set_options(uv_tcp_t* tcp) {
    uv_tcp_nodelay(tcp, 1);
    uv_tcp_keepalive(tcp, 1, kKeepaliveDelayS);
    uv_os_fd_t fd = -1;
    if (uv_fileno(reinterpret_cast<uv_handle_t*>(tcp), &fd) != 0) return;
    // Best effort: liveness does not depend on it, it only frees a dead connection's descriptor earlier.
    unsigned timeout_ms = kUserTimeoutMs;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

}  // namespace

/// All state. libuv's handles live in small heap objects of their own which hold a reference to it, so it
/// outlives the ControlConnection until their close callbacks have run.
struct ControlConnection::Impl : std::enable_shared_from_this<ControlConnection::Impl> {
    enum class State { kConnecting, kOpen, kFlushing, kClosed };

    template <class Handle>
    struct Owned {
        Handle handle{};
        std::shared_ptr<Impl> owner;
    };
    struct WriteRequest {
        uv_write_t request{};
        std::vector<uint8_t> bytes;
        std::shared_ptr<Impl> owner;
    };

    uv_loop_t* loop = nullptr;
    Callbacks callbacks;
    State state = State::kConnecting;
    bool detached = false;  // the ControlConnection is gone: no more callbacks
    std::string why_closed;
    Owned<uv_tcp_t>* socket = nullptr;
    Owned<uv_timer_t>* timer = nullptr;

    // Connecting.
    std::vector<wire::Endpoint> endpoints;
    size_t next_endpoint = 0;
    std::vector<SocketAddress> addresses;  // of the endpoint that is being tried
    size_t next_address = 0;
    uint64_t deadline_ms = 0;
    uint64_t attempt = 0;  // callbacks of given-up attempts carry an older number
    std::unique_ptr<Resolution> resolution;
    std::string failures;

    // Open.
    std::string remote, local;
    std::vector<uint8_t> in;
    bool first_accepted = false;
    size_t early_bytes = 0;
    std::vector<std::vector<uint8_t>> early;  // frames sent before the connection opened

    void start_timer() {
        timer = new Owned<uv_timer_t>;
        uv_timer_init(loop, &timer->handle);
        timer->handle.data = timer;
        timer->owner = shared_from_this();
    }
    void arm(uint64_t ms) {
        uv_timer_start(
            &timer->handle,
            [](uv_timer_t* t) {
                const std::shared_ptr<Impl> self = static_cast<Owned<uv_timer_t>*>(t->data)->owner;
                self->contained([&] { self->timed_out(); });
            },
            ms, 0);
    }
    bool new_socket() {
        socket = new Owned<uv_tcp_t>;
        if (uv_tcp_init(loop, &socket->handle) != 0) {
            delete socket;
            socket = nullptr;
            return false;
        }
        socket->handle.data = socket;
        socket->owner = shared_from_this();
        return true;
    }
    void drop_socket() {
        if (socket == nullptr) return;
        uv_close(reinterpret_cast<uv_handle_t*>(&socket->handle),
                 [](uv_handle_t* h) { delete static_cast<Owned<uv_tcp_t>*>(h->data); });
        socket = nullptr;
    }

    /// Runs what the loop calls. Without memory the connection closes, with whatever text there is.
    template <class Work>
    void contained(Work&& work) noexcept {
        contain(std::forward<Work>(work), [this](const char*) { close(why_closed); });
    }

    void timed_out();
    void try_next();
    void resolve(const wire::Endpoint& endpoint);
    void resolved(std::vector<SocketAddress> found, const std::string& error);
    void attempt_failed(const std::string& what, const std::string& why);
    void connected(int status, uint64_t of_attempt);
    void opened();
    void queue(std::vector<uint8_t> bytes);
    void received(ssize_t bytes, const uint8_t* data);
    void parse();
    void shut_down();
    void close(const std::string& why);
};

// ---- connecting

void ControlConnection::Impl::timed_out() {
    if (state == State::kFlushing) {
        close(why_closed);
    } else if (state == State::kConnecting) {
        if (uv_now(loop) >= deadline_ms) return close(failures + "timed out");
        attempt_failed(next_address > 0 ? addresses[next_address - 1].text() : "name look-up", "timed out");
    }
}

/// Starts the next address, or the next endpoint's look-up; each gets its share of the time that is left.
void ControlConnection::Impl::try_next() {
    ++attempt;
    const uint64_t now_ms = uv_now(loop);
    const size_t left = addresses.size() - next_address + endpoints.size() - next_endpoint;
    if (left == 0)
        return close(failures.empty() ? "no address to connect to" : failures.substr(0, failures.size() - 2));
    if (now_ms >= deadline_ms) return close(failures + "timed out");
    const uint64_t share_ms = std::max<uint64_t>((deadline_ms - now_ms) / left, kAttemptMin / kMillisecond);
    arm(std::min(share_ms, deadline_ms - now_ms));
    if (next_address == addresses.size()) {
        addresses.clear();
        next_address = 0;
        return resolve(endpoints[next_endpoint++]);
    }
    const SocketAddress address = addresses[next_address++];
    if (!new_socket()) return attempt_failed(address.text(), "no socket");
    struct Request {
        uv_connect_t request{};
        std::shared_ptr<Impl> owner;
        uint64_t attempt = 0;
    };
    auto* request = new Request{{}, shared_from_this(), attempt};
    request->request.data = request;
    const int rc =
        uv_tcp_connect(&request->request, &socket->handle, address.raw(), [](uv_connect_t* r, int status) {
            std::unique_ptr<Request> done(static_cast<Request*>(r->data));
            done->owner->contained([&] { done->owner->connected(status, done->attempt); });
        });
    if (rc != 0) {
        delete request;
        attempt_failed(address.text(), uv_error_text(rc));
    }
}

void ControlConnection::Impl::resolve(const wire::Endpoint& endpoint) {
    SocketAddress numeric;
    if (parse_numeric(endpoint.host, endpoint.port, &numeric)) return resolved({numeric}, {});
    // A failure to start is answered inside start(), and going on from there would make the assignment below
    // overtake the next look-up's; so it is kept until start() has returned.
    struct Answer {
        bool starting = true, given = false;
        std::string error;
    };
    auto answer = std::make_shared<Answer>();
    resolution =
        Resolution::start(loop, endpoint.host, endpoint.port,
                          [this, answer](std::vector<SocketAddress> found, const std::string& error) {
                              contained([&] {
                                  if (!answer->starting) return resolved(std::move(found), error);
                                  answer->given = true;
                                  answer->error = error;
                              });
                          });
    answer->starting = false;
    if (answer->given) resolved({}, answer->error);
}

void ControlConnection::Impl::resolved(std::vector<SocketAddress> found, const std::string& error) {
    resolution.reset();
    if (found.empty()) return attempt_failed(endpoints[next_endpoint - 1].text(), error);
    addresses = std::move(found);
    try_next();
}

void ControlConnection::Impl::attempt_failed(const std::string& what, const std::string& why) {
    if (failures.size() < 1024) failures += what + ": " + why + "; ";
    drop_socket();
    try_next();
}

void ControlConnection::Impl::connected(int status, uint64_t of_attempt) {
    if (state != State::kConnecting || of_attempt != attempt) return;
    const std::string what = addresses[next_address - 1].text();
    if (PCCL_FAULT(kCoordinatorFails)) status = UV_ECONNREFUSED;
    if (status != 0) return attempt_failed(what, uv_error_text(status));
    const SocketAddress mine = address_of(&socket->handle, uv_tcp_getsockname);
    const SocketAddress theirs = address_of(&socket->handle, uv_tcp_getpeername);
    if (theirs.length == 0) return attempt_failed(what, "closed at once");
    // Where nobody listens on a port of the ephemeral range, TCP can connect a socket to itself.
    if (mine.text() == theirs.text()) return attempt_failed(what, uv_error_text(UV_ECONNREFUSED));
    opened();
    if (state == State::kOpen && !detached && callbacks.on_open) callbacks.on_open();
}

/// The socket is connected: notes its addresses, sends what was queued, starts to read.
void ControlConnection::Impl::opened() {
    state = State::kOpen;
    uv_timer_stop(&timer->handle);
    set_options(&socket->handle);
    remote = address_of(&socket->handle, uv_tcp_getpeername).text();
    local = address_of(&socket->handle, uv_tcp_getsockname).host();
    for (auto& frame : std::exchange(early, {})) queue(std::move(frame));
    if (state != State::kOpen) return;
    const int rc = uv_read_start(
        reinterpret_cast<uv_stream_t*>(&socket->handle),
        [](uv_handle_t*, size_t, uv_buf_t* buffer) {
            // The loop reads right after this call on the same thread, so that one buffer serves all
            // connections.
            thread_local std::array<char, kReadBytes> bytes_read;
            *buffer = uv_buf_init(bytes_read.data(), bytes_read.size());
        },
        [](uv_stream_t* stream, ssize_t n, const uv_buf_t* buffer) {
            const std::shared_ptr<Impl> self = static_cast<Owned<uv_tcp_t>*>(stream->data)->owner;
            self->contained([&] { self->received(n, reinterpret_cast<const uint8_t*>(buffer->base)); });
        });
    if (rc != 0) close("could not read: " + uv_error_text(rc));
}

// ---- sending

void ControlConnection::Impl::queue(std::vector<uint8_t> bytes) {
    if (state != State::kOpen) return;
    auto* stream = reinterpret_cast<uv_stream_t*>(&socket->handle);
    if (uv_stream_get_write_queue_size(stream) + bytes.size() > kQueueBytesMax) {
        return close("the other side does not read: more than " + std::to_string(kQueueBytesMax) +
                     " bytes are queued");
    }
    auto* write = new WriteRequest{{}, std::move(bytes), shared_from_this()};
    write->request.data = write;
    uv_buf_t buffer =
        uv_buf_init(reinterpret_cast<char*>(write->bytes.data()), static_cast<unsigned>(write->bytes.size()));
    const int rc = uv_write(&write->request, stream, &buffer, 1, [](uv_write_t* request, int status) {
        std::unique_ptr<WriteRequest> done(static_cast<WriteRequest*>(request->data));
        if (status == 0) return;
        done->owner->contained([&] { done->owner->close("could not send: " + uv_error_text(status)); });
    });
    if (rc != 0) {
        delete write;
        close("could not send: " + uv_error_text(rc));
    }
}

/// Shuts down behind the last queued byte, then waits for the other side to close: a close with unread bytes
/// would reset the connection and could destroy what was just sent.
void ControlConnection::Impl::shut_down() {
    struct Request {
        uv_shutdown_t request{};
        std::shared_ptr<Impl> owner;
    };
    auto* request = new Request{{}, shared_from_this()};
    request->request.data = request;
    const int rc = uv_shutdown(&request->request, reinterpret_cast<uv_stream_t*>(&socket->handle),
                               [](uv_shutdown_t* r, int status) {
                                   std::unique_ptr<Request> done(static_cast<Request*>(r->data));
                                   if (status != 0) done->owner->close(done->owner->why_closed);
                               });
    if (rc != 0) {
        delete request;
        close(why_closed);
    }
}

// ---- receiving

void ControlConnection::Impl::received(ssize_t bytes, const uint8_t* data) {
    if (state == State::kClosed) return;
    if (bytes < 0) {
        if (state == State::kFlushing) return close(why_closed);
        return close(bytes == UV_EOF ? "the other side closed the connection"
                                     : uv_error_text(static_cast<int>(bytes)));
    }
    if (state != State::kOpen) return;
    PCCL_FAULT_ALLOCATION(kControlMemory);
    in.insert(in.end(), data, data + bytes);
    parse();
}

void ControlConnection::Impl::parse() {
    size_t at = 0;
    while (state == State::kOpen && !detached && in.size() - at >= wire::kPreambleBytes) {
        wire::Preamble preamble;
        const uint32_t body_bytes_max = first_accepted ? wire::kCoordinatorBodyBytesMax : kFirstBodyBytesMax;
        const std::span<const uint8_t, wire::kPreambleBytes> head(in.data() + at, wire::kPreambleBytes);
        if (!wire::decode_preamble(head, body_bytes_max, preamble) || preamble.payload_bytes != 0) {
            return close("received bytes that are no PCCL control frame, or one beyond its limits");
        }
        if (in.size() - at - wire::kPreambleBytes < preamble.body_bytes) break;
        const std::span<const uint8_t> body(in.data() + at + wire::kPreambleBytes, preamble.body_bytes);
        at += wire::kPreambleBytes + preamble.body_bytes;
        if (!callbacks.on_frame || !callbacks.on_frame(preamble.type, body)) {
            return close("received a frame that is not valid here (type " +
                         std::to_string(static_cast<int>(preamble.type)) + ")");
        }
        first_accepted = true;
    }
    in.erase(in.begin(), in.begin() + static_cast<std::ptrdiff_t>(at));
    if (in.empty() && in.capacity() > kKeepBytesMax) std::vector<uint8_t>().swap(in);
}

/// Idempotent. The report comes from the timer's close callback, in the loop and never inside the caller.
void ControlConnection::Impl::close(const std::string& why) {
    if (state == State::kClosed) return;
    state = State::kClosed;
    contain([&] { why_closed = why; }, [](const char*) {});
    resolution.reset();
    drop_socket();
    if (timer == nullptr) return;  // there was no memory to begin with
    uv_close(reinterpret_cast<uv_handle_t*>(&timer->handle), [](uv_handle_t* h) {
        std::unique_ptr<Owned<uv_timer_t>> done(static_cast<Owned<uv_timer_t>*>(h->data));
        const std::shared_ptr<Impl> self = done->owner;
        contain(
            [&] {
                if (!self->detached && self->callbacks.on_closed) self->callbacks.on_closed(self->why_closed);
            },
            [](const char*) {});
    });
    timer = nullptr;
}

// ---- the public face

ControlConnection::ControlConnection() : impl_(std::make_shared<Impl>()) {}

ControlConnection::~ControlConnection() {
    impl_->detached = true;
    impl_->close("dropped");
}

std::unique_ptr<ControlConnection> ControlConnection::connect(uv_loop_t* loop,
                                                              std::vector<wire::Endpoint> endpoints,
                                                              TimeUs timeout, Callbacks callbacks) {
    std::unique_ptr<ControlConnection> connection(new ControlConnection);
    Impl& impl = *connection->impl_;
    impl.loop = loop;
    impl.callbacks = std::move(callbacks);
    impl.endpoints = std::move(endpoints);
    uv_update_time(loop);
    impl.deadline_ms = uv_now(loop) + static_cast<uint64_t>(std::max<TimeUs>(timeout / kMillisecond, 1));
    impl.start_timer();
    impl.try_next();
    return connection;
}

std::unique_ptr<ControlConnection> ControlConnection::accept(uv_stream_t* listener, Callbacks callbacks) {
    std::unique_ptr<ControlConnection> connection(new ControlConnection);
    Impl& impl = *connection->impl_;
    impl.loop = listener->loop;
    impl.start_timer();
    if (!impl.new_socket() ||
        uv_accept(listener, reinterpret_cast<uv_stream_t*>(&impl.socket->handle)) != 0) {
        return nullptr;  // the destructor closes what there is
    }
    impl.callbacks = std::move(callbacks);
    impl.opened();
    return connection;
}

void ControlConnection::send(wire::Type type, std::span<const uint8_t> body) {
    Impl& impl = *impl_;
    if (impl.state != Impl::State::kOpen && impl.state != Impl::State::kConnecting) return;
    const auto head = wire::encode_preamble({type, static_cast<uint32_t>(body.size()), 0});
    std::vector<uint8_t> bytes;
    bytes.reserve(head.size() + body.size());
    bytes.insert(bytes.end(), head.begin(), head.end());
    bytes.insert(bytes.end(), body.begin(), body.end());
    if (impl.state == Impl::State::kOpen) return impl.queue(std::move(bytes));
    impl.early_bytes += bytes.size();
    if (impl.early_bytes > kQueueBytesMax)
        return impl.close("too much was sent before the connection opened");
    impl.early.push_back(std::move(bytes));
}

void ControlConnection::close_after_flush(const std::string& why) {
    Impl& impl = *impl_;
    if (impl.state == Impl::State::kConnecting) return impl.close(why);
    if (impl.state != Impl::State::kOpen) return;
    impl.state = Impl::State::kFlushing;
    impl.why_closed = why;
    impl.arm(kFlushTimeoutMs);
    impl.shut_down();
}

void ControlConnection::close(const std::string& why) { impl_->close(why); }

std::string ControlConnection::remote_address() const { return impl_->remote; }

std::string ControlConnection::local_host() const { return impl_->local; }

bool parse_address(const std::string& text, wire::Endpoint* out) {
    const size_t colon = text.rfind(':');
    if (colon == std::string::npos || colon == 0 || text.size() - colon > 6 || text.size() - colon < 2)
        return false;
    const std::string port = text.substr(colon + 1);
    if (port.find_first_not_of("0123456789") != std::string::npos) return false;
    const unsigned long number = std::strtoul(port.c_str(), nullptr, 10);
    if (number > 65535) return false;
    std::string host = text.substr(0, colon);
    SocketAddress numeric;
    if (host.front() == '[') {
        if (host.size() < 4 || host.back() != ']') return false;
        host = host.substr(1, host.size() - 2);
        if (!parse_numeric(host, 0, &numeric) || numeric.family() != AF_INET6) return false;
    } else {
        const bool name_characters = std::all_of(host.begin(), host.end(), [](unsigned char c) {
            return std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_';
        });
        if (!name_characters || host.size() > 253) return false;
        // Digits and dots alone are meant as an IPv4 address: a wrong one is told at once, not by a look-up.
        if (host.find_first_not_of("0123456789.") == std::string::npos && !parse_numeric(host, 0, &numeric))
            return false;
    }
    *out = {std::move(host), static_cast<uint16_t>(number)};
    return true;
}

}  // namespace pccl::transport
