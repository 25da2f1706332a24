// Every mistake that a caller, a config or a stranger can make ends in the right code and a text.
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstring>

#include "harness.h"

using namespace harness;

namespace {

// Taken before main, so that no other test can have called pcclInit.
struct BeforeInit {
    pcclResult_t create = pcclSuccess, connect = pcclSuccess, info = pcclInternalError;
    std::string text;
    BeforeInit() {
        pcclCommCreateParams_t params{};
        params.master_address.port = 1;
        pcclComm_t* comm = nullptr;
        create = pcclCreateCommunicator(&params, &comm);
        text = pcclGetLastError(nullptr);
        connect = pcclConnect(nullptr);
        pcclBuildInfo_t build{};
        info = pcclGetBuildInfo(&build);
    }
} const before_init;

#define CHECK_FAILS(call, code)                            \
    do {                                                   \
        const pcclResult_t result_of_call = (call);        \
        INFO(#call << ": " << pcclGetLastError(nullptr));  \
        CHECK(result_of_call == (code));                   \
        CHECK(std::strlen(pcclGetLastError(nullptr)) > 8); \
    } while (0)

pcclComm_t* make(const char* master = "127.0.0.1:1") {
    pcclInit();
    pcclCommConfig_t config = quick_config(master);
    pcclComm_t* comm = nullptr;
    REQUIRE(pcclCreateCommunicatorEx(&config, &comm) == pcclSuccess);
    return comm;
}

struct Comm {
    pcclComm_t* comm;
    explicit Comm(const char* master = "127.0.0.1:1") : comm(make(master)) {}
    ~Comm() { pcclDestroyCommunicator(comm); }
    operator pcclComm_t*() const { return comm; }
};

template <class Enum>
Enum bad(int value) {
    Enum out;
    std::memcpy(&out, &value, sizeof out);
    return out;
}

struct Variable {
    const char* name;
    Variable(const char* variable, const char* value) : name(variable) { setenv(name, value, 1); }
    ~Variable() { unsetenv(name); }
};

/// Something that listens and is no coordinator: says `greeting`, then keeps the connection.
class Impostor {
   public:
    explicit Impostor(std::string greeting)
        : greeting_(std::move(greeting)), fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t bytes = sizeof address;
        REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        REQUIRE(listen(fd_, 8) == 0);
        getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &bytes);
        port_ = ntohs(address.sin_port);
        thread_ = std::thread([this] {
            std::vector<int> connections;
            while (!stop_) {
                pollfd ready{fd_, POLLIN, 0};
                if (poll(&ready, 1, 20) <= 0) continue;
                connections.push_back(accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC));
                [[maybe_unused]] auto sent =
                    send(connections.back(), greeting_.data(), greeting_.size(), MSG_NOSIGNAL);
            }
            for (const int connection : connections) close(connection);
        });
    }
    ~Impostor() {
        stop_ = true;
        thread_.join();
        close(fd_);
    }
    std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

   private:
    std::string greeting_;
    int fd_;
    uint16_t port_ = 0;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

}  // namespace

TEST_CASE("before pcclInit communicators are refused and build information is not") {
    CHECK(before_init.create == pcclNotInitialized);
    CHECK(before_init.connect == pcclNotInitialized);
    CHECK_THAT(before_init.text, Catch::Contains("pcclInit"));
    CHECK(before_init.info == pcclSuccess);
    CHECK(pcclInit() == pcclSuccess);
    CHECK(pcclInit() == pcclSuccess);
}

TEST_CASE("null pointers are invalid arguments") {
    Comm comm;
    pcclCommCreateParams_t params{};
    params.master_address.port = 1;
    pcclCommConfig_t config = quick_config("127.0.0.1:1");
    pcclComm_t* out = nullptr;
    CHECK_FAILS(pcclCreateCommunicator(nullptr, &out), pcclInvalidArgument);
    CHECK_FAILS(pcclCreateCommunicator(&params, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclCreateCommunicatorEx(nullptr, &out), pcclInvalidArgument);
    CHECK_FAILS(pcclCreateCommunicatorEx(&config, nullptr), pcclInvalidArgument);
    int number = 0;
    bool flag = false;
    size_t count = 0;
    pcclRankUuid_t id{};
    CHECK_FAILS(pcclConnect(nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclLeave(nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclDestroyCommunicator(nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclUpdateTopology(nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclOptimizeTopology(nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclGetAttribute(nullptr, PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE, &number), pcclInvalidArgument);
    CHECK_FAILS(pcclGetAttribute(comm, PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclArePeersPending(nullptr, &flag), pcclInvalidArgument);
    CHECK_FAILS(pcclArePeersPending(comm, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclGetRankId(comm, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclGetRankId(nullptr, &id), pcclInvalidArgument);
    CHECK_FAILS(pcclGetRank(comm, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclGetGroupMembers(nullptr, nullptr, 0, &count), pcclInvalidArgument);
    CHECK_FAILS(pcclGetContributors(comm, 1, nullptr, 0, &count), pcclInvalidArgument);
    CHECK_FAILS(pcclGetBuildInfo(nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclGetVersion(nullptr), pcclInvalidArgument);
    float data[4] = {};
    pcclReduceDescriptor_t reduce = descriptor_of(4, pcclFloat, pcclSum);
    pcclAsyncReduceOp_t handle{};
    CHECK_FAILS(pcclAllReduce(data, data, nullptr, comm, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclAllReduce(data, data, &reduce, nullptr, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclAllReduce(nullptr, data, &reduce, comm, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclAllReduce(data, nullptr, &reduce, comm, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclAllReduceAsync(data, data, &reduce, comm, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclAwaitAsyncReduce(nullptr, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclAwaitAsyncReduce(&handle, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclAsyncReduceTest(nullptr, &flag), pcclInvalidArgument);
    CHECK_FAILS(pcclAsyncReduceWait(nullptr, 1, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclAsyncReduceCancel(nullptr), pcclInvalidArgument);
    pcclReduceOpDescriptor_t one{data, data, reduce};
    CHECK_FAILS(pcclAllReduceMultipleWithRetry(nullptr, 1, comm, nullptr, 1), pcclInvalidArgument);
    CHECK_FAILS(pcclAllReduceMultipleWithRetry(&one, 0, comm, nullptr, 1), pcclInvalidArgument);
    CHECK_FAILS(pcclAllReduceMultipleWithRetry(&one, 1, nullptr, nullptr, 1), pcclInvalidArgument);
    CHECK_FAILS(pcclAllReduceMultipleWithRetry(&one, 1, comm, nullptr, 0), pcclInvalidArgument);
    CHECK_FAILS(pcclAllReduceMultipleWithRetry(&one, 1, comm, nullptr, -3), pcclInvalidArgument);
    pcclSharedState_t state{};
    const auto popular = PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR;
    CHECK_FAILS(pcclSynchronizeSharedState(nullptr, &state, popular, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclSynchronizeSharedState(comm, nullptr, popular, nullptr), pcclInvalidArgument);
    state.count = 1;
    CHECK_FAILS(pcclSynchronizeSharedState(comm, &state, popular, nullptr), pcclInvalidArgument);
    pcclMasterInstance_t* master = nullptr;
    uint16_t port = 0;
    CHECK_FAILS(pcclCreateMaster(ccoip_socket_address_t{}, nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclCreateMasterEx(nullptr, &master), pcclInvalidArgument);
    CHECK_FAILS(pcclRunMaster(nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclInterruptMaster(nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclMasterAwaitTermination(nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclDestroyMaster(nullptr), pcclInvalidArgument);
    CHECK_FAILS(pcclGetMasterPort(nullptr, &port), pcclInvalidArgument);
}

TEST_CASE("numbers outside their enumeration, absurd counts and overlapping buffers are invalid arguments") {
    Comm comm;
    std::vector<float> data(16);
    pcclAsyncReduceOp_t handle{};
    auto start = [&](const pcclReduceDescriptor_t& descriptor, void* send, void* receive) {
        return pcclAllReduceAsync(send, receive, &descriptor, comm, &handle);
    };
    for (const int value : {-1, 12, 1 << 30, INT_MIN}) {
        auto descriptor = descriptor_of(4, bad<pcclDataType_t>(value), pcclSum);
        CHECK_FAILS(start(descriptor, data.data(), data.data()), pcclInvalidArgument);
        descriptor = descriptor_of(4, pcclFloat, bad<pcclRedOp_t>(value));
        CHECK_FAILS(start(descriptor, data.data(), data.data()), pcclInvalidArgument);
        descriptor = descriptor_of(4, pcclFloat, pcclSum);
        descriptor.quantization_options.algorithm = bad<pcclQuantizationAlgorithm_t>(value);
        CHECK_FAILS(start(descriptor, data.data(), data.data()), pcclInvalidArgument);
        descriptor = descriptor_of(4, pcclFloat, pcclSum);
        descriptor.src_descriptor.distribution_hint = bad<pcclDistributionHint_t>(value);
        CHECK_FAILS(start(descriptor, data.data(), data.data()), pcclInvalidArgument);
        int number = 0;
        CHECK_FAILS(pcclGetAttribute(comm, bad<pcclAttribute_t>(value), &number), pcclInvalidArgument);
        pcclSharedState_t state{};
        CHECK_FAILS(
            pcclSynchronizeSharedState(comm, &state, bad<pcclSharedStateSyncStrategy_t>(value), nullptr),
            pcclInvalidArgument);
        CHECK(std::string(pcclGetErrorString(bad<pcclResult_t>(value == 12 ? 99 : value))) ==
              "unknown result code");
    }
    for (const size_t count : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4 + 1, size_t{1} << 62}) {
        CHECK_FAILS(start(descriptor_of(count, pcclFloat, pcclSum), data.data(), data.data()),
                    pcclInvalidArgument);
    }
    // What fits into a signed size still reaches beyond the end of the address space from there.
    CHECK_FAILS(start(descriptor_of(SIZE_MAX / 16, pcclDouble, pcclSum),
                      reinterpret_cast<void*>(UINTPTR_MAX - 64), data.data()),
                pcclInvalidArgument);
    CHECK_FAILS(start(descriptor_of(4, pcclFloat, pcclSum), data.data(), data.data() + 1),
                pcclInvalidArgument);
    CHECK_FAILS(start(descriptor_of(4, pcclFloat, pcclSum), data.data() + 3, data.data()),
                pcclInvalidArgument);
    for (const auto algorithm : {pcclQuantMinMax, pcclQuantZeroPointScale}) {
        auto descriptor = descriptor_of(4, pcclFloat, pcclSum);
        descriptor.quantization_options.algorithm = algorithm;
        CHECK_FAILS(start(descriptor, data.data(), data.data()), pcclUnsupported);
    }
    std::vector<pcclReduceOpDescriptor_t> twice(
        2, {data.data(), data.data(), descriptor_of(4, pcclFloat, pcclSum, 7)});
    CHECK_FAILS(pcclAllReduceMultipleWithRetry(twice.data(), 2, comm, nullptr, 2), pcclInvalidArgument);
}

TEST_CASE("shared states that are wrong are invalid arguments") {
    Comm comm;
    float data[4] = {};
    auto sync = [&](std::vector<pcclTensorInfo_t> infos) {
        pcclSharedState_t state{0, infos.size(), infos.data()};
        return pcclSynchronizeSharedState(comm, &state, PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR,
                                          nullptr);
    };
    const pcclTensorInfo_t good{"a", data, 4, pcclFloat, pcclDeviceCpu, false};
    auto changed = [&](auto change) {
        pcclTensorInfo_t info = good;
        change(info);
        return std::vector<pcclTensorInfo_t>{info};
    };
    CHECK_FAILS(sync(changed([](auto& i) { i.name = nullptr; })), pcclInvalidArgument);
    CHECK_FAILS(sync(changed([](auto& i) { i.name = ""; })), pcclInvalidArgument);
    CHECK_FAILS(sync(changed([](auto& i) { i.data = nullptr; })), pcclInvalidArgument);
    CHECK_FAILS(sync(changed([](auto& i) { i.count = SIZE_MAX / 2; })), pcclInvalidArgument);
    CHECK_FAILS(sync(changed([](auto& i) { i.datatype = bad<pcclDataType_t>(12); })), pcclInvalidArgument);
    CHECK_FAILS(sync(changed([](auto& i) { i.device_type = bad<pcclDeviceType_t>(2); })),
                pcclInvalidArgument);
    CHECK_FAILS(sync(changed([](auto& i) { i.device_type = pcclDeviceCuda; })), pcclInvalidArgument);
    CHECK_THAT(pcclGetLastError(comm), Catch::Contains("CUDA"));
    CHECK_FAILS(sync({good, good}), pcclInvalidArgument);
    CHECK_THAT(pcclGetLastError(comm), Catch::Contains("\"a\""));
}

TEST_CASE("calls that need a connection are invalid usage without one") {
    Comm comm;
    float data[4] = {};
    int number = 0;
    bool flag = false;
    size_t count = 0;
    pcclRankUuid_t id{};
    const auto reduce = descriptor_of(4, pcclFloat, pcclSum);
    pcclAsyncReduceOp_t handle{};
    pcclSharedState_t state{};
    CHECK_FAILS(pcclGetAttribute(comm, PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE, &number), pcclInvalidUsage);
    CHECK_FAILS(pcclUpdateTopology(comm), pcclInvalidUsage);
    CHECK_FAILS(pcclOptimizeTopology(comm), pcclInvalidUsage);
    CHECK_FAILS(pcclArePeersPending(comm, &flag), pcclInvalidUsage);
    CHECK_FAILS(pcclLeave(comm), pcclInvalidUsage);
    CHECK_FAILS(pcclGetRank(comm, &number), pcclInvalidUsage);
    CHECK_FAILS(pcclGetRankId(comm, &id), pcclInvalidUsage);
    CHECK_FAILS(pcclGetGroupMembers(comm, nullptr, 0, &count), pcclInvalidUsage);
    CHECK_FAILS(pcclAllReduce(data, data, &reduce, comm, nullptr), pcclInvalidUsage);
    CHECK_FAILS(pcclAllReduceAsync(data, data, &reduce, comm, &handle), pcclInvalidUsage);
    pcclReduceOpDescriptor_t one{data, data, reduce};
    CHECK_FAILS(pcclAllReduceMultipleWithRetry(&one, 1, comm, nullptr, 1), pcclInvalidUsage);
    CHECK_FAILS(
        pcclSynchronizeSharedState(comm, &state, PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR, nullptr),
        pcclInvalidUsage);
    handle = {comm, 77};
    CHECK_FAILS(pcclAwaitAsyncReduce(&handle, nullptr), pcclRankConnectionLost);
    CHECK_FAILS(pcclAsyncReduceWait(&handle, 0, nullptr), pcclRankConnectionLost);
    CHECK_FAILS(pcclAsyncReduceTest(&handle, &flag), pcclInvalidArgument);
    CHECK_FAILS(pcclAsyncReduceCancel(&handle), pcclInvalidArgument);
}

TEST_CASE("configs that are wrong are invalid arguments with the field's name") {
    pcclInit();
    auto create = [](auto change) {
        pcclCommConfig_t config = quick_config("127.0.0.1:1");
        change(config);
        pcclComm_t* comm = nullptr;
        const pcclResult_t result = pcclCreateCommunicatorEx(&config, &comm);
        if (comm != nullptr) pcclDestroyCommunicator(comm);
        return result;
    };
    CHECK(create([](auto&) {}) == pcclSuccess);
    CHECK_FAILS(create([](auto& c) { c.size = 0; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.size = sizeof c - 1; }), pcclInvalidArgument);
    struct Later {
        pcclCommConfig_t known;
        char unknown[100];
    } later{quick_config("127.0.0.1:1"), {}};
    later.known.size = sizeof later;
    pcclComm_t* created = nullptr;
    CHECK(pcclCreateCommunicatorEx(&later.known, &created) == pcclSuccess);
    pcclDestroyCommunicator(created);
    for (const char* address :
         {"", "nonsense", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "::1:5", "1.2.3.400:5"}) {
        INFO(address);
        CHECK_FAILS(create([&](auto& c) { c.master = address; }), pcclInvalidArgument);
    }
    CHECK_FAILS(create([](auto& c) { c.master = nullptr; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.liveness_timeout_ms = -1; }), pcclInvalidArgument);
    CHECK_THAT(pcclGetLastError(nullptr), Catch::Contains("liveness_timeout_ms"));
    CHECK_FAILS(create([](auto& c) { c.on_failure = 2; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.lanes = 65; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.plan = 3; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.segment_bytes = 1; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.log_level = 7; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.port_first = 70000; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.port_first = 50001, c.port_last = 50000; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.bind_address = "not an address"; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.advertise_address = "host:0"; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.interface = "10.0.0.0/99"; }), pcclInvalidArgument);
    CHECK_FAILS(create([](auto& c) { c.shared_state_adopt_highest = 2; }), pcclInvalidArgument);
    const char* none[] = {nullptr};
    const char* unparsable[] = {"127.0.0.1"};
    pcclMasterInstance_t* master = nullptr;
    pcclMasterConfig_t config = PCCL_MASTER_CONFIG_INITIALIZER;
    CHECK_FAILS(pcclCreateMasterEx(&config, &master), pcclInvalidArgument);
    config.listen = none, config.listen_count = 1;
    CHECK_FAILS(pcclCreateMasterEx(&config, &master), pcclInvalidArgument);
    config.listen = unparsable;
    CHECK_FAILS(pcclCreateMasterEx(&config, &master), pcclInvalidArgument);
    // A caller of version 0.1 ends before the fields that came later.
    const char* parsable[] = {"127.0.0.1:0"};
    config.listen = parsable;
    config.majority = 77;
    config.size = offsetof(pcclMasterConfig_t, majority);
    CHECK(pcclCreateMasterEx(&config, &master) == pcclSuccess);
    pcclDestroyMaster(master);
    config.size -= 1;
    CHECK_FAILS(pcclCreateMasterEx(&config, &master), pcclInvalidArgument);
    ccoip_socket_address_t address{};
    address.inet.protocol = bad<ccoip_inet_protocol_t>(2);
    CHECK_FAILS(pcclCreateMaster(address, &master), pcclInvalidArgument);
    pcclCommCreateParams_t params{};
    pcclComm_t* comm = nullptr;
    CHECK_FAILS(pcclCreateCommunicator(&params, &comm), pcclInvalidArgument);
    params.master_address = address;
    CHECK_FAILS(pcclCreateCommunicator(&params, &comm), pcclInvalidArgument);
}

TEST_CASE("the environment is read, checked, and weaker than the config") {
    pcclInit();
    pcclComm_t* comm = nullptr;
    pcclCommConfig_t config = quick_config("127.0.0.1:1");
    for (const auto& [name, value] : {std::pair{"PCCL_LANES", "many"},
                                      {"PCCL_PLAN", "fastest"},
                                      {"PCCL_ON_FAILURE", "panic"},
                                      {"PCCL_CONNECT_TIMEOUT_MS", "-5"},
                                      {"PCCL_SHARED_STATE_ADOPT_HIGHEST", "yes"}}) {
        Variable variable(name, value);
        CHECK_FAILS(pcclCreateCommunicatorEx(&config, &comm), pcclInvalidArgument);
        CHECK_THAT(pcclGetLastError(nullptr), Catch::Contains(name) && Catch::Contains(value));
    }
    {
        Variable variable("PCCL_LANES", "many");
        config.lanes = 2;
        REQUIRE(pcclCreateCommunicatorEx(&config, &comm) == pcclSuccess);
        pcclDestroyCommunicator(comm);
    }
    config.port_first = PCCL_CONFIG_UNSET;
    for (const char* range : {"a", "5-", "-5", "70000", "9-8", "1-2-3"}) {
        Variable variable("PCCL_PORT_RANGE", range);
        CHECK_FAILS(pcclCreateCommunicatorEx(&config, &comm), pcclInvalidArgument);
    }
    for (const char* name : {"PCCL_MAX_CONCURRENT_COLLECTIVE_OPS", "PCCL_MULTIPLEX_CHUNK_SIZE",
                             "PCCL_NUM_BENCHMARK_CONNECTIONS"}) {
        Variable variable(name, "anything");
        REQUIRE(pcclCreateCommunicatorEx(&config, &comm) == pcclSuccess);
        pcclDestroyCommunicator(comm);
    }
}

TEST_CASE("a coordinator that is not there or is none fails the connect, which can be repeated") {
    uint16_t port = 0;
    {
        Master master;
        port = master.port();
    }
    const std::string address = "127.0.0.1:" + std::to_string(port);
    pcclInit();
    pcclCommConfig_t config = quick_config(address.c_str());
    config.connect_timeout_ms = 400;
    pcclComm_t* comm = nullptr;
    REQUIRE(pcclCreateCommunicatorEx(&config, &comm) == pcclSuccess);
    CHECK_FAILS(pcclConnect(comm), pcclMasterConnectionFailed);
    CHECK_THAT(pcclGetLastError(comm), Catch::Contains(address));
    {
        Master master(address);
        CHECK(pcclConnect(comm) == pcclSuccess);
        CHECK_FAILS(pcclConnect(comm), pcclInvalidUsage);
    }
    pcclDestroyCommunicator(comm);
    for (const char* greeting :
         {"", "HTTP/1.1 400 Bad Request\r\n\r\n", "\xcc\xc1\x40\x00\xff\xff\xff\x7f\x00\x00\x00\x00"}) {
        Impostor impostor(greeting);
        const std::string wrong = impostor.address();
        config.master = wrong.c_str();
        REQUIRE(pcclCreateCommunicatorEx(&config, &comm) == pcclSuccess);
        CHECK_FAILS(pcclConnect(comm), pcclMasterConnectionFailed);
        pcclDestroyCommunicator(comm);
    }
    config.master = "name.invalid:48148";
    REQUIRE(pcclCreateCommunicatorEx(&config, &comm) == pcclSuccess);
    CHECK_FAILS(pcclConnect(comm), pcclMasterConnectionFailed);
    CHECK_THAT(pcclGetLastError(comm), Catch::Contains("name.invalid"));
    pcclDestroyCommunicator(comm);
}

TEST_CASE("a peer port that is taken fails the connect with its number") {
    Master master;
    Impostor taken("");
    const std::string address = master.address();
    pcclCommConfig_t config = quick_config(address.c_str());
    config.port_first = config.port_last = std::stoi(taken.address().substr(10));
    pcclInit();
    pcclComm_t* comm = nullptr;
    REQUIRE(pcclCreateCommunicatorEx(&config, &comm) == pcclSuccess);
    CHECK_FAILS(pcclConnect(comm), pcclMasterConnectionFailed);
    CHECK_THAT(pcclGetLastError(comm), Catch::Contains(std::to_string(config.port_first)));
    pcclDestroyCommunicator(comm);
}

TEST_CASE("the coordinator's life: wrong order is invalid usage") {
    Master first;
    pcclMasterInstance_t* second = nullptr;
    uint16_t port = 0;
    REQUIRE(pcclCreateMaster(first.socket_address(), &second) == pcclSuccess);
    CHECK_FAILS(pcclInterruptMaster(second), pcclInvalidUsage);
    CHECK_FAILS(pcclMasterAwaitTermination(second), pcclInvalidUsage);
    CHECK_FAILS(pcclGetMasterPort(second, &port), pcclInvalidUsage);
    CHECK_FAILS(pcclRunMaster(second), pcclInvalidUsage);
    CHECK_THAT(pcclGetLastError(nullptr), Catch::Contains(first.address()));
    CHECK_FAILS(pcclRunMaster(first.instance()), pcclInvalidUsage);
    REQUIRE(pcclInterruptMaster(first.instance()) == pcclSuccess);
    REQUIRE(pcclInterruptMaster(first.instance()) == pcclSuccess);
    REQUIRE(pcclMasterAwaitTermination(first.instance()) == pcclSuccess);
    REQUIRE(pcclMasterAwaitTermination(first.instance()) == pcclSuccess);
    CHECK(pcclRunMaster(second) == pcclSuccess);
    CHECK(pcclDestroyMaster(second) == pcclSuccess);
}

TEST_CASE("failures are kept for each thread and each communicator") {
    Comm one, two;
    int number = 0;
    pcclGetAttribute(one, PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE, nullptr);
    pcclGetAttribute(two, bad<pcclAttribute_t>(9), &number);
    CHECK_THAT(pcclGetLastError(one), Catch::Contains("pcclGetAttribute") && Catch::Contains("null"));
    CHECK_THAT(pcclGetLastError(two), Catch::Contains("9"));
    CHECK_THAT(pcclGetLastError(nullptr), Catch::Contains("9"));
    std::string other = "unset";
    std::thread([&] { other = pcclGetLastError(one); }).join();
    CHECK(other.empty());
    for (int code = 0; code <= 20; ++code)
        CHECK(std::strlen(pcclGetErrorString(bad<pcclResult_t>(code))) > 3);
    int version = 0;
    CHECK(pcclGetVersion(&version) == pcclSuccess);
    CHECK(version == PCCL_VERSION_CODE);
}

TEST_CASE("capi: bad input: an unknown log level in the environment is told to the log callback") {
    const Variable variable("PCCL_LOG_LEVEL", "LOUD");
    pcclInit();
    std::string told;
    pcclCommConfig_t config = quick_config("127.0.0.1:1");
    config.log_level = PCCL_CONFIG_UNSET;
    config.log_user_data = &told;
    config.log_callback = [](void* out, int, const char* text) { *static_cast<std::string*>(out) += text; };
    pcclComm_t* comm = nullptr;
    REQUIRE(pcclCreateCommunicatorEx(&config, &comm) == pcclSuccess);
    CHECK(told.find("LOUD") != std::string::npos);
    pcclDestroyCommunicator(comm);
}
