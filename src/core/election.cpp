#include "core/election.h"

#include <algorithm>
#include <map>

namespace pccl::core {
namespace {

using plan::Rank;
using Role = Election::Role;

SyncStrategy strategy_of(const wire::Offer& offer) { return static_cast<SyncStrategy>(offer.strategy); }

void evict(Election& out, size_t rank, const char* reason) {
    out.roles[rank] = Role::kEvicted;
    out.reasons[rank] = reason;
}

/// Evicts those whose strategy does not go with the others'; true in `stands` for who may be elected.
std::vector<bool> check_strategies(const std::vector<wire::Offer>& offers, Election& out) {
    const auto uses = [&](SyncStrategy strategy) {
        return std::any_of(offers.begin(), offers.end(),
                           [&](const wire::Offer& o) { return strategy_of(o) == strategy; });
    };
    const bool enforce = uses(SyncStrategy::kEnforcePopular);
    const bool send = uses(SyncStrategy::kSendOnly);
    std::vector<bool> stands(offers.size(), false);
    for (size_t r = 0; r < offers.size(); ++r) {
        const SyncStrategy strategy = strategy_of(offers[r]);
        if (enforce && strategy != SyncStrategy::kEnforcePopular) {
            evict(out, r, "another member uses ENFORCE_POPULAR, which does not mix with other strategies");
        } else if (!enforce && !send) {
            evict(out, r, "all members of the group are RECEIVE_ONLY, so nobody can serve the shared state");
        } else {
            stands[r] = strategy != SyncStrategy::kReceiveOnly && !offers[r].tainted;
        }
    }
    return stands;
}

/// The revision that the winner must hold; false when nobody can.
bool find_revision(const std::vector<wire::Offer>& offers, const std::vector<bool>& stands,
                   bool adopt_highest, Election& out) {
    uint64_t next = 0;
    for (const wire::Offer& offer : offers) next = std::max(next, offer.next_revision);
    bool any = false, at_next = false;
    uint64_t highest = 0;
    for (size_t r = 0; r < offers.size(); ++r) {
        if (next > 0 && offers[r].revision > next && out.roles[r] != Role::kEvicted) {
            evict(out, r, "its revision is above the one that the group expects");
        }
        if (!stands[r] || out.roles[r] == Role::kEvicted) continue;
        any = true;
        at_next |= offers[r].revision == next;
        highest = std::max(highest, offers[r].revision);
    }
    if (!any) {
        out.failure = "no member holds an intact shared state";
        return false;
    }
    out.revision = next == 0 || !at_next ? highest : next;
    out.adopted_highest = next != 0 && !at_next;
    if (out.adopted_highest && !adopt_highest) {
        out.failure = "no member holds revision " + std::to_string(next) + ", which the group expects";
        return false;
    }
    return true;
}

/// The lowest rank among the holders of the content that most candidates hold.
size_t find_winner(const std::vector<wire::Offer>& offers, const std::vector<bool>& stands,
                   const Election& out) {
    std::map<std::pair<wire::Hash, wire::Hash>, std::pair<size_t, size_t>>
        votes;  // content -> (count, first rank)
    for (size_t r = 0; r < offers.size(); ++r) {
        if (!stands[r] || out.roles[r] == Role::kEvicted || offers[r].revision != out.revision) continue;
        auto [at, fresh] = votes.try_emplace({offers[r].keys, offers[r].content}, 0, r);
        ++at->second.first;
    }
    size_t winner = 0, most = 0;
    for (const auto& [content, tally] : votes) {
        if (tally.first > most || (tally.first == most && tally.second < winner)) {
            most = tally.first;
            winner = tally.second;
        }
    }
    return winner;
}

}  // namespace

Election elect(const std::vector<wire::Offer>& offers, bool adopt_highest) {
    Election out;
    out.roles.assign(offers.size(), Role::kFollower);
    out.reasons.resize(offers.size());
    const std::vector<bool> stands = check_strategies(offers, out);
    if (std::all_of(out.roles.begin(), out.roles.end(), [](Role role) { return role == Role::kEvicted; }))
        return out;
    if (!find_revision(offers, stands, adopt_highest, out)) return out;
    const wire::Offer& winner = offers[find_winner(offers, stands, out)];
    out.content = winner.content;
    for (size_t r = 0; r < offers.size(); ++r) {
        if (out.roles[r] == Role::kEvicted) continue;
        const bool same = offers[r].content == winner.content && !offers[r].tainted;
        if (offers[r].keys != winner.keys) {
            evict(out, r, "its set of tensors differs from the one that most members hold");
        } else if (strategy_of(offers[r]) == SyncStrategy::kSendOnly && !same) {
            evict(out, r, "it is SEND_ONLY and its content lost the election");
        } else if (same && stands[r] && offers[r].revision == out.revision) {
            out.roles[r] = Role::kHolder;
            out.holders.push_back(static_cast<Rank>(r));
        }
    }
    return out;
}

}  // namespace pccl::core
