/*
 * PCCL: collective communication for groups whose members join, leave and crash. C99, callable from C++.
 *
 * Words. A run is all peers under one coordinator ("master"). A peer group is a set of peers that reduce
 * together. A member is a peer that the run has admitted. An epoch is a fixed list of the members of a group.
 *
 * Rules that hold for every function unless its comment says otherwise:
 *  - It returns pcclSuccess (0) or a code from pccl/result_table.h, never ends the process and never throws.
 *    Outputs are written on success only. pcclGetLastError gives the text of a failure.
 *  - Pointers are borrowed for the time of the call. An asynchronous operation borrows its two buffers until
 *    it has been awaited. Whatever a pcclCreate... function hands out belongs to the caller until the
 *    matching pcclDestroy....
 *  - It may be called from any thread. Two collective calls other than reduces must not be made on one
 *    communicator at the same time; reduces may, when their tags differ.
 *  - A function named collective must be called by all the members that its comment names, in the same order.
 *  - Times are in milliseconds, sizes in bytes, counts in elements.
 *  - A null pointer where an object is needed is pcclInvalidArgument. A call on a communicator before
 *    pcclInit is pcclNotInitialized, and one that needs a connection before pcclConnect is pcclInvalidUsage.
 *
 * Layouts, orders and values of the types in the first half are those of PCCL 1.0 and never change. The
 * config structs grow at their end: their first field holds the size that the caller was compiled with.
 */
#ifndef PCCL_PCCL_H
#define PCCL_PCCL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pccl/inet.h"
#include "pccl/result_table.h"
#include "pccl/version.h"

#ifndef PCCL_EXPORT
#if defined(__GNUC__) || defined(__clang__)
#define PCCL_EXPORT __attribute__((visibility("default")))
#else
#define PCCL_EXPORT
#endif
#endif

/* Marks a pointer that may be null; it expands to nothing. */
#define PCCL_NULLABLE

#ifdef __cplusplus
extern "C" {
#endif

/* ---- enumerations ---- */

/* Result codes; values and meanings are in pccl/result_table.h. */
typedef enum pcclResult_t {
#define PCCL_RESULT_ENUMERATOR(c_name, value, python_name, meaning) c_name = value,
    PCCL_RESULT_TABLE(PCCL_RESULT_ENUMERATOR)
#undef PCCL_RESULT_ENUMERATOR
} pcclResult_t;

/* Name that documents of PCCL 1.0 use for the failure of a shared state synchronisation. */
#define pcclSharedStateSyncFailed pcclInvalidUsage

/*
 * Element types. Integers are two's complement; pcclFloat16 is IEEE binary16, pcclBFloat16 the upper half of
 * a float.
 */
typedef enum pcclDataType_t {
    pcclUint8 = 0,
    pcclInt8 = 1,
    pcclInt16 = 2,
    pcclUint16 = 3,
    pcclUint32 = 4,
    pcclInt32 = 5,
    pcclUint64 = 6,
    pcclInt64 = 7,
    pcclFloat16 = 8,
    pcclBFloat16 = 9,
    pcclFloat = 10,
    pcclDouble = 11
} pcclDataType_t;

/* Where the memory of a tensor lies. */
typedef enum pcclDeviceType_t {
    pcclDeviceCpu = 0,
    pcclDeviceCuda = 1,
} pcclDeviceType_t;

/*
 * Reduction operators. Integer sums and products wrap in the element type. pcclAvg divides the sum by the
 * number of contributors; for integers the division truncates. Maximum and minimum of floats pass a NaN on.
 * pcclFloat16 and pcclBFloat16 are computed in single precision and rounded after each contributor; a NaN in
 * a result is always the same one, positive and quiet.
 */
typedef enum pcclRedOp_t { pcclSum = 0, pcclAvg = 1, pcclProd = 2, pcclMax = 3, pcclMin = 4 } pcclRedOp_t;

/* What pcclGetAttribute can tell; only admitted members count. */
typedef enum pcclAttribute_t {
    PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE = 1,             /* members of all groups of the run */
    PCCL_ATTRIBUTE_PEER_GROUP_WORLD_SIZE = 2,         /* members of the caller's group */
    PCCL_ATTRIBUTE_NUM_DISTINCT_PEER_GROUPS = 3,      /* groups that have a member */
    PCCL_ATTRIBUTE_LARGEST_PEER_GROUP_WORLD_SIZE = 4, /* members of the largest group */
} pcclAttribute_t;

/* How a member takes part in pcclSynchronizeSharedState. */
typedef enum pcclSharedStateSyncStrategy_t {
    PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR = 0, /* fetch or serve, as the election decides */
    PCCL_SHARED_STATE_SYNC_STRATEGY_RECEIVE_ONLY = 1,    /* never serve, do not stand for election */
    PCCL_SHARED_STATE_SYNC_STRATEGY_SEND_ONLY = 2,       /* never fetch */
} pcclSharedStateSyncStrategy_t;

/* How the values of an operand are distributed; a hint to quantisation, never a promise. */
typedef enum pcclDistributionHint_t {
    pcclDistributionNone = 0,
    pcclDistributionNormal = 1,
    pcclDistributionUniform = 2
} pcclDistributionHint_t;

/* Quantisation of what is sent. This build refuses anything but pcclQuantNone with pcclUnsupported. */
typedef enum pcclQuantizationAlgorithm_t {
    pcclQuantNone = 0,
    pcclQuantMinMax = 1,
    pcclQuantZeroPointScale = 2
} pcclQuantizationAlgorithm_t;

/* ---- types ---- */

/*
 * Parameters of pcclCreateCommunicator. The pool size is the number of connections (lanes) to each neighbour;
 * 0 means 1, and more than 64 mean 64.
 */
typedef struct pcclCommCreateParams_t {
    ccoip_socket_address_t master_address;
    uint32_t peer_group;
    uint32_t p2p_connection_pool_size;
} pcclCommCreateParams_t;

/* A communicator: this process's membership in a run. Opaque. */
typedef struct pcclComm_t pcclComm_t;

/* Opaque; no function uses it. */
typedef struct pcclRankInfo_t pcclRankInfo_t;

/* What a finished reduce tells. */
typedef struct pcclReduceInfo_t {
    uint32_t local_world_size; /* number of members whose inputs are in the result */
    uint64_t tx_bytes;         /* payload bytes that this member sent */
    uint64_t rx_bytes;         /* payload bytes that this member received */
} pcclReduceInfo_t;

/* Element type of an operand and how its values are distributed. */
typedef struct pcclReduceOperandDescriptor_t {
    pcclDataType_t datatype;
    pcclDistributionHint_t distribution_hint;
} pcclReduceOperandDescriptor_t;

/* With pcclQuantNone the quantized_datatype is ignored. */
typedef struct pcclQuantizationOptions_t {
    pcclDataType_t quantized_datatype;
    pcclQuantizationAlgorithm_t algorithm;
} pcclQuantizationOptions_t;

/*
 * Describes one reduce; count, operator, types and options must be equal on all members. The tag pairs the
 * calls of the members: any number, busy from the call until the operation has been awaited.
 */
typedef struct pcclReduceDescriptor_t {
    size_t count; /* elements in each of the two buffers */
    pcclRedOp_t op;
    uint64_t tag;
    pcclReduceOperandDescriptor_t src_descriptor;
    pcclQuantizationOptions_t quantization_options;
} pcclReduceDescriptor_t;

/* One reduce of pcclAllReduceMultipleWithRetry. */
typedef struct pcclReduceSingleDescriptor_t {
    void* sendbuf; /* may equal recvbuf */
    void* recvbuf;
    pcclReduceDescriptor_t descriptor;
} pcclReduceOpDescriptor_t;

/* Names an asynchronous reduce until it is awaited; a plain value that may be copied between threads. */
typedef struct pcclAsyncReduceOp_t {
    pcclComm_t* comm;
    uint64_t tag;
} pcclAsyncReduceOp_t;

/* Identity of a member: 128 random bits, new for each connection to a run. */
typedef struct pcclRankUuid_t {
    uint8_t data[16];
} pcclRankUuid_t;

/* One tensor of a shared state. The name and the memory belong to the caller. */
typedef struct pcclTensorInfo_t {
    const char* name; /* unique within the state, zero-terminated */
    void* data;       /* count elements; any alignment */
    size_t count;
    pcclDataType_t datatype;
    pcclDeviceType_t device_type;
    bool allow_content_inequality; /* not compared; still given to a newcomer */
} pcclTensorInfo_t;

/* A list of named tensors and a revision that the members of a group hold identically. */
typedef struct pcclSharedState_t {
    uint64_t revision; /* in: what the caller holds; out: what the group agreed on */
    size_t count;
    pcclTensorInfo_t* infos;
} pcclSharedState_t;

/* Tensor bytes that travelled in a synchronisation; rx_bytes is 0 when nothing was fetched. */
typedef struct pcclSharedStateSyncInfo_t {
    uint64_t tx_bytes;
    uint64_t rx_bytes;
} pcclSharedStateSyncInfo_t;

/* A coordinator inside this process. Opaque. */
typedef struct pcclMasterInstanceState_t pcclMasterInstance_t;

/* What the library was built with. */
typedef struct pcclBuildInfo_t {
    bool has_cuda_support;
} pcclBuildInfo_t;

/* ---- process-wide functions ---- */

/*
 * Prepares the library. Idempotent; needed once per process before the first communicator call. It has no
 * other side effect on the process: no signal handler, no environment change.
 */
PCCL_EXPORT pcclResult_t pcclInit(void);

/*
 * Lets the program interrupt blocked calls, for the whole process: a thread that is blocked in a call on a
 * communicator asks `check` about ten times a second, with no lock of the library held, and ends the call
 * with pcclCancelled when the answer is not 0. Waiting for an asynchronous reduce ends only the wait. Any
 * other call makes the communicator leave the run at once, so that nothing refers to its buffers when it
 * returns; pcclConnect joins again. `check` must not call the library. Null, the default, removes it. For
 * language bindings, which handle signals while they wait.
 */
PCCL_EXPORT pcclResult_t pcclSetInterruptCheck(int (*check)(void));

/* Tells what the library was built with. Needs no pcclInit. */
PCCL_EXPORT pcclResult_t pcclGetBuildInfo(pcclBuildInfo_t* info);

/* Writes PCCL_VERSION_CODE of the library that runs, which may differ from the header. Needs no pcclInit. */
PCCL_EXPORT pcclResult_t pcclGetVersion(int* version_code);

/* The meaning of a code as a static text; "unknown result code" for a number that is none. Never null. */
PCCL_EXPORT const char* pcclGetErrorString(pcclResult_t result);

/*
 * The text of the calling thread's last failed call on this communicator, or with a null communicator of its
 * last failed call at all. It names the peer, the operation and the phase where these are known. Never null;
 * empty when nothing failed. Valid until the thread's next call into the library.
 */
PCCL_EXPORT const char* pcclGetLastError(const pcclComm_t* PCCL_NULLABLE communicator);

/* ---- communicator ---- */

/*
 * Allocates a communicator; no network yet. It reports a lost peer to the caller as pcclRankConnectionLost
 * (see pcclOnFailureReport) and leaves the retry to it. Null parameters are pcclInvalidArgument.
 */
PCCL_EXPORT pcclResult_t pcclCreateCommunicator(const pcclCommCreateParams_t* params, pcclComm_t** comm_out);

/*
 * Joins the run: blocks until it admits this peer. The first peer returns at once with a world of one; later
 * ones wait until the members call pcclUpdateTopology. Already connected: pcclInvalidUsage. Any failure is
 * pcclMasterConnectionFailed, and the same object can be connected again.
 */
PCCL_EXPORT pcclResult_t pcclConnect(pcclComm_t* communicator);

/*
 * Leaves the run gracefully: the others go on without a failure. Operations in flight end with an error. The
 * object can be connected again, as a new member. pcclDestroyCommunicator leaves too. Not connected:
 * pcclInvalidUsage.
 */
PCCL_EXPORT pcclResult_t pcclLeave(pcclComm_t* communicator);

/*
 * Leaves the run and frees the communicator; blocks until its threads are gone: for 1 s at most with the
 * coordinator away, and for the freeze time and 1 s at most with a member that does not answer. Handles of
 * operations become invalid. No other thread may use the object meanwhile.
 */
PCCL_EXPORT pcclResult_t pcclDestroyCommunicator(pcclComm_t* communicator);

/*
 * Reads an attribute. Local and immediate: a snapshot taken at the end of the caller's last call on the
 * communicator. Before pcclConnect: pcclInvalidUsage. An unknown attribute: pcclInvalidArgument.
 */
PCCL_EXPORT pcclResult_t pcclGetAttribute(const pcclComm_t* communicator, pcclAttribute_t attribute,
                                          int* attribute_out);

/*
 * Collective over all members of all groups: admits the peers that wait to join and adopts the topology that
 * follows. A member that dies meanwhile is dropped and the call succeeds. Asynchronous operations that have
 * not been awaited: pcclPendingAsyncOps. Failure: pcclUpdateTopologyFailed.
 */
PCCL_EXPORT pcclResult_t pcclUpdateTopology(pcclComm_t* communicator);

/*
 * Collective over the caller's group: whether pcclUpdateTopology is to be called, because peers wait to join
 * or another group waits in it; the same answer at all its members. Legal while other threads run
 * asynchronous reduces, and while the coordinator is away. Evicted:
 * pcclRankConnectionLost. Ended by operation_timeout_ms: pcclCancelled.
 */
PCCL_EXPORT pcclResult_t pcclArePeersPending(const pcclComm_t* communicator, bool* pending_out);

/* Name that documents of PCCL 1.0 use for pcclArePeersPending. */
#define pcclAreNewPeersPending pcclArePeersPending

/*
 * Collective over all members of all groups: a vote to optimise the topology. Nothing is measured yet in this
 * version, so all members keep the current plan and the log says so (level INFO). A world of one:
 * pcclInvalidUsage. Asynchronous operations that have not been awaited: pcclPendingAsyncOps. Failure:
 * pcclTopologyOptimizationFailed.
 */
PCCL_EXPORT pcclResult_t pcclOptimizeTopology(const pcclComm_t* communicator);

/* The identity of this member in the current run. */
PCCL_EXPORT pcclResult_t pcclGetRankId(const pcclComm_t* communicator, pcclRankUuid_t* out);

/*
 * The position of this member in its group's list, from 0. Survivors keep their relative order when members
 * are lost.
 */
PCCL_EXPORT pcclResult_t pcclGetRank(const pcclComm_t* communicator, int* rank);

/*
 * The members of this group in the order of their ranks. *count becomes their number; the first `capacity` of
 * them are written to `out`, which may be null when capacity is 0.
 */
PCCL_EXPORT pcclResult_t pcclGetGroupMembers(const pcclComm_t* communicator,
                                             pcclRankUuid_t* PCCL_NULLABLE out, size_t capacity,
                                             size_t* count);

/* ---- reduces ---- */

/*
 * Collective over the group: reduces `count` elements of sendbuff of all members into recvbuff of each; the
 * same bits everywhere. Equals pcclAllReduceAsync followed by pcclAwaitAsyncReduce; sendbuff may equal
 * recvbuff, otherwise the two must not overlap. After a failure the inputs are intact (in place too) and the
 * call can be made again.
 */
PCCL_EXPORT pcclResult_t pcclAllReduce(const void* sendbuff, void* recvbuff,
                                       const pcclReduceDescriptor_t* descriptor,
                                       const pcclComm_t* communicator,
                                       pcclReduceInfo_t* PCCL_NULLABLE reduce_info_out);

/*
 * Starts a reduce and returns after queuing it. Both buffers must stay valid, and sendbuff unchanged, until
 * it has been awaited, from any thread. A group of one: pcclTooFewPeers. A bad enum, a null handle, or a tag
 * that is already in flight: pcclInvalidArgument. Not connected: pcclInvalidUsage.
 */
PCCL_EXPORT pcclResult_t pcclAllReduceAsync(const void* sendbuff, void* recvbuff,
                                            const pcclReduceDescriptor_t* descriptor,
                                            const pcclComm_t* communicator,
                                            pcclAsyncReduceOp_t* reduce_handle_out);

/*
 * Waits for the end of a reduce and gives its tag free. A member was lost (report policy), the tag is
 * unknown, or the operation was awaited before: pcclRankConnectionLost. After a failure the attributes show
 * the new world, an in-place buffer holds its input again, and the communicator is ready for the retry.
 * Members that described the operation differently: pcclInvalidUsage on all of them.
 */
PCCL_EXPORT pcclResult_t pcclAwaitAsyncReduce(const pcclAsyncReduceOp_t* reduce_handle,
                                              pcclReduceInfo_t* PCCL_NULLABLE reduce_info_out);

/*
 * Runs `count` reduces with at most `max_in_flight` at a time and repeats those that fail, until all are done
 * (pcclSuccess) or the group has a single member (pcclTooFewPeers). Tags must differ. *reduce_info_out holds
 * the smallest number of contributors and the sums of the bytes. A null array, a count of 0 or a
 * max_in_flight below 1: pcclInvalidArgument.
 */
PCCL_EXPORT pcclResult_t pcclAllReduceMultipleWithRetry(const pcclReduceOpDescriptor_t* descriptors,
                                                        size_t count, const pcclComm_t* communicator,
                                                        pcclReduceInfo_t* PCCL_NULLABLE reduce_info_out,
                                                        int max_in_flight);

/*
 * Whether the operation has ended; never blocks, and the handle must still be awaited. Unknown tag:
 * pcclInvalidArgument.
 */
PCCL_EXPORT pcclResult_t pcclAsyncReduceTest(const pcclAsyncReduceOp_t* reduce_handle, bool* done);

/*
 * As pcclAwaitAsyncReduce, but waits at most timeout_ms (negative: without limit). pcclTimeout ends the wait
 * only: the operation goes on and the handle stays valid.
 */
PCCL_EXPORT pcclResult_t pcclAsyncReduceWait(const pcclAsyncReduceOp_t* reduce_handle, int timeout_ms,
                                             pcclReduceInfo_t* PCCL_NULLABLE reduce_info_out);

/*
 * Asks for a decision that ends the operation with pcclCancelled on all its participants; an operation that
 * has already been committed succeeds all the same. Returns at once, and the handle must still be awaited.
 * Unknown tag: pcclInvalidArgument.
 */
PCCL_EXPORT pcclResult_t pcclAsyncReduceCancel(const pcclAsyncReduceOp_t* reduce_handle);

/*
 * The members whose inputs are in the last finished result of this tag, in the order of their ranks. *count
 * becomes their number; the first `capacity` of them are written to `out`, which may be null when capacity is
 * 0. No result of this tag: pcclInvalidArgument.
 */
PCCL_EXPORT pcclResult_t pcclGetContributors(const pcclComm_t* communicator, uint64_t tag,
                                             pcclRankUuid_t* PCCL_NULLABLE out, size_t capacity,
                                             size_t* count);

/* ---- shared state ---- */

/*
 * Collective over the group: afterwards all members hold the same tensors and the same revision. The first
 * revision ever is free; a program then adds exactly 1 per call or leaves its revision alone and is pulled
 * up. Among the members at the expected revision the content held by most wins; outdated members fetch the
 * tensors that differ; a member above it, or one with other names than the majority, is evicted. Works alone.
 * After a failure the content of tensors that were being fetched is undefined. Operations not awaited:
 * pcclPendingAsyncOps. A bad strategy, type or device: pcclInvalidArgument. Other failures: pcclInvalidUsage.
 */
PCCL_EXPORT pcclResult_t pcclSynchronizeSharedState(const pcclComm_t* communicator,
                                                    pcclSharedState_t* shared_state,
                                                    pcclSharedStateSyncStrategy_t strategy,
                                                    pcclSharedStateSyncInfo_t* PCCL_NULLABLE sync_info_out);

/* ---- coordinator ---- */

/* Allocates a coordinator for this address; binds nothing yet. Needs no pcclInit. */
PCCL_EXPORT pcclResult_t pcclCreateMaster(ccoip_socket_address_t listen_address,
                                          pcclMasterInstance_t** master_instance_out);

/*
 * Binds and serves on a thread of its own. Port busy or already running: pcclInvalidUsage; after a failed
 * bind it can be run again.
 */
PCCL_EXPORT pcclResult_t pcclRunMaster(pcclMasterInstance_t* master_instance);

/* Asks the coordinator to stop; idempotent and immediate. */
PCCL_EXPORT pcclResult_t pcclInterruptMaster(pcclMasterInstance_t* master_instance);

/* Blocks until the coordinator has stopped, which without pcclInterruptMaster is forever. */
PCCL_EXPORT pcclResult_t pcclMasterAwaitTermination(pcclMasterInstance_t* master_instance);

/*
 * Stops the coordinator if it runs and frees it; the port can be bound again at once. Communicators may
 * outlive it.
 */
PCCL_EXPORT pcclResult_t pcclDestroyMaster(pcclMasterInstance_t* master_instance);

/* ---- beyond 1.0: configuration ---- */

/* The value of an int field that was not set: the environment decides, then the default. */
#define PCCL_CONFIG_UNSET INT_MIN

/*
 * Levels of log messages, by rising severity; a level as a threshold passes itself and what is more severe.
 */
typedef enum pcclLogLevel_t {
    pcclLogTrace = 0,
    pcclLogDebug = 1,
    pcclLogInfo = 2,
    pcclLogWarn = 3,
    pcclLogError = 4,
    pcclLogFatal = 5,
    pcclLogNone = 6
} pcclLogLevel_t;

/*
 * Receives log messages in place of standard error, without a line end. Called from the library's threads and
 * the caller's, one message at a time; it must not call into the library. The text is valid during the call.
 */
typedef void (*pcclLogCallback_t)(void* user_data, int level, const char* message);

/* What a reduce does when a member is lost. */
typedef enum pcclOnFailure_t {
    pcclOnFailureRetry = 0, /* repeat it among the survivors; the caller sees success or pcclTooFewPeers */
    pcclOnFailureReport = 1 /* return pcclRankConnectionLost with the inputs intact */
} pcclOnFailure_t;

/* Which algorithm reduces use. The first member's choice holds for the group. */
typedef enum pcclPlan_t {
    pcclPlanAuto = 0, /* by size and number of members */
    pcclPlanRing = 1,
    pcclPlanMesh = 2 /* direct reduce-scatter and all-gather */
} pcclPlan_t;

/*
 * Options of a communicator. Start from PCCL_COMM_CONFIG_INITIALIZER and set what is wanted; texts need to
 * live until pcclCreateCommunicatorEx returns.
 */
typedef struct pcclCommConfig_t {
    size_t size;         /* sizeof(pcclCommConfig_t), by the initialiser */
    const char* master;  /* "host:port" or "[v6]:port"; required */
    uint32_t peer_group; /* 0 by default */

    int connect_timeout_ms;   /* one TCP connect with handshake; 10000 */
    int heartbeat_ms;         /* pause between signs of life on idle connections; liveness / 5 */
    int liveness_timeout_ms;  /* silence after which a connection or member is suspected; 5000 */
    int freeze_timeout_ms;    /* an epoch change that does not complete is proposed anew; 2 x liveness */
    int recovery_timeout_ms;  /* how long a member without its coordinator goes on; 2 x liveness */
    int backoff_cap_ms;       /* longest pause between attempts to connect again; liveness / 5 */
    int slow_warning_ms;      /* first warning about members that have not arrived at an operation; 10000 */
    int operation_timeout_ms; /* cancels a collective by decision, looked at a few times a second; 0: never */

    int on_failure; /* pcclOnFailure_t; pcclOnFailureRetry */
    int lanes;      /* connections to each neighbour, at most 64; unset: 1 on this host, 4 elsewhere */

    const char* bind_address;      /* address that the peer port is bound to; all addresses */
    int port_first;                /* first port to try; unset: 48149 and upward; 0: ephemeral */
    int port_last;                 /* last port to try; equal to port_first for one port */
    const char* advertise_address; /* "host" or "host:port" told to the others (address translation) */
    const char* interface;         /* comma-separated: prefix, "=exact", "^exclude", CIDR as 10.0.0.0/8 */

    int plan;          /* pcclPlan_t; pcclPlanAuto */
    int segment_bytes; /* pipeline unit of large reduces; 0 or unset: chosen by the library */

    pcclLogCallback_t log_callback; /* null: standard error */
    void* log_user_data;
    int log_level; /* pcclLogLevel_t; the environment variable PCCL_LOG_LEVEL, else pcclLogError */

    /*
     * When a group has lost its last holder of the expected shared state revision: 1 (default) adopts the
     * highest revision present, with a warning if its content is another than agreed on last; 0 fails with
     * pcclNoSharedStateAvailable.
     */
    int shared_state_adopt_highest;
} pcclCommConfig_t;

/* clang-format off */
#define PCCL_COMM_CONFIG_INITIALIZER { \
    /* size, master, peer_group */ sizeof(pcclCommConfig_t), NULL, 0, \
    /* connect, heartbeat, liveness, freeze */ \
    PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, \
    /* recovery, back-off cap, slow warning, operation */ \
    PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, \
    /* on_failure, lanes */ PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, \
    /* bind_address, port_first, port_last */ NULL, PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, \
    /* advertise_address, interface */ NULL, NULL, \
    /* plan, segment_bytes */ PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, \
    /* log_callback, log_user_data, log_level */ NULL, NULL, PCCL_CONFIG_UNSET, \
    /* shared_state_adopt_highest */ PCCL_CONFIG_UNSET }
/* clang-format on */

/*
 * Allocates a communicator with options; no network yet. Unlike pcclCreateCommunicator its reduces retry
 * among the survivors by default. An address that does not parse, an unknown enumerator, a negative time or a
 * port beyond 65535: pcclInvalidArgument. Host names are looked up by pcclConnect.
 */
PCCL_EXPORT pcclResult_t pcclCreateCommunicatorEx(const pcclCommConfig_t* config, pcclComm_t** comm_out);

/* Options of a coordinator: start from the initialiser; texts must live until pcclCreateMasterEx returns. */
typedef struct pcclMasterConfig_t {
    size_t size;               /* sizeof(pcclMasterConfig_t), by the initialiser */
    const char* const* listen; /* addresses "host:port" or "[v6]:port"; port 0 means ephemeral */
    size_t listen_count;       /* at least 1 */
    const char* state_dir;     /* directory of the durable record, created if missing; null: none is kept */

    pcclLogCallback_t log_callback; /* null: standard error */
    void* log_user_data;
    int log_level; /* pcclLogLevel_t; the environment variable PCCL_LOG_LEVEL, else pcclLogError */

    int liveness_timeout_ms; /* silence after which a member is suspected; 5000 */
    int freeze_timeout_ms;   /* an epoch change that does not complete is proposed anew; 2 x liveness */
    int recovery_timeout_ms; /* how long a member without a connection is waited for; 2 x liveness */

    /*
     * What stands in for a record. Not 0: a group goes on after a loss only while more than half of its last
     * members are left, so that a coordinator that was started without the record can take the run up when
     * more than half of them come back. 0 (the default): any survivor goes on, and without the record all
     * must come back.
     */
    int majority;
    /*
     * Not 0: there may be a run whose record this coordinator lost; newcomers wait for two fifths of the
     * liveness time-out, so that none begins another run before its members are back. Default 0.
     */
    int record_lost;
} pcclMasterConfig_t;

/* clang-format off */
#define PCCL_MASTER_CONFIG_INITIALIZER { \
    /* size, listen, listen_count, state_dir */ sizeof(pcclMasterConfig_t), NULL, 0, NULL, \
    /* log_callback, log_user_data, log_level */ NULL, NULL, PCCL_CONFIG_UNSET, \
    /* liveness, freeze, recovery */ PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET, \
    /* majority, record_lost */ PCCL_CONFIG_UNSET, PCCL_CONFIG_UNSET }
/* clang-format on */

/*
 * Allocates a coordinator with options; binds nothing yet. An address that does not parse:
 * pcclInvalidArgument.
 */
PCCL_EXPORT pcclResult_t pcclCreateMasterEx(const pcclMasterConfig_t* config,
                                            pcclMasterInstance_t** master_instance_out);

/* The port of the first listening address, which tells what port 0 became. Not running: pcclInvalidUsage. */
PCCL_EXPORT pcclResult_t pcclGetMasterPort(const pcclMasterInstance_t* master_instance, uint16_t* port);

#ifdef __cplusplus
}
#endif

#include "pccl/failures.h"

#endif
