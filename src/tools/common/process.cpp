#include "process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "resources.h"

namespace pccl::tools {
namespace {

constexpr int kExecFailed = 127;

std::string system_error(const std::string& what) { return what + ": " + std::strerror(errno); }

// Runs in the child between fork and exec: only calls that are safe there.
[[noreturn]] void become(char** arguments, const std::vector<std::pair<int, int>>& inherits, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(kExecFailed);  // The parent died before the line above.
    }
    // First out of the way of all target numbers, then into place; dup2 clears close-on-exec.
    int target_max = 2;
    for (const auto& [here, there] : inherits) {
        target_max = std::max(target_max, there);
    }
    int parked[16];
    size_t count = 0;
    for (const auto& [here, there] : inherits) {
        if (count < std::size(parked)) {
            parked[count++] = fcntl(here, F_DUPFD_CLOEXEC, target_max + 1);
        }
    }
    for (size_t i = 0; i < count; ++i) {
        dup2(parked[i], inherits[i].second);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execv(arguments[0], arguments);
    _exit(kExecFailed);
}

}  // namespace

std::string own_program_path() {
    char path[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    return length > 0 ? std::string(path, static_cast<size_t>(length)) : std::string();
}

std::string sibling_program_path(const std::string& name) {
    const std::string own = own_program_path();
    const size_t slash = own.rfind('/');
    return slash == std::string::npos ? name : own.substr(0, slash + 1) + name;
}

bool make_pipe(int* read_end, int* write_end) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    *read_end = ends[0];
    *write_end = ends[1];
    return true;
}

pid_t spawn(const Spawn& what, std::string* error) {
    if (what.arguments.empty() || access(what.arguments[0].c_str(), X_OK) != 0) {
        *error = system_error("cannot run '" + (what.arguments.empty() ? "" : what.arguments[0]) + "'");
        return -1;
    }
    std::vector<char*> arguments;
    for (const std::string& argument : what.arguments) {
        arguments.push_back(const_cast<char*>(argument.c_str()));
    }
    arguments.push_back(nullptr);
    const pid_t parent = getpid();
    const pid_t child = fork();
    if (child == 0) {
        become(arguments.data(), what.inherits, parent);
    }
    if (child < 0) {
        *error = system_error("cannot start a process");
    }
    return child;
}

bool try_reap(pid_t child, int* status) {
    int found = 0;
    pid_t result;
    do {
        result = waitpid(child, &found, WNOHANG);
    } while (result < 0 && errno == EINTR);
    if (result == 0) {
        return false;
    }
    *status = result == child ? found : kExecFailed << 8;
    return true;
}

bool reap_within(pid_t child, int timeout_ms, int* status) {
    const int64_t deadline_ns = monotonic_ns() + static_cast<int64_t>(timeout_ms) * 1'000'000;
    const int handle = static_cast<int>(syscall(SYS_pidfd_open, child, 0));
    bool ended = false;
    while (!(ended = try_reap(child, status))) {
        const int64_t left_ms = (deadline_ns - monotonic_ns()) / 1'000'000;
        if (left_ms <= 0) {
            break;
        }
        // Without process descriptors (an old kernel) this looks again every 20 ms.
        pollfd end{handle, POLLIN, 0};
        poll(&end, 1, static_cast<int>(handle >= 0 ? left_ms : std::min<int64_t>(left_ms, 20)));
    }
    if (handle >= 0) {
        close(handle);
    }
    return ended;
}

void kill_and_reap(pid_t child) {
    kill(child, SIGKILL);
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
}

std::string describe_wait_status(int status) {
    if (WIFSIGNALED(status)) {
        const int number = WTERMSIG(status);
        return "killed by signal " + std::to_string(number) + " (" + strsignal(number) + ")";
    }
    return "exit status " + std::to_string(WEXITSTATUS(status));
}

CoordinatorProcess::~CoordinatorProcess() { kill(); }

void CoordinatorProcess::kill() {
    if (pid_ > 0) {
        kill_and_reap(pid_);
        pid_ = -1;
    }
    if (output_ >= 0) {
        close(output_);
        output_ = -1;
    }
}

bool CoordinatorProcess::start(const std::vector<std::string>& arguments, int timeout_ms,
                               std::string* error) {
    int write_end = -1;
    if (!make_pipe(&output_, &write_end)) {
        *error = system_error("cannot make a pipe");
        return false;
    }
    pid_ = spawn({arguments, {{write_end, 1}}}, error);
    close(write_end);
    if (pid_ < 0) {
        return false;
    }
    const int64_t deadline_ns = monotonic_ns() + static_cast<int64_t>(timeout_ms) * 1'000'000;
    const std::string mark = "listening on ";
    std::string seen;
    while (true) {
        const size_t at = seen.find(mark);
        const size_t end = at == std::string::npos ? at : seen.find_first_of(" \r\n", at + mark.size());
        if (end != std::string::npos) {
            address_ = seen.substr(at + mark.size(), end - at - mark.size());
            return true;
        }
        const int64_t left_ms = (deadline_ns - monotonic_ns()) / 1'000'000;
        pollfd readable{output_, POLLIN, 0};
        if (left_ms <= 0 || (poll(&readable, 1, static_cast<int>(left_ms)) < 0 && errno != EINTR)) {
            *error = "the coordinator did not say in time that it listens";
            return false;
        }
        char piece[512];
        const ssize_t got = readable.revents != 0 ? read(output_, piece, sizeof piece) : -1;
        if (got == 0) {
            int status = 0;
            const bool known = reap_within(pid_, 1000, &status);
            pid_ = known ? -1 : pid_;
            *error = "the coordinator did not start: " + (known ? describe_wait_status(status) : "no output");
            return false;
        }
        seen.append(piece, static_cast<size_t>(std::max<ssize_t>(got, 0)));
    }
}

bool CoordinatorProcess::ended(int* status) {
    if (pid_ <= 0 || !try_reap(pid_, status)) {
        return false;
    }
    pid_ = -1;
    return true;
}

bool CoordinatorProcess::stop(int timeout_ms, int* status) {
    *status = 0;
    if (pid_ <= 0) {
        return false;
    }
    ::kill(pid_, SIGTERM);
    const bool in_time = reap_within(pid_, timeout_ms, status);
    if (!in_time) {
        kill_and_reap(pid_);
        *status = SIGKILL;
    }
    pid_ = -1;
    return in_time && *status == 0;
}

}  // namespace pccl::tools
