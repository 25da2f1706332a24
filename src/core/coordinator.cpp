#include "core/coordinator.h"

#include <algorithm>

#include "core/checks.h"
#include "core/coordinator_state.h"

namespace pccl::core {
namespace {

/// No run has had this many coordinators more than the term says; larger numbers could make it wrap.
constexpr uint64_t kTermsAheadMax = uint64_t{1} << 32;

}  // namespace

CoordinatorState::CoordinatorState(CoordinatorConfig config, RandomSource& random, const Record* previous,
                                   TimeUs now)
    : config_(std::move(config)), random_(random), last_tick_(now) {
    term_.count = previous != nullptr ? previous->term.count + 1 : 1;
    term_.nonce = random_.next();
    if (previous != nullptr) record_term_ = previous->term;
    if (previous != nullptr && !previous->run.is_zero() && !previous->groups.empty()) recover(now, *previous);
    if (config_.record_lost) grace_end_ = now + 2 * config_.timeouts.backoff_cap;
    persist({});
    held_for_ = records_;
}

void CoordinatorState::send_raw(uint64_t connection, wire::Type type, std::vector<uint8_t> body) {
    CoordinatorAction action{CoordinatorAction::Kind::kSend};
    action.connection = connection;
    action.type = type;
    action.body = std::move(body);
    const auto at = connections_.find(connection);
    if (at != connections_.end()) at->second.sent = last_tick_;
    (ready_ ? outbox_ : held_).push_back(std::move(action));
}

void CoordinatorState::close(uint64_t connection, const std::string& why) {
    CoordinatorAction action{CoordinatorAction::Kind::kClose};
    action.connection = connection;
    action.text = why;
    const auto at = connections_.find(connection);
    const bool reports = at != connections_.end() && at->second.reports;
    if (at != connections_.end()) connections_.erase(at);
    if (reports) drop_report(connection);
    (ready_ ? outbox_ : held_).push_back(std::move(action));
}

std::string CoordinatorState::who(const MemberId& id) const {
    const auto at = members_.find(id);
    std::string text = "member " + id.brief();
    if (at == members_.end()) return text;
    const auto group = groups_.find(at->second.group);
    if (group != groups_.end()) {
        const auto& list = group->second.members;
        const auto rank = std::find(list.begin(), list.end(), id);
        if (rank != list.end())
            text = "rank " + std::to_string(rank - list.begin()) + " (" + id.brief() + ")";
    }
    text += " of group " + std::to_string(at->second.group);
    if (!at->second.peer.endpoints.empty()) text += " at " + at->second.peer.endpoints.front().text();
    return text;
}

void CoordinatorState::opened(TimeUs now, uint64_t connection, const std::string& address) {
    if (connections_.size() >= config_.connections_max) {
        log(LogLevel::kWarn, "too many connections: closing the one from " + address);
        return close(connection, "too many connections");
    }
    connections_[connection] = {address, now, now, now, std::nullopt, false};
}

void CoordinatorState::closed(TimeUs now, uint64_t connection, const std::string& why) {
    const auto at = connections_.find(connection);
    if (at == connections_.end()) return;
    const std::optional<MemberId> id = at->second.member;
    const bool reports = at->second.reports;
    connections_.erase(at);
    if (reports) {
        drop_report(connection);
        check_reports(now);
        return found_run(now);
    }
    if (!id || !alive(*id) || members_[*id].connection != connection) return;
    MemberInfo& member = members_[*id];
    member.connection = 0;
    member.lost_at = now;
    if (member.stage == Stage::kPreparing || member.stage == Stage::kReady) {
        log(LogLevel::kInfo, "newcomer " + id->brief() + " went away: " + why);
        return drop_newcomer(*id, Code::SUCCESS, "");
    }
    if (member.stage == Stage::kLeaving) return evict(now, *id, "it left");
    const auto& installed = groups_[member.group].members;
    if (std::find(installed.begin(), installed.end(), *id) == installed.end())
        return evict(now, *id, "it went away before its first epoch");
    if (member.reported_closed)
        return evict(now, *id, member.report + "; its connection to the coordinator closed");
    if (const std::string seen = link_seen_closed(*id); !seen.empty()) return evict(now, *id, seen);
    log(LogLevel::kInfo, who(*id) + " lost its connection to the coordinator: " + why);
}

template <class Message, class Handler>
static bool decoded(std::span<const uint8_t> body, Handler handler) {
    Message message;
    return wire::decode(body, message) && handler(message);
}

bool CoordinatorState::frame(TimeUs now, uint64_t connection, wire::Type type,
                             std::span<const uint8_t> body) {
    const auto at = connections_.find(connection);
    // Until the term is durable the end of a connection waits with everything else that is to be sent.
    if (at == connections_.end()) return !ready_;
    at->second.heard = now;
    if (at->second.member) {
        const MemberId from =
            *at->second.member;  // A copy: the connection may be gone before the frame is dealt with.
        if (members_.count(from) == 0) return false;
        return dispatch(now, from, type, body);
    }
    if (at->second.reports) {
        // What else it says is said again when it registers with the run.
        return type != wire::Type::kRecalled || decoded<wire::Recalled>(body, [&](auto& m) {
                   return on_recalled(now, connection, std::move(m));
               });
    }
    wire::Register message;
    if (type != wire::Type::kRegister) {
        log(LogLevel::kWarn,
            "the connection from " + at->second.address + " did not begin with a registration");
        return false;
    }
    // The version stands first, so that another version can be told so whatever follows it.
    wire::Decoder version_only(body);
    version_only(message.version);
    if (!version_only.ok()) return false;
    if (message.version != wire::kProtocolVersion) {
        refuse(connection, Code::VERSION_MISMATCH,
               "the peer speaks protocol version " + std::to_string(message.version) + ", the coordinator " +
                   std::to_string(wire::kProtocolVersion));
        return true;
    }
    return wire::decode(body, message) && on_register(now, connection, message);
}

bool CoordinatorState::dispatch(TimeUs now, const MemberId& from, wire::Type type,
                                std::span<const uint8_t> body) {
    const bool admitted = members_[from].stage == Stage::kAdmitted;
    switch (type) {
        case wire::Type::kHeartbeat: return true;
        case wire::Type::kPrepared:
            return decoded<wire::Prepared>(body, [&](auto& m) { return on_prepared(now, from, m); });
        case wire::Type::kVote:
            return admitted && decoded<wire::Vote>(body, [&](auto& m) { return on_vote(now, from, m); });
        case wire::Type::kWithdraw:
            return decoded<wire::Withdraw>(body, [&](auto& m) {
                MemberInfo& member = members_[from];
                if (member.vote && member.vote->number == m.number) member.vote_withdrawn = true;
                settle_votes();
                return true;
            });
        case wire::Type::kSuspect:
            return decoded<wire::Suspect>(body, [&](auto& m) { return on_suspect(now, from, m); });
        case wire::Type::kRequestChange:
            return decoded<wire::RequestChange>(body,
                                                [&](auto& m) { return on_request_change(now, from, m); });
        case wire::Type::kFrozen:
            return decoded<wire::Frozen>(body, [&](auto& m) { return on_frozen(now, from, std::move(m)); });
        case wire::Type::kLinked:
            return decoded<wire::Linked>(body, [&](auto& m) { return on_linked(now, from, m); });
        case wire::Type::kLeave:
            return decoded<wire::Leave>(body, [&](auto& m) { return on_leave(now, from, m); });
        default: return false;
    }
}

void CoordinatorState::refuse(uint64_t connection, Code code, const std::string& reason) {
    const auto at = connections_.find(connection);
    log(LogLevel::kWarn, "refused " +
                             (at == connections_.end() ? std::string("a connection") : at->second.address) +
                             ": " + reason);
    wire::Refused message;
    message.code = static_cast<uint8_t>(code);
    message.reason = reason;
    send_raw(connection, wire::Type::kRefused, wire::encode(message));
    close(connection, reason);
}

/// What one member claims is counted on for all: nothing that it says may take the counts of votes out of
/// reach.
bool CoordinatorState::possible_rounds(const wire::Register& message) const {
    // The record knows of the votes that changed an epoch only, and a running coordinator not of those that a
    // member has given up, one after the other, while it could not be reached.
    constexpr uint64_t kUnrecordedMax = uint64_t{1} << 32;
    constexpr uint64_t kGivenUpMax = uint64_t{1} << 20;
    const uint64_t ahead_max = recovering_ ? kUnrecordedMax : kGivenUpMax;
    // A member may hear of a success in which it had no vote of its own: the second may be above the first.
    const uint64_t round = std::max(message.round, message.round_succeeded);
    return round <= rounds_ || round - rounds_ <= ahead_max;
}

bool CoordinatorState::on_register(TimeUs now, uint64_t connection, const wire::Register& message) {
    if (!valid(message.constants) || message.endpoints.empty() || !all_valid(message.endpoints) ||
        message.id.is_zero() || message.term.count > term_.count + kTermsAheadMax) {
        refuse(connection, Code::INVALID_ARGUMENT, "the registration has invalid settings");
        return true;
    }
    if (is_report(message)) {
        take_report(now, connection, message);
    } else if (!message.installed.is_none()) {
        register_again(now, connection, message);
    } else if (alive(message.id) && members_[message.id].stage == Stage::kAdmitted && message.run == run_ &&
               !message.promised.is_none()) {
        // Admitted by an Install that it has missed.
        register_again(now, connection, message);
    } else if (alive(message.id)) {
        refuse(connection, Code::ACCESS_DENIED, "this member id is in use");
    } else if (former_.count(message.id) != 0) {
        refuse(connection, Code::ACCESS_DENIED, "this member id was used before");
    } else if (members_.size() >= wire::kMembersMax) {
        refuse(connection, Code::RESOURCE_LIMIT, "the run is full");
    } else {
        register_newcomer(now, connection, message);
    }
    return true;
}

void CoordinatorState::register_newcomer(TimeUs now, uint64_t connection, const wire::Register& message) {
    if (run_.is_zero()) run_ = RunId{random_.next_id()};
    MemberInfo& member = members_[message.id];
    member.group = message.group;
    member.peer = {message.id, message.endpoints};
    member.constants = message.constants;
    member.connection = connection;
    member.arrival = ++arrivals_;
    connections_[connection].member = message.id;
    wire::Welcome welcome;
    welcome.run = run_;
    welcome.term = term_;
    send(message.id, welcome);
    log(LogLevel::kInfo, "newcomer " + message.id.brief() + " for group " + std::to_string(message.group) +
                             " from " + connections_[connection].address);
    prepare(now, message.id);
}

void CoordinatorState::register_again(TimeUs now, uint64_t connection, const wire::Register& message) {
    const auto at = members_.find(message.id);
    const bool known = at != members_.end() && message.run == run_ &&
                       (at->second.stage == Stage::kAdmitted || at->second.stage == Stage::kLeaving);
    if (message.run == run_ && message.term > term_ && !config_.mutations.stale_record) {
        log(LogLevel::kError,
            "member " + message.id.brief() + " knows of a later coordinator of this run: it is that one's");
        return close(connection, "a later coordinator serves the run");
    }
    if (!known) {
        wire::Evicted evicted;
        evicted.reason = message.run == run_ ? "it was evicted earlier" : "its run is over";
        send_raw(connection, wire::Type::kEvicted, wire::encode(evicted));
        return close(connection, evicted.reason);
    }
    if (!possible_rounds(message)) {
        log(LogLevel::kWarn, who(message.id) + " knows of votes that this run cannot have had");
        return close(connection, "it knows of votes that cannot have been");
    }
    MemberInfo& member = at->second;
    if (member.connection != 0 && !config_.mutations.reuse_epoch_id)
        close(member.connection, "replaced by a newer connection of the same member");
    member.connection = connection;
    member.lost_at = 0;
    member.unheard = false;
    rounds_ = std::max(rounds_, message.round);
    rounds_succeeded_ = std::max(rounds_succeeded_, message.round_succeeded);
    connections_[connection].member = message.id;
    log(LogLevel::kInfo, who(message.id) + " is connected again");
    wire::Welcome welcome;
    welcome.run = run_;
    welcome.term = term_;
    send(message.id, welcome);
    GroupInfo& group = groups_[member.group];
    // It has promised this epoch, or there would be no Install; it missed it when its connection broke.
    if (!group.installing && message.installed != group.installed && !config_.mutations.no_resend)
        send(message.id, group.install);
    if (group.proposal && in_proposal(group, message.id)) send_proposal(message.id, group);
    wire::Pending pending;
    pending.level = pending_level_;
    send(message.id, pending);
    push_expected(member.group);
    // A vote that the member has given up meanwhile does not stand any more.
    if (!boundary_ && member.vote && member.vote->number != message.vote_number) member.vote.reset();
    push_pending();
    if (message.vote_number != 0 && member.stage == Stage::kAdmitted) {
        wire::Vote vote;
        vote.kind = message.vote;
        vote.number = message.vote_number;
        vote.round = message.round + 1;
        on_vote(now, message.id, vote);
    }
    // It is frozen for a proposal that no Install followed: only a new one frees it.
    if (recovering_ && message.promised > group.installed) group.change_wanted = true;
    for (const wire::Suspect& suspicion : message.suspicions) on_suspect(now, message.id, suspicion);
    settle_votes();
    check_recovery(now);
}

void CoordinatorState::tick(TimeUs now) {
    // After a pause of this process all clocks start again: the silence was its own.
    if (now - last_tick_ > config_.timeouts.liveness / 2 + config_.timeouts.heartbeat) {
        for (auto& [id, connection] : connections_) connection.heard = now;
        for (auto& [id, member] : members_) member.lost_at = member.connection == 0 ? now : member.lost_at;
        for (auto& [id, group] : groups_) {
            if (group.proposal) group.proposal->started = now;
        }
        recovery_began_ = reports_began_ = now;
        reports_hold_ += reports_hold_ == 0 ? 0 : now - last_tick_;
    }
    last_tick_ = now;
    tick_connections(now);
    tick_members(now);
    std::vector<uint32_t> late;
    for (auto& [id, group] : groups_) {
        if (group.proposal && now - group.proposal->started > config_.timeouts.freeze) late.push_back(id);
    }
    for (uint32_t id : late) proposal_timed_out(now, id);
    check_recovery(now);
    check_reports(now);
    found_run(now);
}

void CoordinatorState::tick_connections(TimeUs now) {
    std::vector<std::pair<uint64_t, std::string>> silent;
    for (auto& [id, connection] : connections_) {
        const bool stranger = !connection.member && !connection.reports;
        if (stranger && now - connection.opened > config_.timeouts.connect) {
            silent.emplace_back(id, "nothing was said for the connect time-out");
        } else if (connection.reports && now - connection.heard > config_.timeouts.liveness) {
            silent.emplace_back(id, "its member fell silent");
        } else if (!stranger && now - connection.sent >= config_.timeouts.heartbeat) {
            send_raw(id, wire::Type::kHeartbeat, {});
        }
    }
    for (const auto& [id, why] : silent) {
        log(LogLevel::kWarn, "closing the connection from " + connections_[id].address + ": " + why);
        close(id, why);
    }
}

void CoordinatorState::tick_members(TimeUs now) {
    std::vector<std::pair<MemberId, std::string>> out;
    std::vector<MemberId> unprepared;
    for (auto& [id, member] : members_) {
        if (member.stage != Stage::kAdmitted && member.stage != Stage::kLeaving) {
            // A newcomer that fell silent must not hold up the boundary that would admit it.
            const TimeUs quiet = member.connection == 0 ? 0 : now - connections_[member.connection].heard;
            if (now > member.prepare_deadline || quiet > config_.timeouts.liveness) unprepared.push_back(id);
            continue;
        }
        const bool connected = member.connection != 0;
        const TimeUs since = connected ? connections_[member.connection].heard : member.lost_at;
        const TimeUs silence = now - since;
        const std::string text = "silent for " + std::to_string(silence / kMillisecond) + " ms" +
                                 (connected ? "" : ", without a connection");
        if ((member.reported_closed || member.reported_silent) && silence > config_.timeouts.liveness) {
            out.emplace_back(id, member.report + "; " + text);
        } else if (silence > config_.timeouts.recovery && somebody_waits_for(id)) {
            out.emplace_back(id, text + " while others wait for it");
        }
    }
    for (const MemberId& id : unprepared)
        drop_newcomer(id, Code::RANK_CONNECTION_FAILED,
                      "it did not get links to the members in time, or fell silent");
    for (const auto& [id, why] : out) evict(now, id, why);
}

Coordinator::Coordinator(CoordinatorConfig config, RandomSource& random, const Record* previous, TimeUs now)
    : state_(std::make_unique<CoordinatorState>(std::move(config), random, previous, now)) {}
Coordinator::~Coordinator() = default;
void Coordinator::opened(TimeUs now, uint64_t connection, const std::string& address) {
    state_->opened(now, connection, address);
}
void Coordinator::closed(TimeUs now, uint64_t connection, const std::string& why) {
    state_->closed(now, connection, why);
}
bool Coordinator::frame(TimeUs now, uint64_t connection, wire::Type type, std::span<const uint8_t> body) {
    return state_->frame(now, connection, type, body);
}
void Coordinator::persisted(TimeUs now, uint64_t number) { state_->persisted(now, number); }
TimeUs Coordinator::deadline() const {
    const Timeouts& t = state_->config_.timeouts;
    return state_->last_tick_ + std::max<TimeUs>(std::min(t.heartbeat, t.liveness / 5) / 2, kMillisecond);
}
void Coordinator::tick(TimeUs now) { state_->tick(now); }
std::vector<CoordinatorAction>& Coordinator::outbox() { return state_->outbox_; }

std::string Coordinator::describe() const {
    std::string out = "run " + state_->run_.brief() + " term " + std::to_string(state_->term_.count) + "\n";
    for (const auto& [id, group] : state_->groups_) {
        out += "  group " + std::to_string(id) + " epoch " + group.installed.text() + " of " +
               std::to_string(group.members.size());
        if (group.proposal) {
            out += ", proposing " + group.proposal->id.text() + " to " +
                   std::to_string(group.proposal->members.size()) + ", " +
                   std::to_string(group.proposal->answers.size()) + " answered";
        }
        out += group.installing ? ", installing\n" : "\n";
    }
    constexpr const char* kStages[] = {"preparing", "ready", "admitted", "leaving"};
    for (const auto& [id, member] : state_->members_) {
        out += "  " + state_->who(id) + " " + kStages[static_cast<int>(member.stage)] +
               (member.connection == 0 ? " unconnected" : "") + (member.vote ? " voted" : "") + "\n";
    }
    return out;
}

}  // namespace pccl::core
