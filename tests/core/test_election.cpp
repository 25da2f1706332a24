// The election of a shared state, rule by rule.
#include <catch2/catch.hpp>

#include "core/election.h"

using namespace pccl;
using namespace pccl::core;
using Role = Election::Role;

namespace {

wire::Offer offer(uint64_t revision, uint64_t content, SyncStrategy strategy = SyncStrategy::kEnforcePopular,
                  uint64_t next = 0, uint64_t keys = 1) {
    wire::Offer out;
    out.revision = revision;
    out.next_revision = next;
    out.strategy = static_cast<uint8_t>(strategy);
    out.keys = {keys, 0};
    out.content = {content, 0};
    return out;
}

constexpr auto kEnforce = SyncStrategy::kEnforcePopular;
constexpr auto kReceive = SyncStrategy::kReceiveOnly;
constexpr auto kSend = SyncStrategy::kSendOnly;

}  // namespace

TEST_CASE("the content that most hold wins; a tie goes to the lowest rank") {
    const Election most = elect({offer(0, 5), offer(0, 6), offer(0, 6)}, true);
    REQUIRE(most.holders == std::vector<plan::Rank>{1, 2});
    REQUIRE(most.roles[0] == Role::kFollower);
    const Election tie = elect({offer(0, 9), offer(0, 6), offer(0, 6), offer(0, 9)}, true);
    REQUIRE(tie.holders == std::vector<plan::Rank>{0, 3});
}

TEST_CASE("revisions: below the expected one follows, above it is evicted") {
    const Election out =
        elect({offer(4, 1, kEnforce, 5), offer(5, 2, kEnforce, 5), offer(6, 3, kEnforce, 5)}, true);
    REQUIRE(out.revision == 5);
    REQUIRE(out.roles == std::vector<Role>{Role::kFollower, Role::kHolder, Role::kEvicted});
}

TEST_CASE("while nothing is expected any first revision is accepted") {
    const Election out = elect({offer(3, 1), offer(8, 2)}, true);
    REQUIRE(out.revision == 8);
    REQUIRE_FALSE(out.adopted_highest);
}

TEST_CASE("a group whose last holder is lost adopts the highest revision present, if it may") {
    const Election out = elect({offer(3, 1, kEnforce, 5), offer(4, 2, kEnforce, 5)}, true);
    REQUIRE(out.adopted_highest);
    REQUIRE(out.revision == 4);
    REQUIRE_FALSE(elect({offer(3, 1, kEnforce, 5)}, false).failure.empty());
}

TEST_CASE("strategies") {
    const Election mixed = elect({offer(0, 1), offer(0, 1, kReceive), offer(0, 1, kSend)}, true);
    REQUIRE(mixed.roles == std::vector<Role>{Role::kHolder, Role::kEvicted, Role::kEvicted});
    const Election receivers = elect({offer(0, 1, kReceive), offer(0, 1, kReceive)}, true);
    REQUIRE(receivers.roles == std::vector<Role>{Role::kEvicted, Role::kEvicted});
    const Election pair = elect({offer(0, 1, kReceive), offer(0, 2, kSend)}, true);
    REQUIRE(pair.roles == std::vector<Role>{Role::kFollower, Role::kHolder});
    const Election rivals = elect({offer(0, 1, kSend), offer(0, 2, kSend)}, true);
    REQUIRE(rivals.roles == std::vector<Role>{Role::kHolder, Role::kEvicted});
    const Election same = elect({offer(0, 2, kSend), offer(0, 2, kSend)}, true);
    REQUIRE(same.roles == std::vector<Role>{Role::kHolder, Role::kHolder});
}

TEST_CASE("another key set is evicted") {
    const Election out = elect({offer(0, 1), offer(0, 1), offer(0, 1, kEnforce, 0, 2)}, true);
    REQUIRE(out.roles[2] == Role::kEvicted);
}

TEST_CASE("content left undefined by an interrupted call does not stand") {
    wire::Offer tainted = offer(0, 1);
    tainted.tainted = true;
    const Election out = elect({tainted, offer(0, 2)}, true);
    REQUIRE(out.holders == std::vector<plan::Rank>{1});
    REQUIRE_FALSE(elect({tainted}, true).failure.empty());
}
