// Runs the plans of all ranks, segment by segment, without clocks or sockets, and says what is wrong with
// them.
//
// Values are symbolic: a reduction is a tree over the ranks' inputs, so that "each input exactly once" and
// "the same fold order on all ranks" can be read from it. On request they carry real integers too. Messages
// are delivered in any order that the options ask for. All functions return an empty text when all is well,
// as assertion macros would be too slow.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "plan/plan.h"

namespace pccl::plan::test {

enum class Delivery { kRandom, kOldestFirst, kNewestFirst, kHighestSenderFirst };

/// One value: `tree` is an index into the interpreter's trees; `data` is null unless asked for.
struct Value {
    int tree = -1;
    std::shared_ptr<const std::vector<int64_t>> data;
};

/// All ranks of a collective. `finals` is empty for a fresh attempt.
struct World {
    Segmentation segmentation;
    Topology topology;
    std::vector<Plan> plans;
    std::vector<std::vector<bool>> finals;

    bool holds(Rank rank, uint32_t segment) const {
        return rank < finals.size() && segment < finals[rank].size() && finals[rank][segment];
    }
    bool anybody_holds(uint32_t segment) const {
        for (Rank rank = 0; rank < topology.size; ++rank) {
            if (holds(rank, segment)) return true;
        }
        return false;
    }
};

inline World make_world(Kind kind, const Segmentation& segmentation, const Topology& topology) {
    World world{segmentation, topology, {}, {}};
    for (Rank rank = 0; rank < topology.size; ++rank) {
        world.plans.push_back(make_plan(kind, segmentation, topology, rank));
    }
    return world;
}

inline World make_repair_world(Kind kind, const Segmentation& segmentation, const Topology& topology,
                               std::vector<std::vector<bool>> finals, const std::vector<Rank>& homes = {}) {
    World world{segmentation, topology, {}, std::move(finals)};
    for (Rank rank = 0; rank < topology.size; ++rank) {
        world.plans.push_back(make_repair_plan(kind, segmentation, topology, rank, world.finals, homes));
    }
    return world;
}

class Interpreter {
   public:
    Interpreter(const World& world, Delivery delivery, uint64_t seed, bool with_data)
        : world_(world), delivery_(delivery), with_data_(with_data), random_(seed) {
        const Rank size = world.topology.size;
        for (Rank rank = 0; rank < size; ++rank) trees_.push_back({rank, -1, -1});
        trees_.push_back({kHeld, -1, -1});
    }

    std::string run() {
        for (uint32_t segment = 0; segment < world_.segmentation.segments(); ++segment) {
            std::string problem = run_segment(segment);
            if (!problem.empty()) return "segment " + std::to_string(segment) + ": " + problem;
        }
        return "";
    }

    /// The input of a rank at an index of the operand.
    static int64_t input_at(Rank rank, uint64_t index) {
        return static_cast<int64_t>((index * 2654435761u + rank * 40503u) % 1000003);
    }
    /// What holders of an interrupted attempt have there.
    static int64_t held_at(uint64_t index) { return static_cast<int64_t>(index) * 7 - 5; }

   private:
    static constexpr int kHeld = -2;

    struct Tree {
        int leaf;  // a rank, kHeld, or -1
        int left;
        int right;
    };
    struct Message {
        Rank from;
        Rank to;
        bool is_final;
        bool parks;
        Value value;
    };
    struct State {
        Value accumulated;
        size_t folded = 0;
        std::map<Rank, Value> waiting;
        Value final_value;
        bool has_final = false;
    };

    std::string run_segment(uint32_t segment) {
        const Rank size = world_.topology.size;
        states_.assign(size, {});
        flying_.clear();
        trees_.resize(size + 1u);
        known_trees_.clear();
        for (Rank rank = 0; rank < size; ++rank) {
            std::string problem = start(rank, segment);
            if (!problem.empty()) return problem;
        }
        while (!flying_.empty()) {
            std::string problem = receive(take_message(), segment);
            if (!problem.empty()) return problem;
        }
        return check_end(segment);
    }

    std::string start(Rank rank, uint32_t segment) {
        const Node& node = world_.plans[rank].node(segment);
        if (world_.holds(rank, segment)) {
            if (!node.fold.empty() || !node.input_to.empty()) return "a holder is asked to reduce";
            return finish(rank, {world_.topology.size, make_data(segment, held_at)}, segment);
        }
        for (const Edge& edge : node.input_to)
            flying_.push_back({rank, edge.to, false, edge.parks, own_input(rank, segment)});
        return fold(rank, segment);
    }

    std::string receive(Message message, uint32_t segment) {
        const Node& node = world_.plans[message.to].node(segment);
        State& state = states_[message.to];
        if (message.is_final) {
            if (node.final_from != message.from)
                return "a final from a rank that was not expected to send one";
            return finish(message.to, std::move(message.value), segment);
        }
        if (std::count(node.fold.begin(), node.fold.end(), message.from) != 1) return "an unexpected operand";
        if (!state.waiting.emplace(message.from, std::move(message.value)).second)
            return "an operand came twice";
        std::string problem = fold(message.to, segment);
        if (!problem.empty()) return problem;
        if (!message.parks && state.waiting.count(message.from) != 0)
            return "a non-parking operand had to wait";
        return "";
    }

    std::string fold(Rank rank, uint32_t segment) {
        const Node& node = world_.plans[rank].node(segment);
        State& state = states_[rank];
        if (state.folded == node.fold.size()) return "";
        while (state.folded < node.fold.size()) {
            const Rank operand = node.fold[state.folded];
            Value value;
            if (operand == rank) {
                value = own_input(rank, segment);
            } else {
                const auto found = state.waiting.find(operand);
                if (found == state.waiting.end()) return "";
                value = std::move(found->second);
                state.waiting.erase(found);
            }
            state.accumulated = state.folded == 0 ? std::move(value) : combine(state.accumulated, value);
            ++state.folded;
        }
        if (node.finishes == !node.partial_to.empty())
            return "a folded value that goes nowhere, or is both partial and final";
        if (node.finishes) return finish(rank, state.accumulated, segment);
        for (const Edge& edge : node.partial_to)
            flying_.push_back({rank, edge.to, false, edge.parks, state.accumulated});
        return "";
    }

    std::string finish(Rank rank, Value value, uint32_t segment) {
        State& state = states_[rank];
        if (state.has_final) return "a rank got its result twice";
        state.has_final = true;
        state.final_value = std::move(value);
        for (const Rank target : world_.plans[rank].node(segment).final_to) {
            flying_.push_back({rank, target, true, false, state.final_value});
        }
        return "";
    }

    std::string check_end(uint32_t segment) {
        const Rank size = world_.topology.size;
        for (const State& state : states_) {
            if (!state.has_final) return "a rank ended without a result";
            if (!state.waiting.empty()) return "an operand was never folded";
            if (state.final_value.tree != states_[0].final_value.tree)
                return "results differ in their fold order";
        }
        std::vector<int> leaves = leaves_of(states_[0].final_value.tree);
        if (world_.anybody_holds(segment)) {
            if (leaves != std::vector<int>{kHeld}) return "not the result that was held";
        } else {
            std::sort(leaves.begin(), leaves.end());
            if (leaves.size() != size) return "not each input exactly once";
            for (Rank rank = 0; rank < size; ++rank) {
                if (leaves[rank] != rank) return "not each input exactly once";
            }
        }
        return with_data_ ? check_data(segment) : "";
    }

    std::string check_data(uint32_t segment) {
        const Segmentation::Range range = world_.segmentation.range(segment);
        for (uint64_t index = range.offset; index < range.offset + range.count; ++index) {
            int64_t expected = 0;
            for (Rank rank = 0; rank < world_.topology.size; ++rank) expected += input_at(rank, index);
            if (world_.anybody_holds(segment)) expected = held_at(index);
            for (const State& state : states_) {
                if ((*state.final_value.data)[index - range.offset] != expected) return "a wrong sum";
            }
        }
        return "";
    }

    Message take_message() {
        size_t index = 0;
        if (delivery_ == Delivery::kRandom) index = random_() % flying_.size();
        if (delivery_ == Delivery::kNewestFirst) index = flying_.size() - 1;
        if (delivery_ == Delivery::kHighestSenderFirst) {
            const auto highest =
                std::max_element(flying_.begin(), flying_.end(),
                                 [](const Message& a, const Message& b) { return a.from < b.from; });
            index = static_cast<size_t>(highest - flying_.begin());
        }
        Message message = std::move(flying_[index]);
        // Order matters for oldest and newest first only; the others may fill the hole with the last.
        if (delivery_ == Delivery::kRandom || delivery_ == Delivery::kHighestSenderFirst) {
            flying_[index] = std::move(flying_.back());
            flying_.pop_back();
        } else {
            flying_.erase(flying_.begin() + static_cast<std::ptrdiff_t>(index));
        }
        return message;
    }

    Value own_input(Rank rank, uint32_t segment) {
        return {rank, make_data(segment, [rank](uint64_t index) { return input_at(rank, index); })};
    }

    template <typename At>
    std::shared_ptr<const std::vector<int64_t>> make_data(uint32_t segment, At at) const {
        if (!with_data_) return nullptr;
        const Segmentation::Range range = world_.segmentation.range(segment);
        auto data = std::make_shared<std::vector<int64_t>>();
        for (uint64_t index = range.offset; index < range.offset + range.count; ++index)
            data->push_back(at(index));
        return data;
    }

    Value combine(const Value& left, const Value& right) {
        Value result;
        const auto [entry, is_new] =
            known_trees_.emplace(std::pair{left.tree, right.tree}, static_cast<int>(trees_.size()));
        if (is_new) trees_.push_back({-1, left.tree, right.tree});
        result.tree = entry->second;
        if (!with_data_) return result;
        auto data = std::make_shared<std::vector<int64_t>>(*left.data);
        for (size_t index = 0; index < data->size(); ++index) (*data)[index] += (*right.data)[index];
        result.data = std::move(data);
        return result;
    }

    std::vector<int> leaves_of(int tree) const {
        std::vector<int> leaves;
        std::vector<int> open{tree};
        while (!open.empty()) {
            const Tree& top = trees_[static_cast<size_t>(open.back())];
            open.pop_back();
            if (top.left < 0) {
                leaves.push_back(top.leaf);
            } else {
                open.push_back(top.right);
                open.push_back(top.left);
            }
        }
        return leaves;
    }

    const World& world_;
    Delivery delivery_;
    bool with_data_;
    std::mt19937_64 random_;
    std::vector<Tree> trees_;
    std::map<std::pair<int, int>, int> known_trees_;
    std::vector<State> states_;
    std::vector<Message> flying_;
};

using Pairs = std::vector<std::pair<Rank, Rank>>;

/// Compares what is sent with what is expected, as (from, to) pairs, each exactly once and over live links.
inline std::string compare_edges(const World& world, Pairs& sent, Pairs& expected) {
    std::sort(sent.begin(), sent.end());
    std::sort(expected.begin(), expected.end());
    if (sent != expected) return "sent and expected differ";
    if (std::adjacent_find(sent.begin(), sent.end()) != sent.end()) return "sent twice";
    for (const auto& [from, to] : sent) {
        if (from == to) return "sent to itself";
        if (!world.topology.dead_links.empty() && !world.topology.linked(from, to))
            return "sent over a dead link";
        const std::vector<Rank>& out = world.plans[from].neighbours();
        const std::vector<Rank>& in = world.plans[to].neighbours();
        if (!std::binary_search(out.begin(), out.end(), to)) return "the receiver is no neighbour";
        if (!std::binary_search(in.begin(), in.end(), from)) return "the sender is no neighbour";
    }
    return "";
}

/// Static checks: both ends agree on each edge; neighbours and start orders are exactly what the nodes need.
inline std::string check_edges(const World& world) {
    std::vector<std::vector<bool>> met(world.topology.size, std::vector<bool>(world.topology.size, false));
    for (uint32_t segment = 0; segment < world.segmentation.segments(); ++segment) {
        Pairs operands_sent, operands_expected, finals_sent, finals_expected;
        for (Rank rank = 0; rank < world.topology.size; ++rank) {
            const Node& node = world.plans[rank].node(segment);
            for (const Edge& edge : node.input_to) operands_sent.push_back({rank, edge.to});
            for (const Edge& edge : node.partial_to) operands_sent.push_back({rank, edge.to});
            for (const Rank operand : node.fold) {
                if (operand != rank) operands_expected.push_back({operand, rank});
            }
            for (const Rank target : node.final_to) finals_sent.push_back({rank, target});
            if (node.final_from) finals_expected.push_back({*node.final_from, rank});
        }
        std::string problem = compare_edges(world, operands_sent, operands_expected);
        if (problem.empty()) problem = compare_edges(world, finals_sent, finals_expected);
        if (!problem.empty()) return "segment " + std::to_string(segment) + ": " + problem;
        for (const Pairs* pairs : {&operands_sent, &finals_sent}) {
            for (const auto& [from, to] : *pairs) met[from][to] = met[to][from] = true;
        }
    }
    for (Rank rank = 0; rank < world.topology.size; ++rank) {
        const Plan& plan = world.plans[rank];
        std::vector<Rank> expected;
        for (Rank other = 0; other < world.topology.size; ++other) {
            if (met[rank][other]) expected.push_back(other);
        }
        if (plan.neighbours() != expected) return "wrong neighbours of rank " + std::to_string(rank);
        std::vector<uint32_t> starts = plan.start_order();
        std::sort(starts.begin(), starts.end());
        std::vector<uint32_t> needed;
        for (uint32_t segment = 0; segment < world.segmentation.segments(); ++segment) {
            if (!plan.node(segment).input_to.empty()) needed.push_back(segment);
        }
        if (starts != needed) return "wrong start order of rank " + std::to_string(rank);
    }
    return "";
}

/// Both kinds of checks.
inline std::string check_world(const World& world, Delivery delivery, uint64_t seed, bool with_data) {
    std::string problem = check_edges(world);
    return problem.empty() ? Interpreter(world, delivery, seed, with_data).run() : problem;
}

/// Random dead links that leave at least one rank linked to all.
inline Topology random_topology(std::mt19937_64& random, Rank size) {
    Topology topology;
    topology.size = size;
    const Rank hub = static_cast<Rank>(random() % size);
    const uint64_t dead_of_ten = random() % 10;
    for (Rank a = 0; a < size; ++a) {
        for (Rank b = static_cast<Rank>(a + 1); b < size; ++b) {
            if (a != hub && b != hub && random() % 10 < dead_of_ten) {
                topology.dead_links.push_back(random() % 2 == 0 ? std::pair{a, b} : std::pair{b, a});
            }
        }
    }
    return topology;
}

}  // namespace pccl::plan::test
