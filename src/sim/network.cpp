#include "sim/network.h"

#include <algorithm>
#include <cstring>

#include "sim/memory_bound.h"
#include "sim/world.h"

namespace pccl::sim {

namespace {

constexpr uint32_t pack(int side, uint32_t lane) { return static_cast<uint32_t>(side) << 16 | lane; }

}  // namespace

Link* Network::link_of(int node, int peer) {
    auto it = open_links_.find({node, peer});
    return it == open_links_.end() ? nullptr : links_[it->second].get();
}

std::vector<int> Network::neighbours(int node) const {
    std::vector<int> out;
    for (auto it = open_links_.lower_bound({node, 0}); it != open_links_.end() && it->first.first == node;
         ++it) {
        out.push_back(it->first.second);
    }
    return out;
}

// ---- sending
// --------------------------------------------------------------------------------------------------------

void Network::send(int node, const MemberId& peer, wire::Type type, std::vector<uint8_t> body) {
    Link* link = link_of(node, world_.node_of(peer));
    if (!link) return;
    const int side = link->side_of(node);
    auto frame = std::make_unique<Frame>();
    frame->type = type;
    frame->body = std::move(body);
    Lane& lane = link->lanes[side][0];
    lane.waiting.push_back(std::move(frame));
    start(*link, side, 0);
    const size_t window = world_.scenario().window;
    if (lane.waiting.size() > window + queue_bound(world_.scenario(), neighbours(node).size())) {
        world_.fail("I4", World::name(node) + " has " + std::to_string(lane.waiting.size()) +
                              " frames that wait to be sent to one peer");
    }
}

void Network::pull(int node, const MemberId& peer) {
    Link* link = link_of(node, world_.node_of(peer));
    if (link) link->pull_wanted[link->side_of(node)] = true;
}

void Network::fill_windows(int node) {
    for (int peer : neighbours(node)) {
        Link* link = link_of(node, peer);
        if (link && link->pull_wanted[link->side_of(node)]) fill_window(*link, link->side_of(node));
    }
}

void Network::fill_window(Link& link, int side) {
    Process& process = world_.process(link.node[side]);
    const MemberId peer = world_.process(link.node[1 - side]).id();
    while (link.open[side] && link.pull_wanted[side] && link.uncopied[side] < world_.scenario().window) {
        core::Member* member = process.member();
        if (!member) return;
        core::DataOut out;
        if (!member->next_data(world_.now(), peer, out)) {
            link.pull_wanted[side] = false;
            return;
        }
        auto frame = std::make_unique<Frame>();
        frame->type = wire::Type::kData;
        frame->is_data = true;
        frame->copied = false;
        frame->header = out.header;
        frame->payload = out.payload;
        ++link.uncopied[side];
        const auto lane = static_cast<uint32_t>(world_.random().below(link.lanes[side].size()));
        link.lanes[side][lane].waiting.push_back(std::move(frame));
        start(link, side, lane);
    }
}

/// A lane sends one frame after another; the next starts when the payload of the last was read.
void Network::start(Link& link, int side, uint32_t lane_index) {
    Lane& lane = link.lanes[side][lane_index];
    while (!lane.writing && !lane.waiting.empty()) {
        auto frame = std::move(lane.waiting.front());
        lane.waiting.pop_front();
        begin_frame(link, side, lane_index, std::move(frame));
    }
}

void Network::begin_frame(Link& link, int side, uint32_t lane_index, std::unique_ptr<Frame> frame) {
    Lane& lane = link.lanes[side][lane_index];
    if (!frame->copied) {
        if (world_.random().chance(world_.scenario().late_copy)) {
            lane.writing = true;
            const TimeUs delay = world_.random().between(1, 2 * world_.scenario().latency_max);
            world_.schedule(delay, EventKind::kLaneCopy, link.node[side], link.index, pack(side, lane_index));
        } else {
            copy(link, side, *frame);
        }
    }
    if (link.severed) {
        // The sender does not know yet; what it writes goes nowhere.
        if (!frame->copied) {
            copy(link, side, *frame);
            lane.writing = false;
        }
        return;
    }
    frame->arrives =
        std::max(lane.last_arrival, world_.now() + world_.latency(link.node[side], link.node[1 - side]));
    lane.last_arrival = frame->arrives;
    lane.wire.push_back(std::move(frame));
    schedule_arrival(link, side, lane_index);
}

void Network::copy(Link& link, int side, Frame& frame) {
    if (frame.copied) return;
    frame.copy.assign(frame.payload.begin(), frame.payload.end());
    frame.copied = true;
    --link.uncopied[side];
}

/// Nothing of the operation (or of any) may be read from or written to the member's memory any more.
void Network::cut(int node, const wire::OpKey* key) {
    auto matches = [key](const Frame& frame) { return frame.is_data && (!key || frame.header.key == *key); };
    for (int peer : neighbours(node)) {
        Link& link = *link_of(node, peer);
        const int side = link.side_of(node);
        for (uint32_t l = 0; l < link.lanes[side].size(); ++l) {
            Lane& out = link.lanes[side][l];
            const size_t before = out.waiting.size();
            std::erase_if(out.waiting, [&](const std::unique_ptr<Frame>& frame) { return matches(*frame); });
            link.uncopied[side] -= before - out.waiting.size();
            // One that was partly sent is finished from a copy.
            if (!out.wire.empty() && !out.wire.back()->copied && matches(*out.wire.back()))
                copy(link, side, *out.wire.back());
            Lane& in = link.lanes[1 - side][l];
            if (!in.wire.empty() && in.wire.front()->announced && matches(*in.wire.front()))
                in.wire.front()->scrapped = true;
        }
    }
}

bool Network::refers_to(int node, std::span<const uint8_t> memory, std::string* what) const {
    auto touches = [memory](const uint8_t* data, size_t bytes) {
        return bytes > 0 && data < memory.data() + memory.size() && memory.data() < data + bytes;
    };
    for (int peer : neighbours(node)) {
        const Link& link = *links_[open_links_.at({node, peer})];
        const int side = link.side_of(node);
        for (size_t l = 0; l < link.lanes[side].size(); ++l) {
            const Lane& out = link.lanes[side][l];
            auto unread = [&](const std::unique_ptr<Frame>& frame) {
                return !frame->copied && touches(frame->payload.data(), frame->payload.size());
            };
            if (std::any_of(out.waiting.begin(), out.waiting.end(), unread) ||
                std::any_of(out.wire.begin(), out.wire.end(), unread)) {
                *what = "a frame to " + World::name(peer) + " still refers to its buffer";
                return true;
            }
            const Lane& in = link.lanes[1 - side][l];
            if (in.wire.empty() || !in.wire.front()->announced || in.wire.front()->scrapped) continue;
            if (touches(in.wire.front()->place.data, in.wire.front()->payload.size())) {
                *what = "a frame of " + World::name(peer) + " is still received into its buffer";
                return true;
            }
        }
    }
    return false;
}

// ---- receiving
// ------------------------------------------------------------------------------------------------------

void Network::schedule_arrival(Link& link, int side, uint32_t lane_index) {
    Lane& lane = link.lanes[side][lane_index];
    const int receiver = 1 - side;
    // Before the handshake is over nobody reads.
    if (lane.arrival_scheduled || lane.wire.empty() || lane.wire.front()->announced || !link.up[receiver])
        return;
    lane.arrival_scheduled = true;
    const TimeUs due =
        std::max(lane.wire.front()->arrives, world_.stalled_until(link.node[side], link.node[receiver]));
    world_.schedule(due - world_.now(), EventKind::kLaneArrive, link.node[receiver], link.index,
                    pack(side, lane_index));
}

void Network::arrive(Link& link, int side, uint32_t lane_index) {
    Lane& lane = link.lanes[side][lane_index];
    lane.arrival_scheduled = false;
    const int receiver = 1 - side;
    const int node = link.node[receiver], from = link.node[side];
    if (!link.open[receiver] || lane.wire.empty()) return;
    core::Member* member = world_.process(node).member();
    if (!member) return;
    if (world_.stalled_until(from, node) > world_.now()) return schedule_arrival(link, side, lane_index);
    Frame& frame = *lane.wire.front();
    const MemberId peer = world_.process(from).id();
    member->link_heard(world_.now(), peer);
    if (frame.is_data) {
        if (arrive_data(link, side, lane_index, frame)) return;
    } else {
        const auto held = std::move(lane.wire.front());
        lane.wire.pop_front();
        world_.trace().add(held->body);
        world_.note(node, "frame", from,
                    [&] { return "type " + std::to_string(static_cast<int>(held->type)); });
        if (link.garbled[side]) return arrive_garbled(link, side, *held);
        world_.keep_for_replay(node, from, held->type, held->body);
        const bool valid = member->peer_frame(world_.now(), peer, held->type, held->body);
        if (!valid) {
            world_.fail("I5", World::name(node) + " calls a frame of type " +
                                  std::to_string(static_cast<int>(held->type)) + " of " + World::name(from) +
                                  " a violation");
        }
        world_.process(node).settle();
        world_.faults().step(Fault::When::kFrameTo, held->type, node);
        schedule_arrival(link, side, lane_index);
        return;
    }
    lane.wire.pop_front();
    world_.process(node).settle();
    schedule_arrival(link, side, lane_index);
}

void Network::garble(int node, int from) {
    if (Link* link = link_of(node, from)) link->garbled[link->side_of(from)] = true;
}

/// The receiver must notice, and closes the link as the driver does: one epoch change, and nothing else.
void Network::arrive_garbled(Link& link, int side, Frame& frame) {
    link.garbled[side] = false;
    const int node = link.node[1 - side], from = link.node[side];
    switch (frame.body.empty() ? 0 : world_.random().below(3)) {
        case 0: frame.type = static_cast<wire::Type>(200); break;
        case 1: frame.body.pop_back(); break;
        default: frame.body.push_back(0);
    }
    core::Member* member = world_.process(node).member();
    const MemberId peer = world_.process(from).id();
    if (member->peer_frame(world_.now(), peer, frame.type, frame.body)) {
        world_.fail("I5",
                    World::name(node) + " took a frame of " + World::name(from) + " that cannot be read");
    }
    close_side(link, 1 - side, false, false);
    member->link_down(world_.now(), peer, link.incarnation, "a frame could not be read");
    world_.process(node).settle();
}

/// True: the payload is going to land. False: it is discarded.
bool Network::arrive_data(Link& link, int side, uint32_t lane_index, Frame& frame) {
    const int node = link.node[1 - side];
    const MemberId peer = world_.process(link.node[side]).id();
    core::Member* member = world_.process(node).member();
    const auto bytes = static_cast<uint32_t>(frame.payload.size());
    frame.place = member->place(world_.now(), peer, frame.header, bytes);
    world_.trace().add(frame.header.object * 4 + static_cast<uint64_t>(frame.header.phase));
    world_.note(node, "data", link.node[side], [&] {
        return frame.header.key.text() + " phase " + std::to_string(static_cast<int>(frame.header.phase)) +
               " object " + std::to_string(frame.header.object) + " bytes " + std::to_string(bytes) +
               " epoch " + frame.header.epoch.text() +
               (frame.place.data ? "" : " discarded " + frame.place.reason);
    });
    if (frame.place.violation) {
        world_.fail("I5", World::name(node) + " calls data of " + World::name(link.node[side]) +
                              " a violation: " + frame.place.reason);
    }
    if (!frame.place.data) {
        // What is read and thrown away must still have left the sender's memory.
        if (!frame.copied) {
            Lane& lane = link.lanes[side][lane_index];
            if (frame.torn) {
                frame.copied = true;
            } else {
                copy(link, side, frame);
            }
            lane.writing = false;
            start(link, side, lane_index);
        }
        return false;
    }
    frame.announced = true;
    // Part of the payload comes with the header.
    if (!frame.torn && bytes > 0 && world_.random().chance(0.3)) {
        const uint8_t* source = frame.copied ? frame.copy.data() : frame.payload.data();
        std::memcpy(frame.place.data, source, world_.random().below(bytes + 1));
    }
    const TimeUs delay =
        world_.random().chance(0.5) ? 1 : world_.random().between(1, world_.scenario().latency_max);
    world_.schedule(delay, EventKind::kLaneLand, node, link.index, pack(side, lane_index));
    world_.process(node).settle();
    return true;
}

void Network::land(Link& link, int side, uint32_t lane_index) {
    Lane& lane = link.lanes[side][lane_index];
    const int node = link.node[1 - side];
    if (!link.open[1 - side] || lane.wire.empty()) return;
    core::Member* member = world_.process(node).member();
    Frame& frame = *lane.wire.front();
    if (!member || !frame.announced || frame.torn) return;
    if (!frame.copied) {
        frame.land_due = true;
        return;
    }
    const auto held = std::move(lane.wire.front());
    lane.wire.pop_front();
    if (!held->scrapped) {
        const MemberId peer = world_.process(link.node[side]).id();
        if (!held->copy.empty()) std::memcpy(held->place.data, held->copy.data(), held->copy.size());
        world_.trace().add(held->copy);
        member->link_heard(world_.now(), peer);
        if (!member->landed(world_.now(), peer, held->header, held->place.data,
                            static_cast<uint32_t>(held->copy.size()))) {
            world_.fail("I5", World::name(node) + " calls landed data of " + World::name(link.node[side]) +
                                  " a violation");
        }
        world_.process(node).settle();
        const auto when = held->header.phase == wire::Phase::kPartial ? Fault::When::kPartialLanded
                                                                      : Fault::When::kFinalLanded;
        world_.faults().step(when, wire::Type::kData, node);
    }
    schedule_arrival(link, side, lane_index);
}

void Network::handle(const Event& event) {
    const int side = static_cast<int>(event.detail >> 16);
    const uint32_t lane = event.detail & 0xFFFF;
    switch (event.kind) {
        case EventKind::kLaneArrive: return arrive(*links_[event.object], side, lane);
        case EventKind::kLaneLand: return land(*links_[event.object], side, lane);
        case EventKind::kLaneCopy: {
            Link& link = *links_[event.object];
            Lane& sending = link.lanes[side][lane];
            if (!sending.writing) return;
            sending.writing = false;
            if (!sending.wire.empty() && !sending.wire.back()->torn) {
                Frame& frame = *sending.wire.back();
                copy(link, side, frame);
                if (frame.land_due) {
                    frame.land_due = false;
                    world_.schedule(1, EventKind::kLaneLand, link.node[1 - side], link.index, event.detail);
                }
            }
            start(link, side, lane);
            return;
        }
        case EventKind::kLinkTold: return told(*links_[event.object], side);
        case EventKind::kAttempt: return attempt(*attempts_[event.object]);
        case EventKind::kHello: return hello(*attempts_[event.object]);
        case EventKind::kHelloAnswer: return hello_answer(*attempts_[event.object], event.detail != 0);
        case EventKind::kLinkAcked: return acked(*links_[event.object], *attempts_[event.number]);
        default:
            PCCL_ASSERT(event.kind == EventKind::kAttemptOver);
            Attempt& over = *attempts_[event.object];
            if (over.over) return;
            over.over = true;
            open_attempts_.erase({over.from, over.to});
            if (core::Member* member = world_.process(over.from).member()) {
                member->connect_failed(world_.now(), world_.process(over.to).id(), "timed out");
            }
    }
}

}  // namespace pccl::sim
