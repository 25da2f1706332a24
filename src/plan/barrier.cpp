// The rounds of the commit barrier: when the last one is over, everybody has heard, directly or not, from
// everybody.
#include "plan/plan.h"

namespace pccl::plan {

namespace {

// One hop: as fast as the slowest link, and few enough messages while the group is small.
BarrierRound direct_round(Rank size, Rank rank) {
    BarrierRound round;
    for (Rank other = 0; other < size; ++other) {
        if (other != rank) round.send_to.push_back(other);
    }
    round.receive_from = round.send_to;
    return round;
}

}  // namespace

std::vector<BarrierRound> make_barrier(Rank size, Rank rank) {
    PCCL_ASSERT(rank < size && size <= kRanksMax);
    if (size == 1) return {};
    if (size <= kDirectBarrierMax) return {direct_round(size, rank)};
    std::vector<BarrierRound> rounds;
    for (uint32_t distance = 1; distance < size; distance *= 2) {
        BarrierRound round;
        round.send_to.push_back(static_cast<Rank>((rank + distance) % size));
        round.receive_from.push_back(static_cast<Rank>((rank + size - distance) % size));
        rounds.push_back(std::move(round));
    }
    return rounds;
}

}  // namespace pccl::plan
