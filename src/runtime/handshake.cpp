// The accepting side of handshakes: from a connection of a stranger to a lane of a link.
#include "runtime/handshake.h"

#include <unistd.h>

#include <algorithm>

#include "base/check.h"
#include "runtime/link_table.h"
#include "transport/tcp_lane.h"

namespace pccl::runtime {

namespace {

constexpr int kLogsPerSecond = 5;

}  // namespace

bool Handshake::lane_frame(transport::Lane&, wire::Type type, std::span<const uint8_t> body,
                           std::string* why) {
    if (type != wire::Type::kHello || greeted) {
        *why = "the first frame is not a hello";
        return false;
    }
    return table.greet(*this, body, why);
}

void Handshake::lane_lost(transport::Lane&, const std::string& why) { table.handshake_lost(*this, why); }

void LinkTable::accepted(int fd, const transport::SocketAddress& remote) {
    if (handshakes_.size() >= options_.handshakes_max) {
        // Whoever has been silent longest gives way, so that silent connections cannot keep peers out.
        const auto silent =
            std::find_if(handshakes_.begin(), handshakes_.end(), [](const auto& h) { return !h->greeted; });
        if (silent == handshakes_.end()) {
            log_rejected(remote.text(), "too many handshakes are going on");
            ::close(fd);
            return;
        }
        Handshake& oldest = **silent;
        oldest.lane->close();
        handshake_lost(oldest, "gave way to a newer connection before it said hello");
    }
    transport::set_lane_options(fd, options_.tcp);
    auto handshake = std::make_unique<Handshake>(*this, events_.now() + options_.handshake);
    handshake->lane = std::make_unique<transport::TcpLane>(poller_, fd, remote.text(), handshake.get());
    if (handshake->lane->closed()) return;
    handshakes_.push_back(std::move(handshake));
}

void LinkTable::forget_handshake(Handshake& handshake) {
    const auto at = std::find_if(handshakes_.begin(), handshakes_.end(),
                                 [&](const auto& h) { return h.get() == &handshake; });
    if (at == handshakes_.end()) return;
    bury(std::move(*at));
    handshakes_.erase(at);
}

void LinkTable::handshake_lost(Handshake& handshake, const std::string& why) {
    log_rejected(handshake.lane->remote(), why);
    forget_handshake(handshake);
}

void LinkTable::log_rejected(const std::string& remote, const std::string& why) {
    const TimeUs now = events_.now();
    if (now - log_window_ >= kSecond) {
        if (suppressed_ > 0) {
            events_.log().write(
                LogLevel::kWarn,
                std::to_string(suppressed_) + " more connections were closed before they became links");
        }
        log_window_ = now;
        logged_in_window_ = suppressed_ = 0;
    }
    if (logged_in_window_ >= kLogsPerSecond) {
        ++suppressed_;
        return;
    }
    ++logged_in_window_;
    events_.log().write(LogLevel::kWarn, "closed the connection from " + remote + ": " + why);
}

void LinkTable::refuse(Handshake& handshake, const wire::HelloAck& ack) {
    // A refusal for now is part of joining; the other side tries again.
    if (ack.retry) {
        events_.log().write(LogLevel::kDebug,
                            "refused " + handshake.lane->remote() + " for now: " + ack.reason);
    } else {
        log_rejected(handshake.lane->remote(), ack.reason);
    }
    handshake.lane->queue_frame(wire::Type::kHelloAck, wire::encode(ack));
    std::vector<std::unique_ptr<transport::Lane>> lanes;
    lanes.push_back(std::move(handshake.lane));
    let_linger(std::move(lanes));
    forget_handshake(handshake);
}

bool LinkTable::greet(Handshake& handshake, std::span<const uint8_t> body, std::string* why) {
    wire::Hello hello;
    // The version stands first, so that another version can be told so whatever follows it.
    wire::Decoder version_only(body);
    version_only(hello.version);
    const bool ours = version_only.ok() && hello.version == wire::kProtocolVersion;
    if (!version_only.ok() || (ours && !wire::decode(body, hello))) {
        *why = "the hello is not valid";
        return false;
    }
    wire::HelloAck ack = events_.judge_hello(hello);
    if (ack.accepted && (hello.lanes == 0 || hello.lanes > kLanesMax || hello.lane >= hello.lanes ||
                         hello.incarnation == 0)) {
        ack.accepted = ack.retry = false;
        ack.reason =
            "lane " + std::to_string(hello.lane) + " of " + std::to_string(hello.lanes) + " is not valid";
    }
    for (const auto& other : handshakes_) {
        if (!ack.accepted || !other->greeted || other->hello.from != hello.from) continue;
        if (other->hello.incarnation != hello.incarnation) continue;
        if (other->hello.lanes == hello.lanes && other->hello.lane != hello.lane) continue;
        ack.accepted = ack.retry = false;
        ack.reason = "contradicts another lane of the same link";
    }
    if (!ack.accepted) {
        refuse(handshake, ack);
        return true;
    }
    drop_other_incarnations(hello);
    handshake.greeted = true;
    handshake.hello = hello;
    handshake.lane->pause();
    handshake.lane->queue_frame(wire::Type::kHelloAck, wire::encode(ack));
    const auto here = std::count_if(handshakes_.begin(), handshakes_.end(), [&](const auto& h) {
        return h->greeted && h->hello.from == hello.from && h->hello.incarnation == hello.incarnation;
    });
    if (here < hello.lanes) {
        handshake.lane->pump();
    } else {
        // The last answer goes out behind link_up, so that the other side never talks to a link that is not
        // there.
        complete_if_all_here(hello);
    }
    return true;
}

void LinkTable::drop_other_incarnations(const wire::Hello& hello) {
    for (size_t i = handshakes_.size(); i-- > 0;) {
        Handshake& other = *handshakes_[i];
        if (!other.greeted || other.hello.from != hello.from || other.hello.incarnation == hello.incarnation)
            continue;
        other.lane->close();
        forget_handshake(other);
    }
}

void LinkTable::complete_if_all_here(const wire::Hello& hello) {
    std::vector<std::unique_ptr<transport::Lane>> lanes(hello.lanes);
    for (size_t i = handshakes_.size(); i-- > 0;) {
        Handshake& handshake = *handshakes_[i];
        if (!handshake.greeted || handshake.hello.from != hello.from ||
            handshake.hello.incarnation != hello.incarnation)
            continue;
        lanes[handshake.hello.lane] = std::move(handshake.lane);
        bury(std::move(handshakes_[i]));
        handshakes_.erase(handshakes_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    for (const auto& lane : lanes) PCCL_ASSERT(lane != nullptr);
    establish(MemberId(hello.from), hello.incarnation, std::move(lanes));
}

}  // namespace pccl::runtime
