// pccl-stress from outside: short runs with kills and newcomers, their JSON, and refusals. Goal: the program
// finds nothing in a sound library, and counts what it did.
#include <signal.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <string>
#include <vector>

#include "json.h"
#include "process.h"
#include "program.h"

using pccl::test::Finished;
using pccl::test::run_program;

namespace {

// Runs four peers for some seconds and checks what every sound run shows.
pccl::test::Json run_stress(std::vector<std::string> more) {
    const pccl::test::TemporaryFile file;
    std::vector<std::string> arguments = {"--peers",      "4",        "--seconds",    "8",
                                          "--kill-every", "1.5",      "--join-every", "1.5",
                                          "--json",       file.path()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished run = run_program("pccl-stress", arguments);
    INFO(run.output << run.errors);
    REQUIRE(run.status == 0);
    const auto json = pccl::test::parse_json(file.read());
    REQUIRE(json.has_value());
    CHECK((*json)["iterations"].number > 0);
    CHECK((*json)["kills"].number > 0);
    CHECK((*json)["joins"].number > 0);
    for (const char* name : {"divergences", "wrong", "hangs", "crashes", "evictions", "bad_exits"}) {
        INFO(name);
        CHECK((*json)[name].kind == pccl::test::Json::Kind::kNumber);
        CHECK((*json)[name].number == 0);
    }
    CHECK((*json)["passed"].truth);
    CHECK(run.output.find("recovery, all survivors") != std::string::npos);
    return *json;
}

/// The process that wrote the line "pccl info [123] ...".
pid_t writer_of(const std::string& line) { return std::atoi(line.substr(line.find('[') + 1).c_str()); }

}  // namespace

TEST_CASE("stress survives kills and newcomers with the retry policy") {
    const auto json = run_stress({"--size", "256K", "--seed", "1"});
    CHECK(json["recovery_all"].has("median_ms"));
}

TEST_CASE("stress survives kills and newcomers with the report policy and several operations in flight") {
    const auto json = run_stress({"--size", "40000", "--seed", "2", "--policy", "report", "--tags", "3",
                                  "--dtype", "int32", "--in-place-share", "1"});
    CHECK(json["policy"].text == "report");
}

TEST_CASE("stress counts a worker that lives and was evicted as a failure") {
    const pccl::test::TemporaryFile file;
    pccl::test::Process stress(
        {pccl::test::program_path("pccl-stress"), "--peers", "3", "--seconds", "10", "--kill-every", "0",
         "--join-every", "0", "--size", "64K", "--json", file.path()},
        {"PCCL_LIVENESS_TIMEOUT_MS=500", "PCCL_LOG_LEVEL=INFO"});
    // The member of the first epoch was in the run before it admitted the others.
    pid_t frozen = 0;
    bool evicted = false;
    std::string log;
    while (!evicted) {
        const std::string line = stress.error_line();
        log += line + "\n";
        INFO(log);
        REQUIRE_FALSE(line.empty());
        if (frozen == 0 && line.find("with 3 members, this is rank 0") != std::string::npos) {
            frozen = writer_of(line);
            REQUIRE(kill(frozen, SIGSTOP) == 0);
        }
        evicted = frozen != 0 && line.find("evicting rank 0") != std::string::npos;
    }
    kill(frozen, SIGCONT);
    log += stress.errors();
    INFO(log);
    CHECK(stress.wait() == 1);
    const auto json = pccl::test::parse_json(file.read());
    REQUIRE(json.has_value());
    CHECK((*json)["evictions"].number >= 1);
    CHECK_FALSE((*json)["passed"].truth);
    for (const char* name : {"divergences", "wrong", "hangs", "crashes"}) {
        INFO(name);
        CHECK((*json)[name].number == 0);
    }
}

TEST_CASE("stress refuses bad arguments in words") {
    const std::vector<std::vector<std::string>> bad = {
        {"--peers", "1"},        {"--seconds", "-3"},
        {"--size", "x"},         {"--policy", "hope"},
        {"--tags", "0"},         {"--dtype", "float7"},
        {"--kill-every", "-1"},  {"--in-place-share", "2"},
        {"--hang-seconds", "0"}, {"extra"},
    };
    for (const auto& arguments : bad) {
        const Finished run = run_program("pccl-stress", arguments);
        INFO(arguments.front());
        CHECK(run.status == 2);
        CHECK_FALSE(run.errors.empty());
    }
    CHECK(run_program("pccl-stress", {"--help"}).status == 0);
}

TEST_CASE("stress tells when it cannot run") {
    const Finished run = run_program("pccl-stress", {"--master-program", "/nowhere/pccl-master"});
    CHECK(run.status == 1);
    CHECK(run.errors.find("/nowhere/pccl-master") != std::string::npos);
}
