// One member alone with a scripted coordinator and scripted peers: tests say what arrives, frame by frame,
// and look at what the member answers.
#pragma once

#include <catch2/catch.hpp>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/member.h"

namespace pccl::test {

inline MemberId member_id(uint8_t fill) {
    MemberId id;
    id.data.fill(fill);
    return id;
}

class Rig {
   public:
    /// The member under test is the last of the list unless `rank` says otherwise; all others are peers.
    explicit Rig(size_t members = 3, size_t rank = 99, void (*tweak)(core::MemberConfig&) = nullptr) {
        rank_ = std::min(rank, members - 1);
        for (size_t i = 0; i < members; ++i) {
            const auto fill = static_cast<uint8_t>(i + 1);
            list.push_back({member_id(fill), {{"sim", static_cast<uint16_t>(i + 1)}}});
        }
        run.data.fill(0xaa);
        core::MemberConfig config;
        config.id = id();
        config.endpoints = list[rank_].endpoints;
        config.constants.segment_bytes = 64;
        config.timeouts = core::Timeouts::derive({});
        if (tweak != nullptr) tweak(config);
        constants = config.constants;
        member = std::make_unique<core::Member>(config);
    }

    const MemberId& id() const { return list[rank_].id; }
    MemberId peer(size_t rank) const { return list[rank].id; }

    /// Registered and welcomed, told to open links, but not in an epoch.
    Rig& prepare() {
        REQUIRE(member->join(now, &join_ticket).ok());
        member->coordinator_up(now);
        wire::Welcome welcome;
        welcome.run = run;
        welcome.term = term;
        REQUIRE(tell(welcome));
        wire::Prepare message;
        message.number = 1;
        message.run = run;
        for (const wire::Peer& other : list) {
            if (other.id != id()) message.peers.push_back(other);
        }
        REQUIRE(tell(message));
        return *this;
    }
    Rig& link_all() {
        for (const wire::Peer& other : list) {
            if (other.id != id()) member->link_up(now, other.id, kIncarnation);
        }
        return *this;
    }
    /// A member of an installed epoch of all.
    Rig& enter(bool boundary = false) {
        prepare().link_all().propose();
        wire::Install message = install_message();
        message.boundary = boundary;
        install(message);
        REQUIRE(member->admitted());
        take();
        return *this;
    }

    wire::Propose propose_message() {
        wire::Propose message;
        message.term = term;
        message.run = run;
        message.id = promised = {term, epoch.number + ++proposals_};
        message.members = list;
        return message;
    }
    Rig& propose() {
        REQUIRE(tell(propose_message()));
        return *this;
    }
    wire::Install install_message() const {
        wire::Install message;
        message.term = term;
        message.run = run;
        message.id = promised;
        message.members = list;
        message.constants = constants;
        return message;
    }
    void install(const wire::Install& message) {
        REQUIRE(tell(message));
        epoch = promised;
    }
    void install() { install(install_message()); }

    /// A frame from the coordinator; false: the member closes the connection.
    template <class Message>
    bool tell(const Message& message) {
        return member->coordinator_frame(now, Message::kType, wire::encode(message));
    }
    /// A frame from a peer; false: the member closes the link.
    template <class Message>
    bool hear(size_t rank, const Message& message) {
        return member->peer_frame(now, peer(rank), Message::kType, wire::encode(message));
    }
    /// A data frame with its payload; the place that the member gave it.
    core::Place data(size_t rank, const wire::Data& header, uint32_t bytes, uint8_t fill = 0) {
        const core::Place place = member->place(now, peer(rank), header, bytes);
        if (place.data != nullptr) {
            std::memset(place.data, fill, bytes);
            member->landed(now, peer(rank), header, place.data, bytes);
        }
        return place;
    }

    /// What the member has sent since the last take().
    std::vector<core::Action> take() {
        std::vector<core::Action> out;
        out.swap(member->outbox());
        return out;
    }
    template <class Message>
    static std::vector<Message> sent(const std::vector<core::Action>& actions) {
        std::vector<Message> out;
        for (const core::Action& action : actions) {
            const bool frame = action.kind == core::Action::Kind::kToCoordinator ||
                               action.kind == core::Action::Kind::kToPeer;
            if (!frame || action.type != Message::kType) continue;
            REQUIRE(wire::decode(action.body, out.emplace_back()));
        }
        return out;
    }
    template <class Message>
    std::vector<Message> sent() {
        return sent<Message>(take());
    }

    /// Calls a reduction of `count` floats; buffers live as long as the rig.
    core::Ticket reduce(uint64_t tag = 0, size_t count = 64) {
        buffers_.push_back(std::make_unique<std::vector<float>>(count, 1.0f));
        core::ReduceCall call;
        call.send = reinterpret_cast<const uint8_t*>(buffers_.back()->data());
        call.receive = reinterpret_cast<uint8_t*>(buffers_.back()->data());
        call.count = count;
        call.tag = tag;
        core::Ticket ticket = 0;
        const Status status = member->all_reduce(now, call, &ticket);
        REQUIRE(status.text() == "");
        return ticket;
    }
    Code code(core::Ticket ticket) const {
        const core::CallResult* result = member->result(ticket);
        REQUIRE(result != nullptr);
        return result->status.code();
    }
    /// What reduce() is described by at all members.
    wire::Descriptor descriptor(size_t count = 64) const {
        wire::Descriptor out;
        out.count = count;
        out.segment_bytes = constants.segment_bytes;
        out.dtype = static_cast<uint8_t>(DataType::kFloat);
        out.redop = static_cast<uint8_t>(RedOp::kSum);
        out.plan = constants.plan;
        return out;
    }
    wire::Called called(const wire::OpKey& key, size_t count = 64) const {
        return {epoch, key, descriptor(count), {}};
    }
    wire::Mismatch mismatch(const wire::OpKey& key, size_t first, size_t second) const {
        return {epoch, key, peer(first), peer(second), descriptor(64), descriptor(65)};
    }

    static constexpr uint64_t kIncarnation = 5;
    std::vector<wire::Peer> list;  ///< of the group, by rank
    RunId run;
    wire::Term term{1, 7};
    wire::EpochId epoch, promised;
    wire::Constants constants;
    TimeUs now = kSecond;
    core::Ticket join_ticket = 0;
    std::unique_ptr<core::Member> member;

   private:
    size_t rank_ = 0;
    uint64_t proposals_ = 0;
    std::vector<std::unique_ptr<std::vector<float>>> buffers_;
};

inline wire::OpKey reduce_key(uint64_t tag, uint64_t sequence) {
    return {wire::OpKind::kReduce, tag, sequence};
}

}  // namespace pccl::test
