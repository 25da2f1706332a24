#include "program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace pccl::test {
namespace {

// False at the end of the stream.
bool read_some(int descriptor, std::string* text) {
    char piece[4096];
    const ssize_t got = read(descriptor, piece, sizeof piece);
    if (got > 0) {
        text->append(piece, static_cast<size_t>(got));
    }
    return got > 0 || (got < 0 && errno == EINTR);
}

}  // namespace

std::string program_path(const std::string& name) {
    const char* const folder = std::getenv("PCCL_BIN_DIR");
    return std::string(folder != nullptr ? folder : PCCL_TEST_BIN_DIR) + "/" + name;
}

Finished run_program(const std::string& name, const std::vector<std::string>& arguments, int limit_s) {
    const std::string path = program_path(name);
    std::vector<char*> raw{const_cast<char*>(path.c_str())};
    for (const std::string& argument : arguments) {
        raw.push_back(const_cast<char*>(argument.c_str()));
    }
    raw.push_back(nullptr);
    int output[2], errors[2];
    if (pipe2(output, O_CLOEXEC) != 0 || pipe2(errors, O_CLOEXEC) != 0) {
        return {};
    }
    const pid_t child = fork();
    if (child == 0) {
        setpgid(0, 0);
        dup2(output[1], 1);
        dup2(errors[1], 2);
        execv(raw[0], raw.data());
        _exit(127);
    }
    close(output[1]);
    close(errors[1]);
    Finished finished;
    pollfd streams[2] = {{output[0], POLLIN, 0}, {errors[0], POLLIN, 0}};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(limit_s);
    bool in_time = true;
    while (in_time && (streams[0].fd >= 0 || streams[1].fd >= 0)) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline - std::chrono::steady_clock::now());
        in_time = left.count() > 0 && poll(streams, 2, static_cast<int>(left.count())) != 0;
        for (int i = 0; i < 2; ++i) {
            if (in_time && streams[i].fd >= 0 && streams[i].revents != 0 &&
                !read_some(streams[i].fd, i == 0 ? &finished.output : &finished.errors)) {
                streams[i].fd = -1;
            }
        }
    }
    if (!in_time) {
        kill(-child, SIGKILL);  // Its own process group, made above.
    }
    int status = 0;
    waitpid(child, &status, 0);
    close(output[0]);
    close(errors[0]);
    if (in_time) {
        finished.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return finished;
}

std::string TemporaryFile::read() const {
    std::ifstream file(path());
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

std::vector<std::string> words_of(const std::string& line) {
    std::vector<std::string> words;
    std::istringstream in(line);
    for (std::string word; in >> word;) {
        words.push_back(word);
    }
    return words;
}

}  // namespace pccl::test
