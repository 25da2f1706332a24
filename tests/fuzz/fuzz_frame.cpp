// Bytes in pieces of any size into the receiving side of a TCP lane, against a plain decoder that reads them
// all at once: the same frames come out, the lane is lost where the first violation is, and what it was given
// to write into is not touched any more once it is cut.
//
// Input: one byte of modes, eight sizes of pieces that are gone through in turn, the stream.
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>

#include "input.h"
#include "transport/tcp_lane.h"

using namespace pccl;
using namespace pccl::transport;
using pccl::fuzz::Input;

namespace {

/// The receiver refuses frames of this type, which the protocol does not have.
constexpr auto kRefused = static_cast<wire::Type>(0x5a);
/// Longer payloads are read and discarded.
constexpr uint32_t kPlacedBytesMax = 64 * 1024;

struct Frame {
    wire::Type type;
    std::vector<uint8_t> body;     ///< of a data frame: its header, encoded
    std::vector<uint8_t> payload;  ///< once it has landed
    bool landed = false;
    bool operator==(const Frame&) const = default;
};

struct Expected {
    std::vector<Frame> frames;
    bool violated = false;
    bool inside = false;  ///< the stream ends inside a frame
};

Expected decode_all(std::span<const uint8_t> stream, uint32_t body_bytes_max) {
    Expected out;
    while (stream.size() >= wire::kPreambleBytes) {
        wire::Preamble preamble;
        out.violated = !wire::decode_preamble(stream.first<wire::kPreambleBytes>(), body_bytes_max, preamble);
        if (out.violated) return out;
        if (stream.size() - wire::kPreambleBytes < preamble.body_bytes) break;
        const auto body = stream.subspan(wire::kPreambleBytes, preamble.body_bytes);
        stream = stream.subspan(wire::kPreambleBytes + preamble.body_bytes);
        Frame frame{preamble.type, {body.begin(), body.end()}, {}, false};
        wire::Data header;
        out.violated =
            preamble.type == kRefused || (preamble.type == wire::Type::kData && !wire::decode(body, header));
        if (out.violated) return out;
        if (preamble.type == wire::Type::kData) {
            frame.body = wire::encode(header);
            const size_t bytes = preamble.payload_bytes;
            const bool whole = stream.size() >= bytes;
            if (whole && bytes <= kPlacedBytesMax) {
                frame.payload.assign(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(bytes));
                frame.landed = true;
            }
            out.frames.push_back(std::move(frame));
            out.inside = !whole;
            if (!whole) return out;
            stream = stream.subspan(bytes);
        } else {
            out.frames.push_back(std::move(frame));
        }
    }
    out.inside = !stream.empty();
    return out;
}

class Receiver final : public LaneOwner {
   public:
    std::vector<Frame> frames;
    std::unique_ptr<uint8_t[]> place;  ///< of the data frame that was announced last
    std::string lost;

    void lane_heard(Lane&) override {}
    bool lane_frame(Lane&, wire::Type type, std::span<const uint8_t> body, std::string* why) override {
        REQUIRE(lost.empty() && type != wire::Type::kData);
        *why = "refused";
        if (type == kRefused) return false;
        frames.push_back({type, {body.begin(), body.end()}, {}, false});
        return true;
    }
    IncomingPlace lane_place(Lane&, const wire::Data& header, uint32_t bytes) override {
        REQUIRE(lost.empty());
        frames.push_back({wire::Type::kData, wire::encode(header), {}, false});
        place.reset();
        if (bytes <= kPlacedBytesMax) place = std::make_unique<uint8_t[]>(bytes);
        return {place.get(), false, ""};
    }
    bool lane_landed(Lane&, const wire::Data& header, uint8_t* data, uint32_t bytes, std::string*) override {
        REQUIRE(place != nullptr && data == place.get());
        REQUIRE(frames.back().body == wire::encode(header));
        frames.back().payload.assign(data, data + bytes);
        frames.back().landed = true;
        place.reset();
        return true;
    }
    bool lane_next_data(Lane&, OutgoingData&) override { return false; }
    void lane_writable(Lane& lane) override { lane.pump(); }
    void lane_lost(Lane& lane, const std::string& why) override {
        REQUIRE(lost.empty() && lane.closed());
        lost = why;
        place.reset();
    }
};

void serve(Poller& poller) {
    for (Poller::Ready ready;;) {
        poller.wait(0, &ready);
        if (ready.count == 0) return;
        poller.dispatch(ready);
    }
}

/// One poller for all inputs: what a lane leaves behind in it would show as growth.
Poller& poller() {
    static Poller* const made = [] {
        auto* out = new Poller;
        std::string error;
        REQUIRE(out->open(&error));
        return out;
    }();
    return *made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    Input input(data, bytes);
    const uint8_t modes = input.byte();
    const bool pauses = (modes & 1) != 0, cuts = (modes & 2) != 0;
    const uint32_t body_bytes_max = (modes & 4) != 0 ? wire::kHelloBodyBytesMax : wire::kPeerBodyBytesMax;
    size_t sizes[8];
    for (size_t& size : sizes) {
        const size_t chosen = input.byte();
        size = chosen < 192 ? chosen + 1 : (chosen - 191) * 64;
    }
    const std::span<const uint8_t> stream = input.rest();
    const Expected expected = decode_all(stream, body_bytes_max);

    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    Receiver receiver;
    TcpLane lane(poller(), ends[1], "fuzzer", &receiver);
    lane.set_body_bytes_max(body_bytes_max);
    size_t at = 0;
    for (size_t piece = 0; at < stream.size() && !lane.closed(); ++piece) {
        const size_t size = std::min(sizes[piece % 8], stream.size() - at);
        if (pauses && piece % 3 == 1) lane.pause();
        REQUIRE(::send(ends[0], stream.data() + at, size, MSG_NOSIGNAL) == static_cast<ssize_t>(size));
        at += size;
        serve(poller());
        if (pauses && piece % 3 == 1) lane.resume();
        serve(poller());
        if (cuts && piece % 4 == 3 && !lane.closed()) {
            lane.cut(nullptr);
            receiver.place.reset();
            UnfinishedData unfinished;
            REQUIRE_FALSE(lane.unfinished(&unfinished));
        }
    }
    REQUIRE(expected.violated == lane.closed());
    REQUIRE(::shutdown(ends[0], SHUT_WR) == 0);
    serve(poller());
    ::close(ends[0]);
    REQUIRE(lane.closed() && !receiver.lost.empty() && poller().size() == 0);
    if (!expected.violated)
        REQUIRE((receiver.lost.find("inside a frame") != std::string::npos) == expected.inside);
    REQUIRE(receiver.frames.size() == expected.frames.size());
    for (size_t i = 0; i < expected.frames.size(); ++i) {
        const bool cut = cuts && !receiver.frames[i].landed;
        REQUIRE(cut ? receiver.frames[i].body == expected.frames[i].body
                    : receiver.frames[i] == expected.frames[i]);
    }
    return 0;
}
