// The account of a loss: who, when, seen by whom, what was interrupted and what became of it. It travels in
// the Install, so that every survivor has the same.
#include <algorithm>

#include "core/coordinator_state.h"

namespace pccl::core {
namespace {

constexpr size_t kCauseBytesMax = 512;
constexpr size_t kOperationsToldMax = 8;

std::string outcome_of(const wire::Decision& decision) {
    switch (decision.verdict) {
        case wire::Verdict::kFail: return "failed: " + decision.text.substr(0, 64);
        case wire::Verdict::kCommit: return "committed";
        case wire::Verdict::kFinish: return "finished with the old contributors";
        case wire::Verdict::kCancel: return "cancelled";
        case wire::Verdict::kResume: return "resumed";
        case wire::Verdict::kAbort: return decision.redo ? "run again by the survivors" : "reported as lost";
    }
    return "";
}

/// "2 of 3 had called it, 1 of them complete"
std::string progress_of(const wire::OpKey& key, const DecideInput& input) {
    size_t called = 0, complete = 0;
    for (const auto& [id, answer] : input.survivors) {
        for (const wire::OpRecord& record : answer->records) {
            if (record.key != key) continue;
            ++called;
            complete += record.state == wire::OpState::kComplete || record.state == wire::OpState::kSuccess;
            break;
        }
    }
    return std::to_string(called) + " of " + std::to_string(input.survivors.size()) +
           " survivors had called it, " + std::to_string(complete) + " of them complete";
}

std::string operations_of(const std::vector<wire::Decision>& decisions, const DecideInput& input) {
    std::string out;
    for (size_t i = 0; i < std::min(decisions.size(), kOperationsToldMax); ++i) {
        const wire::Decision& decision = decisions[i];
        out += (out.empty() ? "" : "; ") + decision.key.text() + " (" + progress_of(decision.key, input) +
               ") was " + outcome_of(decision);
    }
    if (decisions.size() > kOperationsToldMax)
        out += "; and " + std::to_string(decisions.size() - kOperationsToldMax) + " more operations";
    return out.empty() ? "none" : out;
}

}  // namespace

/// Of a member that an installed epoch lists; what survivors know of it follows with their answers.
void CoordinatorState::note_loss(TimeUs now, const MemberId& id, const std::string& reason) {
    const MemberInfo& member = members_.at(id);
    GroupInfo& group = groups_[member.group];
    const auto rank = std::find(group.members.begin(), group.members.end(), id);
    if (rank == group.members.end()) return;
    wire::Loss loss;
    loss.member = id;
    loss.rank = static_cast<uint32_t>(rank - group.members.begin());
    if (!member.peer.endpoints.empty()) loss.address = member.peer.endpoints.front().text();
    loss.unix_time_us = static_cast<uint64_t>(now + config_.unix_time_offset_us);
    loss.cause = reason.substr(0, kCauseBytesMax);
    group.losses.push_back(std::move(loss));
}

void CoordinatorState::tell_losses(GroupInfo& group, const Proposal& proposal, const DecideInput& input,
                                   wire::Install& install) {
    install.losses = std::move(group.losses);
    group.losses.clear();
    if (install.losses.empty()) return;
    const std::string operations = operations_of(install.decisions, input);
    for (wire::Loss& loss : install.losses) {
        loss.operations = operations;
        for (const auto& [id, answer] : proposal.answers) {
            for (const wire::LastHeard& last : answer.missing) {
                if (last.peer != loss.member || (loss.heard && loss.silent_us <= last.silent_us)) continue;
                loss.heard = true;
                loss.silent_us = last.silent_us;
                loss.received_bytes = last.received_bytes;
                loss.heard_by = id;
            }
        }
    }
}

}  // namespace pccl::core
