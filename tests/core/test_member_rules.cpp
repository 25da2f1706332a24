// Rules whose omission shows only in rare orders of events, each told frame by frame.
#include <catch2/catch.hpp>

#include "core/decide.h"
#include "core/shared_state.h"
#include "harness.h"
#include "rig.h"

using namespace pccl;
using namespace pccl::test;

namespace {

const wire::OpRecord* find(const wire::Frozen& answer, const wire::OpKey& key) {
    for (const wire::OpRecord& record : answer.records) {
        if (record.key == key) return &record;
    }
    return nullptr;
}

wire::Frozen frozen(Rig& rig) {
    rig.take();
    rig.propose();
    const auto answers = rig.sent<wire::Frozen>();
    REQUIRE(answers.size() == 1);
    return answers[0];
}

wire::Install resume(const Rig& rig, const wire::OpKey& key) {
    wire::Install message = rig.install_message();
    message.decisions.resize(1);
    message.decisions[0].key = key;
    message.decisions[0].verdict = wire::Verdict::kResume;
    return message;
}

/// The operation of this member and key is told to its neighbours.
bool announced(Rig& rig, const wire::OpKey& key) {
    bool out = false;
    for (const wire::Called& called : rig.sent<wire::Called>()) out |= called.key == key;
    return out;
}

bool asked_for(const std::vector<wire::RequestChange>& requests, wire::ChangeReason reason) {
    bool out = false;
    for (const wire::RequestChange& request : requests) out |= request.reason == reason;
    return out;
}

}  // namespace

TEST_CASE("a lone member is told of the report that waits for it, and the number of that call is used up") {
    World world(1);
    world.grow(3);
    Reduction lost(100, 0), late(100, 1);
    REQUIRE(lost.start(world, 0).ok());
    world.settle();
    world.kill(2);
    REQUIRE(lost.result(world, 0)->status.code() == Code::RANK_CONNECTION_LOST);
    world.kill(0);
    core::Member& member = *world.nodes[1]->member;
    REQUIRE(member.view().members.size() == 1);
    REQUIRE(member.holdings().reports == 1);
    REQUIRE(late.start(world, 1).text() == "");
    REQUIRE(late.result(world, 1)->status.code() == Code::RANK_CONNECTION_LOST);
    member.forget(late.ticket);
    REQUIRE(member.holdings().reports == 0);
    Reduction alone(100, 1);
    REQUIRE(alone.start(world, 1).code() == Code::TOO_FEW_PEERS);
    // The next that is called with others is the second.
    world.grow(1);
    Reduction next(100, 1);
    REQUIRE(next.start(world, 1).ok());
    REQUIRE(member.describe().find("all-reduce tag 0 call 2 called") != std::string::npos);
    Reduction theirs(100, 3);
    REQUIRE(theirs.start(world, 3).ok());
    world.settle();
    REQUIRE(next.result(world, 1)->status.text() == "");
    REQUIRE(theirs.result(world, 3)->status.text() == "");
}

TEST_CASE("a lone member whose call waited for the Install is told of the report too") {
    Rig rig(2);
    rig.enter().propose();
    const core::Ticket ticket = rig.reduce(4);  // waits
    wire::Install message = rig.install_message();
    message.members = {rig.list[1]};
    message.decisions.resize(1);
    message.decisions[0].key = reduce_key(4, 1);
    message.decisions[0].verdict = wire::Verdict::kAbort;
    rig.install(message);
    REQUIRE(rig.code(ticket) == Code::RANK_CONNECTION_LOST);
}

TEST_CASE("a cancellation that comes while frozen is told with the next answer") {
    Rig rig;
    rig.enter();
    const core::Ticket ticket = rig.reduce();
    REQUIRE_FALSE(find(frozen(rig), reduce_key(0, 1))->cancel);
    REQUIRE(rig.member->cancel(rig.now, ticket).ok());
    REQUIRE(rig.sent<wire::RequestChange>().empty());
    REQUIRE(find(frozen(rig), reduce_key(0, 1))->cancel);
}

TEST_CASE("a cancellation that comes while frozen asks for a change once the epoch is installed") {
    Rig rig;
    rig.enter();
    const core::Ticket ticket = rig.reduce();
    frozen(rig);
    REQUIRE(rig.member->cancel(rig.now, ticket).ok());
    rig.take();
    rig.install(resume(rig, reduce_key(0, 1)));
    const auto requests = rig.sent<wire::RequestChange>();
    REQUIRE(asked_for(requests, wire::ChangeReason::kCancel));
    REQUIRE(requests[0].epoch == rig.epoch);
    REQUIRE(find(frozen(rig), reduce_key(0, 1))->cancel);
    // Now it was told, and the decision was to go on.
    rig.install(resume(rig, reduce_key(0, 1)));
    REQUIRE(rig.sent<wire::RequestChange>().empty());
    REQUIRE_FALSE(find(frozen(rig), reduce_key(0, 1))->cancel);
}

TEST_CASE("a cancellation of a call that waits for the Install is asked for when it starts") {
    Rig rig;
    rig.enter().propose();
    const core::Ticket ticket = rig.reduce();
    REQUIRE(rig.member->cancel(rig.now, ticket).ok());
    rig.take();
    rig.install();
    REQUIRE(asked_for(rig.sent<wire::RequestChange>(), wire::ChangeReason::kCancel));
}

TEST_CASE("a newcomer's first vote is withdrawn when it hears of an operation, and succeeds by the answer") {
    Rig rig;
    rig.enter(true);
    core::Ticket vote = 0;
    REQUIRE(rig.member->update_topology(rig.now, &vote).ok());
    REQUIRE(rig.sent<wire::Vote>().size() == 1);
    REQUIRE(rig.hear(0, rig.called(reduce_key(0, 1))));
    const auto withdrawn = rig.sent<wire::Withdraw>();
    REQUIRE(withdrawn.size() == 1);
    REQUIRE(rig.member->result(vote) == nullptr);  // the coordinator has the last word
    REQUIRE(rig.hear(1, rig.called(reduce_key(1, 1))));
    REQUIRE(rig.sent<wire::Withdraw>().empty());
    wire::VoteAnswer answer;
    answer.number = withdrawn[0].number;
    REQUIRE(rig.tell(answer));
    REQUIRE(rig.code(vote) == Code::SUCCESS);
    rig.reduce();
    REQUIRE(announced(rig, reduce_key(0, 1)));
}

TEST_CASE("members in an operation and a newcomer in an update come together") {
    World world;
    world.grow(3);
    std::vector<Reduction> all;
    for (size_t i = 0; i < 3; ++i) all.emplace_back(200, i);
    REQUIRE(all[0].start(world, 0).ok());
    REQUIRE(all[1].start(world, 1).ok());
    core::Ticket vote = 0;
    REQUIRE(world.nodes[2]->member->update_topology(world.now, &vote).ok());
    world.settle();
    REQUIRE(world.nodes[2]->member->result(vote) != nullptr);
    REQUIRE(world.nodes[2]->member->result(vote)->status.text() == "");
    world.nodes[2]->member->forget(vote);
    REQUIRE(all[2].start(world, 2).ok());
    world.settle();
    for (size_t i = 0; i < 3; ++i) REQUIRE(all[i].result(world, i)->status.text() == "");
    // A member that is not new waits for the votes of all.
    Reduction again(200, 0);
    world.nodes[0]->member->forget(all[0].ticket);
    world.nodes[2]->member->forget(all[2].ticket);
    REQUIRE(again.start(world, 0).ok());
    REQUIRE(world.nodes[2]->member->update_topology(world.now, &vote).ok());
    world.settle();
    REQUIRE(world.nodes[2]->member->result(vote) == nullptr);
}

TEST_CASE("a boundary that admits newcomers never resumes an operation") {
    wire::Frozen answer;
    answer.records.resize(1);
    answer.records[0].key = reduce_key(0, 1);
    answer.records[0].segments = 4;
    core::DecideInput input;
    input.survivors = {{member_id(1), &answer}, {member_id(2), &answer}};
    input.redo = true;
    REQUIRE(core::decide(input)[0].verdict == wire::Verdict::kResume);
    input.joined = true;
    const wire::Decision decision = core::decide(input)[0];
    REQUIRE(decision.verdict == wire::Verdict::kAbort);
    REQUIRE(decision.redo);
    REQUIRE_FALSE(decision.keep);
}

TEST_CASE("a redo keeps folds only where all survivors had called the same attempt") {
    wire::Frozen one, other, none;
    one.records.resize(1);
    one.records[0].key = reduce_key(0, 1);
    one.records[0].segments = 4;
    other = one;
    core::DecideInput input;
    input.redo = true;
    input.participant_gone = true;
    input.survivors = {{member_id(1), &one}, {member_id(2), &other}};
    REQUIRE(core::decide(input)[0].keep);
    other.records[0].attempt.number = 7;
    REQUIRE(core::decide(input)[0].redo);
    REQUIRE_FALSE(core::decide(input)[0].keep);
    input.survivors[1].second = &none;
    REQUIRE(core::decide(input)[0].redo);
    REQUIRE_FALSE(core::decide(input)[0].keep);
    input.survivors[1].second = &one;
    input.redo = false;
    REQUIRE_FALSE(core::decide(input)[0].keep);
}

TEST_CASE("what has ended at all survivors, be it with an error, needs no decision") {
    wire::Frozen error, success;
    error.records.resize(1);
    error.records[0].key = reduce_key(0, 1);
    error.records[0].state = wire::OpState::kError;
    success.counters = {{wire::OpKind::kReduce, 0, 1}};
    core::DecideInput input;
    input.survivors = {{member_id(1), &error}, {member_id(2), &error}};
    REQUIRE(core::decide(input).empty());
    input.survivors[1].second = &success;
    REQUIRE(core::decide(input).empty());
    const wire::Frozen nothing;
    input.survivors[1].second = &nothing;
    REQUIRE(core::decide(input).size() == 1);
}

TEST_CASE("a mismatch that was heard before the call is in the answer to a proposal, and reaches the call") {
    Rig rig;
    rig.enter();
    REQUIRE(rig.hear(0, rig.mismatch(reduce_key(6, 1), 0, 1)));
    const wire::Frozen answer = frozen(rig);
    REQUIRE(answer.tombstones == std::vector<wire::OpKey>{reduce_key(6, 1)});
    const wire::OpRecord* record = find(answer, reduce_key(6, 1));
    REQUIRE(record != nullptr);
    REQUIRE(record->state == wire::OpState::kError);
    REQUIRE(record->error == static_cast<uint8_t>(Code::MISMATCH));
    // Those that have not heard of it are told by decision, whoever saw it.
    wire::Frozen other;
    core::DecideInput input;
    input.survivors = {{member_id(1), &other}, {rig.id(), &answer}};
    input.participant_gone = true;
    const auto decisions = core::decide(input);
    REQUIRE(decisions.size() == 1);
    REQUIRE(decisions[0].verdict == wire::Verdict::kFail);
    Rig deaf;
    deaf.enter().propose();
    wire::Install message = deaf.install_message();
    message.decisions = decisions;
    deaf.install(message);
    REQUIRE(deaf.code(deaf.reduce(6)) == Code::MISMATCH);
    rig.install();
    REQUIRE(rig.code(rig.reduce(6)) == Code::MISMATCH);
}

TEST_CASE("a mismatch that was heard before the call stays in the answers after the call has fetched it") {
    Rig rig;
    rig.enter();
    REQUIRE(rig.hear(0, rig.mismatch(reduce_key(6, 1), 0, 1)));
    REQUIRE(rig.code(rig.reduce(6)) == Code::MISMATCH);
    const wire::Frozen answer = frozen(rig);
    const wire::OpRecord* record = find(answer, reduce_key(6, 1));
    REQUIRE(record != nullptr);
    REQUIRE(record->state == wire::OpState::kError);
    REQUIRE(record->error == static_cast<uint8_t>(Code::MISMATCH));
    // One that was still in the operation when the member that saw the difference died fails as well, and
    // does not wait for a result that nobody holds.
    Rig late;
    late.enter();
    const core::Ticket waiting = late.reduce(6);
    const wire::Frozen other = frozen(late);
    core::DecideInput input;
    input.survivors = {{member_id(1), &answer}, {late.id(), &other}};
    input.participant_gone = true;
    wire::Install message = late.install_message();
    message.decisions = core::decide(input);
    REQUIRE(message.decisions.size() == 1);
    REQUIRE(message.decisions[0].verdict == wire::Verdict::kFail);
    late.install(message);
    REQUIRE(late.code(waiting) == Code::MISMATCH);
    rig.install();
    REQUIRE(frozen(rig).records.empty());
}

TEST_CASE("a proposal that is said again is answered again and costs nothing that came of its epoch") {
    Rig rig;
    rig.enter();
    const wire::Propose message = rig.propose_message();
    REQUIRE(rig.tell(message));
    // The coordinator has had the answer, and another member its Install, when this one registers again.
    REQUIRE(rig.hear(0, wire::Called{rig.promised, reduce_key(6, 1), rig.descriptor(), {}}));
    REQUIRE(rig.member->holdings().future_frames == 1);
    rig.take();
    REQUIRE(rig.tell(message));
    REQUIRE(rig.sent<wire::Frozen>().size() == 1);
    REQUIRE(rig.member->holdings().future_frames == 1);
    rig.install();
    REQUIRE(rig.member->holdings().future_frames == 0);
    REQUIRE(rig.member->holdings().operations == 1);

    rig.propose();
    REQUIRE(rig.hear(0, wire::Called{rig.promised, reduce_key(7, 1), rig.descriptor(), {}}));
    rig.propose();  // Another one: nobody can have installed the first.
    REQUIRE(rig.member->holdings().future_frames == 0);
}

TEST_CASE("errors of a tag are listed until an Install that covers them is applied, or a later success") {
    Rig rig;
    rig.enter();
    for (uint64_t call = 1; call <= 2; ++call) {
        const core::Ticket ticket = rig.reduce(3);
        REQUIRE(rig.hear(0, rig.mismatch(reduce_key(3, call), 0, 1)));
        REQUIRE(rig.code(ticket) == Code::MISMATCH);
        rig.member->forget(ticket);
    }
    for (int round = 0; round < 2; ++round) {  // the first proposal is never installed
        const wire::Frozen answer = frozen(rig);
        for (uint64_t call = 1; call <= 2; ++call) {
            const wire::OpRecord* record = find(answer, reduce_key(3, call));
            REQUIRE(record != nullptr);
            REQUIRE(record->state == wire::OpState::kError);
        }
    }
    rig.install();
    REQUIRE(frozen(rig).records.empty());

    World world;
    world.grow(2);
    for (bool differ : {true, false}) {
        Reduction a(differ ? 10 : 11, 0), b(11, 1);
        REQUIRE(a.start(world, 0).ok());
        REQUIRE(b.start(world, 1).ok());
        world.settle();
        REQUIRE(a.result(world, 0)->status.ok() != differ);
        for (size_t i = 0; i < 2; ++i) world.nodes[i]->member->forget(i == 0 ? a.ticket : b.ticket);
    }
    wire::Propose propose;
    propose.term = world.nodes[0]->member->view().epoch.term;
    propose.id = world.nodes[0]->member->view().epoch;
    ++propose.id.number;
    for (const auto& node : world.nodes) propose.members.push_back({node->id, {{"sim", 1}}});
    REQUIRE(
        world.nodes[0]->member->coordinator_frame(world.now, wire::Type::kPropose, wire::encode(propose)));
    const auto answers = Rig::sent<wire::Frozen>(world.nodes[0]->member->outbox());
    REQUIRE(answers[0].records.size() == 1);
    REQUIRE(answers[0].records[0].state == wire::OpState::kSuccess);
    REQUIRE(answers[0].records[0].key.sequence == 2);
}

TEST_CASE("a member at its limit of tags starts what others have begun, and nothing else") {
    Rig rig(3, 2, [](core::MemberConfig& config) { config.tags_max = 2; });
    rig.enter();
    for (uint64_t tag = 0; tag < 3; ++tag) {
        rig.reduce(tag);
        REQUIRE(announced(rig, reduce_key(tag, 1)));
    }
    REQUIRE(rig.hear(0, rig.called(reduce_key(3, 1))));
    rig.reduce(3);
    REQUIRE(announced(rig, reduce_key(3, 1)));
    rig.reduce(4);
    REQUIRE_FALSE(announced(rig, reduce_key(4, 1)));
    // It starts when others begin it.
    REQUIRE(rig.hear(1, rig.called(reduce_key(4, 1))));
    REQUIRE(announced(rig, reduce_key(4, 1)));
    REQUIRE(frozen(rig).wants_counter_reset);
}

TEST_CASE("a suspicion of silence is taken back when the peer is heard again and nobody could act on it") {
    Rig rig;
    rig.enter();
    rig.member->coordinator_down(rig.now, "gone");
    const auto pass = [&](TimeUs time, bool heard) {
        for (TimeUs end = rig.now + time; rig.now < end;) {
            rig.now += 500 * kMillisecond;
            if (heard) rig.member->link_heard(rig.now, rig.peer(0));
            rig.member->link_heard(rig.now, rig.peer(1));
            rig.member->tick(rig.now);
        }
    };
    pass(7 * kSecond, false);
    pass(30 * kSecond, true);
    REQUIRE(rig.member->fate().ok());
    rig.take();
    rig.member->coordinator_up(rig.now);
    REQUIRE(rig.sent<wire::Register>()[0].suspicions.empty());
    // One that stands leads to the end when the coordinator stays away.
    Rig silent;
    silent.enter();
    silent.member->coordinator_down(silent.now, "gone");
    for (int i = 0; i < 80; ++i) {
        silent.now += 500 * kMillisecond;
        silent.member->link_heard(silent.now, silent.peer(1));
        silent.member->tick(silent.now);
    }
    REQUIRE(silent.member->fate().code() == Code::EVICTED);
}

TEST_CASE("the highest revision is adopted only if every member would, and each says so in its offer") {
    for (bool adopts : {true, false}) {
        static bool setting;
        setting = adopts;
        Rig rig(3, 2, [](core::MemberConfig& config) { config.adopt_highest_revision = setting; });
        rig.enter();
        core::SyncCall call;
        call.revision = 3;
        core::Ticket ticket = 0;
        REQUIRE(rig.member->synchronize(rig.now, call, &ticket).ok());
        const auto offers = rig.sent<wire::Offer>();
        REQUIRE(offers.size() == 2);
        REQUIRE(offers[0].adopt_highest == adopts);

        // A group that expects revision 5, which nobody holds; the other member may adopt or not.
        plan::Topology topology;
        topology.size = 2;
        core::SharedState state(call, 5, false, true);
        state.enter_epoch(topology, 0);
        wire::Offer other = state.offer();
        other.adopt_highest = adopts;
        REQUIRE(state.offered(1, other));
        REQUIRE(state.elected());
        REQUIRE(state.election().failure.empty() == adopts);
    }
}

TEST_CASE("every call to leave ends, also one that comes while another is under way") {
    for (const bool acknowledged : {false, true}) {
        Rig rig;
        rig.enter();
        core::Ticket first = 0, second = 0;
        REQUIRE(rig.member->leave(rig.now, &first).ok());
        REQUIRE(rig.member->leave(rig.now, &second).ok());
        REQUIRE(rig.member->result(first) == nullptr);
        REQUIRE(rig.member->result(second) == nullptr);
        if (acknowledged) {
            REQUIRE(rig.tell(wire::Left{}));
        } else {
            rig.member->abandon(rig.now, {Code::INVALID_USAGE, "gone"});
        }
        REQUIRE(rig.code(first) == Code::SUCCESS);
        REQUIRE(rig.code(second) == Code::SUCCESS);
    }
}

TEST_CASE("a member that has left keeps nothing of what it heard meanwhile") {
    Rig rig;
    rig.enter();
    core::Ticket ticket = 0;
    REQUIRE(rig.member->leave(rig.now, &ticket).ok());
    REQUIRE(rig.hear(0, rig.called(reduce_key(0, 1))));
    REQUIRE(rig.tell(wire::Left{}));
    REQUIRE(rig.code(ticket) == Code::SUCCESS);
    const core::Holdings left = rig.member->holdings();
    REQUIRE(left.operations + left.links + left.future_frames + left.slot_bytes == 0);
}
