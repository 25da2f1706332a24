#include "script_world.h"

#include <algorithm>

namespace pccl::test {

using core::Action;
using core::CoordinatorAction;

namespace {

const std::string kCoordinator = "C";
const std::string kDisk = "disk";

/// The member's end of it; its number, or 0 when there was none.
uint64_t lose_connection(ScriptNode& node) {
    node.closing = false;
    return std::exchange(node.connection, 0);
}

}  // namespace

ScriptNode* ScriptWorld::find(const std::string& name) {
    for (auto& node : nodes_) {
        if (node->name == name) return node.get();
    }
    return nullptr;
}

ScriptNode* ScriptWorld::find(const MemberId& id) {
    for (auto& node : nodes_) {
        if (node->id == id) return node.get();
    }
    return nullptr;
}

std::string ScriptWorld::type_name(wire::Type type) {
    static const std::map<wire::Type, std::string> kNames = {
        {wire::Type::kData, "data"},
        {wire::Type::kCalled, "called"},
        {wire::Type::kDone, "done"},
        {wire::Type::kCredit, "credit"},
        {wire::Type::kMismatch, "mismatch"},
        {wire::Type::kHeartbeat, "heartbeat"},
        {wire::Type::kRelay, "relay"},
        {wire::Type::kRegister, "register"},
        {wire::Type::kVote, "vote"},
        {wire::Type::kWithdraw, "withdraw"},
        {wire::Type::kSuspect, "suspect"},
        {wire::Type::kRequestChange, "request-change"},
        {wire::Type::kFrozen, "frozen"},
        {wire::Type::kLinked, "linked"},
        {wire::Type::kPrepared, "prepared"},
        {wire::Type::kLeave, "leave"},
        {wire::Type::kWelcome, "welcome"},
        {wire::Type::kRefused, "refused"},
        {wire::Type::kPrepare, "prepare"},
        {wire::Type::kExpect, "expect"},
        {wire::Type::kPropose, "propose"},
        {wire::Type::kInstall, "install"},
        {wire::Type::kVoteAnswer, "vote-answer"},
        {wire::Type::kPending, "pending"},
        {wire::Type::kEvicted, "evicted"},
        {wire::Type::kLeft, "left"},
    };
    const auto at = kNames.find(type);
    return at == kNames.end() ? "type " + std::to_string(static_cast<int>(type)) : at->second;
}

std::string ScriptWorld::text_of(const Ends& ends, const ScriptFrame& frame) {
    return ends.second == kDisk ? "record" : frame.end ? "end" : type_name(frame.type);
}

/// Names in place of ids.
std::string ScriptWorld::named(std::string text) {
    for (const auto& node : nodes_) {
        const std::string id = node->id.brief();
        for (size_t at = 0; (at = text.find(id, at)) != std::string::npos;)
            text.replace(at, id.size(), node->name);
    }
    return text;
}

// ---- calls

void ScriptWorld::join(const std::string& name, uint32_t group) {
    auto node = std::make_unique<ScriptNode>();
    core::MemberConfig config;
    config.id = MemberId{random_.next_id()};
    config.group = group;
    config.endpoints = {{name, 1}};
    config.constants.retry_policy = report_losses ? 1 : 0;
    config.constants.segment_bytes = 64;
    config.timeouts = core::Timeouts::derive({});
    node->name = name;
    node->id = config.id;
    node->member = std::make_unique<core::Member>(config);
    nodes_.push_back(std::move(node));
    ScriptNode& joined = *nodes_.back();
    core::Ticket ticket = 0;
    const Status status = joined.member->join(now_, &ticket);
    note_call(joined, "join", status, ticket);
    connect(joined);
}

void ScriptWorld::note_call(ScriptNode& node, const char* what, const Status& status, core::Ticket ticket,
                            std::unique_ptr<Reduction> buffers) {
    if (!status) {
        printed += node.name + ": " + what + ": " + named(status.text()) + "\n";
    } else {
        node.calls.push_back({what, ticket, std::move(buffers)});
    }
    collect();
}

void ScriptWorld::vote(ScriptNode& node) {
    core::Ticket ticket = 0;
    const Status status = node.member->update_topology(now_, &ticket);
    note_call(node, "vote", status, ticket);
}

void ScriptWorld::reduce(ScriptNode& node, uint64_t tag) {
    auto buffers = std::make_unique<Reduction>(64, 1);
    core::ReduceCall call;
    call.send = reinterpret_cast<const uint8_t*>(buffers->in.data());
    call.receive = reinterpret_cast<uint8_t*>(buffers->out.data());
    call.count = buffers->in.size();
    call.tag = tag;
    core::Ticket ticket = 0;
    const Status status = node.member->all_reduce(now_, call, &ticket);
    note_call(node, tag == 0 ? "reduce" : ("reduce " + std::to_string(tag)).c_str(), status, ticket,
              std::move(buffers));
}

void ScriptWorld::query(ScriptNode& node) {
    core::Ticket ticket = 0;
    const Status status = node.member->peers_pending(now_, &ticket);
    note_call(node, "query", status, ticket);
}

/// The last call.
void ScriptWorld::cancel(ScriptNode& node) {
    if (node.calls.empty()) return;
    const Status status = node.member->cancel(now_, node.calls.back().ticket);
    if (!status) printed += node.name + ": cancel: " + named(status.text()) + "\n";
    collect();
}

void ScriptWorld::leave(ScriptNode& node) {
    core::Ticket ticket = 0;
    const Status status = node.member->leave(now_, &ticket);
    note_call(node, "leave", status, ticket);
}

// ---- connections

void ScriptWorld::connect(ScriptNode& node) {
    if (!coordinator_ || node.connection != 0 || !node.alive) return;
    node.connection = ++connections_;
    coordinator_->opened(now_, node.connection, node.name);
    node.member->coordinator_up(now_);
    collect();
}

void ScriptWorld::disconnect(ScriptNode& node) { drop(node.name, kCoordinator); }

void ScriptWorld::reconnect() {
    for (auto& node : nodes_) {
        if (node->alive && !node->stopped && node->member->wants_coordinator()) connect(*node);
    }
}

void ScriptWorld::drop(const std::string& a, const std::string& b) {
    if (a == kCoordinator) return drop(b, a);
    if (b != kCoordinator) {
        close_link(a, b, true, true);
        return collect();
    }
    ScriptNode* node = find(a);
    if (node == nullptr || node->connection == 0) return;
    queues_.erase({a, b});
    queues_.erase({b, a});
    const uint64_t connection = lose_connection(*node);
    if (coordinator_) coordinator_->closed(now_, connection, "the connection was lost");
    if (node->alive) node->member->coordinator_down(now_, "the connection was lost");
    collect();
}

void ScriptWorld::suspect(const std::string& a, const std::string& b) {
    close_link(a, b, true, false);
    collect();
}

/// Both ends stop exchanging frames; who is told knows it.
void ScriptWorld::close_link(const std::string& a, const std::string& b, bool tell_a, bool tell_b) {
    queues_.erase({a, b});
    queues_.erase({b, a});
    for (const auto& [self, other, told] : {std::tuple{a, b, tell_a}, std::tuple{b, a, tell_b}}) {
        const auto at = links_.find({self, other});
        if (!told || at == links_.end()) continue;
        const uint64_t incarnation = at->second.incarnation;
        links_.erase(at);
        ScriptNode* node = find(self);
        if (node->alive) node->member->link_down(now_, find(other)->id, incarnation, "closed");
    }
}

void ScriptWorld::kill(ScriptNode& node, bool silent) {
    node.alive = false;
    for (auto& other : nodes_) {
        if (other.get() == &node) continue;
        links_.erase({node.name, other->name});
        connecting_.erase({node.name, other->name});
        close_link(other->name, node.name, !silent, false);
    }
    const uint64_t connection = lose_connection(node);
    queues_.erase({node.name, kCoordinator});
    queues_.erase({kCoordinator, node.name});
    if (!silent && connection != 0 && coordinator_) coordinator_->closed(now_, connection, "closed");
    collect();
}

void ScriptWorld::open_link(ScriptNode& from, ScriptNode& to) {
    const bool cut = unreachable.count({from.name, to.name}) + unreachable.count({to.name, from.name}) > 0;
    if (!to.alive || cut) return from.member->connect_failed(now_, to.id, "refused");
    if (to.stopped) {
        connecting_.insert({from.name, to.name});
        return;
    }
    connecting_.erase({from.name, to.name});
    const uint64_t incarnation = ++incarnations_;
    // What is left of an old link goes.
    close_link(from.name, to.name, true, true);
    links_[{from.name, to.name}] = {incarnation};
    links_[{to.name, from.name}] = {incarnation};
    to.member->link_up(now_, from.id, incarnation);
    from.member->link_up(now_, to.id, incarnation);
}

// ---- the coordinator

void ScriptWorld::stop_coordinator() {
    coordinator_.reset();
    queues_.erase({kCoordinator, kDisk});
    for (auto& node : nodes_) {
        queues_.erase({kCoordinator, node->name});
        queues_.erase({node->name, kCoordinator});
        if (lose_connection(*node) == 0) continue;
        if (node->alive) node->member->coordinator_down(now_, "closed");
    }
    collect();
}

void ScriptWorld::start_coordinator() {
    core::CoordinatorConfig config;
    config.timeouts = core::Timeouts::derive({});
    core::Record previous;
    const bool found = !record_.empty();
    if (found) REQUIRE(wire::decode(record_, previous));
    coordinator_ = std::make_unique<core::Coordinator>(config, random_, found ? &previous : nullptr, now_);
    collect();
    // Its term is stored before anything else happens.
    while (step({kCoordinator, kDisk})) {
    }
}

// ---- moving frames

void ScriptWorld::collect() {
    for (auto& node : nodes_) collect(*node);
    if (!coordinator_) return;
    std::vector<CoordinatorAction> actions;
    actions.swap(coordinator_->outbox());
    for (CoordinatorAction& action : actions) act(action);
}

void ScriptWorld::collect(ScriptNode& node) {
    while (node.alive && !node.member->outbox().empty()) {
        std::vector<Action> actions;
        actions.swap(node.member->outbox());
        for (Action& action : actions) act(node, action);
    }
}

void ScriptWorld::act(CoordinatorAction& action) {
    if (action.kind == CoordinatorAction::Kind::kPersist) {
        queues_[{kCoordinator, kDisk}].push_back(
            {wire::Type::kHeartbeat, std::move(action.body), action.number});
        return;
    }
    for (auto& node : nodes_) {
        if (node->connection != action.connection || !node->alive) continue;
        auto& queue = queues_[{kCoordinator, node->name}];
        if (action.kind == CoordinatorAction::Kind::kSend) {
            queue.push_back({action.type, std::move(action.body)});
            return;
        }
        queues_.erase({node->name, kCoordinator});
        node->closing = true;
        ScriptFrame frame;
        frame.end = true;
        frame.why = std::move(action.text);
        queue.push_back(std::move(frame));
        return;
    }
}

void ScriptWorld::act(ScriptNode& node, Action& action) {
    ScriptNode* peer = find(action.peer);
    const bool linked = peer != nullptr && links_.count({node.name, peer->name}) != 0;
    switch (action.kind) {
        case Action::Kind::kToCoordinator:
            if (node.connection != 0 && !node.closing)
                queues_[{node.name, kCoordinator}].push_back({action.type, std::move(action.body)});
            return;
        case Action::Kind::kToPeer:
            if (linked) queues_[{node.name, peer->name}].push_back({action.type, std::move(action.body)});
            return;
        case Action::Kind::kPullData:
            if (linked) queues_[{node.name, peer->name}].push_back({wire::Type::kData, {}});
            return;
        case Action::Kind::kConnect: return peer == nullptr ? void() : open_link(node, *peer);
        case Action::Kind::kCloseLink:
            if (!linked) return;
            links_.erase({node.name, peer->name});
            return close_link(node.name, peer->name, false, true);
        case Action::Kind::kCloseCoordinator: {
            const uint64_t connection = lose_connection(node);
            if (connection == 0) return;
            const std::deque<ScriptFrame> rest = std::exchange(queues_[{node.name, kCoordinator}], {});
            for (const ScriptFrame& frame : rest) {
                if (coordinator_) coordinator_->frame(now_, connection, frame.type, frame.body);
            }
            queues_.erase({kCoordinator, node.name});
            if (coordinator_) coordinator_->closed(now_, connection, action.text);
            return;
        }
        default: return;
    }
}

/// Whether somebody is there to receive.
bool ScriptWorld::ready(const Ends& ends) {
    const auto queue = queues_.find(ends);
    if (queue == queues_.end() || queue->second.empty()) return false;
    const ScriptNode* from = find(ends.first);
    const ScriptNode* to = find(ends.second);
    if (ends.second == kDisk || ends.second == kCoordinator) return coordinator_ != nullptr;
    // A payload leaves when it is sent.
    const bool pulled = queue->second.front().type == wire::Type::kData;
    return to->alive && !to->stopped && !(pulled && from != nullptr && from->stopped);
}

bool ScriptWorld::step(const Ends& ends) {
    if (!ready(ends)) return false;
    auto& queue = queues_.at(ends);
    const ScriptFrame frame = std::move(queue.front());
    queue.pop_front();
    hand_over(ends, frame);
    collect();
    return true;
}

void ScriptWorld::hand_over(const Ends& ends, const ScriptFrame& frame) {
    if (ends.second == kDisk) {
        record_ = frame.body;
        return coordinator_->persisted(now_, frame.number);
    }
    if (frame.end) {
        ScriptNode& node = *find(ends.second);
        node.connection = 0;
        node.closing = false;
        return node.member->coordinator_down(now_, frame.why);
    }
    bool valid = true;
    if (ends.second == kCoordinator) {
        ScriptNode& from = *find(ends.first);
        valid = coordinator_->frame(now_, from.connection, frame.type, frame.body);
    } else if (ends.first == kCoordinator) {
        valid = find(ends.second)->member->coordinator_frame(now_, frame.type, frame.body);
    } else if (frame.type == wire::Type::kData) {
        pull(*find(ends.first), *find(ends.second));
    } else {
        valid = find(ends.second)->member->peer_frame(now_, find(ends.first)->id, frame.type, frame.body);
    }
    if (!valid) printed += ends.second + " refuses " + type_name(frame.type) + " of " + ends.first + "\n";
}

void ScriptWorld::pull(ScriptNode& from, ScriptNode& to) {
    core::DataOut out;
    while (from.member->next_data(now_, to.id, out)) {
        const std::vector<uint8_t> payload(out.payload.begin(), out.payload.end());
        const auto bytes = static_cast<uint32_t>(payload.size());
        const core::Place place = to.member->place(now_, from.id, out.header, bytes);
        if (place.violation)
            printed += to.name + " refuses data of " + from.name + ": " + place.reason + "\n";
        if (place.data == nullptr) continue;
        std::copy(payload.begin(), payload.end(), place.data);
        to.member->landed(now_, from.id, out.header, place.data, bytes);
    }
}

void ScriptWorld::deliver(const std::string& from, const std::string& to, const std::string& until) {
    const Ends ends{from, to};
    for (bool last = false; !last && ready(ends);) {
        const std::string type = text_of(ends, queues_.at(ends).front());
        printed += from + " -> " + to + ": " + type + "\n";
        step(ends);
        last = until.empty() || until == type;
    }
    if (printed.empty()) printed = "nothing can be delivered\n";
}

void ScriptWorld::stabilise() {
    for (bool moved = true; moved;) {
        moved = false;
        for (const Ends& ends : std::set<Ends>(connecting_)) {
            if (find(ends.second)->stopped) continue;
            moved = true;
            connecting_.erase(ends);
            open_link(*find(ends.first), *find(ends.second));
            collect();
        }
        std::vector<Ends> all;
        for (const auto& [ends, queue] : queues_) all.push_back(ends);
        for (const Ends& ends : all) moved |= step(ends);
    }
}

void ScriptWorld::tick(int64_t milliseconds) {
    for (const TimeUs end = now_ + milliseconds * kMillisecond; now_ < end;) {
        now_ = std::min(end, now_ + 100 * kMillisecond);
        if (coordinator_) coordinator_->tick(now_);
        for (auto& node : nodes_) {
            if (node->alive && !node->stopped) node->member->tick(now_);
        }
        collect();
        stabilise();
    }
}

// ---- printing

void ScriptWorld::print_views() {
    for (auto& node : nodes_) {
        if (!node->alive) continue;
        const std::string text = node->member->describe();
        const std::string line = text.substr(0, text.find('\n'));
        printed += node->name + line.substr(line.find(" epoch"));
        const core::View& view = node->member->view();
        if (view.connected) {
            printed += ":";
            for (const MemberId& id : view.members) printed += " " + find(id)->name;
        }
        printed += node->stopped ? " (stopped)\n" : "\n";
    }
    printed = named(printed);
}

/// What has ended is printed once.
void ScriptWorld::print_calls() {
    for (auto& node : nodes_) {
        if (!node->alive) continue;
        std::erase_if(node->calls, [&](const ScriptCall& call) {
            const core::CallResult* result = node->member->result(call.ticket);
            printed += node->name + ": " + call.what;
            if (result == nullptr) {
                printed += " goes on\n";
                return false;
            }
            printed += result->status.ok() ? " succeeded" : " failed: " + result->status.text();
            if (!result->contributors.empty()) printed += " of";
            for (const MemberId& id : result->contributors) printed += " " + find(id)->name;
            if (result->status.ok() && call.what == "query")
                printed += result->peers_pending ? ": yes" : ": no";
            printed += "\n";
            node->member->forget(call.ticket);
            return true;
        });
    }
    printed = named(printed);
}

void ScriptWorld::print_coordinator() {
    if (!coordinator_) {
        printed += "not running\n";
        return;
    }
    std::string text = coordinator_->describe();
    // The run's random number says nothing.
    const size_t at = text.find("run ");
    if (at != std::string::npos) text.erase(at + 4, text.find(' ', at + 4) - at - 3);
    printed += named(text);
}

void ScriptWorld::print_queues() {
    for (const auto& [ends, queue] : queues_) {
        if (queue.empty()) continue;
        printed += ends.first + " -> " + ends.second + ":";
        for (const ScriptFrame& frame : queue) printed += " " + text_of(ends, frame);
        printed += "\n";
    }
    if (printed.empty()) printed = "nothing waits\n";
}

}  // namespace pccl::test
