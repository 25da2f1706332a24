// One end of a lane under test: records what arrives, and offers frames to send. Single-threaded: one poller
// serves both ends, and `run_until` turns it until something has happened.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "transport/tcp_connector.h"
#include "transport/tcp_lane.h"
#include "transport/tcp_listener.h"

namespace pccl::transport::testing {

inline TimeUs clock_now() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::microseconds>(since).count();
}

/// Generous: a time-out is a failure of the test, and machines may be busy.
inline constexpr int kPatienceMs = 60'000;

inline bool run_until(Poller& poller, const std::function<bool()>& happened,
                      const std::function<void()>& between = {}) {
    const TimeUs until = clock_now() + kPatienceMs * kMillisecond;
    while (!happened()) {
        if (clock_now() > until) return false;
        Poller::Ready ready;
        poller.wait(5, &ready);
        poller.dispatch(ready);
        if (between) between();
    }
    return true;
}

inline std::vector<uint8_t> pattern(size_t bytes, uint32_t seed) {
    std::vector<uint8_t> out(bytes);
    uint32_t state = seed * 2654435761u + 1;
    for (uint8_t& byte : out) {
        state = state * 1664525u + 1013904223u;
        byte = static_cast<uint8_t>(state >> 24);
    }
    return out;
}

inline wire::Data header(uint64_t tag, uint32_t object) {
    wire::Data out;
    out.key.tag = tag;
    out.key.sequence = 1;
    out.object = object;
    return out;
}

struct ControlFrame {
    wire::Type type;
    std::vector<uint8_t> body;
};

class LaneEnd : public LaneOwner {
   public:
    struct Landed {
        uint64_t tag;
        uint32_t object;
        std::vector<uint8_t> payload;
    };

    std::unique_ptr<TcpLane> lane;
    std::vector<ControlFrame> frames;
    std::vector<Landed> landed;
    std::vector<Landed> placed;  // header and buffer of each place given out
    std::deque<OutgoingData> to_send;
    std::string lost;
    size_t lanes_pulled = 0;
    bool discard = false;  // give out null places
    bool refuse_frames = false;
    std::function<void(const wire::Data&)> on_place;
    std::function<void()> on_frame;

    void offer(uint64_t tag, uint32_t object, std::span<const uint8_t> payload) {
        to_send.push_back({header(tag, object), payload});
    }

    void lane_heard(Lane&) override {}
    bool lane_frame(Lane&, wire::Type type, std::span<const uint8_t> body, std::string* why) override {
        if (refuse_frames) {
            *why = "refused by the test";
            return false;
        }
        frames.push_back({type, {body.begin(), body.end()}});
        if (on_frame) on_frame();
        return true;
    }
    IncomingPlace lane_place(Lane&, const wire::Data& data, uint32_t bytes) override {
        if (on_place) on_place(data);
        if (discard) return {};
        buffers_.push_back(std::make_unique<std::vector<uint8_t>>(std::max<size_t>(bytes, 1)));
        return {buffers_.back()->data(), false, ""};
    }
    bool lane_landed(Lane&, const wire::Data& data, uint8_t* at, uint32_t bytes, std::string*) override {
        landed.push_back({data.key.tag, data.object, {at, at + bytes}});
        return true;
    }
    bool lane_next_data(Lane&, OutgoingData& out) override {
        if (to_send.empty()) return false;
        ++lanes_pulled;
        out = to_send.front();
        to_send.pop_front();
        return true;
    }
    void lane_writable(Lane& writable) override { writable.pump(); }
    void lane_lost(Lane&, const std::string& why) override { lost = why; }

   private:
    std::vector<std::unique_ptr<std::vector<uint8_t>>> buffers_;
};

/// Two connected TCP sockets on loopback, non-blocking.
inline std::pair<int, int> connected_sockets(Poller& poller, const std::string& host = "127.0.0.1") {
    int accepted = -1, connected = -1;
    TcpListener listener(
        poller, [&](int fd, const SocketAddress&) { accepted = fd; }, [](const std::string&) {});
    REQUIRE(listener.listen(host, 0, 0).ok());
    TcpConnector::Callbacks callbacks;
    callbacks.on_connected = [&](int fd, const SocketAddress&) { connected = fd; };
    callbacks.on_failed = [](const std::string& why) { FAIL(why); };
    SocketAddress address;
    REQUIRE(parse_numeric(host, listener.port(), &address));
    TcpConnector connector(poller, TcpOptions{}, {address}, callbacks);
    connector.start(clock_now());
    REQUIRE(run_until(poller, [&] { return accepted >= 0 && connected >= 0; }));
    return {connected, accepted};
}

/// A lane between two recording ends.
struct LanePair {
    explicit LanePair(const std::string& host = "127.0.0.1") {
        std::string error;
        REQUIRE(poller.open(&error));
        const auto [a, b] = connected_sockets(poller, host);
        left.lane = std::make_unique<TcpLane>(poller, a, "left", &left);
        right.lane = std::make_unique<TcpLane>(poller, b, "right", &right);
        left.lane->set_body_bytes_max(wire::kPeerBodyBytesMax);
        right.lane->set_body_bytes_max(wire::kPeerBodyBytesMax);
    }
    bool run(const std::function<bool()>& happened) { return run_until(poller, happened); }

    Poller poller;
    LaneEnd left, right;
};

/// A lane at one end and a bare socket at the other, to send it whatever.
struct RawPair {
    RawPair() {
        std::string error;
        REQUIRE(poller.open(&error));
        const auto [a, b] = connected_sockets(poller);
        raw = a;
        end.lane = std::make_unique<TcpLane>(poller, b, "raw", &end);
    }
    ~RawPair() {
        if (raw >= 0) ::close(raw);
    }
    void send(std::span<const uint8_t> bytes) {
        REQUIRE(::send(raw, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
    }
    void close_raw() {
        ::close(raw);
        raw = -1;
    }
    bool run(const std::function<bool()>& happened) { return run_until(poller, happened); }

    Poller poller;
    LaneEnd end;
    int raw = -1;
};

inline std::vector<uint8_t> frame_bytes(wire::Type type, std::span<const uint8_t> body,
                                        uint32_t payload_bytes = 0) {
    const auto head = wire::encode_preamble({type, static_cast<uint32_t>(body.size()), payload_bytes});
    std::vector<uint8_t> out;
    out.reserve(head.size() + body.size());
    for (uint8_t byte : head) out.push_back(byte);
    for (uint8_t byte : body) out.push_back(byte);
    return out;
}

}  // namespace pccl::transport::testing
