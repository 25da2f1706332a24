// Links to other members: who opens them, what their loss means, and that silence is noticed.
//
// In a list of members the later one opens the link. Outside an epoch change the loss of a link is a
// suspicion, told to the coordinator and repeated as long as it stands; during one it is part of the state of
// links that each proposed member reports until both ends of every pair agree.
#include <algorithm>

#include "core/member_state.h"

namespace pccl::core {

bool MemberState::is_initiator(const std::vector<wire::Peer>& list, const MemberId& peer) const {
    size_t self = list.size(), other = list.size();
    for (size_t i = 0; i < list.size(); ++i) {
        if (list[i].id == config_.id) self = i;
        if (list[i].id == peer) other = i;
    }
    return self > other;
}

void MemberState::connect_to(TimeUs now, const wire::Peer& peer) {
    Link& link = links_[peer.id];
    if (link.up || link.connecting) return;
    link.connecting = true;
    link.failed = false;
    Action action{Action::Kind::kConnect};
    action.peer = peer.id;
    action.endpoints = peer.endpoints;
    action.deadline = now + std::min(config_.timeouts.connect, config_.timeouts.freeze / 2);
    outbox_.push_back(std::move(action));
}

void MemberState::link_up(TimeUs now, const MemberId& peer, uint64_t incarnation) {
    Link& link = links_[peer];
    link.up = true;
    link.connecting = false;
    link.failed = false;
    link.reason.clear();
    link.incarnation = incarnation;
    link.heard = now;
    link.sent = now;
    link.pull_announced = false;
    if (prepare_) report_prepared();
    if (proposal_) report_links();
}

void MemberState::link_down(TimeUs now, const MemberId& peer, uint64_t incarnation, const std::string& why) {
    const auto at = links_.find(peer);
    if (at == links_.end() || at->second.incarnation != incarnation || !at->second.up) return;
    Link& link = at->second;
    link.up = false;
    link.reason = why;
    link.pull_announced = false;
    release_in_flight(link, nullptr);
    if (prepare_) report_prepared();
    if (!fate_.ok() || leaving_) return;
    if (proposal_) {
        for (const wire::Peer& member : proposal_->members) {
            if (member.id == peer && is_initiator(proposal_->members, peer)) connect_to(now, member);
        }
        report_links();
    } else if (config_.mutations.lane_reopened && rank_of(peer)) {
        link.heard = now;
        if (is_initiator(peers_, peer)) connect_to(now, peers_[*rank_of(peer)]);
    } else if (rank_of(peer)) {
        suspect(now, peer, true, why);
    } else {
        links_.erase(at);
    }
}

void MemberState::connect_failed(TimeUs, const MemberId& peer, const std::string& why) {
    const auto at = links_.find(peer);
    if (at == links_.end() || at->second.up) return;
    at->second.connecting = false;
    at->second.failed = true;
    at->second.reason = why;
    log(LogLevel::kWarn, "no link to " + who(peer) + ": " + why);
    if (prepare_) report_prepared();
    if (proposal_) report_links();
}

wire::HelloAck MemberState::judge_hello(const wire::Hello& hello) const {
    wire::HelloAck ack;
    if (hello.version != wire::kProtocolVersion) {
        ack.reason = "protocol version " + std::to_string(hello.version) + ", this member speaks " +
                     std::to_string(wire::kProtocolVersion);
        return ack;
    }
    if (hello.to != config_.id || hello.from == config_.id) {
        ack.reason = "another member listens here";
        return ack;
    }
    if (!fate_.ok()) {
        ack.reason = "this member has left the run";
        return ack;
    }
    const auto in = [&](const std::vector<wire::Peer>& list) {
        return std::any_of(list.begin(), list.end(), [&](const wire::Peer& p) { return p.id == hello.from; });
    };
    const bool known =
        expected_.count(hello.from) != 0 || in(peers_) || (proposal_ && in(proposal_->members));
    if (!known || run_.is_zero() || hello.run != run_) {
        ack.retry = true;
        ack.reason = "not expected here yet";
        return ack;
    }
    ack.accepted = true;
    return ack;
}

void MemberState::suspect(TimeUs, const MemberId& peer, bool closed, const std::string& why) {
    wire::Suspect message;
    message.epoch = epoch_;
    message.peer = peer;
    message.incarnation = links_[peer].incarnation;
    message.closed = closed;
    message.reason = why;
    for (const wire::Suspect& standing : suspicions_) {
        if (standing.peer == peer && standing.incarnation == message.incarnation && standing.closed == closed)
            return;
    }
    log(LogLevel::kInfo, "lost the link to " + who(peer) + ": " + why);
    suspicions_.push_back(message);
    to_coordinator(message);
}

/// The state of the links to all proposed members, whole each time.
void MemberState::report_links() {
    const wire::Propose& proposal = *proposal_;
    wire::Linked message;
    message.id = proposal.id;
    for (const wire::Peer& member : proposal.members) {
        if (member.id == config_.id) continue;
        wire::LinkReport report;
        report.peer = member.id;
        const auto at = links_.find(member.id);
        if (at != links_.end()) {
            report.incarnation = at->second.up ? at->second.incarnation : 0;
            report.failed = at->second.failed && !at->second.up;
            report.closed = !at->second.up && !at->second.reason.empty();
            if (report.failed || report.closed) report.reason = at->second.reason;
        }
        message.links.push_back(std::move(report));
    }
    to_coordinator(message);
}

/// A newcomer tells when it has links to all members, or that it cannot get one.
void MemberState::report_prepared() {
    wire::Prepared message;
    message.number = prepare_->number;
    message.ok = true;
    for (const wire::Peer& member : prepare_->peers) {
        const Link& link = links_[member.id];
        if (link.up) continue;
        if (link.connecting) return;
        message.ok = false;
        message.unreachable.push_back(member.id);
        message.reason = "no link to peer (" + member.id.brief() + "): " + link.reason;
    }
    prepare_.reset();
    to_coordinator(message);
}

/// Closes links to those that are neither members nor expected.
void MemberState::close_strangers() {
    for (auto at = links_.begin(); at != links_.end();) {
        if (rank_of(at->first) || expected_.count(at->first) != 0) {
            ++at;
            continue;
        }
        release_in_flight(at->second, nullptr);
        Action action{Action::Kind::kCloseLink};
        action.peer = at->first;
        action.text = "no longer a member";
        outbox_.push_back(std::move(action));
        at = links_.erase(at);
    }
}

void MemberState::tick(TimeUs now) {
    // After a pause of this process (a stopped job, a suspended machine) all clocks start again: the others'
    // silence is ours.
    const TimeUs late = now - last_tick_;
    if (last_tick_ > 0 && late > config_.timeouts.liveness / 2 + config_.timeouts.heartbeat) {
        for (auto& [id, link] : links_) link.heard = now;
        coordinator_heard_ = now;
        if (frozen_) frozen_since_ = now;
        if (!coordinator_up_) coordinator_lost_ = now;
    }
    last_tick_ = now;
    if (!fate_.ok() && !leaving_) return;
    tick_links(now);
    tick_coordinator(now);
    if (fate_.ok()) tick_ops(now);
}

void MemberState::tick_links(TimeUs now) {
    for (auto& [id, link] : links_) {
        if (!link.up) {
            const bool given_up = config_.mutations.lane_reopened && rank_of(id) && !proposal_ &&
                                  (link.failed || now - link.heard > config_.timeouts.liveness);
            if (given_up) suspect(now, id, true, "it cannot be opened again");
            continue;
        }
        if (now - link.sent >= config_.timeouts.heartbeat) {
            link.sent = now;
            Action action{Action::Kind::kToPeer};
            action.peer = id;
            action.type = wire::Type::kHeartbeat;
            outbox_.push_back(std::move(action));
        }
        const bool silent = now - link.heard > config_.timeouts.liveness;
        if (!silent && !coordinator_up_ && !suspicions_.empty()) {
            // It was only slow, and nobody has acted on the suspicion: it is taken back.
            std::erase_if(suspicions_,
                          [&peer = id](const wire::Suspect& s) { return s.peer == peer && !s.closed; });
        }
        if (silent && rank_of(id) && !proposal_ && !leaving_) {
            suspect(now, id, false,
                    "nothing was heard for " + std::to_string((now - link.heard) / kMillisecond) + " ms");
        }
    }
}

void MemberState::tick_coordinator(TimeUs now) {
    if (coordinator_up_) {
        if (now - coordinator_sent_ >= config_.timeouts.heartbeat) {
            coordinator_sent_ = now;
            to_coordinator(wire::Heartbeat{});
        }
        if (now - coordinator_heard_ > config_.timeouts.liveness) {
            Action action{Action::Kind::kCloseCoordinator};
            action.reconnect = wants_coordinator();
            action.text = "the coordinator was silent for " +
                          std::to_string((now - coordinator_heard_) / kMillisecond) + " ms";
            outbox_.push_back(action);
            coordinator_down(now, action.text);
        }
    }
    if (leaving_ && now >= leave_deadline_) {
        depart(now);
        return;
    }
    if (join_ticket_ != 0 && !coordinator_up_ && now - coordinator_lost_ > config_.timeouts.recovery)
        return give_up_joining(now, "the coordinator cannot be reached");
    if (!admitted_ || !fate_.ok()) return;
    const bool cancels =
        std::any_of(ops_.begin(), ops_.end(), [](const auto& entry) { return entry.second->cancel; });
    const bool needed = frozen_ || !suspicions_.empty() || cancels;
    if (!needed) change_needed_since_ = 0;
    if (needed && change_needed_since_ == 0) change_needed_since_ = now;
    if (coordinator_up_ || now - coordinator_lost_ <= config_.timeouts.recovery) return;
    if (vote_) {
        const bool withdrawn = vote_->withdrawn;
        end_vote(
            withdrawn ? Status() : Status(Code::UPDATE_TOPOLOGY_FAILED, "the coordinator cannot be reached"),
            !withdrawn);
        if (!blocked()) run_queue(now);
    }
    if (needed && now - change_needed_since_ > config_.timeouts.recovery) {
        set_fate(now, {Code::EVICTED,
                       "a change of the epoch is needed and the coordinator cannot be reached; the outcome "
                       "of operations in flight is unknown"});
    }
}

void MemberState::tick_ops(TimeUs now) {
    std::vector<Op*> late;
    for (auto& [key, op] : ops_) {
        if (!op->called) continue;
        const bool over = config_.timeouts.operation > 0 && now - op->timed_from > config_.timeouts.operation;
        if (over && config_.mutations.local_timeout && !frozen_) {
            late.push_back(op.get());
        } else if (over && !op->cancel) {
            cancel_op(*op, "its time-out of " + std::to_string(config_.timeouts.operation / kMillisecond) +
                               " ms passed at " + who(config_.id));
        }
        if (now >= op->warn_at) warn_slow(now, *op);
    }
    for (Op* op : late) end(now, *op, {Code::CANCELLED, op->key.text() + " was over its time"});
    if (frozen_ && coordinator_up_ && now - frozen_since_ > config_.timeouts.slow_warning) {
        log(LogLevel::kWarn, "an epoch change has been under way for " +
                                 std::to_string((now - frozen_since_) / kSecond) + " s");
        frozen_since_ = now;
    }
}

/// Names those that have not arrived at an operation; repeated with doubling.
void MemberState::warn_slow(TimeUs now, Op& op) {
    op.warn_interval *= 2;
    op.warn_at = now + op.warn_interval;
    if (!logs(LogLevel::kWarn)) return;
    std::string text =
        op.key.text() + " has been going on for " + std::to_string((now - op.started) / kSecond) + " s; ";
    std::string missing;
    for (plan::Rank r = 0; r < members_.size(); ++r) {
        if (r == rank_ || op.remote_called[r]) continue;
        missing += (missing.empty() ? "" : ", ") + who(members_[r]);
    }
    log(LogLevel::kWarn,
        text + (missing.empty() ? "all have called it" : "nothing heard of it from " + missing));
}

}  // namespace pccl::core
