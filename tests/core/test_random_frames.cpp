// Thousands of random frames that decode, to a member in each of its stages and to a coordinator with
// members: no invariant breaks, what is kept stays bounded, and the others go on when the one that talks
// nonsense is gone. A failure names its seed.
#include <catch2/catch.hpp>

#include "noise.h"
#include "office.h"

using namespace pccl;
using namespace pccl::test;

namespace {

enum class Stage { kNew, kPreparing, kPromised, kIdle, kOpen, kShared, kVoting, kFrozen, kAlone, kLeaving };
constexpr int kStages = 10;

std::vector<uint8_t> g_content(3000, 5);

/// A member brought to a stage, with operations under way where the stage has some.
std::unique_ptr<Rig> rig_in(Stage stage) {
    auto rig = std::make_unique<Rig>(stage == Stage::kAlone ? 1 : 4, stage == Stage::kOpen ? 1 : 99);
    if (stage == Stage::kNew) return rig;
    rig->prepare().link_all();
    if (stage == Stage::kPreparing) return rig;
    rig->propose();
    if (stage == Stage::kPromised) return rig;
    rig->install();
    core::Ticket ticket = 0;
    if (stage == Stage::kOpen || stage == Stage::kFrozen || stage == Stage::kLeaving) {
        for (uint64_t tag = 0; tag < 3; ++tag) rig->reduce(tag, 64 + tag * 1000);
        REQUIRE(rig->member->peers_pending(rig->now, &ticket).ok());
    }
    if (stage == Stage::kShared) {
        core::SyncCall call;
        call.tensors.push_back({"t", g_content.data(), g_content.size(), DataType::kUint8, true, {}});
        REQUIRE(rig->member->synchronize(rig->now, call, &ticket).ok());
    }
    if (stage == Stage::kVoting) REQUIRE(rig->member->update_topology(rig->now, &ticket).ok());
    if (stage == Stage::kFrozen) rig->propose();
    if (stage == Stage::kLeaving) REQUIRE(rig->member->leave(rig->now, &ticket).ok());
    return rig;
}

Pool pool_of(const Rig& rig) {
    Pool pool;
    for (const wire::Peer& peer : rig.list) pool.ids.push_back(peer.id);
    pool.runs = {rig.run};
    pool.terms = {rig.term};
    pool.epochs = {rig.epoch, rig.epoch, rig.promised};
    for (uint64_t tag = 0; tag < 4; ++tag) {
        pool.keys.push_back(reduce_key(tag, 1));
        pool.keys.push_back(reduce_key(tag, 2));
    }
    pool.keys.push_back({wire::OpKind::kPendingQuery, 0, 1});
    pool.keys.push_back({wire::OpKind::kSharedState, 0, 1});
    for (size_t count : {64, 1064, 2064}) pool.descriptors.push_back(rig.descriptor(count));
    pool.descriptors.emplace_back();
    pool.constants = {rig.constants};
    return pool;
}

template <class Message>
bool hear(Rig& rig, Noise& noise, size_t peer) {
    return rig.hear(peer, noise.make<Message>());
}

/// One random frame of a peer; false: refused.
bool random_peer_frame(Rig& rig, Noise& noise, std::mt19937_64& random, size_t peer) {
    switch (random() % 9) {
        case 0: return hear<wire::Called>(rig, noise, peer);
        case 1: return hear<wire::Done>(rig, noise, peer);
        case 2: return hear<wire::Credit>(rig, noise, peer);
        case 3: return hear<wire::Mismatch>(rig, noise, peer);
        case 4: return hear<wire::Relay>(rig, noise, peer);
        case 5: return hear<wire::Offer>(rig, noise, peer);
        case 6: return hear<wire::Pull>(rig, noise, peer);
        case 7: {
            const std::vector<uint8_t> body = wire::encode(noise.make<wire::Called>());
            return rig.member->peer_frame(rig.now, rig.peer(peer), static_cast<wire::Type>(random() % 80),
                                          body);
        }
        default: {
            constexpr uint32_t kBytes[] = {0, 1, 60, 64, 64, 64, 4096, 1 << 20};
            return !rig.data(peer, noise.make<wire::Data>(), kBytes[random() % 8]).violation;
        }
    }
}

bool random_coordinator_frame(Rig& rig, Noise& noise, std::mt19937_64& random) {
    switch (random() % 14) {
        case 0: return rig.tell(noise.make<wire::Welcome>());
        case 1: return rig.tell(noise.make<wire::Prepare>());
        case 2: return rig.tell(noise.make<wire::Expect>());
        case 3: return rig.tell(noise.make<wire::VoteAnswer>());
        case 4: return rig.tell(noise.make<wire::Pending>());
        case 5: return rig.tell(wire::Heartbeat{});
        case 6: return random() % 20 != 0 || rig.tell(noise.make<wire::Refused>());
        case 7: return random() % 20 != 0 || rig.tell(noise.make<wire::Evicted>());
        case 8: return rig.tell(noise.make<wire::Left>());
        case 9: {
            const auto body = wire::encode(noise.make<wire::Install>());
            return rig.member->coordinator_frame(rig.now, static_cast<wire::Type>(random() % 80), body);
        }
        case 10: return rig.tell(noise.make<wire::Propose>());
        case 11: {
            // Likely enough to be answered, and then to be installed.
            wire::Propose message = noise.make<wire::Propose>();
            message.term = rig.term;
            message.id = rig.promised = {rig.term, rig.promised.number + 1};
            message.members = rig.list;
            message.dead_links.clear();
            return rig.tell(message);
        }
        case 12: return rig.tell(noise.make<wire::Install>());
        default: {
            wire::Install message = noise.make<wire::Install>();
            message.term = rig.term;
            message.id = rig.promised;
            message.members = rig.list;
            message.constants = rig.constants;
            message.dead_links.clear();
            std::erase_if(message.decisions, [](const wire::Decision& d) {
                return d.key.sequence < 1 || d.key.sequence > 2 || static_cast<int>(d.key.kind) > 3 ||
                       static_cast<int>(d.key.kind) < 1 ||
                       (d.key.kind != wire::OpKind::kReduce && d.key.tag != 0);
            });
            message.counters.clear();
            const bool valid = rig.tell(message);
            if (rig.member->view().epoch == rig.promised) rig.epoch = rig.promised;
            return valid;
        }
    }
}

/// What the driver does between frames.
void drive(Rig& rig) {
    rig.now += 10 * kMillisecond;
    rig.member->tick(rig.now);
    core::DataOut out;
    for (const wire::Peer& peer : rig.list) {
        for (int i = 0; i < 3 && rig.member->next_data(rig.now, peer.id, out); ++i) {
        }
    }
    REQUIRE(rig.take().size() < 5000);
}

void check_bounds(const Rig& rig) {
    const core::Holdings holdings = rig.member->holdings();
    REQUIRE(holdings.operations <= 2 * wire::kOpsMax);
    REQUIRE(holdings.reports <= wire::kOpsMax);
    REQUIRE(holdings.slot_bytes <= rig.list.size() * 3 * (4u << 20));
    REQUIRE(holdings.future_bytes <= 64u << 20);
    REQUIRE(holdings.links <= 2000);
}

void talk_to_member(uint64_t seed, bool from_coordinator, int frames) {
    INFO("seed " << seed << (from_coordinator ? ", coordinator" : ", peers"));
    std::mt19937_64 random(seed);
    const auto stage = static_cast<Stage>(seed % kStages);
    const std::unique_ptr<Rig> rig = rig_in(stage);
    for (int i = 0; i < frames; ++i) {
        const Pool pool = pool_of(*rig);
        Noise noise(random, pool);
        if (from_coordinator && random() % 4 != 0) {
            random_coordinator_frame(*rig, noise, random);
        } else {
            const size_t peer = random() % rig->list.size();
            const bool valid = random_peer_frame(*rig, noise, random, peer);
            // What a driver does, now and then: the link goes and comes back.
            if (!valid && random() % 8 == 0) {
                rig->member->link_down(rig->now, rig->peer(peer), Rig::kIncarnation, "violation");
                rig->member->link_up(rig->now, rig->peer(peer), Rig::kIncarnation);
            }
        }
        if (i % 8 == 0) drive(*rig);
    }
    check_bounds(*rig);
    (void)rig->member->describe();
    rig->member->abandon(rig->now, {Code::INTERNAL_ERROR, "the end"});
}

/// One random frame of whoever is at that connection.
template <class Say>
bool random_member_frame(Noise& noise, std::mt19937_64& random, Say say) {
    switch (random() % 11) {
        case 0: return say(noise.make<wire::Register>());
        case 1: return say(noise.make<wire::Vote>());
        case 2: return say(noise.make<wire::Withdraw>());
        case 3: return say(noise.make<wire::Suspect>());
        case 4: return say(noise.make<wire::RequestChange>());
        case 5: return say(noise.make<wire::Linked>());
        case 6: return say(noise.make<wire::Prepared>());
        case 7: return random() % 50 != 0 || say(noise.make<wire::Leave>());
        case 8: return say(wire::Heartbeat{});
        default: {
            // Now and then one that passes for an answer.
            wire::Frozen message = noise.make<wire::Frozen>();
            if (random() % 2 == 0) {
                message.counters.clear();
                message.tombstones.clear();
                for (wire::OpRecord& record : message.records) {
                    record.key = reduce_key(random() % 5, 1 + random() % 2);
                    record.state = static_cast<wire::OpState>(1 + random() % 4);
                    record.segments = static_cast<uint32_t>(8 * record.finals.size());
                    if (record.segments > plan::kSegmentsMax) record.segments = 0, record.finals.clear();
                }
            }
            return say(message);
        }
    }
}

Pool pool_of(const World& world) {
    Pool pool;
    for (const auto& node : world.nodes) pool.ids.push_back(node->id);
    const wire::EpochId epoch = world.nodes[0]->member->view().epoch;
    wire::EpochId next = epoch;
    ++next.number;
    pool.epochs = {epoch, epoch, next};
    pool.terms = {epoch.term};
    for (uint64_t tag = 0; tag < 3; ++tag) pool.keys.push_back(reduce_key(tag, 1));
    pool.constants = {wire::Constants{0, 0, 64}};
    return pool;
}

std::vector<Reduction> reduce_at(World& world, const std::vector<size_t>& indices, uint64_t tag) {
    std::vector<Reduction> all;
    for (size_t i = 0; i < world.nodes.size(); ++i) all.emplace_back(300, i);
    for (size_t i : indices) REQUIRE(all[i].start(world, i, false, tag).text() == "");
    world.settle();
    return all;
}

/// The honest members complete a reduction between them.
void check_going(World& world) {
    std::vector<size_t> honest;
    for (size_t i = 0; i < world.nodes.size(); ++i) {
        if (world.nodes[i]->alive && world.nodes[i]->member->fate().ok() &&
            world.nodes[i]->member->admitted())
            honest.push_back(i);
    }
    REQUIRE(honest == std::vector<size_t>{0, 1});
    auto all = reduce_at(world, honest, 777);
    for (size_t i : honest) {
        INFO(world.nodes[i]->member->describe() << world.coordinator->describe());
        REQUIRE(all[i].result(world, i) != nullptr);
        REQUIRE(all[i].result(world, i)->status.text() == "");
        REQUIRE(all[i].result(world, i)->contributors.size() == 2);
    }
}

}  // namespace

TEST_CASE("random frames of peers to a member in each stage") {
    for (uint64_t seed = 0; seed < 200; ++seed) talk_to_member(seed, false, 400);
}

TEST_CASE("random frames of a coordinator to a member in each stage") {
    for (uint64_t seed = 0; seed < 400; ++seed) talk_to_member(seed, true, 200);
}

TEST_CASE("a member that sends random frames to the coordinator harms nobody once it is gone") {
    for (uint64_t seed = 0; seed < 60; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        World world;
        world.grow(3);
        for (int i = 0; i < 150; ++i) {
            Node& bad = *world.nodes[2];
            const Pool pool = pool_of(world);
            Noise noise(random, pool);
            if (bad.connection == 0) break;
            const bool valid = random_member_frame(noise, random, [&](const auto& message) {
                using Message = std::decay_t<decltype(message)>;
                return world.coordinator->frame(world.now, bad.connection, Message::kType,
                                                wire::encode(message));
            });
            if (!valid && random() % 10 == 0) {
                // The driver closes the connection, and the member comes back.
                world.coordinator->closed(world.now, bad.connection, "violation");
                bad.member->coordinator_down(world.now, "closed");
                bad.connection = 1000 + static_cast<uint64_t>(i);
                world.coordinator->opened(world.now, bad.connection, "sim");
                bad.member->coordinator_up(world.now);
            }
            world.settle();
        }
        world.kill(2);
        world.advance(60 * kSecond);
        check_going(world);
    }
}

TEST_CASE("strangers that send random frames to the coordinator harm nobody") {
    for (uint64_t seed = 0; seed < 60; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        World world;
        world.grow(2);
        uint64_t connection = 1000;
        for (int i = 0; i < 200; ++i) {
            const Pool pool = pool_of(world);
            Noise noise(random, pool);
            if (i % 10 == 0) {
                world.coordinator->opened(world.now, ++connection, "stranger");
                wire::Register message = noise.make<wire::Register>();
                message.version = wire::kProtocolVersion;
                message.endpoints = {{"sim", 1}};
                message.constants = pool.constants[0];
                message.id = MemberId{};
                message.id.data.fill(static_cast<uint8_t>(i));
                message.installed = {};
                world.coordinator->frame(world.now, connection, wire::Type::kRegister, wire::encode(message));
            }
            random_member_frame(noise, random, [&](const auto& message) {
                using Message = std::decay_t<decltype(message)>;
                return world.coordinator->frame(world.now, connection, Message::kType, wire::encode(message));
            });
            world.settle();
        }
        for (uint64_t c = 1001; c <= connection; ++c) world.coordinator->closed(world.now, c, "gone");
        world.settle();
        check_going(world);
    }
}

TEST_CASE("a member that sends random frames to its peers harms nobody once it is gone") {
    for (uint64_t seed = 0; seed < 60; ++seed) {
        INFO("seed " << seed);
        std::mt19937_64 random(seed);
        World world;
        world.grow(3);
        auto before = reduce_at(world, {0, 1}, 1);  // waits for the third
        for (int i = 0; i < 150; ++i) {
            const Pool pool = pool_of(world);
            Noise noise(random, pool);
            const size_t to = random() % 2;
            core::Member& victim = *world.nodes[to]->member;
            const MemberId& from = world.nodes[2]->id;
            bool valid = true;
            const auto say = [&](const auto& message) {
                using Message = std::decay_t<decltype(message)>;
                valid = victim.peer_frame(world.now, from, Message::kType, wire::encode(message));
            };
            switch (random() % 6) {
                case 0: say(noise.make<wire::Called>()); break;
                case 1: say(noise.make<wire::Done>()); break;
                case 2: say(noise.make<wire::Credit>()); break;
                case 3: say(noise.make<wire::Offer>()); break;
                case 4: say(noise.make<wire::Relay>()); break;
                default: {
                    const wire::Data header = noise.make<wire::Data>();
                    const core::Place place = victim.place(world.now, from, header, 64);
                    valid = !place.violation;
                    if (place.data != nullptr) {
                        std::memset(place.data, 1, 64);
                        victim.landed(world.now, from, header, place.data, 64);
                    }
                }
            }
            if (!valid && random() % 30 == 0) world.break_link(to, 2);
            world.settle();
        }
        for (size_t i = 0; i < 2; ++i) REQUIRE(world.nodes[i]->member->holdings().operations < 500);
        world.kill(2);
        world.advance(60 * kSecond);
        check_going(world);
    }
}
