// Starting other programs, and ending them for certain. A child started here is killed by the system when the
// thread that started it ends, so call spawn from a thread that lives as long as the program. Descriptors
// reach a child only when they are listed.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

namespace pccl::tools {

/// The file of the running program; empty where the system does not tell.
std::string own_program_path();
/// A program in the same folder as the running one.
std::string sibling_program_path(const std::string& name);

/// A pipe whose ends are closed on exec.
bool make_pipe(int* read_end, int* write_end);

struct Spawn {
    std::vector<std::string> arguments;  ///< the first one is the file to run
    std::vector<std::pair<int, int>>
        inherits;  ///< (descriptor here, number in the child); 0, 1, 2 are kept otherwise
};

/// Returns the process id, or -1 with `error` filled.
pid_t spawn(const Spawn& what, std::string* error);

/// Whether the child has ended; its wait status then. Call it no more after it returned true.
bool try_reap(pid_t child, int* status);
/// Waits for the end of the child, at most timeout_ms.
bool reap_within(pid_t child, int timeout_ms, int* status);
/// Kills the child and waits for its end.
void kill_and_reap(pid_t child);
/// "exit status 3", "killed by signal 9 (Killed)".
std::string describe_wait_status(int status);

/// A coordinator in a process of its own, known by the line `listening on HOST:PORT` on its standard output.
class CoordinatorProcess {
   public:
    CoordinatorProcess() = default;
    ~CoordinatorProcess();  ///< kills it if it runs
    CoordinatorProcess(const CoordinatorProcess&) = delete;
    CoordinatorProcess& operator=(const CoordinatorProcess&) = delete;

    bool start(const std::vector<std::string>& arguments, int timeout_ms, std::string* error);
    const std::string& address() const { return address_; }
    pid_t pid() const { return pid_; }  ///< -1 when it does not run
    /// As a crash would end it; it can be started again.
    void kill();
    /// Whether it ended by itself, which is a failure.
    bool ended(int* status);
    /// SIGTERM, then SIGKILL when it does not end in time. True when it ended with status 0.
    bool stop(int timeout_ms, int* status);

   private:
    pid_t pid_ = -1;
    int output_ = -1;
    std::string address_;
};

}  // namespace pccl::tools
