// The steps of a reduce, shared by the single calls and the one that repeats many. Statuses carry the
// library's own codes.
#pragma once

#include "base/time.h"
#include "capi/handles.h"

namespace pccl::capi {

/// Checks everything that can be checked alone, and translates.
Status check_reduce(const void* send, void* receive, const pcclReduceDescriptor_t& descriptor,
                    core::ReduceCall* out);

/// Takes the tag and starts the operation. INVALID_ARGUMENT when the tag is in flight.
Status launch(const pcclComm_t* communicator, const core::ReduceCall& call);

/// Waits for the operation and gives its tag free, except after TIMEOUT, and after an interruption with
/// `goes_on`, which end the wait only. RANK_CONNECTION_LOST for a tag that is not in flight.
Status await(const pcclComm_t* communicator, uint64_t tag, TimeUs timeout, pcclReduceInfo_t* info,
             bool goes_on);

}  // namespace pccl::capi
