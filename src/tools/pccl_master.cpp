// pccl-master: the coordinator as a program. Public C interface only.
//
// Standard output carries one line per address when the coordinator is ready, and nothing else; messages go
// to standard error. SIGTERM and SIGINT end it with status 0.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/command_line.h"
#include "pccl/pccl.h"

namespace {

constexpr const char* kDefaultListen = "0.0.0.0:48148";

struct Options {
    std::vector<std::string> listen;
    std::string state;
    std::string log_level;
    bool record_lost = false;
};

struct Level {
    const char* name;
    pcclLogLevel_t level;
};
constexpr Level kLevels[] = {
    {"TRACE", pcclLogTrace}, {"DEBUG", pcclLogDebug}, {"INFO", pcclLogInfo},   {"WARN", pcclLogWarn},
    {"ERR", pcclLogError},   {"ERROR", pcclLogError}, {"FATAL", pcclLogFatal}, {"NONE", pcclLogNone},
};

bool parse_level(std::string text, int* out) {
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    for (const Level& level : kLevels) {
        if (text == level.name) *out = level.level;
        if (text == level.name) return true;
    }
    return false;
}

int fail(const std::string& text) {
    std::fprintf(stderr, "pccl-master: %s\n", text.c_str());
    return 1;
}

/// The end after arguments that make no sense.
int refuse(const std::string& text) {
    int status = 0;
    pccl::tools::refuse("pccl-master", text, &status);
    return status;
}

/// Null when the variable is absent or empty.
const char* environment(const char* name) {
    const char* text = std::getenv(name);
    return text != nullptr && *text != '\0' ? text : nullptr;
}

int port_of(const std::string& address) { return std::atoi(address.substr(address.rfind(':') + 1).c_str()); }

/// A directory under the user's state directory, by port. False, with the cause, when there is none to be
/// had: to keep no record unasked would give up what a restart needs. An ephemeral port names nothing that a
/// restart could find again, so it keeps none.
bool default_state_dir(int port, std::string* directory, std::string* error) {
    if (port == 0) return true;
    const char* state_home = environment("XDG_STATE_HOME");
    const char* home = environment("HOME");
    std::filesystem::path folder;
    if (state_home != nullptr && *state_home == '/') {
        folder = state_home;
    } else if (home != nullptr && *home == '/') {
        folder = std::filesystem::path(home) / ".local" / "state";
    } else {
        *error = "there is no home directory to keep the run's record in; use --state DIR, or --state none";
        return false;
    }
    folder = folder / "pccl" / std::to_string(port);
    std::error_code failure;
    std::filesystem::create_directories(folder, failure);
    if (failure || access(folder.c_str(), W_OK) != 0) {
        *error = "cannot write to " + folder.string() +
                 ", where the run's record belongs; use --state DIR, or --state none";
        return false;
    }
    *directory = folder.string();
    return true;
}

std::string host_of(const std::string& address) { return address.substr(0, address.rfind(':')); }

/// A host that comes with port 0 again gets a port that no call tells, so it could not be printed.
bool repeats_port_0(const std::vector<std::string>& listen) {
    std::set<std::string> hosts;
    return std::any_of(listen.begin(), listen.end(), [&](const std::string& address) {
        return port_of(address) == 0 && !hosts.insert(host_of(address)).second;
    });
}

/// The coordinator gets the addresses with port 0 first: they share one port, and that of the first address
/// is the one that it tells.
void print_addresses(const std::vector<std::string>& listen, uint16_t first_port) {
    for (const std::string& address : listen) {
        const int port = port_of(address) == 0 ? first_port : port_of(address);
        std::printf("listening on %s:%d\n", host_of(address).c_str(), port);
    }
    std::fflush(stdout);
}

int serve(const Options& options) {
    std::vector<const char*> listen;
    for (const std::string& address : options.listen) listen.push_back(address.c_str());
    std::stable_partition(listen.begin(), listen.end(), [](const char* text) { return port_of(text) == 0; });
    pcclMasterConfig_t config = PCCL_MASTER_CONFIG_INITIALIZER;
    config.listen = listen.data();
    config.listen_count = listen.size();
    if (!options.log_level.empty()) {
        if (!parse_level(options.log_level, &config.log_level))
            return refuse("unknown log level " + options.log_level);
    } else if (environment("PCCL_LOG_LEVEL") == nullptr) {
        config.log_level = pcclLogWarn;
    }
    // Blocked before any thread exists, so that only sigwait below takes them.
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, nullptr);
    signal(SIGPIPE, SIG_IGN);

    pcclMasterInstance_t* master = nullptr;
    // Refused addresses must leave no directory behind, so they are looked at first.
    if (pcclCreateMasterEx(&config, &master) != pcclSuccess) return refuse(pcclGetLastError(nullptr));
    pcclDestroyMaster(master);
    std::string state = options.state, error;
    if (state.empty() && !default_state_dir(port_of(options.listen.front()), &state, &error))
        return fail(error);
    const bool keeps_record = !state.empty() && state != "none" && state != "majority";
    if (keeps_record) config.state_dir = state.c_str();
    config.majority = state == "majority" ? 1 : 0;
    // Without a record a restart looks like a first start, unless nobody can know the port from before.
    const bool maybe_restarted = !keeps_record && port_of(options.listen.front()) != 0;
    config.record_lost = options.record_lost || maybe_restarted ? 1 : 0;
    if (pcclCreateMasterEx(&config, &master) != pcclSuccess) return fail(pcclGetLastError(nullptr));
    if (pcclRunMaster(master) != pcclSuccess) {
        const std::string why = pcclGetLastError(nullptr);
        pcclDestroyMaster(master);
        return fail(why);
    }
    uint16_t port = 0;
    pcclGetMasterPort(master, &port);
    print_addresses(options.listen, port);
    // The coordinator may also end by itself, when memory is exhausted.
    std::atomic<bool> ended{false};
    std::thread watcher([&] {
        pcclMasterAwaitTermination(master);
        ended = true;
        kill(getpid(), SIGTERM);
    });
    int received = 0;
    sigwait(&ends, &received);
    const bool by_itself = ended;
    pcclInterruptMaster(master);
    watcher.join();
    pcclDestroyMaster(master);
    return by_itself ? fail("the coordinator ended by itself") : 0;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("The coordinator of a PCCL run: peers connect to it to join.", "pccl-master");
    Options options;
    app.add_option("--listen", options.listen,
                   std::string("HOST:PORT or [IPv6]:PORT to listen on; may be repeated; default ") +
                       kDefaultListen + ". Port 0 lets the system choose")
        ->type_name("HOST:PORT")
        ->allow_extra_args(false);
    app.add_option(
           "--state", options.state,
           "directory of the small durable record of the run; or majority: none is kept, and a run "
           "survives a restart while more than half of its members do; or none: it survives while all "
           "do. Default $XDG_STATE_HOME/pccl/PORT or ~/.local/state/pccl/PORT")
        ->type_name("DIR|majority|none")
        ->check([](const std::string& text) { return std::string(text.empty() ? "it is empty" : ""); });
    app.add_flag("--record-lost", options.record_lost,
                 "a record was lost: wait a moment for the members of its run before a new one begins");
    app.add_option("--log-level", options.log_level,
                   "TRACE, DEBUG, INFO, WARN, ERR, FATAL or NONE; default WARN");
    int status = 0;
    if (!pccl::tools::parse_arguments(app, argc, argv, &status)) return status;
    if (options.listen.empty()) options.listen.push_back(kDefaultListen);
    if (repeats_port_0(options.listen)) return refuse("--listen: one host with port 0 more than once");
    return serve(options);
}
