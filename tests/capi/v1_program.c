/*
 * A C99 program in the style of PCCL 1.0: the old include names, designated initialisers that leave fields
 * out, a loop that looks at the world before each step, retries after a loss, and synchronises a shared state
 * with a counter.
 */
#include <ccoip.h>
#include <ccoip_inet.h>
#include <pccl.h>
#include <string.h>

#include "v1_program.h"

#define TRY(call)                                                                           \
    do {                                                                                    \
        if ((call) != pcclSuccess) {                                                        \
            strncpy(outcome->failure, pcclGetLastError(NULL), sizeof outcome->failure - 1); \
            return 1;                                                                       \
        }                                                                                   \
    } while (0)

static int train(pcclComm_t* comm, int peers, int steps, struct v1_outcome* outcome) {
    float weights[64] = {0};
    pcclTensorInfo_t infos[1] = {{.name = "weights",
                                  .data = weights,
                                  .count = 64,
                                  .datatype = pcclFloat,
                                  .device_type = pcclDeviceCpu}};
    pcclSharedState_t state = {.revision = 0, .count = 1, .infos = infos};
    int world = 0;
    while (outcome->steps < steps) {
        bool pending = false;
        TRY(pcclGetAttribute(comm, PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE, &world));
        if (world < peers) {
            TRY(pcclUpdateTopology(comm));
            continue;
        }
        TRY(pcclArePeersPending(comm, &pending));
        if (pending) TRY(pcclUpdateTopology(comm));
        pcclSharedStateSyncInfo_t sync_info;
        TRY(pcclSynchronizeSharedState(comm, &state, PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR,
                                       &sync_info));
        float gradients[64];
        for (int i = 0; i < 64; ++i) gradients[i] = (float)i;
        pcclReduceDescriptor_t descriptor = {
            .count = 64,
            .op = pcclAvg,
            .tag = 0,
            .src_descriptor = {.datatype = pcclFloat, .distribution_hint = pcclDistributionNormal},
            .quantization_options = {.algorithm = pcclQuantNone}};
        pcclAsyncReduceOp_t op;
        pcclReduceInfo_t info;
        TRY(pcclAllReduceAsync(gradients, gradients, &descriptor, comm, &op));
        if (pcclAwaitAsyncReduce(&op, &info) != pcclSuccess) continue;
        for (int i = 0; i < 64; ++i) weights[i] += gradients[i];
        outcome->contributors = (int)info.local_world_size;
        state.revision += 1;
        outcome->steps += 1;
    }
    memcpy(outcome->weights, weights, sizeof weights);
    outcome->revision = state.revision;
    return 0;
}

int v1_program(uint16_t port, int peers, int steps, struct v1_outcome* outcome) {
    memset(outcome, 0, sizeof *outcome);
    pcclCommCreateParams_t params = {
        .master_address = {.inet = {.protocol = inetIPv4, .ipv4 = {{127, 0, 0, 1}}}, .port = port},
        .peer_group = 0};
    pcclComm_t* comm = NULL;
    TRY(pcclInit());
    TRY(pcclCreateCommunicator(&params, &comm));
    int failed = 1;
    if (pcclConnect(comm) == pcclSuccess) {
        failed = train(comm, peers, steps, outcome);
    } else {
        strncpy(outcome->failure, pcclGetLastError(comm), sizeof outcome->failure - 1);
    }
    TRY(pcclDestroyCommunicator(comm));
    return failed;
}
