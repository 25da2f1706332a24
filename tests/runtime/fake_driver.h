// A link table with a driver that only records, on a poller that several tables share. Time is the real clock
// plus what the test adds, so that time-outs need no waiting.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "runtime/link_table.h"

namespace pccl::runtime::testing {

inline constexpr TimeUs kPatience = 60 * kSecond;

struct World {
    World() {
        std::string error;
        REQUIRE(poller.open(&error));
    }
    TimeUs now() const {
        const auto since = std::chrono::steady_clock::now().time_since_epoch();
        return std::chrono::duration_cast<std::chrono::microseconds>(since).count() + skew;
    }
    transport::Poller poller;
    TimeUs skew = 0;
};

inline MemberId member_id(uint8_t n) {
    MemberId id;
    id.data.fill(n);
    return id;
}

class FakeDriver : public LinkEvents {
   public:
    FakeDriver(World& world, uint8_t n, LinkOptions options = {}, const std::string& host = "127.0.0.1")
        : id(member_id(n)), world_(world) {
        run.data.fill(0x77);
        log_ =
            Logger(LogLevel::kTrace, [this](LogLevel, std::string_view text) { logged.emplace_back(text); });
        table = std::make_unique<LinkTable>(world.poller, *this, options);
        const Status status = table->listen(host, 0, 0);
        INFO(status.text());
        REQUIRE(status.ok());
    }

    struct Landed {
        uint32_t object;
        std::vector<uint8_t> payload;
    };
    struct Up {
        MemberId peer;
        uint64_t incarnation;
        bool operator==(const Up&) const = default;
    };

    MemberId id;
    RunId run;
    std::unique_ptr<LinkTable> table;
    std::vector<std::string> logged, events;
    std::vector<Up> ups, downs;
    std::vector<std::string> down_reasons, failures;
    std::vector<std::pair<wire::Type, std::vector<uint8_t>>> frames;
    std::vector<Landed> payloads;
    std::deque<transport::OutgoingData> to_send;
    int drops = 0, heard = 0;
    bool valid = true;
    std::function<wire::HelloAck(const wire::Hello&)> judge;
    std::vector<std::pair<uint64_t, wire::Endpoint>> look_ups;

    std::vector<wire::Endpoint> endpoints() const { return {{"127.0.0.1", table->port()}}; }
    bool logged_text(const std::string& part) const {
        return std::any_of(logged.begin(), logged.end(),
                           [&](const std::string& t) { return t.find(part) != std::string::npos; });
    }
    void settle() {
        table->flush();
        table->clear_graveyard();
    }

    TimeUs now() override { return world_.now(); }
    uint64_t random() override { return ++drawn_ * 1000 + id.data[0]; }
    const Logger& log() override { return log_; }
    wire::Hello make_hello(const MemberId& peer) override {
        wire::Hello hello;
        hello.run = run;
        hello.from = id;
        hello.to = peer;
        return hello;
    }
    wire::HelloAck judge_hello(const wire::Hello& hello) override {
        if (judge) return judge(hello);
        wire::HelloAck ack;
        ack.accepted = hello.to == id && hello.run == run;
        if (!ack.accepted) ack.reason = "another member listens here";
        return ack;
    }
    void link_up(const MemberId& peer, uint64_t incarnation) override {
        ups.push_back({peer, incarnation});
        events.push_back("up");
    }
    void link_down(const MemberId& peer, uint64_t incarnation, const std::string& why) override {
        downs.push_back({peer, incarnation});
        down_reasons.push_back(why);
        events.push_back("down");
    }
    void connect_failed(const MemberId&, const std::string& why) override { failures.push_back(why); }
    void link_heard(const MemberId&) override { ++heard; }
    bool peer_frame(const MemberId&, wire::Type type, std::span<const uint8_t> body) override {
        frames.push_back({type, {body.begin(), body.end()}});
        return valid;
    }
    transport::IncomingPlace place(const MemberId&, const wire::Data&, uint32_t bytes) override {
        buffers_.push_back(std::make_unique<std::vector<uint8_t>>(bytes + 1));
        return {buffers_.back()->data(), false, ""};
    }
    bool landed(const MemberId&, const wire::Data& header, uint8_t* data, uint32_t bytes) override {
        payloads.push_back({header.object, {data, data + bytes}});
        return valid;
    }
    void dropped(const MemberId&, const wire::Data& header, uint8_t*, uint32_t) override {
        ++drops;
        events.push_back("dropped " + std::to_string(header.object));
    }
    bool next_data(const MemberId&, transport::OutgoingData& out) override {
        if (to_send.empty()) return false;
        out = to_send.front();
        to_send.pop_front();
        return true;
    }
    void resolve(const MemberId&, uint64_t number, const wire::Endpoint& endpoint) override {
        look_ups.push_back({number, endpoint});
    }

   private:
    World& world_;
    Logger log_;
    uint64_t drawn_ = 0;
    std::vector<std::unique_ptr<std::vector<uint8_t>>> buffers_;
};

/// Turns the poller and all tables until something has happened; false when it does not.
inline bool run_until(World& world, const std::vector<FakeDriver*>& drivers,
                      const std::function<bool()>& happened) {
    const TimeUs until = world.now() + kPatience;
    while (!happened()) {
        if (world.now() > until + world.skew) return false;
        transport::Poller::Ready ready;
        world.poller.wait(2, &ready);
        world.poller.dispatch(ready);
        for (FakeDriver* driver : drivers) {
            if (world.now() >= driver->table->deadline()) driver->table->tick(world.now());
            driver->settle();
        }
    }
    return true;
}

}  // namespace pccl::runtime::testing
