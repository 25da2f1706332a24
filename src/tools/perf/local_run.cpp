#include "local_run.h"

#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "common/api.h"
#include "common/process.h"

namespace pccl::perf {
namespace {

constexpr int kStartTimeoutMs = 30'000;
constexpr int kStopTimeoutMs = 5'000;
constexpr int kStragglerMs = 30'000;  // What the others get to end by themselves once a peer has failed.

int complain(const std::string& text) {
    std::fprintf(stderr, "pccl-perf: %s\n", text.c_str());
    return 1;
}

// Waits for all peers; once one has failed, the others get a limited time.
bool await_peers(std::vector<pid_t> peers) {
    bool good = true;
    for (int waited_ms = 0; !peers.empty();) {
        const size_t before = peers.size();
        std::erase_if(peers, [&](pid_t peer) {
            int status = 0;
            if (!tools::try_reap(peer, &status)) {
                return false;
            }
            if (status != 0) {
                complain("a peer ended with " + tools::describe_wait_status(status));
                good = false;
            }
            return true;
        });
        if (peers.size() != before) {
            continue;
        }
        int status = 0;
        constexpr int kLookMs = 100;
        if (tools::reap_within(peers.front(), kLookMs, &status)) {
            if (status != 0) {
                complain("a peer ended with " + tools::describe_wait_status(status));
                good = false;
            }
            peers.erase(peers.begin());
            continue;
        }
        waited_ms += good ? 0 : kLookMs;
        if (waited_ms >= kStragglerMs) {
            complain("the remaining peers did not end; killing them");
            std::for_each(peers.begin(), peers.end(), tools::kill_and_reap);
            peers.clear();
        }
    }
    return good;
}

}  // namespace

int run_locally(int argc, char** argv, const Options& options) {
    const std::string program = tools::own_program_path();
    std::string error;
    tools::CoordinatorProcess coordinator;
    if (!coordinator.start({program, kCoordinatorArgument}, kStartTimeoutMs, &error)) {
        return complain(error);
    }
    std::vector<std::string> arguments(argv, argv + argc);
    arguments[0] = program;
    arguments.insert(arguments.end(), {"--master", coordinator.address(), "--local-peer"});
    std::vector<pid_t> peers;
    for (int i = 0; i < options.peers; ++i) {
        const pid_t peer = tools::spawn({arguments, {}}, &error);
        if (peer < 0) {
            std::for_each(peers.begin(), peers.end(), tools::kill_and_reap);
            return complain(error);
        }
        peers.push_back(peer);
    }
    const bool good = await_peers(peers);
    int status = 0;
    if (!coordinator.stop(kStopTimeoutMs, &status)) {
        return complain("the coordinator ended with " + tools::describe_wait_status(status));
    }
    return good ? 0 : 1;
}

int run_local_coordinator() {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, nullptr);  // Before the library starts its thread, which inherits it.

    const char* const listen[] = {"127.0.0.1:0"};
    pcclMasterConfig_t config = PCCL_MASTER_CONFIG_INITIALIZER;
    config.listen = listen;
    config.listen_count = 1;
    pcclMasterInstance_t* master = nullptr;
    uint16_t port = 0;
    pcclResult_t result = pcclCreateMasterEx(&config, &master);
    if (result != pcclSuccess) {
        return complain(tools::api_error("pcclCreateMasterEx", result, nullptr));
    }
    if ((result = pcclRunMaster(master)) == pcclSuccess) {
        result = pcclGetMasterPort(master, &port);
    }
    if (result == pcclSuccess) {
        std::printf("listening on 127.0.0.1:%u\n", static_cast<unsigned>(port));
        std::fflush(stdout);
        int signal_number = 0;
        sigwait(&ends, &signal_number);
        pcclInterruptMaster(master);
        result = pcclMasterAwaitTermination(master);
    }
    const std::string error = result == pcclSuccess ? "" : tools::api_error("pcclRunMaster", result, nullptr);
    pcclDestroyMaster(master);
    return error.empty() ? 0 : complain(error);
}

}  // namespace pccl::perf
