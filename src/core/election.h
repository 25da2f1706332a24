// The election of a shared state: who holds the content that the group adopts, who must fetch it, who has to
// go. A pure function of all members' offers, so every member computes the same without asking.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/member.h"
#include "plan/plan.h"
#include "wire/messages.h"

namespace pccl::core {

struct Election {
    enum class Role : uint8_t { kHolder, kFollower, kEvicted };
    std::vector<Role> roles;           ///< by rank
    std::vector<std::string> reasons;  ///< by rank, of evictions
    std::vector<plan::Rank> holders;   ///< ascending
    uint64_t revision = 0;
    wire::Hash content;            ///< the winner's
    bool adopted_highest = false;  ///< nobody held the expected revision
    std::string failure;           ///< nobody can serve: the call fails at all that are not evicted
};

/// `offers` by rank.
///
/// Rules. Any ENFORCE_POPULAR member evicts all that use another strategy; without one, SEND_ONLY members
/// stand, and a group of RECEIVE_ONLY alone is evicted whole. The expected revision is `next_revision`, or
/// while that is 0 the highest offered by a member that stands. Above it: evicted. The content held by most
/// of those at the expected revision wins, in a tie the one whose holder has the lowest rank. Another key set
/// than the winner's: evicted. SEND_ONLY with another content: evicted. All others follow, which costs
/// nothing when their content is equal already.
Election elect(const std::vector<wire::Offer>& offers, bool adopt_highest);

}  // namespace pccl::core
