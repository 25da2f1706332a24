// What the fields of pcclCommConfig_t do to a run: addresses, lanes, time-outs of operations, warnings.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "harness.h"

using namespace harness;

namespace {

using Change = std::function<void(pcclCommConfig_t&)>;

/// Two peers with changed options, joined, run `body(peer, rank)`.
void with_two(const std::string& master, const Change& change, const std::function<void(Peer&, int)>& body) {
    Problems problems;
    on_threads(2, problems, [&](int) {
        pcclCommConfig_t config = quick_config(master.c_str());
        change(config);
        Peer peer(problems, config);
        peer.join(2);
        int rank = -1;
        peer.ok(pcclGetRank(peer.comm(), &rank), "rank");
        body(peer, rank);
    });
}

void reduce_twice(Peer& peer, int) {
    for (const size_t count : {size_t{1}, size_t{300'000}}) {
        std::vector<float> values(count, 1.5f);
        const auto descriptor = descriptor_of(count, pcclFloat, pcclSum);
        peer.ok(pcclAllReduce(values.data(), values.data(), &descriptor, peer.comm(), nullptr), "reduce");
        peer.expect(values == std::vector<float>(count, 3.0f), "the sum of two");
    }
}

bool has_ipv6_loopback() {
    const int fd = socket(AF_INET6, SOCK_STREAM, 0);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    const bool bound = fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    if (fd >= 0) close(fd);
    return bound;
}

}  // namespace

TEST_CASE("options: peers advertise a name and listen in a range of ports") {
    Master master;
    const auto change = [](pcclCommConfig_t& config) {
        config.bind_address = nullptr;
        config.advertise_address = "localhost";
        config.port_first = 49200;
        config.port_last = 49600;
    };
    with_two(master.address(), change, reduce_twice);
}

TEST_CASE("options: the addresses of one interface are told to the others") {
    Master master;
    const auto change = [](pcclCommConfig_t& config) {
        config.bind_address = nullptr;
        config.interface = "=lo";
    };
    with_two(master.address(), change, reduce_twice);
}

TEST_CASE("options: a filter that matches no interface fails the connect, with the filter in the text") {
    Master master;
    const std::string address = master.address();
    pcclInit();
    pcclCommConfig_t config = quick_config(address.c_str());
    config.bind_address = nullptr;
    config.interface = "nosuch0";
    pcclComm_t* comm = nullptr;
    REQUIRE(pcclCreateCommunicatorEx(&config, &comm) == pcclSuccess);
    CHECK(pcclConnect(comm) == pcclMasterConnectionFailed);
    CHECK_THAT(pcclGetLastError(comm), Catch::Contains("\"nosuch0\" matches no address"));
    REQUIRE(pcclDestroyCommunicator(comm) == pcclSuccess);
}

TEST_CASE("options: peers may be bound to a name") {
    Master master;
    with_two(
        master.address(), [](pcclCommConfig_t& config) { config.bind_address = "localhost"; }, reduce_twice);
}

TEST_CASE("options: several lanes carry one operation") {
    Master master;
    with_two(
        master.address(), [](pcclCommConfig_t& config) { config.lanes = 3; }, reduce_twice);
}

TEST_CASE("options: a run over IPv6") {
    if (!has_ipv6_loopback()) {
        WARN("no IPv6 here");
        return;
    }
    Master master("[::1]:0");
    with_two(
        "[::1]:" + std::to_string(master.port()),
        [](pcclCommConfig_t& config) { config.bind_address = "::1"; }, reduce_twice);
}

TEST_CASE("options: an operation over its time ends on everybody, with the one whose time it was") {
    Master master;
    Event over;
    const auto change = [](pcclCommConfig_t& config) { config.operation_timeout_ms = 300; };
    with_two(master.address(), change, [&](Peer& peer, int rank) {
        std::vector<float> values(1000, 2);
        const auto descriptor = descriptor_of(values.size(), pcclFloat, pcclSum, 5);
        if (rank == 1) peer.expect(over.wait(), "the other's reduce ended");
        peer.same(pcclAllReduce(values.data(), values.data(), &descriptor, peer.comm(), nullptr),
                  pcclCancelled, "reduce");
        over.set();
        const std::string text = pcclGetLastError(peer.comm());
        peer.expect(text.find("its time-out of 300 ms passed at rank 0") != std::string::npos,
                    "the cause in: " + text);
        peer.expect(values == std::vector<float>(1000, 2), "input intact");
    });
}

TEST_CASE("options: a slow member is named before anything ends") {
    struct Heard {
        Event event;
        static void log(void* self, int level, const char* text) {
            if (level == pcclLogWarn && std::strstr(text, "nothing heard of it from rank 1") != nullptr)
                static_cast<Heard*>(self)->event.set();
        }
    } heard;
    Master master;
    const auto change = [&](pcclCommConfig_t& config) {
        config.slow_warning_ms = 100;
        config.log_level = pcclLogWarn;
        config.log_callback = &Heard::log;
        config.log_user_data = &heard;
    };
    with_two(master.address(), change, [&](Peer& peer, int rank) {
        if (rank == 1) peer.expect(heard.event.wait(), "a warning about this member");
        reduce_twice(peer, rank);
    });
}

TEST_CASE("options: counts beyond any operation are refused with the limit, and nothing else happens") {
    with_peers(2, [](Peer& peer, int) {
        float value = 1;
        for (const size_t count : {size_t{1} << 50, size_t{1} << 61, SIZE_MAX}) {
            const auto descriptor = descriptor_of(count, pcclFloat, pcclSum);
            peer.same(pcclAllReduce(&value, &value, &descriptor, peer.comm(), nullptr), pcclInvalidArgument,
                      "huge");
            const std::string text = pcclGetLastError(peer.comm());
            const char* cause =
                count == size_t{1} << 50 ? "549755813888" : "more than an address space holds";
            peer.expect(text.find(cause) != std::string::npos, "the limit in: " + text);
        }
        reduce_twice(peer, 0);
    });
}
