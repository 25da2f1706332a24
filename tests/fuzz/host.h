// The driver of one member, as faithful to its duties as the runtime's: what it hands in, in which order, and
// what it lets go of when. It holds on to payloads that are being sent and received as sockets would, and
// frees a call's buffers as soon as the call has ended, so that a member which breaks its own promises
// touches memory that is gone.
#pragma once

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "core/rig.h"
#include "round_trip.h"

namespace pccl::fuzz {

class Host {
   public:
    static constexpr size_t kLanes = 2;
    static constexpr size_t kActionsMax = 5000;

    /// What a call reads and writes. A tensor that is received may differ after a failure, operands may not.
    struct Operands {
        std::vector<uint8_t> send, receive, before;
        bool in_place = false;
        bool is_reduction = false;
        const uint8_t* input() const { return in_place ? receive.data() : send.data(); }
    };

    explicit Host(test::Rig& rig) : rig_(rig) {}

    core::Member& member() { return *rig_.member; }
    TimeUs& now() { return rig_.now; }
    /// What the member has offered last, from which honest peers hardly differ.
    const wire::Offer& own_offer() const { return own_offer_; }

    /// The rig has opened the connection to the coordinator, or the links, by itself.
    void coordinator_opened() { coordinator_up_ = true; }
    void link_opened(const MemberId& peer, uint64_t incarnation) {
        links_[peer].incarnation = incarnation;
        incarnations_ = std::max(incarnations_, incarnation);
    }
    void call_made(core::Ticket ticket, std::unique_ptr<Operands> operands = nullptr) {
        if (operands == nullptr) operands = std::make_unique<Operands>();
        REQUIRE(open_.emplace(ticket, std::move(operands)).second);
        drain();
    }
    /// The ticket of a call that has not ended, by its position; 0 for none.
    core::Ticket open_call(size_t index) const {
        if (open_.empty()) return 0;
        return std::next(open_.begin(), static_cast<std::ptrdiff_t>(index % open_.size()))->first;
    }
    void forget(size_t index) {
        if (ended_.empty()) return;
        const auto at = ended_.begin() + static_cast<std::ptrdiff_t>(index % ended_.size());
        member().forget(*at);
        ended_.erase(at);
    }

    // ---- the coordinator
    void connect_coordinator() {
        if (coordinator_up_ || !may_reconnect_) return;
        coordinator_up_ = true;
        member().coordinator_up(now());
        drain();
    }
    void lose_coordinator(const char* why) {
        if (!coordinator_up_) return;
        coordinator_up_ = false;
        member().coordinator_down(now(), why);
        drain();
        may_reconnect_ = member().admitted();
    }
    void tell(wire::Type type, std::span<const uint8_t> body) {
        if (!coordinator_up_) return;
        const bool valid = member().coordinator_frame(now(), type, body);
        drain();
        if (!valid) lose_coordinator("violation");
    }

    // ---- links
    void open_link(const MemberId& peer) {
        if (!links_[peer].connecting) {
            wire::Hello hello;
            hello.run = rig_.run;
            hello.from = peer;
            hello.to = rig_.id();
            if (!member().judge_hello(hello).accepted) return;
        }
        links_[peer].connecting = false;
        lose_link(peer, "replaced by a new connection of the peer");
        const uint64_t incarnation = ++incarnations_;
        links_[peer].incarnation = incarnation;
        member().link_up(now(), peer, incarnation);
        drain();
    }
    void lose_link(const MemberId& peer, const char* why) {
        Link& link = links_[peer];
        const uint64_t incarnation = std::exchange(link.incarnation, 0);
        if (incarnation == 0) return;
        link.pull = false;
        for (Lane& lane : link.lanes) {
            lane.sending.reset();
            if (!lane.receiving) continue;
            const Receiving data = *std::exchange(lane.receiving, std::nullopt);
            member().dropped(peer, data.header, data.data, data.bytes);
            drain();
        }
        member().link_down(now(), peer, incarnation, why);
        drain();
    }
    void fail_to_connect(const MemberId& peer) {
        if (!std::exchange(links_[peer].connecting, false)) return;
        member().connect_failed(now(), peer, "refused");
        drain();
    }
    void hear(const MemberId& peer, wire::Type type, std::span<const uint8_t> body) {
        if (links_[peer].incarnation == 0) return;
        member().link_heard(now(), peer);
        const bool valid = member().peer_frame(now(), peer, type, body);
        drain();
        if (!valid) lose_link(peer, "violation");
    }

    // ---- data
    void receive(const MemberId& peer, size_t lane, const wire::Data& header, uint32_t bytes) {
        Link& link = links_[peer];
        if (link.incarnation == 0 || link.lanes[lane].receiving) return;
        const core::Place place = member().place(now(), peer, header, bytes);
        REQUIRE((!place.violation || place.data == nullptr));
        if (place.data != nullptr) link.lanes[lane].receiving = {header, place.data, bytes};
        drain();
        if (place.violation) lose_link(peer, "violation");
    }
    void land(const MemberId& peer, size_t lane, uint8_t fill) {
        auto& receiving = links_[peer].lanes[lane].receiving;
        if (!receiving) return;
        const Receiving data = *std::exchange(receiving, std::nullopt);
        std::memset(data.data, fill, data.bytes);
        const bool valid = member().landed(now(), peer, data.header, data.data, data.bytes);
        drain();
        if (!valid) lose_link(peer, "violation");
    }
    void pull(const MemberId& peer, size_t lane) {
        Link& link = links_[peer];
        if (link.incarnation == 0 || !link.pull || link.lanes[lane].sending) return;
        core::DataOut out;
        link.pull = member().next_data(now(), peer, out);
        if (link.pull) {
            REQUIRE((!out.payload.empty() && out.payload.size() <= wire::kPayloadBytesMax));
            link.lanes[lane].sending = {out.header.key, out.payload};
        }
        drain();
    }
    void sent(const MemberId& peer, size_t lane) {
        auto& sending = links_[peer].lanes[lane].sending;
        if (!sending) return;
        for (uint8_t byte : sending->payload) read_ = read_ ^ byte;
        sending.reset();
    }

    /// Carries out what the member asks for.
    void drain() {
        while (!member().outbox().empty()) {
            std::vector<core::Action> actions = rig_.take();
            REQUIRE(actions.size() < kActionsMax);
            for (const core::Action& action : actions) carry_out(action);
        }
        touch();
    }

    /// The program is gone: every call ends, and nothing is kept of anybody.
    void finish() {
        member().abandon(now(), {Code::INTERNAL_ERROR, "the end"});
        drain();
        REQUIRE(open_.empty());
        const core::Holdings left = member().holdings();
        REQUIRE(left.operations + left.links + left.future_frames + left.future_bytes + left.slot_bytes == 0);
        REQUIRE_FALSE(member().admitted());
    }

   private:
    struct Receiving {
        wire::Data header;
        uint8_t* data;
        uint32_t bytes;
    };
    struct Sending {
        wire::OpKey key;
        std::span<const uint8_t> payload;
    };
    struct Lane {
        std::optional<Receiving> receiving;
        std::optional<Sending> sending;
        void cut(const wire::OpKey* key) {
            if (receiving && (key == nullptr || receiving->header.key == *key)) receiving.reset();
            if (sending && (key == nullptr || sending->key == *key)) sending.reset();
        }
    };
    struct Link {
        uint64_t incarnation = 0;  ///< 0: down
        bool connecting = false;
        bool pull = false;  ///< there is data to send
        std::array<Lane, kLanes> lanes;
    };

    void carry_out(const core::Action& action) {
        using Kind = core::Action::Kind;
        switch (action.kind) {
            case Kind::kToCoordinator:
                REQUIRE(action.body.size() <= wire::kCoordinatorBodyBytesMax);
                REQUIRE(decodes(CoordinatorMessages(), action.type, action.body));
                break;
            case Kind::kToPeer:
                REQUIRE(action.body.size() <= wire::kPeerBodyBytesMax);
                REQUIRE(decodes(PeerMessages(), action.type, action.body));
                if (action.type == wire::Type::kOffer) (void)wire::decode(action.body, own_offer_);
                break;
            case Kind::kPullData: links_[action.peer].pull = links_[action.peer].incarnation != 0; break;
            case Kind::kConnect: links_[action.peer].connecting = true; break;
            case Kind::kCloseLink: close_link(links_[action.peer], action.incarnation); break;
            case Kind::kCut: cut(&action.key); break;
            case Kind::kCutAll: cut(nullptr); break;
            case Kind::kCompleted: completed(action.ticket); break;
            case Kind::kCloseCoordinator:
                coordinator_up_ = false;
                may_reconnect_ = action.reconnect;
                break;
        }
    }

    /// In an orderly way, of which the member is told nothing.
    void close_link(Link& link, uint64_t incarnation) {
        if (incarnation == 0) link.connecting = false;
        if (incarnation != 0 && incarnation != link.incarnation) return;
        link.incarnation = 0;
        link.pull = false;
        link.lanes = {};
    }

    void cut(const wire::OpKey* key) {
        for (auto& [peer, link] : links_) {
            for (Lane& lane : link.lanes) lane.cut(key);
        }
    }

    void completed(core::Ticket ticket) {
        const auto at = open_.find(ticket);
        REQUIRE(at != open_.end());
        const core::CallResult* result = member().result(ticket);
        REQUIRE(result != nullptr);
        const Operands& operands = *at->second;
        if (operands.is_reduction && (!result->status.ok() || !operands.in_place))
            REQUIRE(std::equal(operands.before.begin(), operands.before.end(), operands.input()));
        open_.erase(at);
        ended_.push_back(ticket);
    }

    /// What sockets do at any time: read what is sent, write where something is received.
    void touch() {
        for (auto& [peer, link] : links_) {
            for (Lane& lane : link.lanes) {
                if (lane.sending)
                    read_ = read_ ^ lane.sending->payload.front() ^ lane.sending->payload.back();
                if (!lane.receiving) continue;
                lane.receiving->data[0] = 0x5a;
                lane.receiving->data[lane.receiving->bytes - 1] = 0x5a;
            }
        }
    }

    test::Rig& rig_;
    std::map<MemberId, Link> links_;
    bool coordinator_up_ = false;
    bool may_reconnect_ = false;
    uint64_t incarnations_ = 0;
    wire::Offer own_offer_;
    std::map<core::Ticket, std::unique_ptr<Operands>> open_;
    std::vector<core::Ticket> ended_;
    volatile uint8_t read_ = 0;
};

}  // namespace pccl::fuzz
