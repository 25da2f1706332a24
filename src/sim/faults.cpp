#include "sim/faults.h"

#include "sim/world.h"

namespace pccl::sim {

Faults::Faults(World& world) : world_(world) {
    for (const Fault& fault : world.scenario().faults) armed_.push_back({fault, false});
}

void Faults::begin() {
    for (size_t i = 0; i < armed_.size(); ++i) {
        if (armed_[i].fault.when == Fault::When::kTime) {
            world_.schedule(armed_[i].fault.at, EventKind::kFault, kNoNode, 0, 0, i);
        } else {
            ++waiting_for_steps_;
        }
    }
}

void Faults::handle(const Event& event) { strike(armed_[event.number], kAnyNode); }

void Faults::step(Fault::When when, wire::Type type, int node) {
    if (waiting_for_steps_ == 0 || world_.now() >= world_.scenario().faults_end) return;
    for (Armed& armed : armed_) {
        Fault& fault = armed.fault;
        if (armed.done || fault.when != when || fault.type != type) continue;
        if (fault.watched != kAnyNode && fault.watched != node) continue;
        if (fault.skip > 0) {
            --fault.skip;
            continue;
        }
        --waiting_for_steps_;
        strike(armed, node);
    }
}

int Faults::random_alive() {
    std::vector<int> nodes;
    for (int n = 0; n < world_.process_count(); ++n) {
        if (world_.alive(n)) nodes.push_back(n);
    }
    return nodes.empty() ? kAnyNode : world_.random().pick(nodes);
}

int Faults::random_other(int node) {
    const std::vector<int> nodes = world_.network().neighbours(node);
    return nodes.empty() ? kAnyNode : world_.random().pick(nodes);
}

void Faults::strike(Armed& armed, int where) {
    armed.done = true;
    const Fault& fault = armed.fault;
    if (fault.kind == Fault::Kind::kCoordinatorCrash || fault.kind == Fault::Kind::kRecordLoss ||
        fault.kind == Fault::Kind::kCoordinatorSplit) {
        ++world_.statistics().faults;
        world_.note(kCoordinatorNode, "fault", kNoNode, [&] {
            return std::string(name_of(fault.kind)) + " for " + std::to_string(fault.duration);
        });
        if (fault.kind == Fault::Kind::kCoordinatorSplit) return world_.coordinator().split(fault.duration);
        return world_.coordinator().crash(fault.duration, fault.kind == Fault::Kind::kRecordLoss);
    }
    int node = fault.node;
    if (node == kAnyNode) node = where != kAnyNode ? where : random_alive();
    if (node == kAnyNode || node >= world_.process_count() || (node >= 0 && !world_.alive(node))) return;
    ++world_.statistics().faults;
    world_.note(node, "fault", kNoNode,
                [&] { return std::string(name_of(fault.kind)) + " for " + std::to_string(fault.duration); });
    const bool is_process = node >= 0;
    int other = fault.other;
    const bool pair = fault.kind == Fault::Kind::kSever || fault.kind == Fault::Kind::kBreakPair ||
                      fault.kind == Fault::Kind::kStall || fault.kind == Fault::Kind::kGarble;
    if (pair && other == kAnyNode && is_process) other = random_other(node);
    switch (fault.kind) {
        case Fault::Kind::kCrash:
        case Fault::Kind::kVanish:
            if (is_process) world_.process(node).crash(fault.kind == Fault::Kind::kVanish);
            return;
        case Fault::Kind::kBreakPair:
            if (other < 0 || !is_process) return;
            world_.break_pair(node, other);
            world_.network().sever(node, other, "for good");
            return;
        case Fault::Kind::kSever:
            if (other >= 0 && is_process) world_.network().sever(node, other, "one lane");
            return;
        case Fault::Kind::kGarble:
            if (other >= 0 && is_process) world_.network().garble(node, other);
            return;
        case Fault::Kind::kCoordinatorLoss:
            if (is_process) world_.coordinator().sever(node);
            return;
        case Fault::Kind::kStall:
            if (other != kAnyNode) world_.stall(node, other, world_.now() + fault.duration);
            if (other != kAnyNode && world_.random().chance(0.5))
                world_.stall(other, node, world_.now() + fault.duration);
            return;
        case Fault::Kind::kIsolate: return isolate(node, world_.now() + fault.duration);
        case Fault::Kind::kCoordinatorCrash:
        case Fault::Kind::kRecordLoss:
        case Fault::Kind::kCoordinatorSplit: return;  // dealt with above
        case Fault::Kind::kPause: return world_.pause(node, world_.now() + fault.duration);
    }
}

/// One-way or two-way, with the coordinator or without.
void Faults::isolate(int node, TimeUs until) {
    const bool both = world_.random().chance(0.5);
    const int first = world_.random().chance(0.5) ? kCoordinatorNode : 0;
    for (int other = first; other < world_.process_count(); ++other) {
        if (other == node) continue;
        world_.stall(node, other, until);
        if (both) world_.stall(other, node, until);
    }
}

}  // namespace pccl::sim
