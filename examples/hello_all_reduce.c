/* Usage: hello_all_reduce [HOST:PORT of the coordinator] [PEERS]; start it PEERS times (2 by default). */
#include <pccl/pccl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#define CHECK(call) if ((call) != pcclSuccess) return fprintf(stderr, "%s\n", pcclGetLastError(NULL)), 1
int main(int argc, char **argv) {
    pcclCommConfig_t config = PCCL_COMM_CONFIG_INITIALIZER;
    config.master = argc > 1 ? argv[1] : "127.0.0.1:48148";
    int peers = argc > 2 ? atoi(argv[2]) : 2, members = 0;
    pcclComm_t *comm;
    CHECK(pcclInit());
    CHECK(pcclCreateCommunicatorEx(&config, &comm));
    CHECK(pcclConnect(comm)); /* the first peer is in at once, later ones when the members admit them */
    while (pcclGetAttribute(comm, PCCL_ATTRIBUTE_PEER_GROUP_WORLD_SIZE, &members) == 0 && members < peers) {
        CHECK(pcclUpdateTopology(comm)); /* admits the peers that wait to join */
        poll(NULL, 0, 10);
    }
    float in[4] = {1, 2, 3, 4}, out[4];
    pcclReduceDescriptor_t reduce = {.count = 4, .op = pcclSum, .src_descriptor = {.datatype = pcclFloat}};
    pcclReduceInfo_t info;
    CHECK(pcclAllReduce(in, out, &reduce, comm, &info));
    printf("%g %g %g %g from %u peers\n", out[0], out[1], out[2], out[3], (unsigned)info.local_world_size);
    return pcclDestroyCommunicator(comm);
}
