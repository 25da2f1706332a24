// What the orchestrator makes of the reports: whether the workers agree, and how long recovery took. Pure:
// fed with events and their times, no processes in sight.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "messages.h"

namespace pccl::stress {

class Ledger {
   public:
    void joined(int worker, uint64_t member, uint32_t group);
    /// The worker is no member any more: it ended, or it was lost and joins again. Whether it was one.
    bool gone(int worker);
    /// Before gone(): its death was our doing.
    void killed(int worker, int64_t time_ns);
    /// Returns the text of a contradiction, or nothing.
    std::string success(int worker, const Success& report);
    /// The run ends: what has not recovered by now is not waited for.
    void finish();

    uint64_t iterations() const { return iterations_; }  ///< distinct steps that somebody completed
    uint64_t operations() const { return operations_; }  ///< successes of all the workers
    uint64_t divergences() const { return divergences_; }
    uint64_t wrong() const { return wrong_; }
    uint64_t retries() const { return retries_; }
    uint64_t not_recovered() const { return not_recovered_; }
    uint64_t recoveries_alone() const { return recoveries_alone_; }
    /// From the kill to the first success without the victim, of the first survivor and of the last one.
    const std::vector<double>& recovery_first_ms() const { return recovery_first_ms_; }
    const std::vector<double>& recovery_all_ms() const { return recovery_all_ms_; }

    void count_wrong() { ++wrong_; }

   private:
    struct Outcome {
        uint64_t contributors_hash, result_hash;
        int worker;
    };
    struct Name {
        uint64_t lineage, step, tag;
        bool operator==(const Name&) const = default;
    };
    struct NameHash {
        size_t operator()(const Name& name) const;
    };
    struct Recovery {
        uint64_t victim;
        int64_t killed_ns, first_ns = 0, last_ns = 0;
        std::set<int> waiting;
        int survivors;
    };

    void note_recovery(int worker, const Success& report);
    void close(const Recovery& recovery);

    struct Membership {
        uint64_t member;
        uint32_t group;
    };

    std::unordered_map<int, Membership> members_;
    std::unordered_map<Name, Outcome, NameHash> outcomes_;
    std::deque<Name> order_;
    std::vector<Recovery> recoveries_;
    std::vector<double> recovery_first_ms_, recovery_all_ms_;
    uint64_t iterations_ = 0, operations_ = 0, divergences_ = 0, wrong_ = 0, retries_ = 0;
    uint64_t not_recovered_ = 0, recoveries_alone_ = 0;
};

}  // namespace pccl::stress
