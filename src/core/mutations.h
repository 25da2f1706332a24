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
#endif
};

}  // namespace pccl::core
