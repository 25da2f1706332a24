// Strangers at the accepting side: connections that say a hello, half of one or something else, that are
// ended, stay silent, or go on as the lanes of a link. Whatever they do, handshakes stay within their bound,
// every link that came up is accounted for, all that is answered are frames, nothing is left once they are
// gone, and an honest peer is let in afterwards.
//
// Input: a sequence of events, see handle().
#include <array>
#include <catch2/catch.hpp>

#include "core/noise.h"
#include "events.h"
#include "input.h"
#include "runtime/fake_driver.h"

using namespace pccl;
using namespace pccl::runtime;
using pccl::fuzz::HandshakeEvent;
using pccl::fuzz::Input;
using pccl::runtime::testing::member_id;

namespace {

constexpr size_t kStrangersMax = 8;
constexpr size_t kHandshakesMax = 4;
constexpr uint32_t kPlacedBytesMax = 64 * 1024;

/// Discards what it has no place for, as the core does.
class Driver final : public testing::FakeDriver {
   public:
    using FakeDriver::FakeDriver;
    transport::IncomingPlace place(const MemberId& peer, const wire::Data& header, uint32_t bytes) override {
        if (bytes > kPlacedBytesMax) return {};
        return FakeDriver::place(peer, header, bytes);
    }
};

/// The other end of an accepted connection; what it is sent must be frames, the first one a HelloAck.
class Stranger {
   public:
    explicit Stranger(LinkTable& table) {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
        fd_ = ends[0];
        table.accepted(ends[1], transport::SocketAddress{});
    }
    ~Stranger() { hang_up(); }
    Stranger(const Stranger&) = delete;
    Stranger& operator=(const Stranger&) = delete;

    bool open() const { return fd_ >= 0; }
    void send(std::span<const uint8_t> bytes) {
        // It may be closed over there, or full.
        if (open()) (void)!::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    void end_stream() {
        if (open()) ::shutdown(fd_, SHUT_WR);
    }
    void hang_up() {
        if (open()) ::close(fd_);
        fd_ = -1;
    }
    void listen() {
        if (!open()) return;
        uint8_t buffer[4096];
        for (ssize_t n; (n = ::recv(fd_, buffer, sizeof buffer, 0)) > 0;)
            heard_.insert(heard_.end(), buffer, buffer + n);
        parse();
    }
    bool accepted = false;

   private:
    void parse() {
        while (heard_.size() >= wire::kPreambleBytes) {
            const std::span<const uint8_t> all(heard_);
            wire::Preamble preamble;
            REQUIRE(
                wire::decode_preamble(all.first<wire::kPreambleBytes>(), wire::kPeerBodyBytesMax, preamble));
            const size_t bytes = wire::kPreambleBytes + preamble.body_bytes + preamble.payload_bytes;
            if (all.size() < bytes) return;
            REQUIRE((preamble.type == wire::Type::kHelloAck) == !answered_);
            if (!answered_) {
                wire::HelloAck ack;
                REQUIRE(wire::decode(all.subspan(wire::kPreambleBytes, preamble.body_bytes), ack));
                accepted = ack.accepted;
                answered_ = true;
            }
            REQUIRE((accepted || preamble.type == wire::Type::kHelloAck));
            heard_.erase(heard_.begin(), heard_.begin() + static_cast<std::ptrdiff_t>(bytes));
        }
    }

    int fd_ = -1;
    bool answered_ = false;
    std::vector<uint8_t> heard_;
};

class Door {
   public:
    Door() : driver_(world_, 1, options()), watched_(world_.poller.size()) {
        for (uint8_t n = 0; n < 6; ++n) pool_.ids.push_back(member_id(n));
        pool_.runs = {driver_.run};
        // Peers 4 and 5 are refused, the one for now and the other for good.
        driver_.judge = [this](const wire::Hello& hello) {
            wire::HelloAck ack;
            ack.accepted = hello.to == driver_.id && hello.run == driver_.run && hello.from != member_id(4) &&
                           hello.from != member_id(5);
            ack.retry = hello.from == member_id(4);
            ack.reason = ack.accepted ? "" : "not expected";
            return ack;
        };
    }

    void run(Input& input) {
        while (!input.empty()) {
            handle(static_cast<HandshakeEvent>(input.below(fuzz::kHandshakeEvents)), input);
            settle();
        }
    }

    /// Everybody is gone and all times have passed: nothing is left, and the next one is let in.
    void finish() {
        driver_.valid = true;
        strangers_.clear();
        settle();
        pass(30 * kSecond);
        REQUIRE(driver_.table->handshakes() + driver_.table->links() + driver_.table->lingering() == 0);
        REQUIRE(driver_.table->same_host_links() == 0);
        REQUIRE(world_.poller.size() == watched_);
        const size_t ups = driver_.ups.size();
        Stranger honest(*driver_.table);
        wire::Hello hello = honest_hello(9);
        honest.send(frame(wire::Type::kHello, wire::encode(hello)));
        settle();
        honest.listen();
        REQUIRE(honest.accepted);
        REQUIRE(driver_.ups.size() == ups + 1);
        REQUIRE(driver_.ups.back() == Driver::Up{member_id(9), hello.incarnation});
    }

   private:
    static LinkOptions options() {
        LinkOptions out;
        out.handshakes_max = kHandshakesMax;
        out.lingering_max = 2;
        out.control_bytes_max = 4096;
        return out;
    }
    static std::vector<uint8_t> frame(wire::Type type, std::span<const uint8_t> body,
                                      uint32_t payload_bytes = 0) {
        const auto head = wire::encode_preamble({type, static_cast<uint32_t>(body.size()), payload_bytes});
        std::vector<uint8_t> out(head.begin(), head.end());
        out.insert(out.end(), body.begin(), body.end());
        return out;
    }
    wire::Hello honest_hello(uint8_t from) const {
        wire::Hello hello;
        hello.run = driver_.run;
        hello.from = member_id(from);
        hello.to = driver_.id;
        hello.incarnation = 7;
        hello.lane = 0;
        hello.lanes = 1;
        return hello;
    }
    Stranger* any(Input& input) {
        return strangers_.empty() ? nullptr : strangers_[input.below(strangers_.size())].get();
    }
    void send(Input& input, std::vector<uint8_t> bytes) {
        fuzz::bend(input, bytes);
        if (Stranger* stranger = any(input)) stranger->send(bytes);
    }

    void handle(HandshakeEvent event, Input& input) {
        switch (event) {
            case HandshakeEvent::kOpen:
                if (strangers_.size() < kStrangersMax)
                    strangers_.push_back(std::make_unique<Stranger>(*driver_.table));
                break;
            case HandshakeEvent::kHello: {
                wire::Hello hello = honest_hello(static_cast<uint8_t>(2 + input.below(4)));
                hello.incarnation = input.below(4);
                hello.lanes = static_cast<uint16_t>(input.below(5));
                hello.lane = static_cast<uint16_t>(input.below(5));
                send(input, frame(wire::Type::kHello, wire::encode(hello)));
                break;
            }
            case HandshakeEvent::kNoiseHello: {
                const auto hello = test::NoiseOf<Input>(input, pool_).make<wire::Hello>();
                send(input, frame(wire::Type::kHello, wire::encode(hello)));
                break;
            }
            case HandshakeEvent::kFrame: {
                const auto type = static_cast<wire::Type>(input.byte());
                send(input, frame(type, input.take(input.byte())));
                break;
            }
            case HandshakeEvent::kData: {
                const auto header = test::NoiseOf<Input>(input, pool_).make<wire::Data>();
                const std::span<const uint8_t> payload = input.take(input.byte());
                const auto claimed = static_cast<uint32_t>(payload.size() + input.byte() / 128 * 50);
                std::vector<uint8_t> bytes = frame(wire::Type::kData, wire::encode(header), claimed);
                bytes.insert(bytes.end(), payload.begin(), payload.end());
                send(input, bytes);
                break;
            }
            case HandshakeEvent::kBytes: {
                const auto bytes = input.take(input.byte());
                if (Stranger* stranger = any(input)) stranger->send(bytes);
                break;
            }
            case HandshakeEvent::kEndStream:
                if (Stranger* stranger = any(input)) stranger->end_stream();
                break;
            case HandshakeEvent::kHangUp:
                if (!strangers_.empty())
                    strangers_.erase(strangers_.begin() +
                                     static_cast<std::ptrdiff_t>(input.below(strangers_.size())));
                break;
            case HandshakeEvent::kTime: pass(input.byte() * 50 * kMillisecond); break;
            default: own_side(event, input);
        }
    }

    /// What the member's own side does with its links meanwhile.
    void own_side(HandshakeEvent event, Input& input) {
        const MemberId peer = member_id(static_cast<uint8_t>(2 + input.below(2)));
        switch (event) {
            case HandshakeEvent::kClose:
                if (driver_.table->find(peer) != nullptr) ++closed_here_;
                driver_.table->close(peer, 0);
                break;
            case HandshakeEvent::kAnswer:
                driver_.table->queue_frame(peer, wire::Type::kHeartbeat, input.take(input.byte()));
                break;
            case HandshakeEvent::kSendData:
                driver_.to_send.push_back({wire::Data{}, payload_});
                driver_.table->data_ready(peer);
                break;
            case HandshakeEvent::kCut: driver_.table->cut(nullptr); break;
            case HandshakeEvent::kRefuse: driver_.valid = input.flag(); break;
            default: break;
        }
    }

    void pass(TimeUs time) {
        world_.skew += time;
        driver_.table->tick(world_.now());
        settle();
    }

    void settle() {
        driver_.settle();
        for (transport::Poller::Ready ready;;) {
            world_.poller.wait(0, &ready);
            if (ready.count == 0) break;
            world_.poller.dispatch(ready);
            driver_.settle();
            for (const auto& stranger : strangers_) stranger->listen();
        }
        for (const auto& stranger : strangers_) stranger->listen();
        const LinkTable& table = *driver_.table;
        REQUIRE(table.handshakes() <= kHandshakesMax);
        REQUIRE(table.lingering() <= 2);
        REQUIRE(table.links() + driver_.downs.size() + closed_here_ == driver_.ups.size());
        for (const Driver::Up& up : driver_.ups)
            REQUIRE((up.incarnation != 0 && up.peer != member_id(4) && up.peer != member_id(5)));
        driver_.logged.clear();
        driver_.frames.clear();
        driver_.payloads.clear();
    }

    testing::World world_;
    Driver driver_;
    const size_t watched_;  // descriptors while nobody is connected
    test::Pool pool_;
    size_t closed_here_ = 0;
    std::array<uint8_t, 3000> payload_{};
    std::vector<std::unique_ptr<Stranger>> strangers_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    Input input(data, bytes);
    Door door;
    door.run(input);
    door.finish();
    return 0;
}
