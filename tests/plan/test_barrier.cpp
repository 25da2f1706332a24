// Goal: after the rounds everybody has heard from everybody, and each message sent is one that is awaited.
#include <algorithm>
#include <bitset>
#include <catch2/catch.hpp>
#include <string>

#include "plan/plan.h"

namespace pccl::plan {
namespace {

using Heard = std::bitset<kRanksMax>;

std::string check_barrier(Rank size) {
    std::vector<std::vector<BarrierRound>> rounds;
    std::vector<Heard> heard(size);
    for (Rank rank = 0; rank < size; ++rank) {
        rounds.push_back(make_barrier(size, rank));
        heard[rank].set(rank);
        if (rounds[rank].size() != rounds[0].size()) return "ranks differ in their number of rounds";
    }
    for (size_t round = 0; round < rounds[0].size(); ++round) {
        const std::vector<Heard> before = heard;
        size_t sent = 0;
        size_t awaited = 0;
        for (Rank rank = 0; rank < size; ++rank) {
            sent += rounds[rank][round].send_to.size();
            awaited += rounds[rank][round].receive_from.size();
            for (const Rank source : rounds[rank][round].receive_from) {
                const std::vector<Rank>& targets = rounds[source][round].send_to;
                if (source == rank) return "waits for itself";
                if (std::count(targets.begin(), targets.end(), rank) != 1)
                    return "waits for what is not sent";
                heard[rank] |= before[source];
            }
        }
        if (sent != awaited) return "a message that nobody awaits";
    }
    for (const Heard& ranks : heard) {
        if (ranks.count() != size) return "somebody has not heard from everybody";
    }
    return "";
}

TEST_CASE("after a barrier everybody has heard from everybody", "[plan]") {
    for (Rank size = 1; size <= 130; ++size) {
        INFO(size << " ranks");
        REQUIRE(check_barrier(size) == "");
    }
    for (const Rank size : {255, 256, 257, 512, 1000, 1023, 1024}) {
        INFO(size << " ranks");
        REQUIRE(check_barrier(size) == "");
    }
}

TEST_CASE("rounds of a barrier", "[plan]") {
    CHECK(make_barrier(1, 0).empty());
    CHECK(make_barrier(2, 0).size() == 1);
    CHECK(make_barrier(kDirectBarrierMax, 5).size() == 1);
    CHECK(make_barrier(kDirectBarrierMax, 5)[0].send_to.size() == kDirectBarrierMax - 1u);
    CHECK(make_barrier(33, 0).size() == 6);
    CHECK(make_barrier(64, 0).size() == 6);
    CHECK(make_barrier(65, 0).size() == 7);
    CHECK(make_barrier(64, 62)[1].send_to == std::vector<Rank>{0});
    CHECK(make_barrier(64, 0)[1].receive_from == std::vector<Rank>{62});
}

}  // namespace
}  // namespace pccl::plan
