// Bodies of the messages to and from the coordinator, and its durable record: the first byte chooses, the
// rest is decoded.
#include "round_trip.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    pccl::fuzz::round_trip_one(pccl::fuzz::CoordinatorMessages(), {data, bytes});
    return 0;
}
