// pccl-stress from outside: short runs with kills and newcomers, their JSON, and refusals. Goal: the program
// finds nothing in a sound library, and counts what it did.
#include <signal.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "json.h"
#include "process.h"
#include "program.h"

using pccl::test::Finished;
using pccl::test::run_program;

namespace {

/// A sanitizer holds freed memory back.
const char* const kMemorySlack = "1G";

// Runs four peers for some seconds and checks what every sound run shows.
pccl::test::Json run_stress(std::vector<std::string> more) {
    const pccl::test::TemporaryFile file;
    std::vector<std::string> arguments = {"--peers",        "4",          "--seconds",    "6",
                                          "--kill-every",   "1.5",        "--join-every", "1.5",
                                          "--memory-slack", kMemorySlack, "--json",       file.path()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Finished run = run_program("pccl-stress", arguments);
    INFO(run.output << run.errors);
    REQUIRE(run.status == 0);
    const auto json = pccl::test::parse_json(file.read());
    REQUIRE(json.has_value());
    CHECK((*json)["iterations"].number > 0);
    CHECK((*json)["kills"].number > 0);
    CHECK((*json)["joins"].number > 0);
    for (const char* name :
         {"divergences", "wrong", "hangs", "crashes", "evictions", "bad_exits", "errors", "leaks"}) {
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
    const auto json = run_stress({"--size", "40000", "--seed", "2", "--policy", "report", "--inflight", "3",
                                  "--dtype", "int32", "--in-place-share", "1"});
    CHECK(json["policy"].text == "report");
}

TEST_CASE("stress goes on while workers freeze and the coordinator crashes") {
    const auto json =
        run_stress({"--size", "16K", "--seed", "3", "--freeze-every", "1-2", "--coordinator-kill-every", "2",
                    "--liveness-ms", "1000", "--collective", "mix", "--groups", "2", "--keep", "1"});
    CHECK(json["freezes"].number > 0);
    CHECK(json["coordinator_kills"].number > 0);
    CHECK(json["liveness_s"].number == 1);
    CHECK(json["worker"]["descriptors_start"].number > 0);
    CHECK(json["worker"]["descriptors_end"].number <= json["worker"]["descriptors_start"].number);
    CHECK(json["coordinator"]["descriptors_end"].number <= json["coordinator"]["descriptors_start"].number);
    CHECK(json["coordinator"]["resident_end"].number > 0);
}

TEST_CASE("stress breaks the network where that is permitted") {
    const auto json =
        run_stress({"--size", "16K", "--seed", "4", "--partition-every", "1-2", "--liveness-ms", "1000"});
    if (json["partitions_skipped"].truth) {
        CHECK(json["partitions"].number == 0);
    } else {
        CHECK(json["partitions"].number > 0);
    }
}

TEST_CASE("stress runs one collective at a time") {
    for (const char* collective : {"shared_state", "query"}) {
        const auto json = run_stress(
            {"--seconds", "3", "--kill-every", "0.7", "--join-every", "0.7", "--collective", collective});
        CHECK(json["collective"].text == collective);
        CHECK(json["operations"].number > json["iterations"].number);
    }
}

TEST_CASE("stress tells a coordinator that keeps descriptors") {
    // A coordinator that leaks is a program around the sound one: it takes more once the run has begun.
    const pccl::test::TemporaryFile file;
    const pccl::test::TemporaryFolder folder;
    const std::string leaky = folder.path + "/leaky-master";
    {
        std::ofstream script(leaky);
        // The file descriptors belong to the very process that the orchestrator knows, whose place the
        // coordinator takes when it starts for the second time.
        script << "#!/bin/bash\n"
               << "if [ -e '" << folder.path << "/began' ]; then exec 20</dev/null 21</dev/null; fi\n"
               << "touch '" << folder.path << "/began'\n"
               << "exec '" << pccl::test::program_path("pccl-master") << "' \"$@\"\n";
    }
    REQUIRE(chmod(leaky.c_str(), 0700) == 0);
    const Finished run = run_program("pccl-stress", {"--memory-slack",
                                                     kMemorySlack,
                                                     "--peers",
                                                     "2",
                                                     "--seconds",
                                                     "2",
                                                     "--kill-every",
                                                     "0",
                                                     "--join-every",
                                                     "0",
                                                     "--size",
                                                     "16K",
                                                     "--coordinator-kill-every",
                                                     "1",
                                                     "--liveness-ms",
                                                     "1000",
                                                     "--master-program",
                                                     leaky,
                                                     "--json",
                                                     file.path()});
    INFO(run.output << run.errors);
    CHECK(run.status == 1);
    CHECK(run.errors.find("LEAK: the coordinator: ") != std::string::npos);
    const auto json = pccl::test::parse_json(file.read());
    REQUIRE(json.has_value());
    CHECK((*json)["leaks"].number == 1);
    CHECK((*json)["coordinator"]["descriptors_end"].number ==
          (*json)["coordinator"]["descriptors_start"].number + 2);
}

TEST_CASE("stress counts a worker that lives and was evicted as a failure") {
    const pccl::test::TemporaryFile file;
    pccl::test::Process stress(
        {pccl::test::program_path("pccl-stress"), "--memory-slack", kMemorySlack, "--peers", "3", "--seconds",
         "10", "--kill-every", "0", "--join-every", "0", "--size", "64K", "--json", file.path()},
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
        {"--inflight", "0"},     {"--freeze-every", "3-1"},
        {"--groups", "5"},       {"--collective", "prayer"},
        {"--liveness-ms", "1"},  {"--freeze-for", "x"},
        {"--keep", "-1"},        {"--partition-every", "1-"},
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
