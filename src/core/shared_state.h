// One synchronisation of a shared state at one member: offers to all, the election, pulls, then the commit
// barrier.
//
// A follower first pulls a holder's table of hashes, compares it with its own, and pulls the tensors that
// differ, spread over all holders in ranges, straight into the caller's memory. A reception is undone by
// nothing: after an abort the content is undefined, and the result says so.
//
// Guarded by the owner of the member. Spans given out stay valid until enter_epoch or destruction.
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/check.h"
#include "core/election.h"
#include "core/member.h"
#include "plan/plan.h"
#include "wire/messages.h"

namespace pccl::core {

class SharedState {
   public:
    struct Request {
        plan::Rank to;
        wire::Pull pull;  ///< epoch and key are filled by the caller
    };
    struct Out {
        uint32_t object;
        uint64_t offset;
        std::span<const uint8_t> payload;
    };

    SharedState(SyncCall call, uint64_t next_revision, bool first_sync, bool adopt_highest);

    /// This member's offer, without epoch and key; the same for the whole call.
    const wire::Offer& offer() const { return offer_; }

    /// Starts in an epoch: offers are exchanged anew (they do not change, so the outcome does not either),
    /// and ranges that did not arrive are pulled anew.
    void enter_epoch(const plan::Topology& topology, plan::Rank rank);
    /// False: invalid. After the last offer the election is held.
    bool offered(plan::Rank from, const wire::Offer& offer);
    bool elected() const { return election_.has_value(); }
    /// Once it is elected.
    const Election& election() const {
        PCCL_ASSERT(election_.has_value());
        return *election_;
    }

    /// Pulls to send now; bounded per source.
    std::vector<Request> take_requests();
    /// A pull from another member; false: invalid. Kept until this member holds the content.
    bool pulled(plan::Rank from, const wire::Pull& pull);
    bool has_data(plan::Rank to) const;
    bool next(plan::Rank to, Out& out);

    /// Where a pulled range's payload goes; null with an error text when it was not asked for.
    uint8_t* place(plan::Rank from, const wire::Data& header, uint32_t bytes, const char** error);
    void landed(plan::Rank from, const wire::Data& header, uint32_t bytes);

    /// All that this member has to fetch is there.
    bool complete() const { return complete_; }
    bool tainted() const { return wrote_ && !complete_; }
    uint64_t tx_bytes() const { return tx_bytes_; }
    uint64_t rx_bytes() const { return rx_bytes_; }
    std::vector<bool> received() const { return received_; }
    std::vector<plan::Rank>& woken() { return woken_; }

    static constexpr uint64_t kRangeBytes = 4 << 20;
    static constexpr uint64_t kChunkBytes = 256 << 10;

   private:
    struct Range {
        uint32_t object;
        uint64_t offset;
        uint64_t bytes;
        plan::Rank source = 0;
        uint64_t chunks_landed = 0;  ///< bit per chunk
        uint64_t chunks_placed = 0;
        bool requested = false;
        uint64_t chunks_all() const;
    };
    struct Serving {
        uint32_t object;
        uint64_t offset;
        uint64_t bytes;
    };

    uint8_t* object_data(uint32_t object);
    uint64_t object_bytes(uint32_t object) const;
    void hold_election();
    void choose_sources();
    void want(uint32_t object);
    void table_arrived();
    Range* find(plan::Rank from, const wire::Data& header, uint32_t bytes, uint64_t* chunk);
    void finish_if_done();
    void become_complete();

    SyncCall call_;
    wire::Offer offer_;
    bool first_sync_;
    std::vector<uint8_t> own_table_, table_;  ///< 16 bytes per tensor

    plan::Topology topology_;
    plan::Rank rank_ = 0;
    std::vector<std::optional<wire::Offer>> offers_;
    std::optional<Election> election_;
    std::vector<plan::Rank> sources_;
    bool fetching_ = false, table_done_ = false, complete_ = false, wrote_ = false;
    std::vector<Range> ranges_;  ///< not complete yet
    std::vector<std::deque<Serving>> serving_;
    std::vector<bool> received_;
    std::vector<plan::Rank> woken_;
    uint64_t tx_bytes_ = 0, rx_bytes_ = 0;
};

}  // namespace pccl::core
