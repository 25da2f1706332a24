// Bodies of the messages between peers: the first byte chooses the message, the rest is decoded.
#include "round_trip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    pccl::fuzz::round_trip_one(pccl::fuzz::PeerMessages(), {data, bytes});
    return 0;
}
