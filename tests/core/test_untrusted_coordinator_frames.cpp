// What a member does with frames from its coordinator's connection that cannot be right: refused or ignored,
// so that a damaged or outdated coordinator changes nothing.
#include <catch2/catch.hpp>

#include "rig.h"

using namespace pccl;
using namespace pccl::test;

namespace {

template <class Bend>
bool refused_install(Bend bend) {
    Rig rig(4);
    rig.enter().propose();
    wire::Install message = rig.install_message();
    bend(message, rig);
    const bool refused = !rig.tell(message);
    // The right one counts still.
    rig.install();
    REQUIRE(rig.member->view().epoch == rig.epoch);
    return refused;
}

template <class Bend>
bool ignored_install(Bend bend) {
    Rig rig(4);
    rig.enter().propose();
    wire::Install message = rig.install_message();
    bend(message, rig);
    REQUIRE(rig.tell(message));
    const bool ignored = rig.member->view().epoch == rig.epoch;
    rig.install();
    REQUIRE(rig.member->view().epoch == rig.epoch);
    return ignored;
}

template <class Bend>
bool refused_proposal(Bend bend) {
    Rig rig(4);
    rig.enter();
    wire::Propose message = rig.propose_message();
    bend(message, rig);
    const bool refused = !rig.tell(message);
    REQUIRE(rig.sent<wire::Frozen>().empty());
    return refused;
}

}  // namespace

TEST_CASE("an Install with a list, links or settings that cannot be is refused") {
    using Message = wire::Install;
    REQUIRE(refused_install([](Message& m, Rig&) { m.members.push_back(m.members[0]); }));
    REQUIRE(refused_install([](Message& m, Rig&) { m.members.pop_back(); }));  // this member
    REQUIRE(refused_install([](Message& m, Rig&) { m.members.clear(); }));
    REQUIRE(refused_install([](Message& m, Rig&) { m.constants.segment_bytes = 1; }));
    REQUIRE(refused_install([](Message& m, Rig&) { m.constants.segment_bytes = 1u << 30; }));
    REQUIRE(refused_install([](Message& m, Rig&) { m.constants.plan = 3; }));
    REQUIRE(refused_install([](Message& m, Rig&) { m.constants.retry_policy = 2; }));
    REQUIRE(refused_install([](Message& m, Rig& r) { m.dead_links = {{r.peer(0), member_id(99)}}; }));
    REQUIRE(refused_install([](Message& m, Rig& r) { m.dead_links = {{r.peer(0), r.peer(0)}}; }));
    REQUIRE(refused_install([](Message& m, Rig& r) { m.dead_links = {{r.peer(1), r.peer(0)}}; }));
    REQUIRE(refused_install([](Message& m, Rig& r) { m.dead_links.assign(2, {r.peer(0), r.peer(1)}); }));
    // No plan goes around these.
    REQUIRE(refused_install([](Message& m, Rig& r) {
        m.dead_links = {{r.peer(0), r.peer(1)}, {r.peer(2), r.peer(3)}};
    }));
    REQUIRE(refused_install([](Message& m, Rig&) { m.decisions.emplace_back(); }));
    REQUIRE(refused_install([](Message& m, Rig&) { m.counters = {{wire::OpKind::kReduce, 0, ~0ull}}; }));
    REQUIRE(refused_install([](Message& m, Rig&) { m.counters = {{static_cast<wire::OpKind>(7), 0, 1}}; }));
}

TEST_CASE("an Install of an older term or epoch, or of one that was not promised, is ignored") {
    using Message = wire::Install;
    REQUIRE(ignored_install([](Message& m, Rig&) { m.term.count = 0; }));
    REQUIRE(ignored_install([](Message& m, Rig& r) { m.id = r.epoch; }));
    REQUIRE(ignored_install([](Message& m, Rig&) { ++m.id.number; }));
    REQUIRE(ignored_install([](Message& m, Rig&) { m.id.term.nonce += 1; }));
    Rig rig;
    rig.enter();
    REQUIRE(rig.tell(rig.install_message()));  // once more, when it is installed already
    REQUIRE(rig.take().empty());
}

TEST_CASE("a proposal with a list that cannot be is refused, an old one is not answered") {
    using Message = wire::Propose;
    REQUIRE(refused_proposal([](Message& m, Rig&) { m.members.push_back(m.members[0]); }));
    REQUIRE(refused_proposal([](Message& m, Rig&) { m.members.pop_back(); }));
    REQUIRE(refused_proposal([](Message& m, Rig& r) { m.dead_links = {{r.peer(0), member_id(99)}}; }));
    REQUIRE_FALSE(refused_proposal([](Message& m, Rig&) { m.term.count = 0; }));
    REQUIRE_FALSE(refused_proposal([](Message& m, Rig& r) { m.id = r.epoch; }));
    Rig rig;
    rig.enter().propose();
    const wire::Propose first = rig.propose_message();
    REQUIRE(rig.tell(rig.propose_message()));
    rig.take();
    REQUIRE(rig.tell(first));
    REQUIRE(rig.take().empty());
}

TEST_CASE("decisions that the state here contradicts end the call with an error, not with a wrong success") {
    Rig rig;
    rig.enter();
    const core::Ticket ticket = rig.reduce();
    std::vector<uint8_t> content(1000, 1);
    for (wire::Verdict verdict : {wire::Verdict::kCommit, static_cast<wire::Verdict>(77)}) {
        Rig shared;
        shared.enter();
        core::SyncCall call;
        call.tensors.push_back({"t", content.data(), content.size(), DataType::kUint8, false, {}});
        core::Ticket sync = 0;
        REQUIRE(shared.member->synchronize(shared.now, call, &sync).ok());
        shared.propose();
        wire::Install message = shared.install_message();
        message.decisions.resize(1);
        message.decisions[0].key = {wire::OpKind::kSharedState, 0, 1};
        message.decisions[0].verdict = verdict;
        shared.install(message);
        REQUIRE(shared.code(sync) != Code::SUCCESS);
    }
    rig.propose();
    wire::Install message = rig.install_message();
    message.decisions.resize(1);
    message.decisions[0].key = reduce_key(0, 1);
    message.decisions[0].verdict = wire::Verdict::kCommit;
    rig.install(message);
    REQUIRE(rig.code(ticket) == Code::INTERNAL_ERROR);
}

TEST_CASE("a failure told with the code of success, or an unknown one, is a failure") {
    for (uint8_t code : {0, 200}) {
        Rig refused;
        core::Ticket ticket = 0;
        REQUIRE(refused.member->join(refused.now, &ticket).ok());
        refused.member->coordinator_up(refused.now);
        REQUIRE(refused.tell(wire::Refused{wire::kProtocolVersion, code, "no"}));
        REQUIRE(refused.code(ticket) == Code::INTERNAL_ERROR);

        Rig rig;
        rig.enter();
        const core::Ticket call = rig.reduce();
        rig.propose();
        wire::Install message = rig.install_message();
        message.decisions.resize(1);
        message.decisions[0].key = reduce_key(0, 1);
        message.decisions[0].verdict = wire::Verdict::kFail;
        message.decisions[0].code = code;
        rig.install(message);
        REQUIRE(rig.code(call) == Code::INTERNAL_ERROR);
    }
}

TEST_CASE("a coordinator of another version, of an older term or of another run") {
    Rig rig;
    core::Ticket ticket = 0;
    REQUIRE(rig.member->join(rig.now, &ticket).ok());
    rig.member->coordinator_up(rig.now);
    wire::Welcome welcome;
    welcome.version = wire::kProtocolVersion + 1;
    REQUIRE(rig.tell(welcome));
    REQUIRE(rig.code(ticket) == Code::VERSION_MISMATCH);

    Rig member;
    member.enter();
    welcome.version = wire::kProtocolVersion;
    welcome.run = member.run;
    welcome.term = {0, 99};
    REQUIRE_FALSE(member.tell(welcome));
    REQUIRE(member.member->fate().ok());
    welcome.term = {2, 0};
    welcome.run = {};
    REQUIRE(member.tell(welcome));
    REQUIRE(member.member->fate().code() == Code::EVICTED);
    // Nothing concerns it any more.
    wire::Prepare prepare;
    prepare.peers = {{member.peer(0), {{"sim", 1}}}};
    member.take();
    REQUIRE(member.tell(prepare));
    REQUIRE(member.tell(member.propose_message()));
    REQUIRE(member.take().empty());
}

TEST_CASE("a newcomer is not told to open a link to itself") {
    Rig rig;
    core::Ticket ticket = 0;
    REQUIRE(rig.member->join(rig.now, &ticket).ok());
    rig.member->coordinator_up(rig.now);
    wire::Prepare message;
    message.peers = rig.list;
    REQUIRE_FALSE(rig.tell(message));
    REQUIRE(rig.member->holdings().links == 0);
    REQUIRE_FALSE(rig.tell(wire::Vote{}));
}

TEST_CASE("reports of operations that were not called are bounded, and answers to proposals can be read") {
    Rig rig;
    rig.enter();
    for (uint64_t round = 0; round < 4; ++round) {
        rig.propose();
        wire::Install message = rig.install_message();
        message.decisions.resize(wire::kOpsMax);
        for (size_t i = 0; i < message.decisions.size(); ++i) {
            message.decisions[i].key = reduce_key(round << 32 | i, 1);
            message.decisions[i].verdict = wire::Verdict::kFail;
            message.decisions[i].code = static_cast<uint8_t>(Code::MISMATCH);
            message.decisions[i].text.assign(1000, 'x');
        }
        rig.install(message);
        REQUIRE(rig.member->holdings().reports == wire::kOpsMax);
    }
    REQUIRE(rig.code(rig.reduce(5)) == Code::MISMATCH);
    rig.take();
    rig.propose();
    const auto answers = rig.sent<wire::Frozen>();
    REQUIRE(answers.size() == 1);
    REQUIRE(wire::encode(answers[0]).size() < wire::kCoordinatorBodyBytesMax / 2);
}
