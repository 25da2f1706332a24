// What the coordinator does with frames of members, newcomers and strangers that lie: each is refused or
// ignored, nobody else is harmed, and what it sends to the others can always be read by them.
#include <catch2/catch.hpp>

#include "office.h"

using namespace pccl;
using namespace pccl::test;

namespace {

Code refusal(const Office& office, size_t index) {
    REQUIRE(office.clerks[index].refused.has_value());
    REQUIRE(office.clerks[index].connection == 0);
    return static_cast<Code>(office.clerks[index].refused->code);
}

/// Registers on a new connection; its index.
size_t knock(Office& office, const wire::Register& message) {
    const size_t index = office.open();
    office.clerks[index].id = message.id;
    REQUIRE(office.say(index, message));
    return index;
}

/// The members that are left agree on a new epoch.
void check_working(Office& office, size_t requester, size_t members) {
    office.change(requester);
    office.answer_all();
    REQUIRE(office.clerks[requester].install->members.size() == members);
    REQUIRE_FALSE(office.clerks[requester].proposal.has_value());
}

wire::OpRecord record(uint64_t tag, uint64_t sequence, wire::OpState state = wire::OpState::kIncomplete) {
    wire::OpRecord out;
    out.key = reduce_key(tag, sequence);
    out.state = state;
    return out;
}

}  // namespace

TEST_CASE("a connection begins with one registration") {
    Office office;
    office.admit(2);
    const size_t stranger = office.open();
    REQUIRE_FALSE(office.say(stranger, wire::Vote{}));
    REQUIRE_FALSE(office.say(stranger, wire::Heartbeat{}));
    REQUIRE_FALSE(office.say_raw(stranger, wire::Type::kRegister, {}));
    REQUIRE_FALSE(office.say(0, office.registration(office.next_id())));
    REQUIRE_FALSE(office.say(0, wire::Welcome{}));
    REQUIRE_FALSE(office.say_raw(0, wire::Type::kFrozen, {1, 2, 3}));
    check_working(office, 0, 2);
}

TEST_CASE("registrations with settings that cannot be are refused with the reason") {
    Office office;
    office.admit(1);
    const wire::Register good = office.registration(office.next_id());
    wire::Register bad = good;
    bad.version = wire::kProtocolVersion + 1;
    REQUIRE(refusal(office, knock(office, bad)) == Code::VERSION_MISMATCH);
    bad = good;
    bad.endpoints.clear();
    REQUIRE(refusal(office, knock(office, bad)) == Code::INVALID_ARGUMENT);
    bad = good;
    bad.endpoints[0].host.assign(256, 'x');
    REQUIRE(refusal(office, knock(office, bad)) == Code::INVALID_ARGUMENT);
    bad = good;
    bad.endpoints[0].port = 0;
    REQUIRE(refusal(office, knock(office, bad)) == Code::INVALID_ARGUMENT);
    bad = good;
    bad.constants.segment_bytes = 0;
    REQUIRE(refusal(office, knock(office, bad)) == Code::INVALID_ARGUMENT);
    bad = good;
    bad.constants.plan = 200;
    REQUIRE(refusal(office, knock(office, bad)) == Code::INVALID_ARGUMENT);
    bad = good;
    bad.id = {};
    REQUIRE(refusal(office, knock(office, bad)) == Code::INVALID_ARGUMENT);
    bad = good;
    bad.endpoints.assign(wire::kEndpointsMax + 1, good.endpoints[0]);
    REQUIRE_FALSE(office.say(office.open(), bad));
    check_working(office, 0, 1);
}

TEST_CASE("a member id is taken once, also after its member has gone") {
    Office office;
    office.admit(3);
    const MemberId used = office.clerks[1].id;
    REQUIRE(refusal(office, knock(office, office.registration(used))) == Code::ACCESS_DENIED);
    REQUIRE_FALSE(office.clerks[1].evicted);
    REQUIRE(office.say(2, wire::Suspect{office.clerks[2].installed, used, 1, true, "closed"}));
    office.hang_up(1);
    office.answer_all();
    REQUIRE(office.clerks[0].install->members.size() == 2);
    REQUIRE(refusal(office, knock(office, office.registration(used))) == Code::ACCESS_DENIED);
    // As the member that it was it cannot come back either.
    wire::Register again = office.registration(used);
    again.installed = office.clerks[0].installed;
    REQUIRE(office.clerks[knock(office, again)].evicted);
    check_working(office, 0, 2);
}

TEST_CASE("a newcomer cannot speak for a group that does not exist, or vote") {
    Office office;
    office.admit(2);
    const size_t newcomer = office.add(0xfffffff0u);
    const wire::EpochId epoch = office.clerks[0].installed;
    for (const wire::EpochId& id : {epoch, wire::EpochId{}, wire::EpochId{{~0ull, ~0ull}, ~0ull}}) {
        wire::Frozen frozen;
        frozen.id = id;
        frozen.installed = id;
        REQUIRE(office.say(newcomer, frozen));
        wire::Linked linked;
        linked.id = id;
        linked.links.push_back({office.clerks[0].id, 9, true, "no"});
        REQUIRE(office.say(newcomer, linked));
        REQUIRE(office.say(newcomer, wire::RequestChange{id, wire::ChangeReason::kTags}));
        REQUIRE(office.say(newcomer, wire::Suspect{id, office.clerks[0].id, 1, true, "no"}));
        REQUIRE(office.say(newcomer, wire::Withdraw{7}));
    }
    REQUIRE_FALSE(office.clerks[0].proposal.has_value());
    REQUIRE_FALSE(office.say(newcomer, wire::Vote{}));
    office.hang_up(newcomer);
    REQUIRE(office.coordinator->describe().find("group 4294967280") == std::string::npos);
    check_working(office, 0, 2);
}

TEST_CASE("answers with records that cannot be are refused, and a good one counts afterwards") {
    Office office;
    office.admit(2);
    office.change(0);
    const auto refused = [&](auto bend) {
        wire::Frozen message = office.frozen(1);
        bend(message);
        return !office.say(1, message);
    };
    REQUIRE(refused([](auto& m) { m.records.assign(wire::kOpsMax + wire::kTagsMax + 1, record(0, 1)); }));
    REQUIRE(refused([](auto& m) { m.counters.resize(wire::kTagsMax + 1); }));
    REQUIRE(refused([](auto& m) { m.tombstones.resize(wire::kOpsMax + 1); }));
    REQUIRE(refused([](auto& m) { m.records = {record(0, 0)}; }));
    REQUIRE(refused([](auto& m) { m.records = {record(0, ~0ull)}; }));
    REQUIRE(refused([](auto& m) { m.records = {record(0, 1, static_cast<wire::OpState>(9))}; }));
    REQUIRE(refused([](auto& m) {
        m.records = {record(0, 1)};
        m.records[0].segments = ~0u;
    }));
    REQUIRE(refused([](auto& m) {
        m.records = {record(0, 1)};
        m.records[0].segments = 8;
        m.records[0].finals = {1, 2};
    }));
    REQUIRE(refused([](auto& m) {
        m.records = {record(0, 1)};
        m.records[0].segments = 1 << 20;
        m.records[0].finals.resize(wire::kSegmentMapBytesMax + 1);
    }));
    REQUIRE(refused([](auto& m) { m.counters = {{wire::OpKind::kReduce, 0, ~0ull}}; }));
    REQUIRE(refused([](auto& m) { m.counters = {{static_cast<wire::OpKind>(44), 0, 1}}; }));
    REQUIRE(refused([](auto& m) { m.tombstones = {{wire::OpKind::kPendingQuery, 3, 1}}; }));
    // Answers to other proposals, or from another epoch, are not answers.
    wire::Frozen old = office.frozen(1);
    old.id.number -= 1;
    REQUIRE(office.say(1, old));
    old = office.frozen(1);
    old.installed.number += 1;
    REQUIRE(office.say(1, old));
    office.answer(0);
    REQUIRE_FALSE(office.clerks[1].proposal == std::nullopt);
    office.answer_all();
    check_working(office, 0, 2);
}

TEST_CASE("a change for a reason that there is not is refused, one of another epoch ignored") {
    Office office;
    office.admit(2);
    REQUIRE_FALSE(
        office.say(0, wire::RequestChange{office.clerks[0].installed, static_cast<wire::ChangeReason>(3)}));
    REQUIRE(office.say(0, wire::RequestChange{{{9, 9}, 9}, wire::ChangeReason::kCancel}));
    REQUIRE(office.proposals() == 3);  // the founder's, and that of both
}

TEST_CASE(
    "a newcomer that reports no links is dropped in the end, and evicts none but dead members of its group") {
    Office office;
    office.admit(2);
    office.hang_up(1);  // for a moment, as connections do
    const size_t newcomer = office.open();
    office.clerks[newcomer].id = office.next_id();
    REQUIRE(office.say(newcomer, office.registration(office.clerks[newcomer].id, 5)));
    for (int i = 0; i < 1000 && office.clerks[newcomer].connection != 0; ++i) {
        wire::Prepared message;
        message.number = office.clerks[newcomer].prepare->number;
        message.unreachable = {office.clerks[1].id, office.next_id()};
        message.reason = "none";
        office.say(newcomer, message);
    }
    REQUIRE(refusal(office, newcomer) == Code::RANK_CONNECTION_FAILED);
    REQUIRE(office.clerks[newcomer].frames < 100);
    REQUIRE_FALSE(office.clerks[1].evicted);
    REQUIRE_FALSE(office.clerks[0].proposal.has_value());
    // It is still a member.
    const size_t back = office.open();
    office.clerks[back].id = office.clerks[1].id;
    office.clerks[back].installed = office.clerks[1].installed;
    wire::Register again = office.registration(office.clerks[1].id);
    again.run = office.clerks[1].install->run;
    again.installed = office.clerks[1].installed;
    REQUIRE(office.say(back, again));
    check_working(office, 0, 2);
}

TEST_CASE("a flood of suspicions ends with a link that is not used, not with endless proposals") {
    Office office;
    office.admit(3);
    const size_t before = office.proposals();
    for (uint64_t i = 0; i < 5000; ++i) {
        REQUIRE(office.say(1, wire::Suspect{office.clerks[1].installed, office.clerks[2].id, i, true,
                                            std::string(4096, 'x')}));
    }
    REQUIRE(office.proposals() - before <= 6 * 3);
    office.answer_all();
    REQUIRE(office.clerks[0].install->dead_links.size() == 1);
    // Against everybody: no plan is left, and the one whose links are all dead goes.
    for (uint64_t i = 0; i < 5000; ++i)
        office.say(1, wire::Suspect{office.clerks[1].installed, office.clerks[0].id, i, true, "x"});
    office.answer_all();
    REQUIRE(office.clerks[1].evicted);
    check_working(office, 0, 2);
}

TEST_CASE("suspicions of strangers, of oneself and of other epochs change nothing") {
    Office office;
    office.admit(2);
    const size_t before = office.proposals();
    const wire::EpochId epoch = office.clerks[0].installed;
    REQUIRE(office.say(0, wire::Suspect{epoch, office.clerks[0].id, 1, true, ""}));
    REQUIRE(office.say(0, wire::Suspect{epoch, office.next_id(), 1, true, ""}));
    REQUIRE(office.say(0, wire::Suspect{{}, office.clerks[1].id, 1, true, ""}));
    REQUIRE(office.proposals() == before);
}

TEST_CASE("a member that names more operations than an Install can list goes, and the others go on") {
    for (bool by_counters : {false, true}) {
        Office office;
        office.admit(3);
        office.change(0);
        wire::Frozen flood = office.frozen(2);
        if (by_counters) {
            for (uint64_t tag = 0; tag < wire::kTagsMax; ++tag)
                flood.counters.push_back({wire::OpKind::kReduce, tag + 100, 1});
        } else {
            for (uint64_t tag = 0; tag < wire::kOpsMax + 1; ++tag)
                flood.records.push_back(record(tag + 100, 1, wire::OpState::kError));
        }
        for (size_t i = 0; i < 2; ++i) {
            wire::Frozen honest = office.frozen(i);
            for (uint64_t tag = 0; tag < 50; ++tag) {
                honest.records.push_back(record(tag, 1));
                honest.counters.push_back({wire::OpKind::kReduce, tag, 0});
            }
            REQUIRE(office.answer(i, honest));
        }
        office.answer(2, flood);
        REQUIRE(office.clerks[2].evicted);
        office.answer_all();
        REQUIRE(office.clerks[0].install->members.size() == 2);
        check_working(office, 0, 2);
    }
}

TEST_CASE("a member that claims votes which cannot have been takes the votes of the others from nobody") {
    const std::pair<uint64_t, uint64_t> claims[] = {
        {UINT64_MAX, 0}, {UINT64_MAX, UINT64_MAX}, {0, UINT64_MAX}, {1 << 21, 0}};
    for (const bool restarted : {false, true}) {
        for (const auto& [round, succeeded] : claims) {
            if (restarted && round == 1 << 21) continue;  // That many may have failed since the record.
            Office office;
            office.admit(2);
            if (restarted) office.restart();
            wire::Register message = office.registration(office.clerks[1].id);
            message.run = office.clerks[1].install->run;
            message.installed = message.promised = office.clerks[1].installed;
            message.round = round;
            message.round_succeeded = succeeded;
            REQUIRE(office.clerks[knock(office, message)].connection == 0);
            // The honest ones come back, on new connections.
            message.round = message.round_succeeded = office.clerks[1].install->round;
            for (size_t i = 0; i < 2; ++i) {
                message.id = office.clerks[i].id;
                const size_t index = knock(office, message);
                office.clerks[index].installed = message.installed;
            }
            const size_t newcomer = office.add();
            for (size_t i = newcomer - 2; i < newcomer; ++i)
                REQUIRE(office.say(i, wire::Vote{wire::VoteKind::kUpdate, 9, message.round + 1}));
            office.answer_all();
            REQUIRE_FALSE(office.clerks[newcomer].installed.is_none());
            REQUIRE(office.clerks[newcomer].install->members.size() == 3);
        }
    }
}
