/*
 * Who was lost: the account of each member that crashed, vanished or was evicted. Included by pccl/pccl.h,
 * which it needs.
 */
#ifndef PCCL_FAILURES_H
#define PCCL_FAILURES_H

#include "pccl/pccl.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A member of the group that was lost while this one was in the run: crashed, vanished, or evicted. It is the
 * same account for every survivor but for `number`. Texts end with a null byte and are cut where they are
 * longer.
 */
typedef struct pcclFailure_t {
    uint64_t number;     /* counted by this communicator since it connected, from 1 */
    pcclRankUuid_t uuid; /* of the lost member */
    uint32_t rank;       /* it had in its group */
    uint32_t peer_group;
    uint64_t epoch_term; /* and `epoch`: which list of members began without it */
    uint64_t epoch;
    uint64_t unix_time_us;   /* when the coordinator gave it up, by the coordinator's clock */
    bool heard;              /* a survivor had a link to it; else the next three fields are 0 */
    uint64_t silent_us;      /* from the last byte of it until its hearer stopped for the change */
    uint64_t received_bytes; /* of data that this hearer ever had of it */
    pcclRankUuid_t heard_by; /* the survivor that had heard it last */
    char address[128];
    char cause[512];       /* who reported it, and what was seen */
    char operations[1024]; /* the interrupted ones, how far they were, and what was decided about each */
} pcclFailure_t;

/*
 * The failures with a number above `after`, oldest first; the latest 64 are kept until the communicator
 * connects again. Local and immediate: as of the end of the caller's last call on the communicator, also
 * after it has left the run. *count becomes their number; the first `capacity` of them are written to `out`,
 * which may be null when capacity is 0. `failure_bytes` is sizeof(pcclFailure_t).
 */
PCCL_EXPORT pcclResult_t pcclGetFailures(const pcclComm_t* communicator, uint64_t after,
                                         pcclFailure_t* PCCL_NULLABLE out, size_t failure_bytes,
                                         size_t capacity, size_t* count);

#ifdef __cplusplus
}
#endif

#endif
