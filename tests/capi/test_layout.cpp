// The types of the C interface have the sizes, offsets and values of PCCL 1.0, so that programs compiled
// against either header agree with the library. Everything here is decided by the compiler; the run-time part
// repeats what a reader wants to see in a test report.
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "ccoip.h"
#include "ccoip_inet.h"
#include "pccl.h"

/// In layout_c99.c: 0 when a C99 program in the style of PCCL 1.0 sees what it expects.
extern "C" int pccl_layout_c99_failures(void);

namespace {

static_assert(sizeof(ccoip_ipv4_address_t) == 4);
static_assert(sizeof(ccoip_ipv6_address_t) == 16);
static_assert(sizeof(ccoip_inet_address_t) == 24);
static_assert(offsetof(ccoip_inet_address_t, ipv4) == 4);
static_assert(offsetof(ccoip_inet_address_t, ipv6) == 8);
static_assert(sizeof(ccoip_socket_address_t) == 28);
static_assert(offsetof(ccoip_socket_address_t, port) == 24);

static_assert(sizeof(pcclCommCreateParams_t) == 36);
static_assert(offsetof(pcclCommCreateParams_t, master_address) == 0);
static_assert(offsetof(pcclCommCreateParams_t, peer_group) == 28);
static_assert(offsetof(pcclCommCreateParams_t, p2p_connection_pool_size) == 32);

static_assert(sizeof(pcclReduceInfo_t) == 24);
static_assert(offsetof(pcclReduceInfo_t, tx_bytes) == 8);
static_assert(offsetof(pcclReduceInfo_t, rx_bytes) == 16);
static_assert(sizeof(pcclReduceOperandDescriptor_t) == 8);
static_assert(sizeof(pcclQuantizationOptions_t) == 8);

static_assert(sizeof(pcclReduceDescriptor_t) == 40);
static_assert(offsetof(pcclReduceDescriptor_t, count) == 0);
static_assert(offsetof(pcclReduceDescriptor_t, op) == 8);
static_assert(offsetof(pcclReduceDescriptor_t, tag) == 16);
static_assert(offsetof(pcclReduceDescriptor_t, src_descriptor) == 24);
static_assert(offsetof(pcclReduceDescriptor_t, quantization_options) == 32);

static_assert(sizeof(pcclReduceOpDescriptor_t) == 56);
static_assert(offsetof(pcclReduceOpDescriptor_t, recvbuf) == 8);
static_assert(offsetof(pcclReduceOpDescriptor_t, descriptor) == 16);
static_assert(std::is_same_v<pcclReduceOpDescriptor_t, struct pcclReduceSingleDescriptor_t>);
static_assert(std::is_same_v<pcclMasterInstance_t, struct pcclMasterInstanceState_t>);

static_assert(sizeof(pcclAsyncReduceOp_t) == 16);
static_assert(offsetof(pcclAsyncReduceOp_t, tag) == 8);
static_assert(sizeof(pcclRankUuid_t) == 16);

static_assert(sizeof(pcclTensorInfo_t) == 40);
static_assert(offsetof(pcclTensorInfo_t, name) == 0);
static_assert(offsetof(pcclTensorInfo_t, data) == 8);
static_assert(offsetof(pcclTensorInfo_t, count) == 16);
static_assert(offsetof(pcclTensorInfo_t, datatype) == 24);
static_assert(offsetof(pcclTensorInfo_t, device_type) == 28);
static_assert(offsetof(pcclTensorInfo_t, allow_content_inequality) == 32);

static_assert(sizeof(pcclSharedState_t) == 24);
static_assert(offsetof(pcclSharedState_t, count) == 8);
static_assert(offsetof(pcclSharedState_t, infos) == 16);
static_assert(sizeof(pcclSharedStateSyncInfo_t) == 16);
static_assert(sizeof(pcclBuildInfo_t) == 1);

// The size field leads the config structs, so that a later library can tell which fields a caller knows.
static_assert(offsetof(pcclCommConfig_t, size) == 0);
static_assert(offsetof(pcclMasterConfig_t, size) == 0);
static_assert(std::is_trivially_copyable_v<pcclCommConfig_t> && std::is_standard_layout_v<pcclCommConfig_t>);
static_assert(std::is_trivially_copyable_v<pcclMasterConfig_t> &&
              std::is_standard_layout_v<pcclMasterConfig_t>);

static_assert(inetIPv4 == 0 && inetIPv6 == 1);
static_assert(CCOIP_PROTOCOL_PORT_MASTER == 48148 && CCOIP_PROTOCOL_PORT_SHARED_STATE == 48149);
static_assert(CCOIP_PROTOCOL_PORT_P2P == 48150 && CCOIP_PROTOCOL_PORT_BANDWIDTH_BENCHMARK == 48151);

}  // namespace

TEST_CASE("result codes have the values of PCCL 1.0, ours follow", "[capi][layout]") {
    CHECK(pcclSuccess == 0);
    CHECK(pcclNotInitialized == 1);
    CHECK(pcclInternalError == 2);
    CHECK(pcclInvalidArgument == 3);
    CHECK(pcclInvalidUsage == 4);
    CHECK(pcclTooFewPeers == 5);
    CHECK(pcclMasterConnectionFailed == 6);
    CHECK(pcclRankConnectionFailed == 7);
    CHECK(pcclRankConnectionLost == 8);
    CHECK(pcclNoSharedStateAvailable == 9);
    CHECK(pcclPendingAsyncOps == 10);
    CHECK(pcclUpdateTopologyFailed == 11);
    CHECK(pcclTopologyOptimizationFailed == 12);
    CHECK(pcclTimeout == 13);
    CHECK(pcclCancelled == 14);
    CHECK(pcclEvicted == 15);
    CHECK(pcclMismatch == 16);
    CHECK(pcclVersionMismatch == 17);
    CHECK(pcclAccessDenied == 18);
    CHECK(pcclResourceLimit == 19);
    CHECK(pcclUnsupported == 20);
    CHECK(pcclSharedStateSyncFailed == pcclInvalidUsage);
}

TEST_CASE("the other enumerations have the values of PCCL 1.0", "[capi][layout]") {
    const int types[] = {pcclUint8,  pcclInt8,  pcclInt16,   pcclUint16,   pcclUint32, pcclInt32,
                         pcclUint64, pcclInt64, pcclFloat16, pcclBFloat16, pcclFloat,  pcclDouble};
    for (int value = 0; value < 12; ++value) CHECK(types[value] == value);
    CHECK((pcclDeviceCpu == 0 && pcclDeviceCuda == 1));
    CHECK((pcclSum == 0 && pcclAvg == 1 && pcclProd == 2 && pcclMax == 3 && pcclMin == 4));
    CHECK(PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE == 1);
    CHECK(PCCL_ATTRIBUTE_PEER_GROUP_WORLD_SIZE == 2);
    CHECK(PCCL_ATTRIBUTE_NUM_DISTINCT_PEER_GROUPS == 3);
    CHECK(PCCL_ATTRIBUTE_LARGEST_PEER_GROUP_WORLD_SIZE == 4);
    CHECK(PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR == 0);
    CHECK(PCCL_SHARED_STATE_SYNC_STRATEGY_RECEIVE_ONLY == 1);
    CHECK(PCCL_SHARED_STATE_SYNC_STRATEGY_SEND_ONLY == 2);
    CHECK((pcclDistributionNone == 0 && pcclDistributionNormal == 1 && pcclDistributionUniform == 2));
    CHECK((pcclQuantNone == 0 && pcclQuantMinMax == 1 && pcclQuantZeroPointScale == 2));
    CHECK((pcclOnFailureRetry == 0 && pcclOnFailureReport == 1));
    CHECK((pcclPlanAuto == 0 && pcclPlanRing == 1 && pcclPlanMesh == 2));
    CHECK((pcclLogTrace == 0 && pcclLogNone == 6));
}

TEST_CASE("the initialisers leave every option unset", "[capi][layout]") {
    const pcclCommConfig_t comm = PCCL_COMM_CONFIG_INITIALIZER;
    CHECK(comm.size == sizeof comm);
    CHECK(comm.master == nullptr);
    CHECK(comm.peer_group == 0);
    for (int value :
         {comm.connect_timeout_ms, comm.heartbeat_ms, comm.liveness_timeout_ms, comm.freeze_timeout_ms,
          comm.recovery_timeout_ms, comm.backoff_cap_ms, comm.slow_warning_ms, comm.operation_timeout_ms,
          comm.on_failure, comm.lanes, comm.port_first, comm.port_last, comm.plan, comm.segment_bytes,
          comm.log_level, comm.shared_state_adopt_highest}) {
        CHECK(value == PCCL_CONFIG_UNSET);
    }
    CHECK((comm.bind_address == nullptr && comm.advertise_address == nullptr && comm.interface == nullptr));
    CHECK((comm.log_callback == nullptr && comm.log_user_data == nullptr));

    const pcclMasterConfig_t master = PCCL_MASTER_CONFIG_INITIALIZER;
    CHECK(master.size == sizeof master);
    CHECK((master.listen == nullptr && master.listen_count == 0 && master.state_dir == nullptr));
    CHECK((master.log_callback == nullptr && master.log_user_data == nullptr));
    for (int value : {master.log_level, master.liveness_timeout_ms, master.freeze_timeout_ms,
                      master.recovery_timeout_ms}) {
        CHECK(value == PCCL_CONFIG_UNSET);
    }
}

TEST_CASE("a C99 program in the style of PCCL 1.0 compiles unchanged", "[capi][layout]") {
    CHECK(pccl_layout_c99_failures() == 0);
}
