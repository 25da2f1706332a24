// A program as a child process, for tests that talk to it while it runs.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace pccl::test {

/// A process with its output and error on one pipe each. Every wait is bounded; it is killed with its owner.
class Process {
   public:
    Process(std::vector<std::string> command, const std::vector<std::string>& variables = {}) {
        int out[2], err[2];
        REQUIRE(pipe2(out, O_CLOEXEC) == 0);
        REQUIRE(pipe2(err, O_CLOEXEC) == 0);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, out[1], 1);
        posix_spawn_file_actions_adddup2(&actions, err[1], 2);
        std::vector<char*> argv, environment;
        for (std::string& word : command) argv.push_back(word.data());
        argv.push_back(nullptr);
        std::vector<std::string> texts = variables;
        for (char** entry = environ; *entry != nullptr; ++entry) texts.emplace_back(*entry);
        for (std::string& text : texts) environment.push_back(text.data());
        environment.push_back(nullptr);
        const int rc = posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environment.data());
        posix_spawn_file_actions_destroy(&actions);
        close(out[1]);
        close(err[1]);
        out_ = out[0], err_ = err[0];
        INFO(command[0]);
        REQUIRE(rc == 0);
    }
    ~Process() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            waitpid(pid_, nullptr, 0);
        }
        close(out_);
        close(err_);
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    /// The next line of its output without the end; empty when it ended or said nothing for 20 seconds.
    std::string line() { return read_until(out_, '\n'); }
    std::string rest_of_output() { return read_until(out_, '\0'); }
    /// The same of its error output.
    std::string error_line() { return read_until(err_, '\n'); }
    std::string errors() { return read_until(err_, '\0'); }
    void signal(int number) { ::kill(pid_, number); }
    /// Its exit status, or -1 when a signal ended it, or it had to be killed because it did not end.
    int wait() {
        const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
        pollfd ended{fd, POLLIN, 0};
        if (fd >= 0 && poll(&ended, 1, kEndsWithinMs) == 0) ::kill(pid_, SIGKILL);
        if (fd >= 0) close(fd);
        int status = 0;
        waitpid(pid_, &status, 0);
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

   private:
    static constexpr int kEndsWithinMs = 60'000;

    static std::string read_until(int fd, char end) {
        std::string text;
        for (;;) {
            pollfd ready{fd, POLLIN, 0};
            char byte = 0;
            if (poll(&ready, 1, 20000) <= 0 || read(fd, &byte, 1) != 1 || byte == end) return text;
            text += byte;
        }
    }

    pid_t pid_ = -1;
    int out_ = -1, err_ = -1;
};

}  // namespace pccl::test
