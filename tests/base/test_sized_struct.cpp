// Structs of callers that were compiled with another length than the library.
#include <catch2/catch.hpp>
#include <cstdint>

#include "base/sized_struct.h"

namespace {

struct Earlier {
    size_t size = sizeof(Earlier);
    int32_t first = 1;
};
struct Later {
    size_t size = sizeof(Later);
    int32_t first = 10, second = 20;
    int64_t third = 30;
};

}  // namespace

TEST_CASE("what an earlier caller does not have keeps the initial values") {
    Later out;
    const Earlier caller{sizeof(Earlier) - sizeof(int32_t), 5};
    pccl::copy_common(&caller, caller.size, &out);
    CHECK(out.first == 5);
    CHECK(out.second == 20);
    CHECK(out.third == 30);
}

TEST_CASE("what a later caller has in addition is left alone") {
    Earlier out;
    const Later caller{sizeof(Later), 7, 8, 9};
    pccl::copy_common(&caller, caller.size, &out);
    CHECK(out.size == sizeof(Later));
    CHECK(out.first == 7);
}

TEST_CASE("the length of an earlier version includes the padding behind its last field") {
    CHECK(pccl::bytes_up_to<Earlier>(offsetof(Earlier, first), sizeof(int32_t)) == sizeof(Earlier));
    CHECK(pccl::bytes_up_to<Later>(offsetof(Later, third), sizeof(int64_t)) == sizeof(Later));
}
