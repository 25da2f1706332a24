// What a member does and says when an epoch change begins: it makes no further transition, and answers with a
// record of every operation whose end is not covered by an applied Install. The answer fits into a frame
// whatever the program and the peers have done.
#include <algorithm>

#include "core/member_state.h"

namespace pccl::core {
namespace {

// Of one answer. Together with maps, counters and records of a usual size this stays far below a frame's
// limit.
constexpr size_t kTextBytesMax = 2 << 20;
constexpr size_t kShortTextBytes = 64;

}  // namespace

void MemberState::drop_future() {
    for (FutureFrame& frame : future_) {
        if (frame.slot != nullptr) slots_.give(frame.slot);
    }
    future_.clear();
    future_bytes_ = 0;
    for (auto& [id, link] : links_) {
        link.flow.future_held = 0;
        link.flow.future_frames = 0;
        link.flow.future_bytes = 0;
    }
}

/// From here on no operation makes a transition, and nothing of the old epoch is received or sent.
void MemberState::freeze() {
    frozen_ = true;
    drop_future();
    if (config_.mutations.no_freeze) return;
    outbox_.push_back(Action{Action::Kind::kCutAll});
    for (auto& [id, link] : links_) release_in_flight(link, nullptr);
}

wire::OpRecord MemberState::record_of(const Op& op) const {
    wire::OpRecord record;
    record.key = op.key;
    record.descriptor = op.descriptor;
    record.cancel = op.cancel;
    if (op.cancel) record.text = op.cancel_reason;
    record.attempt = op.attempt;
    record.flags = op.flags;
    record.state = op.in_barrier ? wire::OpState::kComplete : wire::OpState::kIncomplete;
    if (op.run) {
        record.segments = op.run->segments();
        const bool any = !op.in_barrier && op.run->any_final();
        if (any) record.finals = op.run->finals();
    }
    return record;
}

wire::Frozen MemberState::frozen_answer(TimeUs now) {
    wire::Frozen answer;
    for (const MemberId& id : members_) {
        const auto link = links_.find(id);
        const bool goes_on = proposal_ && std::any_of(proposal_->members.begin(), proposal_->members.end(),
                                                      [&](const wire::Peer& peer) { return peer.id == id; });
        if (goes_on || link == links_.end()) continue;
        answer.missing.push_back(
            {id, static_cast<uint64_t>(now - link->second.heard), link->second.received_bytes});
    }
    answer.id = promised_;
    answer.installed = epoch_;
    answer.next_revision = next_revision_;
    answer.wants_counter_reset = tags_in_use() > config_.tags_max;
    for (const auto& [name, tag] : tags_) {
        const bool open = ops_.count({name.first, name.second, tag.calls}) != 0;
        const uint64_t ended = tag.calls - (open && tag.calls > 0 ? 1 : 0);
        if (config_.mutations.forget_returned) {
            answer.counters.push_back({name.first, name.second, ended - tag.last.size()});
            continue;
        }
        answer.counters.push_back({name.first, name.second, ended});
        answer.records.insert(answer.records.end(), tag.last.begin(), tag.last.end());
    }
    list_reports(answer);
    list_open(answer);
    // Texts are for people; only very many of them are cut.
    size_t text_bytes = 0;
    for (wire::OpRecord& record : answer.records) {
        text_bytes += record.text.size();
        if (text_bytes > kTextBytesMax && record.text.size() > kShortTextBytes)
            record.text.resize(kShortTextBytes);
    }
    return answer;
}

void MemberState::list_reports(wire::Frozen& answer) const {
    for (const auto& [key, status] : tombstones_) {
        answer.tombstones.push_back(key);
        if (status.code() != Code::MISMATCH) continue;
        // The member that saw the mismatch may be gone, and others not have heard of it.
        wire::OpRecord record;
        record.key = key;
        record.state = wire::OpState::kError;
        record.error = static_cast<uint8_t>(status.code());
        record.text = status.text();
        answer.records.push_back(std::move(record));
    }
}

/// Operations that are called here. What is final of very many large ones is forgotten, and computed again,
/// rather than listed.
void MemberState::list_open(wire::Frozen& answer) {
    size_t map_bytes = 0;
    for (const auto& [key, op] : ops_) {
        if (!op->called) continue;
        op->cancel_told = op->cancel;
        wire::OpRecord record = record_of(*op);
        if (map_bytes + record.finals.size() > config_.map_bytes_max) {
            op->run->restore();
            record.finals.clear();
        }
        map_bytes += record.finals.size();
        answer.records.push_back(std::move(record));
    }
}

}  // namespace pccl::core
