// pccl-master and the examples as processes: the ready line, ending, refusals, and a reduce between two of
// them.
#include <fcntl.h>
#include <poll.h>

#include <cstdlib>
#include <filesystem>

#include "harness.h"

using namespace harness;

namespace {

const std::string kBin = PCCL_TEST_BIN_DIR;

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
    std::string errors() { return read_until(err_, '\0'); }
    void signal(int number) { ::kill(pid_, number); }
    /// Its exit status, or -1 when a signal ended it.
    int wait() {
        int status = 0;
        waitpid(pid_, &status, 0);
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

   private:
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

struct Folder {
    std::string path;
    Folder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "pccl-programs-XXXXXX").string();
        REQUIRE(mkdtemp(pattern.data()) != nullptr);
        path = pattern;
    }
    ~Folder() { std::filesystem::remove_all(path); }
};

std::string master_program() { return kBin + "/pccl-master"; }

/// "listening on HOST:PORT" to "HOST:PORT".
std::string address_in(const std::string& line) {
    const std::string start = "listening on ";
    INFO("line: " << line);
    REQUIRE(line.rfind(start, 0) == 0);
    return line.substr(start.size());
}

bool run_pair(const std::string& program, const std::string& address, std::string* first,
              std::string* second) {
    Process one({program, address, "2"}), two({program, address, "2"});
    *first = one.line(), *second = two.line();
    const std::string errors = one.errors() + two.errors();
    const int status_one = one.wait(), status_two = two.wait();
    INFO(errors);
    CHECK(status_one == 0);
    CHECK(status_two == 0);
    return status_one == 0 && status_two == 0;
}

}  // namespace

TEST_CASE("pccl-master: one ready line per address, a clean end on a signal") {
    const int number = GENERATE(SIGTERM, SIGINT);
    Process master(
        {master_program(), "--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0", "--state", "none"});
    const std::string first = address_in(master.line()), second = address_in(master.line());
    CHECK(first.rfind("127.0.0.1:", 0) == 0);
    CHECK(second == "127.0.0.2:" + first.substr(10));
    Problems problems;
    on_threads(2, problems, [&](int i) {
        Peer peer(problems, i == 0 ? first : second);
        peer.join(2);
    });
    master.signal(number);
    CHECK(master.rest_of_output().empty());
    CHECK(master.errors().empty());
    CHECK(master.wait() == 0);
}

TEST_CASE("pccl-master: refuses what it cannot do, with the reason, and exits with 1") {
    Folder folder;
    Process master({master_program(), "--listen", "127.0.0.1:0", "--state", folder.path});
    const std::string address = address_in(master.line());
    auto refused = [](std::vector<std::string> arguments, const std::string& reason) {
        arguments.insert(arguments.begin(), master_program());
        Process process(arguments);
        const std::string errors = process.errors();
        CHECK_THAT(errors, Catch::Contains(reason));
        CHECK(process.rest_of_output().empty());
        CHECK(process.wait() == 1);
    };
    refused({"--listen", address, "--state", "none"}, "in use");
    refused({"--listen", "127.0.0.1:0", "--state", folder.path}, "locked");
    refused({"--listen", "nonsense", "--state", "none"}, "nonsense");
    refused({"--listen", "127.0.0.1:99999", "--state", "none"}, "99999");
    refused({"--listen", "127.0.0.1:0", "--state", "none", "--log-level", "loud"}, "loud");
    CHECK(std::filesystem::exists(folder.path + "/record"));
}

TEST_CASE("pccl-master: its default state lies under the user's state directory, by port") {
    Folder folder;
    uint16_t port = 0;
    {
        Master master;
        port = master.port();
    }
    const std::string address = "127.0.0.1:" + std::to_string(port);
    Process master({master_program(), "--listen", address}, {"XDG_STATE_HOME=" + folder.path});
    CHECK(address_in(master.line()) == address);
    CHECK(std::filesystem::exists(folder.path + "/pccl/" + std::to_string(port) + "/record"));
    master.signal(SIGTERM);
    CHECK(master.wait() == 0);
}

TEST_CASE("pccl-master: its version, and its former name") {
    Process version({master_program(), "--version"});
    CHECK(version.line() == std::string("pccl-master ") + PCCL_VERSION_STRING);
    CHECK(version.wait() == 0);
    CHECK(std::filesystem::exists(kBin + "/ccoip_master"));
}

TEST_CASE("reduces do not miss a coordinator that is killed") {
    Process master({master_program(), "--listen", "127.0.0.1:0", "--state", "none"});
    const std::string address = address_in(master.line());
    Problems problems;
    on_threads(2, problems, [&](int i) {
        Peer peer(problems, address);
        peer.join(2);
        for (uint64_t step = 0; step < 50; ++step) {
            if (i == 0 && step == 10) {
                master.signal(SIGKILL);
                master.wait();
            }
            std::vector<float> values(10000, 1);
            const auto descriptor = descriptor_of(values.size(), pcclFloat, pcclSum);
            peer.ok(pcclAllReduce(values.data(), values.data(), &descriptor, peer.comm(), nullptr), "reduce");
            peer.expect(values == std::vector<float>(10000, 2), "the sum of two");
        }
    });
}

TEST_CASE("the examples in C and C++ reduce between two processes") {
    const std::string folder = kBin + "/examples";
    if (!std::filesystem::exists(folder + "/hello_all_reduce")) {
        WARN("the examples are not built");
        return;
    }
    Master master;
    std::string first, second;
    REQUIRE(run_pair(folder + "/hello_all_reduce", master.address(), &first, &second));
    CHECK(first == "2 4 6 8 from 2 peers");
    CHECK(second == first);
    REQUIRE(run_pair(folder + "/hello_all_reduce_cpp", master.address(), &first, &second));
    CHECK(first == "2 4 6 8");
    CHECK(second == first);
}
