// Making and losing links; see network.h.
#include <algorithm>

#include "sim/network.h"
#include "sim/world.h"

namespace pccl::sim {

// ---- making
// ---------------------------------------------------------------------------------------------------------

void Network::connect(int from, const MemberId& to_id, TimeUs deadline) {
    const int to = world_.node_of(to_id);
    if (to < 0) return world_.fail("I5", World::name(from) + " connects to nobody");
    stop_connecting(from, to);
    auto attempt = std::make_unique<Attempt>();
    attempt->index = static_cast<uint32_t>(attempts_.size());
    attempt->from = from;
    attempt->to = to;
    attempt->deadline = deadline;
    open_attempts_[{from, to}] = attempt->index;
    world_.schedule(world_.random().between(0, 100), EventKind::kAttempt, from, attempt->index);
    world_.schedule(std::max<TimeUs>(deadline - world_.now(), 0), EventKind::kAttemptOver, from,
                    attempt->index);
    attempts_.push_back(std::move(attempt));
}

void Network::stop_connecting(int from, int to) {
    auto it = open_attempts_.find({from, to});
    if (it == open_attempts_.end()) return;
    attempts_[it->second]->over = true;
    open_attempts_.erase(it);
}

void Network::attempt(Attempt& attempt) {
    if (attempt.over || !world_.alive(attempt.from)) return;
    if (vanished_.contains(attempt.to)) return;
    if (world_.broken(attempt.from, attempt.to)) {
        if (world_.random().chance(0.5)) retry_later(attempt);
        return;
    }
    attempt.incarnation = world_.random().next() | 1;
    world_.schedule(world_.latency(attempt.from, attempt.to), EventKind::kHello, attempt.to, attempt.index);
}

void Network::retry_later(Attempt& attempt) {
    const TimeUs cap = world_.scenario().timeouts.backoff_cap;
    const TimeUs delay = std::min(cap, kMillisecond << std::min(attempt.tries++, 10u));
    const TimeUs at = world_.random().between(delay / 2, delay);
    if (world_.now() + at < attempt.deadline) {
        world_.schedule(at, EventKind::kAttempt, attempt.from, attempt.index);
    }
}

void Network::hello(Attempt& attempt) {
    const int to = attempt.to, from = attempt.from;
    if (attempt.over || vanished_.contains(to)) return;
    const TimeUs back = world_.latency(to, from);
    if (!world_.alive(to)) {
        if (world_.random().chance(world_.scenario().refused_is_silent)) return;
        return world_.schedule(back, EventKind::kHelloAnswer, from, attempt.index, 1);
    }
    const MemberId peer = world_.process(from).id();
    wire::Hello hello;
    hello.run = world_.process(from).run();
    hello.from = peer;
    hello.to = world_.process(to).id();
    hello.incarnation = attempt.incarnation;
    hello.lanes = static_cast<uint16_t>(world_.scenario().lanes);
    const wire::HelloAck ack = world_.process(to).member()->judge_hello(hello);
    world_.note(to, "hello", from, [&] { return ack.accepted ? std::string("accepted") : ack.reason; });
    if (!ack.accepted)
        return world_.schedule(back, EventKind::kHelloAnswer, from, attempt.index, ack.retry ? 1 : 0);
    replace_link(to, from);
    if (!world_.alive(to)) return;
    auto made = std::make_unique<Link>();
    Link& link = *made;
    link.index = static_cast<uint32_t>(links_.size());
    link.node[0] = from;
    link.node[1] = to;
    link.incarnation = attempt.incarnation;
    for (auto& lanes : link.lanes) lanes.resize(world_.scenario().lanes);
    links_.push_back(std::move(made));
    link.up[1] = true;
    open_links_[{to, from}] = link.index;
    world_.schedule(back, EventKind::kLinkAcked, from, link.index, 0, attempt.index);
    world_.process(to).member()->link_up(world_.now(), peer, link.incarnation);
    world_.process(to).settle();
}

void Network::hello_answer(Attempt& attempt, bool retry) {
    if (attempt.over || !world_.alive(attempt.from)) return;
    if (retry) return retry_later(attempt);
    attempt.over = true;
    open_attempts_.erase({attempt.from, attempt.to});
    world_.process(attempt.from)
        .member()
        ->connect_failed(world_.now(), world_.process(attempt.to).id(), "refused");
}

void Network::acked(Link& link, Attempt& attempt) {
    if (!world_.alive(link.node[0])) return;
    if (attempt.over) return close_side(link, 0, false, false);
    if (!link.open[0]) return retry_later(attempt);
    attempt.over = true;
    open_attempts_.erase({attempt.from, attempt.to});
    replace_link(attempt.from, attempt.to);
    if (!world_.alive(attempt.from)) return;
    link.up[0] = true;
    open_links_[{attempt.from, attempt.to}] = link.index;
    world_.note(attempt.from, "link-up", attempt.to, [] { return std::string(); });
    world_.process(attempt.from)
        .member()
        ->link_up(world_.now(), world_.process(attempt.to).id(), link.incarnation);
    world_.process(attempt.from).settle();
    for (uint32_t lane = 0; lane < link.lanes[1].size(); ++lane) schedule_arrival(link, 1, lane);
}

/// A new incarnation takes the place of an old link.
void Network::replace_link(int node, int peer) {
    Link* old = link_of(node, peer);
    if (!old) return;
    const int side = old->side_of(node);
    const uint64_t incarnation = old->incarnation;
    close_side(*old, side, false, false);
    if (core::Member* member = world_.process(node).member()) {
        member->link_down(world_.now(), world_.process(peer).id(), incarnation, "replaced by a new link");
        world_.process(node).settle();
    }
}

// ---- losing
// ---------------------------------------------------------------------------------------------------------

void Network::close(int node, const MemberId& peer_id, uint64_t incarnation) {
    const int peer = world_.node_of(peer_id);
    if (incarnation == 0) stop_connecting(node, peer);
    Link* link = link_of(node, peer);
    if (!link || (incarnation != 0 && link->incarnation != incarnation)) return;
    world_.note(node, "close-link", peer, [] { return std::string(); });
    close_side(*link, link->side_of(node), false, world_.random().chance(0.5));
}

void Network::close_side(Link& link, int side, bool silent, bool orderly) {
    if (!link.open[side]) return;
    give_back_places(link, side);
    link.open[side] = false;
    const int node = link.node[side], peer = link.node[1 - side];
    if (auto it = open_links_.find({node, peer}); it != open_links_.end() && it->second == link.index)
        open_links_.erase(it);
    if (orderly) {
        for (uint32_t l = 0; l < link.lanes[side].size(); ++l) {
            Lane& lane = link.lanes[side][l];
            if (!lane.wire.empty() && !lane.wire.back()->torn) copy(link, side, *lane.wire.back());
            for (auto& frame : lane.waiting) copy(link, side, *frame);
            lane.writing = false;
            start(link, side, l);
            if (!lane.wire.empty() && lane.wire.front()->land_due) {
                lane.wire.front()->land_due = false;
                world_.schedule(1, EventKind::kLaneLand, peer, link.index,
                                static_cast<uint32_t>(side) << 16 | l);
            }
        }
    } else {
        lose(link, side);
    }
    if (!silent && link.open[1 - side]) tell(link, 1 - side, world_.latency(node, peer));
}

/// What is under way from this side is lost, but for a random part of each lane that went ahead.
void Network::lose(Link& link, int side) {
    for (Lane& lane : link.lanes[side]) {
        lane.waiting.clear();
        const size_t kept_min = !lane.wire.empty() && lane.wire.front()->announced ? 1 : 0;
        const size_t kept = kept_min + world_.random().below(lane.wire.size() - kept_min + 1);
        lane.wire.resize(kept);
        if (!lane.wire.empty() && !lane.wire.back()->copied) lane.wire.back()->torn = true;
    }
}

void Network::give_back_places(Link& link, int side) {
    core::Member* member = world_.process(link.node[side]).member();
    const MemberId peer = world_.process(link.node[1 - side]).id();
    for (Lane& lane : link.lanes[1 - side]) {
        if (lane.wire.empty() || !lane.wire.front()->announced) continue;
        Frame& frame = *lane.wire.front();
        if (member && !frame.scrapped) {
            member->dropped(peer, frame.header, frame.place.data,
                            static_cast<uint32_t>(frame.payload.size()));
        }
        frame.scrapped = true;
    }
}

void Network::tell(Link& link, int side, TimeUs delay) {
    if (link.told_scheduled[side]) return;
    link.told_scheduled[side] = true;
    world_.schedule(delay, EventKind::kLinkTold, link.node[side], link.index,
                    static_cast<uint32_t>(side) << 16);
}

void Network::told(Link& link, int side) {
    if (!link.open[side]) return;
    const int node = link.node[side], peer = link.node[1 - side];
    core::Member* member = world_.process(node).member();
    if (!member) return;
    // The end of a stream comes behind everything that was sent before.
    TimeUs again = world_.stalled_until(peer, node);
    for (const Lane& lane : link.lanes[1 - side]) {
        const bool coming = link.up[side] && !lane.wire.empty() && !lane.wire.front()->torn;
        if (coming) again = std::max(again, std::max(lane.wire.front()->arrives, world_.now()) + 10);
    }
    if (again > world_.now()) {
        link.told_scheduled[side] = false;
        return tell(link, side, again - world_.now());
    }
    give_back_places(link, side);
    link.open[side] = false;
    lose(link, side);
    if (!link.up[side]) return;  // acked() will find it closed.
    open_links_.erase({node, peer});
    world_.note(node, "link-lost", peer, [] { return std::string(); });
    member->link_down(world_.now(), world_.process(peer).id(), link.incarnation, "the connection was lost");
    world_.process(node).settle();
}

bool Network::sever(int a, int b, const char* why) {
    Link* link = link_of(a, b);
    if (!link) link = link_of(b, a);
    if (!link || link->severed) return false;
    link->severed = true;
    world_.note(a, "sever", b, [&] { return std::string(why); });
    for (int side = 0; side < 2; ++side) {
        // The sender learns of it later; until then it believes that what it queued is under way.
        for (Lane& lane : link->lanes[side]) {
            const size_t kept_min = !lane.wire.empty() && lane.wire.front()->announced ? 1 : 0;
            const size_t kept = kept_min + world_.random().below(lane.wire.size() - kept_min + 1);
            for (size_t i = kept; i < lane.wire.size(); ++i) {
                if (lane.wire[i]->copied) continue;
                copy(*link, side, *lane.wire[i]);
                lane.writing = false;
            }
            lane.wire.resize(kept);
            if (!lane.wire.empty() && !lane.wire.back()->copied) lane.wire.back()->torn = true;
        }
        const TimeUs late = world_.random().chance(0.2) ? world_.scenario().timeouts.liveness
                                                        : 5 * world_.scenario().latency_max;
        tell(*link, side, world_.random().between(0, late));
    }
    return true;
}

void Network::node_gone(int node, bool silent, bool orderly) {
    if (silent) vanished_.insert(node);
    for (auto& attempt : attempts_) {
        if (attempt->from == node) attempt->over = true;
    }
    for (auto& link : links_) {
        if (link->node[0] == node || link->node[1] == node)
            close_side(*link, link->side_of(node), silent, orderly);
    }
}

}  // namespace pccl::sim
