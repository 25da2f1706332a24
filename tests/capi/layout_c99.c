/*
 * Compiles with -std=c99 -pedantic: the headers are C99, and a program in the style of PCCL 1.0 (designated
 * initialisers that leave fields out, an address by value, the old header names) builds unchanged. The layout
 * checks are array sizes; the function is called by test_layout.cpp and repeats that the initialisers work in
 * C.
 */
#include <ccoip.h>
#include <ccoip_inet.h>
#include <pccl.h>
#include <stddef.h>

#define LAYOUT_CHECK(name, condition) typedef char layout_check_##name[(condition) ? 1 : -1]

LAYOUT_CHECK(address_size, sizeof(ccoip_socket_address_t) == 28);
LAYOUT_CHECK(params_size, sizeof(pcclCommCreateParams_t) == 36);
LAYOUT_CHECK(params_peer_group, offsetof(pcclCommCreateParams_t, peer_group) == 28);
LAYOUT_CHECK(params_pool_size, offsetof(pcclCommCreateParams_t, p2p_connection_pool_size) == 32);
LAYOUT_CHECK(info_size, sizeof(pcclReduceInfo_t) == 24);
LAYOUT_CHECK(descriptor_size, sizeof(pcclReduceDescriptor_t) == 40);
LAYOUT_CHECK(descriptor_tag, offsetof(pcclReduceDescriptor_t, tag) == 16);
LAYOUT_CHECK(descriptor_options, offsetof(pcclReduceDescriptor_t, quantization_options) == 32);
LAYOUT_CHECK(single_size, sizeof(struct pcclReduceSingleDescriptor_t) == 56);
LAYOUT_CHECK(handle_size, sizeof(pcclAsyncReduceOp_t) == 16);
LAYOUT_CHECK(uuid_size, sizeof(pcclRankUuid_t) == 16);
LAYOUT_CHECK(tensor_size, sizeof(pcclTensorInfo_t) == 40);
LAYOUT_CHECK(state_size, sizeof(pcclSharedState_t) == 24);
LAYOUT_CHECK(sync_info_size, sizeof(pcclSharedStateSyncInfo_t) == 16);
LAYOUT_CHECK(build_info_size, sizeof(pcclBuildInfo_t) == 1);
LAYOUT_CHECK(last_code, pcclUnsupported == 20);

/* The alias has the type of the function that it names. */
static pcclResult_t (*const peers_pending)(const pcclComm_t*, bool*) = pcclAreNewPeersPending;

int pccl_layout_c99_failures(void);

int pccl_layout_c99_failures(void) {
    pcclMasterInstance_t* master = NULL;
    struct pcclMasterInstanceState_t* same_type = master;
    const ccoip_socket_address_t address = {.inet = {.protocol = inetIPv4, .ipv4 = {.data = {127, 0, 0, 1}}},
                                            .port = CCOIP_PROTOCOL_PORT_MASTER};
    const pcclCommCreateParams_t params = {.master_address = address, .peer_group = 3};
    const pcclReduceDescriptor_t descriptor = {.count = 4,
                                               .op = pcclSum,
                                               .tag = 1,
                                               .src_descriptor = {.datatype = pcclFloat},
                                               .quantization_options = {.algorithm = pcclQuantNone}};
    const pcclCommConfig_t config = PCCL_COMM_CONFIG_INITIALIZER;
    const pcclMasterConfig_t master_config = PCCL_MASTER_CONFIG_INITIALIZER;
    const bool ok = same_type == NULL && params.peer_group == 3 && params.p2p_connection_pool_size == 0 &&
                    params.master_address.inet.ipv4.data[0] == 127 && descriptor.count == 4 &&
                    config.size == sizeof config && config.lanes == PCCL_CONFIG_UNSET &&
                    master_config.log_level == PCCL_CONFIG_UNSET && peers_pending != NULL;
    return ok ? 0 : 1;
}
