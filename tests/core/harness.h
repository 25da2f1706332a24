// A world of members and a coordinator without time or faults of its own: everything that anybody sends
// arrives at once and in order, until nothing is left to deliver. Tests kill members and links by hand and
// look at the outcome.
#pragma once

#include <catch2/catch.hpp>

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/coordinator.h"
#include "core/member.h"

namespace pccl::test {

class CountingRandom : public RandomSource {
   public:
    explicit CountingRandom(uint64_t seed) : state_(seed) {}
    uint64_t next() override {
        state_ += 0x9e3779b97f4a7c15ull;
        uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }

   private:
    uint64_t state_;
};

struct Node {
    std::unique_ptr<core::Member> member;
    MemberId id;
    uint64_t connection = 0;
    bool alive = true;
    std::vector<core::Ticket> completed;
};

class World {
   public:
    explicit World(uint8_t retry_policy = 0, uint32_t segment_bytes = 64)
        : random_(7), retry_policy_(retry_policy), segment_bytes_(segment_bytes) {
        start_coordinator();
    }

    /// The coordinator's process vanishes with what it had not sent; its record stays.
    void crash_coordinator() {
        coordinator.reset();
        for (auto& node : nodes) disconnect(*node);
        settle();
    }
    /// Its next process reads the record. Nobody is connected to it yet.
    void start_coordinator() {
        core::CoordinatorConfig config;
        config.timeouts = core::Timeouts::derive({});
        if (configure) configure(config);
        core::Record previous;
        if (!record.empty()) REQUIRE(wire::decode(record, previous));
        coordinator =
            std::make_unique<core::Coordinator>(config, random_, record.empty() ? nullptr : &previous, now);
        settle();
    }
    void disconnect(Node& node) {
        if (node.connection == 0) return;
        if (coordinator) coordinator->closed(now, node.connection, "closed");
        node.connection = 0;
        if (node.alive) node.member->coordinator_down(now, "closed");
    }
    void reconnect(size_t index) {
        Node& node = *nodes[index];
        node.connection = ++connections_;
        coordinator->opened(now, node.connection, "sim");
        node.member->coordinator_up(now);
        settle();
    }
    void reconnect_all() {
        for (size_t i = 0; i < nodes.size(); ++i) {
            if (nodes[i]->alive && nodes[i]->connection == 0) reconnect(i);
        }
    }

    /// A new peer that has asked to join; its index.
    size_t add(uint32_t group = 0, plan::Kind plan = plan::Kind::kAuto) {
        auto node = std::make_unique<Node>();
        core::MemberConfig config;
        config.id = MemberId{random_.next_id()};
        config.group = group;
        config.endpoints = {{"sim", static_cast<uint16_t>(nodes.size() + 1)}};
        config.constants.retry_policy = retry_policy_;
        config.constants.segment_bytes = segment_bytes_;
        config.constants.plan = static_cast<uint8_t>(plan);
        config.timeouts = core::Timeouts::derive({});
        if (tweak != nullptr) tweak(config);
        node->id = config.id;
        node->member = std::make_unique<core::Member>(config);
        node->connection = ++connections_;
        nodes.push_back(std::move(node));
        Node& n = *nodes.back();
        core::Ticket ticket = 0;
        n.member->join(now, &ticket);
        coordinator->opened(now, n.connection, "sim");
        n.member->coordinator_up(now);
        settle();
        return nodes.size() - 1;
    }

    /// Adds peers and has all members vote until all are in.
    void grow(size_t count, uint32_t group = 0, plan::Kind plan = plan::Kind::kAuto) {
        for (size_t i = 0; i < count; ++i) {
            add(group, plan);
            update();
        }
    }

    void update() {
        std::vector<std::pair<size_t, core::Ticket>> votes;
        for (size_t i = 0; i < nodes.size(); ++i) {
            if (!nodes[i]->alive || !nodes[i]->member->admitted()) continue;
            core::Ticket ticket = 0;
            if (nodes[i]->member->update_topology(now, &ticket)) votes.emplace_back(i, ticket);
        }
        settle();
        for (auto [i, ticket] : votes) nodes[i]->member->forget(ticket);
    }

    /// The process vanishes: its sockets close everywhere.
    void kill(size_t index) {
        Node& victim = *nodes[index];
        victim.alive = false;
        for (size_t i = 0; i < nodes.size(); ++i) {
            if (i != index && nodes[i]->alive) break_link(index, i);
        }
        disconnect(victim);
        settle();
    }

    void break_link(size_t a, size_t b) {
        const auto key = std::minmax(a, b);
        const auto at = links.find({key.first, key.second});
        if (at == links.end()) return;
        const uint64_t incarnation = at->second;
        links.erase(at);
        for (auto [self, other] : {std::pair{a, b}, std::pair{b, a}}) {
            if (nodes[self]->alive)
                nodes[self]->member->link_down(now, nodes[other]->id, incarnation, "closed");
        }
    }

    void settle() {
        for (bool moved = true; moved;) {
            moved = drain_coordinator();
            for (size_t i = 0; i < nodes.size(); ++i) moved |= nodes[i]->alive && drain(i);
        }
    }

    void advance(TimeUs by) {
        for (TimeUs end = now + by; now < end;) {
            now += 100 * kMillisecond;
            if (coordinator) coordinator->tick(now);
            for (auto& node : nodes) {
                if (node->alive) node->member->tick(now);
            }
            settle();
        }
    }

    size_t index_of(const MemberId& id) const {
        for (size_t i = 0; i < nodes.size(); ++i) {
            if (nodes[i]->id == id) return i;
        }
        return nodes.size();
    }

    TimeUs now = kSecond;
    std::unique_ptr<core::Coordinator> coordinator;
    std::vector<std::unique_ptr<Node>> nodes;
    std::map<std::pair<size_t, size_t>, uint64_t> links;
    std::vector<std::pair<size_t, size_t>> unreachable;
    bool hold_data = false;
    size_t data_left = ~size_t{0};                            ///< frames, until they are held
    void (*tweak)(core::MemberConfig&) = nullptr;             ///< of members that are added
    std::vector<std::string> violations;                      ///< frames that their receivers refused
    std::vector<uint8_t> record;                              ///< the coordinator's, as it was stored last
    std::function<void(core::CoordinatorConfig&)> configure;  ///< coordinators that start from now on
    /// Whether the coordinator vanishes instead of taking this action.
    std::function<bool(const core::CoordinatorAction&)> vanishes_at;

   private:
    bool drain_coordinator() {
        std::vector<core::CoordinatorAction> actions;
        if (!coordinator) return false;
        actions.swap(coordinator->outbox());
        for (auto& action : actions) {
            if (vanishes_at && vanishes_at(action)) {
                vanishes_at = nullptr;
                coordinator.reset();
                for (auto& node : nodes) disconnect(*node);
                return true;
            }
            if (action.kind == core::CoordinatorAction::Kind::kPersist) {
                record = action.body;
                coordinator->persisted(now, action.number);
            }
            for (auto& node : nodes) {
                if (!node->alive || node->connection != action.connection) continue;
                if (action.kind == core::CoordinatorAction::Kind::kSend &&
                    !node->member->coordinator_frame(now, action.type, action.body))
                    violations.push_back("to a member: " + std::to_string(static_cast<int>(action.type)));
                if (action.kind == core::CoordinatorAction::Kind::kClose) {
                    node->connection = 0;
                    node->member->coordinator_down(now, action.text);
                }
            }
        }
        return !actions.empty();
    }

    bool reachable(size_t a, size_t b) const {
        for (auto [x, y] : unreachable) {
            if ((x == a && y == b) || (x == b && y == a)) return false;
        }
        return nodes[b]->alive;
    }

    void connect(size_t from, const core::Action& action) {
        const size_t to = index_of(action.peer);
        if (to == nodes.size() || !reachable(from, to))
            return nodes[from]->member->connect_failed(now, action.peer, "refused");
        const uint64_t incarnation = ++incarnations_;
        const auto key = std::minmax(from, to);
        links[{key.first, key.second}] = incarnation;
        nodes[to]->member->link_up(now, nodes[from]->id, incarnation);
        nodes[from]->member->link_up(now, action.peer, incarnation);
    }

    void pull(size_t from, const MemberId& peer) {
        const size_t to = index_of(peer);
        core::DataOut out;
        while (!hold_data && data_left > 0 && nodes[from]->member->next_data(now, peer, out)) {
            --data_left;
            const std::vector<uint8_t> payload(out.payload.begin(), out.payload.end());
            const auto bytes = static_cast<uint32_t>(payload.size());
            core::Member& target = *nodes[to]->member;
            const core::Place place = target.place(now, nodes[from]->id, out.header, bytes);
            if (place.violation) violations.push_back("data: " + place.reason);
            if (place.data == nullptr) continue;
            std::memcpy(place.data, payload.data(), bytes);
            target.landed(now, nodes[from]->id, out.header, place.data, bytes);
        }
    }

    bool drain(size_t index) {
        Node& node = *nodes[index];
        std::vector<core::Action> actions;
        actions.swap(node.member->outbox());
        for (core::Action& action : actions) {
            const size_t to = index_of(action.peer);
            const bool linked =
                to < nodes.size() && links.count({std::min(index, to), std::max(index, to)}) != 0;
            switch (action.kind) {
                case core::Action::Kind::kToCoordinator:
                    if (node.connection != 0 && coordinator &&
                        !coordinator->frame(now, node.connection, action.type, action.body))
                        violations.push_back("to the coordinator: " +
                                             std::to_string(static_cast<int>(action.type)));
                    break;
                case core::Action::Kind::kToPeer:
                    if (linked && nodes[to]->alive &&
                        !nodes[to]->member->peer_frame(now, node.id, action.type, action.body))
                        violations.push_back("to a peer: " + std::to_string(static_cast<int>(action.type)));
                    break;
                case core::Action::Kind::kPullData:
                    if (linked && nodes[to]->alive) pull(index, action.peer);
                    break;
                case core::Action::Kind::kConnect: connect(index, action); break;
                case core::Action::Kind::kCloseLink:
                    if (linked) break_link(index, to);
                    break;
                case core::Action::Kind::kCompleted: node.completed.push_back(action.ticket); break;
                case core::Action::Kind::kCloseCoordinator:
                    if (node.connection != 0 && coordinator)
                        coordinator->closed(now, node.connection, action.text);
                    node.connection = 0;
                    break;
                default: break;
            }
        }
        return !actions.empty();
    }

    CountingRandom random_;
    uint8_t retry_policy_;
    uint32_t segment_bytes_;
    uint64_t connections_ = 0;
    uint64_t incarnations_ = 0;
};

/// One member's operands of a reduction of floats.
struct Reduction {
    std::vector<float> in, out;
    core::Ticket ticket = 0;

    Reduction(size_t count, size_t seed) : in(count), out(count, -1.0f) {
        for (size_t i = 0; i < count; ++i) in[i] = static_cast<float>((i * 7 + seed * 13) % 101);
    }
    Status start(World& world, size_t index, bool in_place = false, uint64_t tag = 0,
                 RedOp op = RedOp::kSum) {
        core::ReduceCall call;
        if (in_place) out = in;
        call.send = reinterpret_cast<const uint8_t*>(in_place ? out.data() : in.data());
        call.receive = reinterpret_cast<uint8_t*>(out.data());
        call.count = in.size();
        call.tag = tag;
        call.op = op;
        return world.nodes[index]->member->all_reduce(world.now, call, &ticket);
    }
    const core::CallResult* result(World& world, size_t index) const {
        return world.nodes[index]->member->result(ticket);
    }
};

/// Starts one reduction at each live node.
inline std::vector<Reduction> start_all(World& world, size_t count, bool in_place = false, uint64_t tag = 0) {
    std::vector<Reduction> all;
    for (size_t i = 0; i < world.nodes.size(); ++i) all.emplace_back(count, i);
    for (size_t i = 0; i < all.size(); ++i) {
        if (world.nodes[i]->alive) REQUIRE(all[i].start(world, i, in_place, tag).text() == "");
    }
    return all;
}

inline void check_sums(World& world, std::vector<Reduction>& all, const std::vector<size_t>& contributors) {
    for (size_t i = 0; i < all.size(); ++i) {
        if (!world.nodes[i]->alive) continue;
        const core::CallResult* result = all[i].result(world, i);
        INFO(world.nodes[i]->member->describe());
        REQUIRE(result != nullptr);
        REQUIRE(result->status.text() == "");
        REQUIRE(result->contributors.size() == contributors.size());
        for (size_t e = 0; e < all[i].in.size(); ++e) {
            float expected = 0;
            for (size_t c : contributors) expected += static_cast<float>((e * 7 + c * 13) % 101);
            REQUIRE(all[i].out[e] == expected);
        }
        world.nodes[i]->member->forget(all[i].ticket);
    }
}

}  // namespace pccl::test
