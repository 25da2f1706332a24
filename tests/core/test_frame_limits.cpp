// Messages that grow with members, operations and dead links always fit into a frame: one that did not would
// be refused by every member, together with its connection to the coordinator.
#include <catch2/catch.hpp>

#include "core/decide.h"
#include "office.h"

using namespace pccl;
using namespace pccl::test;

namespace {

constexpr uint32_t kSegments = plan::kSegmentsMax;

wire::Decision attempt(uint64_t tag, size_t map_bytes, wire::Verdict verdict = wire::Verdict::kResume) {
    wire::Decision out;
    out.key = reduce_key(tag, 1);
    out.verdict = verdict;
    out.finals = {{member_id(1), std::vector<uint8_t>(map_bytes, 0xff)}};
    out.text = "because";
    return out;
}

std::vector<uint64_t> aborted(const wire::Install& message) {
    std::vector<uint64_t> tags;
    for (const wire::Decision& decision : message.decisions) {
        if (decision.verdict != wire::Verdict::kAbort) continue;
        REQUIRE(decision.finals.empty());
        tags.push_back(decision.key.tag);
    }
    return tags;
}

}  // namespace

TEST_CASE("an Install that fits is left as it is") {
    wire::Install message;
    message.decisions = {attempt(1, 100), attempt(2, 200)};
    message.decisions[0].text.assign(1000, 'x');
    const std::vector<uint8_t> before = wire::encode(message);
    core::shrink(message, before.size(), true);
    REQUIRE(wire::encode(message) == before);
}

TEST_CASE("an Install that is too large loses long texts first, then the attempts with the largest maps") {
    wire::Install whole;
    whole.decisions = {attempt(1, 100), attempt(2, 300), attempt(3, 200, wire::Verdict::kFinish),
                       attempt(4, 300), attempt(5, 50)};
    whole.decisions[4].key = {wire::OpKind::kSharedState, 0, 1};
    whole.decisions[4].text.assign(5000, 'x');  // encoded as far as texts go
    const size_t bytes = wire::encode(whole).size();
    size_t fewest = 0;
    for (size_t limit = bytes - 1; limit > bytes - 5000; limit -= 7) {
        wire::Install message = whole;
        core::shrink(message, limit, true);
        const std::vector<uint64_t> tags = aborted(message);
        REQUIRE(tags.size() >= fewest);
        fewest = tags.size();
        if (fewest < 5) REQUIRE(wire::encode(message).size() <= limit);
        if (fewest == 1) REQUIRE(tags == std::vector<uint64_t>{2});
        if (fewest == 2) REQUIRE(tags == std::vector<uint64_t>{2, 4});
        if (fewest == 3) REQUIRE(tags == std::vector<uint64_t>{2, 3, 4});
        for (const wire::Decision& decision : message.decisions) {
            if (decision.verdict != wire::Verdict::kAbort) continue;
            REQUIRE(decision.redo == (decision.key.kind == wire::OpKind::kReduce));
        }
    }
    REQUIRE(fewest == 5);
    wire::Install reported = whole;
    core::shrink(reported, 100, false);
    for (const wire::Decision& decision : reported.decisions) REQUIRE_FALSE(decision.redo);
}

TEST_CASE(
    "more maps of interrupted operations than a frame holds: some run again, all members are told the same") {
    for (uint8_t policy : {0, 1}) {
        Office office(policy);
        office.admit(3);
        office.change(0);
        // Two thirds of a frame from each of three members.
        for (size_t i = 0; i < 3; ++i) {
            wire::Frozen message = office.frozen(i);
            for (uint64_t tag = 0; tag < 1300; ++tag) {
                wire::OpRecord record;
                record.key = reduce_key(tag, 1);
                record.attempt = message.installed;
                record.segments = kSegments;
                record.finals.assign(tag == 700 ? 1 : kSegments / 8, static_cast<uint8_t>(i));
                message.records.push_back(std::move(record));
            }
            REQUIRE(wire::encode(message).size() < wire::kCoordinatorBodyBytesMax);
            REQUIRE(office.answer(i, message));
        }
        REQUIRE(office.clerks[0].install->decisions.size() == 1300);
        const std::vector<uint64_t> again = aborted(*office.clerks[0].install);
        REQUIRE((again.size() > 500 && again.size() < 700));
        REQUIRE(std::count(again.begin(), again.end(), 700u) == 0);
        for (const wire::Decision& decision : office.clerks[0].install->decisions) {
            if (decision.verdict == wire::Verdict::kAbort) REQUIRE(decision.redo == (policy == 0));
        }
        REQUIRE(wire::encode(*office.clerks[1].install) == wire::encode(*office.clerks[0].install));
        REQUIRE(wire::encode(*office.clerks[2].install) == wire::encode(*office.clerks[0].install));
    }
}

TEST_CASE(
    "a hub whose members cannot reach each other keeps as many as a message can name the dead links of") {
    Office office;
    office.admit(100);
    office.change(0);
    const MemberId hub = office.clerks[0].id;
    const auto dead = [&](const MemberId& a, const MemberId& b) { return a != hub && b != hub; };
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < office.clerks.size(); ++i) {
            if (!office.clerks[i].proposal || office.clerks[i].connection == 0) continue;
            const wire::Frozen frozen = office.frozen(i);
            const wire::Linked linked = office.linked(i, dead);
            office.clerks[i].proposal.reset();
            REQUIRE(office.say(i, linked));
            REQUIRE(office.say(i, frozen));
            moved = true;
        }
    }
    const wire::Install& install = *office.clerks[0].install;
    REQUIRE(install.dead_links.size() <= wire::kDeadLinksMax);
    REQUIRE(install.members.size() == 92);
    REQUIRE(install.dead_links.size() == 91 * 90 / 2);
}

TEST_CASE("what is final of too many interrupted operations is computed again, in place too") {
    for (size_t round = 0; round < 60; ++round) {
        const size_t map_bytes_max = round % 3 == 0 ? 0 : round % 3 == 1 ? 10 : 1000000;
        World world;
        static size_t limit;
        limit = map_bytes_max;
        world.tweak = [](core::MemberConfig& config) { config.map_bytes_max = limit; };
        world.grow(3);
        world.data_left = 10 + round * 7;
        std::vector<std::vector<Reduction>> calls(4);
        for (uint64_t tag = 0; tag < calls.size(); ++tag) {
            for (size_t i = 0; i < 3; ++i) calls[tag].emplace_back(500, i + tag);
        }
        for (uint64_t tag = 0; tag < calls.size(); ++tag) {
            for (size_t i = 0; i < 3; ++i) REQUIRE(calls[tag][i].start(world, i, tag % 2 == 1, tag).ok());
        }
        world.settle();
        REQUIRE(calls[3][0].result(world, 0) == nullptr);
        world.data_left = ~size_t{0};
        world.break_link(0, 2);
        world.settle();
        for (uint64_t tag = 0; tag < calls.size(); ++tag) {
            for (size_t i = 0; i < 3; ++i) {
                REQUIRE(calls[tag][i].result(world, i) != nullptr);
                REQUIRE(calls[tag][i].result(world, i)->status.text() == "");
                for (size_t e = 0; e < 500; ++e) {
                    float expected = 0;
                    for (size_t c = 0; c < 3; ++c)
                        expected += static_cast<float>((e * 7 + (c + tag) * 13) % 101);
                    REQUIRE(calls[tag][i].out[e] == expected);
                }
            }
        }
        REQUIRE(world.violations.empty());
    }
}
