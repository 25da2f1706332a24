// Rules that can be broken on purpose, in test builds only, to show that the simulator notices.
#pragma once

namespace pccl::core {

struct Mutations {
#ifdef PCCL_TESTING
    bool no_barrier = false;              ///< return as soon as the own result is complete
    bool majority_barrier = false;        ///< return when more than half have reported
    bool commit_if_any_complete = false;  ///< decide commit when anybody is data-complete
    bool no_freeze = false;               ///< go on in the old epoch after answering a proposal
    bool forget_returned = false;         ///< leave ended operations out of the records
    bool no_restore = false;              ///< do not restore in-place buffers after an abort
    bool no_tombstone = false;            ///< do not remember reports for operations that were not called yet
    bool accept_old_epoch = false;        ///< do not drop frames of older epochs
    bool flags_left_out = false;          ///< decisions do not carry the barrier's flags
    bool joiners_decide = false;          ///< count newcomers among the survivors in decisions
    bool no_resend = false;  ///< do not send the last Install again to a member that registers again
    bool lane_reopened =
        false;  ///< open a lost link again within the epoch, and tell the coordinator only when that fails
    bool flags_sampled_again = false;  ///< sample the flags at every step of the barrier instead of once
    bool local_timeout = false;   ///< end an operation that is over its time alone, instead of by decision
    bool stale_record = false;    ///< restart from the record before the last one
    bool reuse_epoch_id = false;  ///< propose anew under the same id, and read the old connection of a member
    bool any_reports = false;     ///< take a run without a record up with whoever has reported
#else
    static constexpr bool no_barrier = false;
    static constexpr bool majority_barrier = false;
    static constexpr bool commit_if_any_complete = false;
    static constexpr bool no_freeze = false;
    static constexpr bool forget_returned = false;
    static constexpr bool no_restore = false;
    static constexpr bool no_tombstone = false;
    static constexpr bool accept_old_epoch = false;
    static constexpr bool flags_left_out = false;
    static constexpr bool joiners_decide = false;
    static constexpr bool no_resend = false;
    static constexpr bool lane_reopened = false;
    static constexpr bool flags_sampled_again = false;
    static constexpr bool local_timeout = false;
    static constexpr bool stale_record = false;
    static constexpr bool reuse_epoch_id = false;
    static constexpr bool any_reports = false;
#endif
};

}  // namespace pccl::core
