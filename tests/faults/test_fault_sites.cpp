// A small run of members with each fault site on ends with the right results. Built where the sites are.
#include <cstring>
#include <numeric>

#include "base/fault.h"
#include "capi/harness.h"
#include "temporary_folder.h"

using namespace harness;
using pccl::fault::Site;

namespace {

constexpr int kMembers = 3;
constexpr size_t kCount = 20000;
constexpr size_t kFewCount = 700;  ///< each byte takes long through the smallest windows

/// A coordinator with a record, so that writing it can fail.
class RecordedMaster {
   public:
    RecordedMaster() {
        const char* addresses[] = {"127.0.0.1:0"};
        pcclMasterConfig_t config = PCCL_MASTER_CONFIG_INITIALIZER;
        config.listen = addresses;
        config.listen_count = 1;
        config.state_dir = folder_.path.c_str();
        config.liveness_timeout_ms = kLivenessMs;
        config.log_level = pcclLogNone;
        REQUIRE(pcclCreateMasterEx(&config, &instance_) == pcclSuccess);
        const pcclResult_t ran = pcclRunMaster(instance_);
        INFO(pcclGetLastError(nullptr));
        REQUIRE(ran == pcclSuccess);
        REQUIRE(pcclGetMasterPort(instance_, &port_) == pcclSuccess);
    }
    ~RecordedMaster() { pcclDestroyMaster(instance_); }
    RecordedMaster(const RecordedMaster&) = delete;
    RecordedMaster& operator=(const RecordedMaster&) = delete;
    std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

   private:
    pccl::test::TemporaryFolder folder_;
    pcclMasterInstance_t* instance_ = nullptr;
    uint16_t port_ = 0;
};

/// In the run with all the others. What fails on the way because nobody could be reached is tried again.
void join(Peer& peer) {
    for (int i = 0; i < 100; ++i) {
        const pcclResult_t result = pcclConnect(peer.comm());
        if (result == pcclSuccess) break;
        const bool refused = result == pcclMasterConnectionFailed || result == pcclRankConnectionFailed;
        if (!refused || i == 99) peer.same(result, pcclSuccess, "connect");
    }
    // Others may come late; the limit only catches hangs.
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (peer.world_size() < kMembers && std::chrono::steady_clock::now() < limit) {
        const pcclResult_t result = pcclUpdateTopology(peer.comm());
        if (result != pcclSuccess && result != pcclUpdateTopologyFailed)
            peer.same(result, pcclSuccess, "update");
    }
    peer.expect(peer.world_size() == kMembers, "all are in the run");
}

void reduce(Peer& peer, int index, size_t round, size_t count) {
    std::vector<float> in(count), out(count);
    for (size_t i = 0; i < count; ++i)
        in[i] = static_cast<float>((i + round) % 31 * static_cast<size_t>(index + 1));
    const bool in_place = round % 2 == 1;
    if (in_place) out = in;
    const auto descriptor = descriptor_of(count, pcclFloat, pcclSum);
    peer.ok(pcclAllReduce(in_place ? out.data() : in.data(), out.data(), &descriptor, peer.comm(), nullptr),
            "reduce");
    for (size_t i = 0; i < count; ++i) {
        // 1 + 2 + 3 times what each contributes.
        if (out[i] == static_cast<float>((i + round) % 31 * 6)) continue;
        peer.expect(false, "element " + std::to_string(i) + " of round " + std::to_string(round));
    }
}

void synchronize(Peer& peer, int index, size_t count) {
    // Whoever differs from the others takes over what they have.
    std::vector<float> weights(count, index == 2 ? 9.0f : 1.0f);
    pcclTensorInfo_t info{"weights", weights.data(), weights.size(), pcclFloat, pcclDeviceCpu, false};
    pcclSharedState_t state{0, 1, &info};
    peer.ok(pcclSynchronizeSharedState(peer.comm(), &state, PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR,
                                       nullptr),
            "shared state");
    peer.expect(weights == std::vector<float>(count, 1.0f), "the state of the majority");
}

void run_with(const std::string& sites, size_t count = kCount) {
    INFO("PCCL_FAULT_SITES=" << sites);
    std::string error;
    const bool valid = pccl::fault::configure(sites, &error);
    INFO(error);
    REQUIRE(valid);
    {
        RecordedMaster master;
        Problems problems;
        on_threads(kMembers, problems, [&](int index) {
            pcclCommConfig_t config = quick_config("");
            const std::string address = master.address();
            config.master = address.c_str();
            config.on_failure = pcclOnFailureRetry;
            Peer peer(problems, config);
            join(peer);
            synchronize(peer, index, count);
            for (size_t round = 0; round < 6; ++round) reduce(peer, index, round, count);
            bool pending = true;
            peer.ok(pcclArePeersPending(peer.comm(), &pending), "pending");
            peer.expect(!pending, "nobody waits");
        });
    }
}

void end_with(Site site) {
    const uint64_t struck = pccl::fault::strikes(site);
    std::string ignored;
    pccl::fault::configure("", &ignored);
    INFO(pccl::fault::name_of(site));
    CHECK(struck > 0);
}

void try_site(Site site, const std::string& probability, size_t count = kCount) {
    run_with(std::string(pccl::fault::name_of(site)) + ":" + probability + ";7", count);
    end_with(site);
}

}  // namespace

TEST_CASE("sites: writes and reads that are short, or do nothing") {
    try_site(Site::kShortWrite, "0.5");
    try_site(Site::kWriteAgain, "0.5");
    try_site(Site::kShortRead, "0.5");
    try_site(Site::kReadAgain, "0.5");
}

TEST_CASE("sites: wake-ups without a cause, waits that end at once, descriptors served in reverse order") {
    try_site(Site::kSpuriousWakeup, "1");
    try_site(Site::kEarlyReturn, "0.5");
    try_site(Site::kReverseOrder, "1");
}

TEST_CASE("sites: the smallest windows") { try_site(Site::kTinyWindow, "1", kFewCount); }

TEST_CASE("sites: timers that fire early") { try_site(Site::kEarlyTimer, "0.5"); }

TEST_CASE("sites: connections that fail") {
    try_site(Site::kAcceptFails, "0.5:5");
    try_site(Site::kConnectFails, "0.5");
    try_site(Site::kCoordinatorFails, "0.5");
}

TEST_CASE("sites: no memory for what arrives") {
    try_site(Site::kControlMemory, "0.2:6");
    try_site(Site::kSlotMemory, "0.1:3");
}

TEST_CASE("sites: a record that cannot be written") { try_site(Site::kRecordFails, "0.5:3"); }

TEST_CASE("sites: several at once") {
    run_with(
        "short_write:0.3,short_read:0.3,read_again:0.3,spurious_wakeup:0.3,reverse_order:0.5,early_timer:0.2;"
        "3");
    end_with(Site::kShortRead);
}

TEST_CASE("sites: what is not valid enables nothing") {
    for (const char* text : {"no_such_site:0.5", "short_write", "short_write:", "short_write:2",
                             "short_write:x", "short_write:0.5;", "short_write:0.5;seven",
                             "short_write:0.5,,", "short_write:0.5:", "short_write:nan"}) {
        std::string error;
        INFO(text);
        CHECK_FALSE(pccl::fault::configure(text, &error));
        CHECK_FALSE(error.empty());
        CHECK_FALSE(pccl::fault::any_enabled);
    }
}

TEST_CASE("sites: strikes follow from the seed, and end at their limit") {
    const auto pattern = [](const std::string& text) {
        std::string error, out;
        REQUIRE(pccl::fault::configure(text, &error));
        for (int i = 0; i < 200; ++i) out += PCCL_FAULT(kShortWrite) ? '1' : '0';
        REQUIRE(pccl::fault::configure("", &error));
        return out;
    };
    CHECK(pattern("short_write:0.5;1") == pattern("short_write:0.5;1"));
    CHECK(pattern("short_write:0.5;1") != pattern("short_write:0.5;2"));
    CHECK(pattern("") == std::string(200, '0'));
    CHECK(pattern("short_write:1") == std::string(200, '1'));
    CHECK(pattern("short_write:1:3") == "111" + std::string(197, '0'));
    CHECK(pattern("short_read:1") == std::string(200, '0'));
}

// The environment is read when a process starts, so this program is started once more.
TEST_CASE("child: is a site enabled", "[.child]") {
    CHECK(std::string(getenv("PCCL_FAULT_SITES")) == getenv("PCCL_CHILD_ARGUMENTS"));
    CHECK(PCCL_FAULT(kShortWrite));
}

TEST_CASE("sites: the environment enables them") {
    const auto child_with = [](const char* text) {
        REQUIRE(setenv("PCCL_FAULT_SITES", text, 1) == 0);
        const int status = Child("child: is a site enabled", text).wait();
        unsetenv("PCCL_FAULT_SITES");
        return status;
    };
    CHECK(child_with("short_write:1;5") == 0);
    CHECK(child_with("short_write:0;5") != 0);
    CHECK(child_with("nothing") != 0);
}
