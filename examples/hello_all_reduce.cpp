// Usage: hello_all_reduce_cpp [HOST:PORT of the coordinator] [PEERS]; start it PEERS times (2 by default).
#include <pccl/pccl.h>
#include <chrono>
#include <iostream>
#include <stdexcept>
#include <thread>
#include <vector>
void check(pcclResult_t result) { if (result) throw std::runtime_error(pcclGetLastError(nullptr)); }
int main(int argc, char** argv) try {
    pcclCommConfig_t config = PCCL_COMM_CONFIG_INITIALIZER;
    config.master = argc > 1 ? argv[1] : "127.0.0.1:48148";
    int peers = argc > 2 ? std::stoi(argv[2]) : 2, members = 0;
    pcclComm_t* comm = nullptr;
    check(pcclInit()), check(pcclCreateCommunicatorEx(&config, &comm)), check(pcclConnect(comm));
    while (check(pcclGetAttribute(comm, PCCL_ATTRIBUTE_PEER_GROUP_WORLD_SIZE, &members)), members < peers) {
        check(pcclUpdateTopology(comm));  // admits the peers that wait to join
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    std::vector<float> in{1, 2, 3, 4}, out(4);
    pcclReduceDescriptor_t reduce{};
    reduce.count = in.size(), reduce.op = pcclSum, reduce.src_descriptor.datatype = pcclFloat;
    check(pcclAllReduce(in.data(), out.data(), &reduce, comm, nullptr));
    std::cout << out[0] << ' ' << out[1] << ' ' << out[2] << ' ' << out[3] << '\n';
    check(pcclDestroyCommunicator(comm));
} catch (const std::exception& error) { return std::cerr << error.what() << '\n', 1; }
