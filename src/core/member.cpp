#include "core/member.h"

#include "core/member_state.h"

namespace pccl::core {

MemberState::MemberState(MemberConfig config) : config_(std::move(config)) {}

MemberState::~MemberState() {
    for (auto& [id, link] : links_) release_in_flight(link, nullptr);
    for (FutureFrame& frame : future_) {
        if (frame.slot != nullptr) slots_.give(frame.slot);
    }
    for (auto& [key, op] : ops_) {
        for (EarlyData& early : op->early) slots_.give(early.slot);
    }
    ops_.clear();  // Before the pools that their memory goes back to.
}

std::optional<plan::Rank> MemberState::rank_of(const MemberId& id) const {
    const auto at = ranks_.find(id);
    return at == ranks_.end() ? std::nullopt : std::optional<plan::Rank>(at->second);
}

Link* MemberState::link_of(plan::Rank rank) {
    PCCL_ASSERT(rank < members_.size());
    const auto at = links_.find(members_[rank]);
    return at == links_.end() ? nullptr : &at->second;
}

std::string MemberState::who(const MemberId& id) const {
    const auto rank = rank_of(id);
    std::string text = rank ? "rank " + std::to_string(*rank) + " (" : "peer (";
    text += id.brief();
    if (rank && !peers_[*rank].endpoints.empty()) {
        const wire::Endpoint& endpoint = peers_[*rank].endpoints.front();
        text += ", " + endpoint.text();
    }
    return text + ")";
}

Ticket MemberState::new_ticket(wire::OpKind kind, uint64_t tag) {
    const Ticket ticket = ++last_ticket_;
    Call& call = calls_[ticket];
    call.kind = kind;
    call.tag = tag;
    call.is_op = true;
    tags_[{kind, tag}].busy = ticket;
    return ticket;
}

void MemberState::complete(Ticket ticket, CallResult result) {
    const auto at = calls_.find(ticket);
    if (at == calls_.end() || at->second.result) return;
    at->second.result = std::move(result);
    Action action{Action::Kind::kCompleted};
    action.ticket = ticket;
    outbox_.push_back(std::move(action));
}

Member::Member(MemberConfig config) : state_(std::make_unique<MemberState>(std::move(config))) {}
Member::~Member() = default;

void Member::coordinator_up(TimeUs now) { state_->coordinator_up(now); }
void Member::coordinator_down(TimeUs now, const std::string& why) { state_->coordinator_down(now, why); }
bool Member::coordinator_frame(TimeUs now, wire::Type type, std::span<const uint8_t> body) {
    return state_->coordinator_frame(now, type, body);
}
void Member::link_up(TimeUs now, const MemberId& peer, uint64_t incarnation) {
    state_->link_up(now, peer, incarnation);
}
void Member::link_down(TimeUs now, const MemberId& peer, uint64_t incarnation, const std::string& why) {
    state_->link_down(now, peer, incarnation, why);
}
void Member::connect_failed(TimeUs now, const MemberId& peer, const std::string& why) {
    state_->connect_failed(now, peer, why);
}
void Member::link_heard(TimeUs now, const MemberId& peer) {
    const auto at = state_->links_.find(peer);
    if (at != state_->links_.end()) at->second.heard = now;
}
wire::HelloAck Member::judge_hello(const wire::Hello& hello) const { return state_->judge_hello(hello); }
bool Member::peer_frame(TimeUs now, const MemberId& peer, wire::Type type, std::span<const uint8_t> body) {
    return state_->peer_frame(now, peer, type, body);
}
Place Member::place(TimeUs now, const MemberId& peer, const wire::Data& header, uint32_t payload_bytes) {
    return state_->place(now, peer, header, payload_bytes);
}
bool Member::landed(TimeUs now, const MemberId& peer, const wire::Data& header, uint8_t* data,
                    uint32_t payload_bytes) {
    return state_->landed(now, peer, header, data, payload_bytes);
}
void Member::dropped(const MemberId& peer, const wire::Data& header, uint8_t* data, uint32_t payload_bytes) {
    state_->dropped(peer, header, data, payload_bytes);
}
bool Member::next_data(TimeUs now, const MemberId& peer, DataOut& out) {
    return state_->next_data(now, peer, out);
}

Status Member::join(TimeUs now, Ticket* ticket) { return state_->join(now, ticket); }
Status Member::all_reduce(TimeUs now, const ReduceCall& call, Ticket* ticket) {
    return state_->all_reduce(now, call, ticket);
}
Status Member::peers_pending(TimeUs now, Ticket* ticket) { return state_->peers_pending(now, ticket); }
Status Member::synchronize(TimeUs now, SyncCall call, Ticket* ticket) {
    return state_->synchronize(now, std::move(call), ticket);
}
Status Member::update_topology(TimeUs now, Ticket* ticket) {
    return state_->vote(now, wire::VoteKind::kUpdate, ticket);
}
Status Member::optimize_topology(TimeUs now, Ticket* ticket) {
    return state_->vote(now, wire::VoteKind::kOptimize, ticket);
}
Status Member::cancel(TimeUs now, Ticket ticket) { return state_->cancel(now, ticket); }
Status Member::leave(TimeUs now, Ticket* ticket) { return state_->leave(now, ticket); }
void Member::abandon(TimeUs now, const Status& status) { state_->set_fate(now, status); }
bool Member::wants_coordinator() const { return state_->wants_coordinator(); }
TimeUs Member::coordinator_heard() const { return state_->coordinator_heard_; }

const CallResult* Member::result(Ticket ticket) const {
    const auto at = state_->calls_.find(ticket);
    return at == state_->calls_.end() || !at->second.result ? nullptr : &*at->second.result;
}

void Member::forget(Ticket ticket) {
    const auto at = state_->calls_.find(ticket);
    if (at == state_->calls_.end() || !at->second.result) return;
    if (at->second.is_op) {
        const auto tag = state_->tags_.find({at->second.kind, at->second.tag});
        if (tag != state_->tags_.end() && tag->second.busy == ticket) tag->second.busy = 0;
    }
    state_->calls_.erase(at);
}

size_t Member::open_calls() const {
    size_t count = 0;
    for (const auto& [ticket, call] : state_->calls_) count += call.is_op ? 1 : 0;
    return count;
}

const View& Member::view() const { return state_->view_; }
bool Member::admitted() const { return state_->admitted_; }
const Status& Member::fate() const { return state_->fate_; }
TimeUs Member::deadline() const {
    return state_->last_tick_ +
           std::max<TimeUs>(
               std::min(state_->config_.timeouts.heartbeat, state_->config_.timeouts.liveness / 5) / 2,
               kMillisecond);
}
void Member::tick(TimeUs now) { state_->tick(now); }
std::vector<Action>& Member::outbox() { return state_->outbox_; }

std::string Member::describe() const {
    const MemberState& s = *state_;
    std::string out = "member " + s.config_.id.brief() + " epoch " + s.epoch_.text() + " of " +
                      std::to_string(s.members_.size()) +
                      (s.frozen_ ? ", frozen for " + s.promised_.text() : "") + (s.vote_ ? ", voting" : "") +
                      (s.coordinator_up_ ? "" : ", no coordinator") +
                      (s.fate_.ok() ? "" : ", fate: " + s.fate_.text()) + "\n";
    for (const auto& [key, op] : s.ops_) {
        out += "  " + key.text() + (op->called ? " called" : " heard") +
               (op->in_barrier ? " in barrier round " + std::to_string(op->round) : "") + ", called by " +
               std::to_string(op->remote_called_count) + " others\n";
    }
    for (const auto& [id, link] : s.links_) {
        out += "  link " + id.brief() +
               (link.up           ? " up"
                : link.connecting ? " connecting"
                                  : " down") +
               " eager " + std::to_string(link.flow.eager_left) + " slots " +
               std::to_string(link.flow.slots_left) + "\n";
    }
    return out;
}

Holdings Member::holdings() const {
    const MemberState& s = *state_;
    return {s.ops_.size(),   s.tombstones_.size(),   s.future_.size(),
            s.future_bytes_, s.slots_.bytes_taken(), s.links_.size()};
}

}  // namespace pccl::core
