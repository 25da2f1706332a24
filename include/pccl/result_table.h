/*
 * The one table of result codes. The C enum (pccl.h), the texts (pcclGetErrorString), Python's `Result` enum
 * and docs/errors.md are all generated from it, so a code is added here and nowhere else.
 *
 * X(c_name, value, python_name, meaning)
 * Codes 0 to 12 have the order and the values of the PCCL 1.0 interface and never change; ours follow
 * from 13.
 */
#ifndef PCCL_RESULT_TABLE_H
#define PCCL_RESULT_TABLE_H

/* clang-format off */
#define PCCL_RESULT_TABLE(X) \
    X(pcclSuccess, 0, SUCCESS, "success") \
    X(pcclNotInitialized, 1, NOT_INITIALIZED, "the library was not initialised: call pcclInit first") \
    X(pcclInternalError, 2, INTERNAL_ERROR, "internal error: a fault of the library or of the operating system") \
    X(pcclInvalidArgument, 3, INVALID_ARGUMENT, "invalid argument") \
    X(pcclInvalidUsage, 4, INVALID_USAGE, "the call is not valid in this state") \
    X(pcclTooFewPeers, 5, TOO_FEW_PEERS, "the peer group has fewer than two members") \
    X(pcclMasterConnectionFailed, 6, MASTER_CONNECTION_FAILED, "the coordinator could not be reached or refused the connection") \
    X(pcclRankConnectionFailed, 7, RANK_CONNECTION_FAILED, "a connection to another peer could not be made") \
    X(pcclRankConnectionLost, 8, RANK_CONNECTION_LOST, "a peer was lost during the operation; inputs are intact and the operation can be tried again") \
    X(pcclNoSharedStateAvailable, 9, NO_SHARED_STATE_AVAILABLE, "no member holds the shared state") \
    X(pcclPendingAsyncOps, 10, PENDING_ASYNC_OPS, "asynchronous operations have not been awaited") \
    X(pcclUpdateTopologyFailed, 11, UPDATE_TOPOLOGY_FAILED, "the topology could not be updated") \
    X(pcclTopologyOptimizationFailed, 12, TOPOLOGY_OPTIMIZATION_FAILED, "the topology could not be optimised") \
    X(pcclTimeout, 13, TIMEOUT, "the wait timed out; the operation goes on") \
    X(pcclCancelled, 14, CANCELLED, "the operation was cancelled on all participants") \
    X(pcclEvicted, 15, EVICTED, "this peer was removed from the run; the outcome of operations in flight is unknown here") \
    X(pcclMismatch, 16, MISMATCH, "peers called the operation with different descriptors") \
    X(pcclVersionMismatch, 17, VERSION_MISMATCH, "the other side speaks another protocol version") \
    X(pcclAccessDenied, 18, ACCESS_DENIED, "access denied") \
    X(pcclResourceLimit, 19, RESOURCE_LIMIT, "a limit of memory, descriptors or table entries was reached") \
    X(pcclUnsupported, 20, UNSUPPORTED, "not supported by this build or not implemented for these arguments")
/* clang-format on */

#endif
