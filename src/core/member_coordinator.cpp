// The member's conversation with the coordinator, and its fate.
#include <algorithm>

#include "core/checks.h"
#include "core/member_state.h"

namespace pccl::core {

void MemberState::coordinator_up(TimeUs now) {
    coordinator_up_ = true;
    coordinator_spoke_ = false;
    coordinator_heard_ = now;
    coordinator_sent_ = now;
    wire::Register message;
    message.id = config_.id;
    message.group = config_.group;
    message.endpoints = config_.endpoints;
    message.constants = config_.constants;
    message.term = term_;
    message.leaving = leaving_;
    // A newcomer that has answered a proposal may be a member by now.
    if (proposal_) message.run = run_;
    if (proposal_) message.promised = promised_;
    if (admitted_) {
        message.run = run_;
        message.installed = epoch_;
        message.promised = promised_;
        message.round = round_;
        message.round_succeeded = round_succeeded_;
        message.installed_members = members_;
        message.suspicions = suspicions_;
        if (vote_) {
            message.vote_number = vote_->number;
            message.vote = vote_->kind;
        }
    }
    if (proposal_) {
        message.promised_majority = proposal_->majority;
        for (const wire::Peer& peer : proposal_->members) message.promised_members.push_back(peer.id);
    }
    to_coordinator(message);
    if (!admitted_) return;
    for (const auto& [key, op] : ops_) {
        if (op->cancel) request_change(wire::ChangeReason::kCancel);
    }
    if (reset_requested_) request_change(wire::ChangeReason::kTags);
    if (vote_ && vote_->withdrawn) to_coordinator(wire::Withdraw{vote_->number});
    if (leaving_) to_coordinator(wire::Leave{fate_.text()});
}

void MemberState::coordinator_down(TimeUs now, const std::string& why) {
    // A connection over which no coordinator of this run spoke was none.
    if ((coordinator_up_ && coordinator_spoke_) || coordinator_lost_ == 0) coordinator_lost_ = now;
    coordinator_up_ = false;
    if (join_ticket_ != 0) {
        // One that was never answered may be no coordinator at all; one that was comes back.
        if (run_.is_zero()) give_up_joining(now, why);
        return;
    }
    if (leaving_) leave_deadline_ = std::min(leave_deadline_, now + kSecond);
    if (admitted_ && fate_.ok()) log(LogLevel::kWarn, "lost the coordinator: " + why);
}

void MemberState::give_up_joining(TimeUs now, const std::string& why) {
    CallResult result;
    result.status = {Code::MASTER_CONNECTION_FAILED,
                     "the connection was lost before this peer was admitted: " + why};
    complete(join_ticket_, std::move(result));
    join_ticket_ = 0;
    depart(now);
}

template <class Message, class Handler>
static bool decoded(std::span<const uint8_t> body, Handler handler) {
    Message message;
    return wire::decode(body, message) && handler(message);
}

bool MemberState::coordinator_frame(TimeUs now, wire::Type type, std::span<const uint8_t> body) {
    coordinator_heard_ = now;
    // Out of the run, nothing concerns this member any more.
    if (!fate_.ok() && !leaving_) return true;
    switch (type) {
        case wire::Type::kHeartbeat: return true;
        case wire::Type::kWelcome:
            return decoded<wire::Welcome>(body, [&](auto& m) { return on_welcome(now, m); });
        case wire::Type::kRefused:
            return decoded<wire::Refused>(body, [&](auto& m) { return on_refused(now, m); });
        case wire::Type::kPrepare:
            return decoded<wire::Prepare>(body, [&](auto& m) { return on_prepare(now, m); });
        case wire::Type::kExpect:
            return decoded<wire::Expect>(body, [&](auto& m) {
                expected_ = {m.newcomers.begin(), m.newcomers.end()};
                return true;
            });
        case wire::Type::kPropose:
            return decoded<wire::Propose>(body, [&](auto& m) { return on_propose(now, std::move(m)); });
        case wire::Type::kInstall:
            return decoded<wire::Install>(body, [&](auto& m) { return on_install(now, std::move(m)); });
        case wire::Type::kVoteAnswer:
            return decoded<wire::VoteAnswer>(body, [&](auto& m) { return on_vote_answer(now, m); });
        case wire::Type::kPending:
            return decoded<wire::Pending>(body, [&](auto& m) {
                peers_wait_ = m.level;
                return true;
            });
        case wire::Type::kEvicted:
            return decoded<wire::Evicted>(body, [&](auto& m) {
                set_fate(now, {Code::EVICTED, "the coordinator removed this peer from the run: " + m.reason});
                return true;
            });
        case wire::Type::kRecall: return decoded<wire::Recall>(body, [&](auto& m) { return on_recall(m); });
        case wire::Type::kLeft:
            if (leaving_) depart(now);
            return true;
        default: return false;
    }
}

bool MemberState::on_welcome(TimeUs now, const wire::Welcome& message) {
    if (message.version != wire::kProtocolVersion) {
        return on_refused(now, {message.version, static_cast<uint8_t>(Code::VERSION_MISMATCH),
                                "the coordinator speaks another protocol version"});
    }
    const bool other_run = !run_.is_zero() && message.run != run_;
    const bool earlier = message.term < term_;
    if (earlier && admitted_) {
        log(LogLevel::kWarn, "ignoring a coordinator of an older term");
        return false;
    }
    if (admitted_ && message.run != run_) {
        set_fate(now, {Code::EVICTED, "the coordinator serves another run"});
        return true;
    }
    term_ = message.term;
    coordinator_spoke_ = true;
    if (admitted_) return true;
    if (other_run || earlier) {
        // A newcomer that starts anew is for those whom it has promised an epoch like one that has died.
        promised_ = {};
        proposal_.reset();
        prepare_.reset();
        frozen_ = false;
        drop_future();
    }
    run_ = message.run;
    return true;
}

/// A coordinator without a record asks; no earlier term is listened to from here on.
bool MemberState::on_recall(const wire::Recall& message) {
    if (message.term < term_) {
        log(LogLevel::kWarn, "ignoring a coordinator of an older term");
        return false;
    }
    term_ = message.term;
    coordinator_spoke_ = true;
    wire::Recalled answer;
    answer.term = term_;
    if (message.wants_install && admitted_) answer.install = installed_;
    to_coordinator(answer);
    return true;
}

bool MemberState::on_refused(TimeUs now, const wire::Refused& message) {
    const Status status{failure_code(message.code), "the coordinator refused this peer: " + message.reason};
    if (join_ticket_ != 0) {
        CallResult result;
        result.status = status;
        complete(join_ticket_, std::move(result));
        join_ticket_ = 0;
        depart(now);
        return true;
    }
    set_fate(now, {Code::EVICTED, status.text()});
    return true;
}

bool MemberState::on_prepare(TimeUs now, const wire::Prepare& message) {
    if (admitted_) return true;
    for (const wire::Peer& peer : message.peers) {
        if (peer.id == config_.id) return false;
    }
    run_ = message.run;
    prepare_ = message;
    expected_.clear();
    for (const wire::Peer& peer : message.peers) {
        expected_.insert(peer.id);
        connect_to(now, peer);
    }
    report_prepared();
    return true;
}

Status MemberState::join(TimeUs, Ticket* ticket) {
    if (!fate_.ok()) return fate_;
    if (admitted_ || join_ticket_ != 0) return {Code::INVALID_USAGE, "the communicator is connected already"};
    join_ticket_ = *ticket = ++last_ticket_;
    calls_[*ticket] = {};
    return {};
}

bool MemberState::on_vote_answer(TimeUs now, const wire::VoteAnswer& message) {
    if (!vote_ || message.number != vote_->number) return true;
    view_.globals = message.globals;
    const Code code = message.code == 0 ? Code::SUCCESS : failure_code(message.code);
    if (code == Code::SUCCESS && !message.text.empty()) log(LogLevel::kInfo, message.text);
    end_vote(code == Code::SUCCESS ? Status() : Status(code, message.text), message.round != 0);
    run_queue(now);
    return true;
}

/// `counts`: the vote of the whole run has ended for this member, not only its own part in it.
void MemberState::end_vote(const Status& status, bool counts) {
    CallResult result;
    result.status = status;
    const Ticket ticket = vote_->ticket;
    if (counts) ++round_;
    if (counts && status.ok()) round_succeeded_ = round_;
    vote_.reset();
    complete(ticket, std::move(result));
}

/// A newcomer that calls for an update first cannot know whether the others call for one too, or are past the
/// update that admitted it and wait for it in an operation. Hearing of such an operation tells: then the
/// update is over. The same holds for a member that tries a failed vote again while others went on.
/// The coordinator answers, so that a boundary that has begun meanwhile is not taken for something else.
void MemberState::withdraw_soft_vote() {
    if (!vote_ || !vote_->soft) return;
    vote_->soft = false;
    vote_->withdrawn = true;
    to_coordinator(wire::Withdraw{vote_->number});
}

void MemberState::request_change(wire::ChangeReason reason) {
    wire::RequestChange message;
    message.epoch = epoch_;
    message.reason = reason;
    to_coordinator(message);
}

Status MemberState::leave(TimeUs now, Ticket* ticket) {
    *ticket = ++last_ticket_;
    calls_[*ticket] = {};
    if (!fate_.ok() || !admitted_) {
        const Status status =
            fate_.ok() ? Status(Code::INVALID_USAGE, "the communicator has left the run") : fate_;
        if (leaving_) {
            // It is on its way out already, evicted or by an earlier call; this one ends with it.
            leave_tickets_.push_back(*ticket);
            return {};
        }
        set_fate(now, status);
        complete(*ticket, {});
        return {};
    }
    leave_tickets_.push_back(*ticket);
    evict_self(now, {Code::INVALID_USAGE, "the communicator has left the run"});
    return {};
}

/// Ends every call with `status`.
void MemberState::fail_calls(TimeUs now, const Status& status) {
    std::vector<wire::OpKey> open;
    for (const auto& [key, op] : ops_) open.push_back(key);
    for (const wire::OpKey& key : open) {
        const auto at = ops_.find(key);
        if (at == ops_.end()) continue;
        if (at->second->called) {
            end(now, *at->second, status);
        } else {
            erase(*at->second);
        }
    }
    CallResult result;
    result.status = status;
    for (const QueuedCall& call : queue_) complete(call.ticket, result);
    queue_.clear();
    if (vote_) end_vote(status, false);
    if (join_ticket_ != 0) complete(join_ticket_, result);
    join_ticket_ = 0;
}

/// This member leaves by itself: no call works any more, but links stay until the others have gone on without
/// it, so that nothing they still need from it is lost.
void MemberState::evict_self(TimeUs now, const Status& status) {
    if (!fate_.ok()) return;
    if (status.code() == Code::EVICTED) log(LogLevel::kError, status.text());
    fate_ = status;
    leaving_ = true;
    view_.connected = false;
    leave_deadline_ = now + (coordinator_up_ ? config_.timeouts.freeze : kSecond);
    to_coordinator(wire::Leave{status.text()});
    fail_calls(now, status);
}

/// The end at once: removed by the coordinator, or nothing left to wait for.
void MemberState::set_fate(TimeUs now, const Status& status) {
    if (fate_.ok()) {
        if (status.code() == Code::EVICTED) log(LogLevel::kError, status.text());
        fate_ = status;
    }
    depart(now);
}

void MemberState::depart(TimeUs now) {
    // While it was leaving, it still heard of operations of the others; nothing will end those here.
    if (!fate_.ok()) fail_calls(now, fate_);
    drop_future();
    admitted_ = false;
    leaving_ = false;
    frozen_ = false;
    proposal_.reset();
    prepare_.reset();
    view_.connected = false;
    outbox_.push_back(Action{Action::Kind::kCutAll});
    for (auto& [id, link] : links_) {
        release_in_flight(link, nullptr);
        Action action{Action::Kind::kCloseLink};
        action.peer = id;
        action.text = "this member has left the run";
        outbox_.push_back(std::move(action));
    }
    links_.clear();
    Action close{Action::Kind::kCloseCoordinator};
    close.text = "left the run";
    outbox_.push_back(std::move(close));
    coordinator_up_ = false;
    for (const Ticket ticket : leave_tickets_) complete(ticket, {});
    leave_tickets_.clear();
}

}  // namespace pccl::core
