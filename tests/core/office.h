// A coordinator alone with scripted members: tests say what each of them sends, and look at what it is
// answered. Everything that the coordinator sends must decode and fit into a frame.
#pragma once

#include <catch2/catch.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/coordinator.h"
#include "harness.h"
#include "rig.h"

namespace pccl::test {

class Office {
   public:
    struct Clerk {
        MemberId id;
        uint64_t connection = 0;  ///< 0: closed
        wire::EpochId installed;
        std::optional<wire::Prepare> prepare;
        std::optional<wire::Propose> proposal;  ///< not answered yet
        std::optional<wire::Install> install;   ///< the last one
        std::optional<wire::Refused> refused;
        size_t proposals = 0;
        size_t frames = 0;
        uint64_t round = 0;  ///< the last vote of the whole run that ended
        bool evicted = false;
    };

    /// `previous` is what an earlier coordinator left behind, if any.
    explicit Office(uint8_t retry_policy = 0, const core::Record* previous = nullptr) : random_(11) {
        constants.retry_policy = retry_policy;
        constants.segment_bytes = 64;
        start(previous);
    }
    /// Another coordinator goes on from the record; all connections are gone.
    void restart() {
        for (Clerk& clerk : clerks) clerk.connection = 0;
        const core::Record previous = record;
        start(&previous);
    }

    wire::Register registration(const MemberId& id, uint32_t group = 0) const {
        wire::Register message;
        message.id = id;
        message.group = group;
        message.endpoints = {{"sim", 1}};
        message.constants = constants;
        return message;
    }
    MemberId next_id() { return MemberId{random_.next_id()}; }

    /// Opens a connection that has said nothing; its index.
    size_t open() {
        Clerk clerk;
        clerk.connection = ++connections_;
        clerks.push_back(clerk);
        coordinator->opened(now, clerk.connection, "sim");
        return clerks.size() - 1;
    }
    /// A newcomer with links to all that it was told of.
    size_t add(uint32_t group = 0) {
        const size_t index = open();
        clerks[index].id = next_id();
        REQUIRE(say(index, registration(clerks[index].id, group)));
        REQUIRE(clerks[index].prepare.has_value());
        prepared(index);
        return index;
    }
    void prepared(size_t index) {
        wire::Prepared message;
        message.number = clerks[index].prepare->number;
        message.ok = true;
        REQUIRE(say(index, message));
    }
    /// Members that share an epoch.
    void admit(size_t count, uint32_t group = 0) {
        for (size_t i = 0; i < count; ++i) {
            add(group);
            if (clerks.size() == 1) answer_all();
        }
        vote_all();
        answer_all();
        for (const Clerk& clerk : clerks) REQUIRE_FALSE(clerk.installed.is_none());
    }
    void vote_all() {
        ++votes_;
        for (size_t i = 0; i < clerks.size(); ++i) {
            if (clerks[i].connection != 0 && !clerks[i].installed.is_none()) {
                REQUIRE(say(i, wire::Vote{wire::VoteKind::kUpdate, votes_, clerks[i].round + 1}));
            }
        }
    }

    wire::Frozen frozen(size_t index) const {
        wire::Frozen message;
        message.id = clerks[index].proposal->id;
        message.installed = clerks[index].installed;
        return message;
    }
    /// Links to all proposed members but those for which `dead` says otherwise.
    template <class Dead>
    wire::Linked linked(size_t index, Dead dead) const {
        wire::Linked message;
        message.id = clerks[index].proposal->id;
        for (const wire::Peer& peer : clerks[index].proposal->members) {
            if (peer.id == clerks[index].id) continue;
            const bool failed = dead(clerks[index].id, peer.id);
            message.links.push_back({peer.id, failed ? 0u : 1u, failed, ""});
        }
        return message;
    }
    wire::Linked linked(size_t index) const {
        return linked(index, [](const MemberId&, const MemberId&) { return false; });
    }
    bool answer(size_t index, const wire::Frozen& message) {
        const wire::Linked links = linked(index);
        clerks[index].proposal.reset();
        return say(index, links) && say(index, message);
    }
    void answer(size_t index) { REQUIRE(answer(index, frozen(index))); }
    void answer_all() {
        for (bool moved = true; moved;) {
            moved = false;
            for (size_t i = 0; i < clerks.size(); ++i) {
                if (!clerks[i].proposal || clerks[i].connection == 0) continue;
                answer(i);
                moved = true;
            }
        }
    }
    void change(size_t index) {
        REQUIRE(say(index, wire::RequestChange{clerks[index].installed, wire::ChangeReason::kCancel}));
        REQUIRE(clerks[index].proposal.has_value());
    }

    /// False: the driver closes the connection.
    template <class Message>
    bool say(size_t index, const Message& message) {
        return say_raw(index, Message::kType, wire::encode(message));
    }
    bool say_raw(size_t index, wire::Type type, const std::vector<uint8_t>& body) {
        const bool valid = coordinator->frame(now, clerks[index].connection, type, body);
        settle();
        return valid;
    }
    void hang_up(size_t index) {
        const uint64_t connection = clerks[index].connection;
        clerks[index].connection = 0;
        coordinator->closed(now, connection, "closed");
        settle();
    }
    void advance(TimeUs by) {
        now += by;
        coordinator->tick(now);
        settle();
    }

    size_t proposals() const {
        size_t out = 0;
        for (const Clerk& clerk : clerks) out += clerk.proposals;
        return out;
    }

    TimeUs now = kSecond;
    wire::Constants constants;
    std::unique_ptr<core::Coordinator> coordinator;
    std::vector<Clerk> clerks;
    core::Record record;  ///< the last one that was made durable

   private:
    void start(const core::Record* previous) {
        core::CoordinatorConfig config;
        config.timeouts = core::Timeouts::derive({});
        coordinator = std::make_unique<core::Coordinator>(config, random_, previous, now);
        settle();
    }
    template <class Message>
    static Message decoded(const core::CoordinatorAction& action) {
        Message message;
        REQUIRE(action.body.size() <= wire::kCoordinatorBodyBytesMax);
        REQUIRE(wire::decode(action.body, message));
        return message;
    }
    void receive(Clerk& clerk, const core::CoordinatorAction& action) {
        ++clerk.frames;
        switch (action.type) {
            case wire::Type::kPrepare: clerk.prepare = decoded<wire::Prepare>(action); break;
            case wire::Type::kPropose:
                clerk.proposal = decoded<wire::Propose>(action);
                ++clerk.proposals;
                break;
            case wire::Type::kInstall:
                clerk.install = decoded<wire::Install>(action);
                clerk.installed = clerk.install->id;
                clerk.proposal.reset();
                clerk.round = std::max(clerk.round, clerk.install->round);
                break;
            case wire::Type::kVoteAnswer:
                clerk.round = std::max(clerk.round, decoded<wire::VoteAnswer>(action).round);
                break;
            case wire::Type::kRefused: clerk.refused = decoded<wire::Refused>(action); break;
            case wire::Type::kEvicted: clerk.evicted = true; break;
            default: break;
        }
    }
    void settle() {
        while (!coordinator->outbox().empty()) {
            std::vector<core::CoordinatorAction> actions;
            actions.swap(coordinator->outbox());
            for (const core::CoordinatorAction& action : actions) {
                if (action.kind == core::CoordinatorAction::Kind::kPersist) {
                    record = {};
                    REQUIRE(wire::decode(action.body, record));
                    coordinator->persisted(now, action.number);
                }
                for (Clerk& clerk : clerks) {
                    if (clerk.connection == 0 || clerk.connection != action.connection) continue;
                    if (action.kind == core::CoordinatorAction::Kind::kSend) receive(clerk, action);
                    if (action.kind == core::CoordinatorAction::Kind::kClose) clerk.connection = 0;
                }
            }
        }
    }

    CountingRandom random_;
    uint64_t connections_ = 0;
    uint64_t votes_ = 0;
};

}  // namespace pccl::test
