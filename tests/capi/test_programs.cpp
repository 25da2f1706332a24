// pccl-master and the examples as processes: the ready line, ending, refusals, and a reduce between two of
// them.
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include <filesystem>
#include <string>
#include <vector>

#include "harness.h"
#include "process.h"
#include "temporary_folder.h"

using namespace harness;
using pccl::test::Process;
using pccl::test::TemporaryFolder;

namespace {

const std::string kBin = PCCL_TEST_BIN_DIR;

std::string master_program() { return kBin + "/pccl-master"; }

/// "listening on HOST:PORT" to "HOST:PORT".
std::string address_in(const std::string& line) {
    const std::string start = "listening on ";
    INFO("line: " << line);
    REQUIRE(line.rfind(start, 0) == 0);
    return line.substr(start.size());
}

/// Says on a connection what no peer says, and waits until it is closed.
void send_garbage(const std::string& address) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    REQUIRE(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
    const std::string text(100, '?');
    REQUIRE(send(fd, text.data(), text.size(), MSG_NOSIGNAL) > 0);
    char byte = 0;
    while (recv(fd, &byte, 1, 0) > 0) {
    }
    close(fd);
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

TEST_CASE("pccl-master: tells the port that the system chose beside a fixed one") {
    std::string fixed;
    {
        Master master;
        fixed = master.address();
    }
    Process master({master_program(), "--listen", fixed, "--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0",
                    "--state", "none"});
    CHECK(address_in(master.line()) == fixed);
    const std::string chosen = address_in(master.line()), shared = address_in(master.line());
    CHECK(chosen != fixed);
    CHECK(shared == "127.0.0.2:" + chosen.substr(10));
    Problems problems;
    const std::string addresses[] = {fixed, chosen, shared};
    on_threads(3, problems, [&](int i) {
        Peer peer(problems, addresses[i]);
        peer.join(3);
    });
}

TEST_CASE("pccl-master: refuses what it cannot do, with the reason; arguments that make no sense are 2") {
    const TemporaryFolder folder;
    Process master({master_program(), "--listen", "127.0.0.1:0", "--state", folder.path});
    const std::string address = address_in(master.line());
    auto refused = [](int status, std::vector<std::string> arguments, const std::string& reason) {
        arguments.insert(arguments.begin(), master_program());
        Process process(arguments);
        const std::string errors = process.errors();
        CHECK_THAT(errors, Catch::Contains(reason));
        CHECK(process.rest_of_output().empty());
        CHECK(process.wait() == status);
    };
    refused(1, {"--listen", address, "--state", "none"}, "in use");
    refused(1, {"--listen", "127.0.0.1:0", "--state", folder.path}, "locked");
    refused(2, {"--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--state", "none"}, "more than once");
    refused(2, {"--listen", "nonsense", "--state", "none"}, "nonsense");
    refused(2, {"--listen", "127.0.0.1:99999", "--state", "none"}, "99999");
    refused(2, {"--listen", "127.0.0.1:0", "--state", "none", "--log-level", "loud"}, "loud");
    refused(2, {"--listen", "127.0.0.1:0", "--state", ""}, "empty");
    refused(2, {"--unknown"}, "--unknown");
    CHECK(std::filesystem::exists(folder.path + "/record"));
}

TEST_CASE("pccl-master: its default state lies under the user's state directory, by port") {
    const TemporaryFolder folder;
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

TEST_CASE("pccl-master: a refused address leaves no directory behind") {
    const TemporaryFolder folder;
    for (const char* address : {"127.0.0.1:99999", "nonsense", "a b:48148"}) {
        Process master({master_program(), "--listen", address}, {"XDG_STATE_HOME=" + folder.path});
        CHECK(master.wait() == 2);
    }
    CHECK(std::filesystem::is_empty(folder.path));
}

TEST_CASE("pccl-master: an empty PCCL_LOG_LEVEL is none, so that warnings are written") {
    for (const char* level : {"", "ERR"}) {
        INFO(level);
        Process master({master_program(), "--listen", "127.0.0.1:0", "--state", "none"},
                       {std::string("PCCL_LOG_LEVEL=") + level});
        const std::string address = address_in(master.line());
        // A stranger that says what no peer says is worth a warning.
        send_garbage(address);
        master.signal(SIGTERM);
        CHECK(master.errors().empty() == (*level != '\0'));
        CHECK(master.wait() == 0);
    }
}

TEST_CASE("the programs tell their versions, and pccl-master has its former name") {
    for (const char* name : {"pccl-master", "pccl-perf", "pccl-stress", "pccl-sim"}) {
        Process version({kBin + "/" + name, "--version"});
        CHECK(version.line() == std::string(name) + " " + PCCL_VERSION_STRING);
        CHECK(version.wait() == 0);
    }
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

TEST_CASE("pccl-master: by the majority rule members go on with a coordinator that has no record") {
    Process first({master_program(), "--listen", "127.0.0.1:0", "--state", "majority"});
    const std::string address = address_in(first.line());
    std::unique_ptr<Process> second;
    Problems problems;
    on_threads(2, problems, [&](int i) {
        Peer peer(problems, address);
        peer.join(2);
        if (i == 0) {
            first.signal(SIGKILL);
            first.wait();
            second = std::make_unique<Process>(
                std::vector<std::string>{master_program(), "--listen", address, "--state", "majority"});
            peer.expect(address_in(second->line()) == address, "the second coordinator is up");
        }
        // A vote needs the coordinator.
        peer.ok(pcclUpdateTopology(peer.comm()), "update");
        std::vector<float> values(1000, 1);
        const auto descriptor = descriptor_of(values.size(), pcclFloat, pcclSum);
        peer.ok(pcclAllReduce(values.data(), values.data(), &descriptor, peer.comm(), nullptr), "reduce");
        peer.expect(values == std::vector<float>(1000, 2), "the sum of two");
    });
}

#ifdef PCCL_TEST_EXAMPLES  // where they are built
TEST_CASE("the examples in C and C++ reduce between two processes") {
    const std::string folder = kBin + "/examples";
    Master master;
    std::string first, second;
    REQUIRE(run_pair(folder + "/hello_all_reduce", master.address(), &first, &second));
    CHECK(first == "2 4 6 8 from 2 peers");
    CHECK(second == first);
    REQUIRE(run_pair(folder + "/hello_all_reduce_cpp", master.address(), &first, &second));
    CHECK(first == "2 4 6 8");
    CHECK(second == first);
}
#endif
