// pccl-sim from outside: what goes where, one JSON document whatever the number of jobs, and its exit status.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "json.h"
#include "program.h"

using pccl::test::Finished;
using pccl::test::Json;
using pccl::test::lines_of;
using pccl::test::run_program;

TEST_CASE("sim runs seeds and says so in one line") {
    const Finished run = run_program("pccl-sim", {"--seeds", "20"});
    INFO(run.errors);
    CHECK(run.status == 0);
    REQUIRE(lines_of(run.output).size() == 1);
    CHECK(run.output.find("20 seeds from 1, 0 failed") == 0);
}

TEST_CASE("sim writes one document, which does not depend on the number of jobs") {
    std::vector<Json> documents;
    for (const char* jobs : {"1", "3"}) {
        const pccl::test::TemporaryFile file;
        const Finished run =
            run_program("pccl-sim", {"--seeds", "40", "--jobs", jobs, "--json", file.path()});
        INFO(run.errors);
        CHECK(run.status == 0);
        CHECK(lines_of(run.output).size() == 1);
        const auto json = pccl::test::parse_json(file.read());
        REQUIRE(json);
        documents.push_back(*json);
    }
    for (const char* name : {"first", "seeds", "members_max", "events", "virtual_hours", "processes",
                             "faults", "evictions", "epochs", "calls_succeeded", "calls_failed"}) {
        INFO(name);
        REQUIRE(documents[0][name].kind == Json::Kind::kNumber);
        CHECK(documents[0][name].number == documents[1][name].number);
    }
    CHECK(documents[1]["seeds"].number == 40);
    for (const char* verdict : {"fail", "commit", "finish", "cancel", "resume", "abort"}) {
        INFO(verdict);
        REQUIRE(documents[0]["decisions"].has(verdict));
        CHECK(documents[0]["decisions"][verdict].number == documents[1]["decisions"][verdict].number);
    }
}

TEST_CASE("sim prints nothing but the document on the standard output when it is asked for there") {
    for (const char* jobs : {"1", "2"}) {
        const Finished run = run_program(
            "pccl-sim", {"--seeds", "60", "--jobs", jobs, "--json", "-", "--mutate", "no_restore"});
        CHECK(run.status == 1);
        const auto json = pccl::test::parse_json(run.output);
        INFO(run.output);
        REQUIRE(json);
        CHECK((*json)["mutation"].text == "no_restore");
        const size_t failed = (*json)["failed"].items.size();
        CHECK(failed > 0);
        // People read the failures and the summary on the other stream.
        CHECK(run.errors.find("broke an invariant") != std::string::npos);
        CHECK(run.errors.find(", " + std::to_string(failed) + " failed;") != std::string::npos);
    }
}

TEST_CASE("sim fails when the document cannot be written") {
    const Finished run = run_program("pccl-sim", {"--seeds", "2", "--json", "/no/such/folder/out.json"});
    CHECK(run.status == 2);
    CHECK(run.errors.find("/no/such/folder/out.json") != std::string::npos);
}

TEST_CASE("sim lists the rules that can be broken, and refuses others") {
    const Finished help = run_program("pccl-sim", {"--help"});
    CHECK(help.status == 0);
    for (const char* rule : {"no_barrier", "joiners_decide", "no_resend", "lane_reopened", "local_timeout"}) {
        INFO(rule);
        CHECK(help.output.find(rule) != std::string::npos);
    }
    CHECK(run_program("pccl-sim", {"--seeds", "1", "--mutate", "no_such_rule"}).status == 2);
}

TEST_CASE("sim refuses options that it would have to ignore") {
    const std::vector<std::vector<std::string>> bad = {
        {"--seeds", "0"},
        {"--verbose", "--seeds", "1"},
        {"--replay", "3", "--json", "-"},
        {"--replay", "3", "--seeds", "2"},
        {"--replay", "3", "--jobs", "2"},
        {"--unknown"},
    };
    for (const auto& arguments : bad) {
        const Finished run = run_program("pccl-sim", arguments);
        INFO(arguments.front());
        CHECK(run.status == 2);
        CHECK_FALSE(run.errors.empty());
        CHECK(run.output.empty());
    }
    CHECK(run_program("pccl-sim", {"--replay", "3", "--verbose", "--members", "3"}).status == 0);
}

TEST_CASE("sim breaks each rule in turn, and fails when one is not found") {
    // Few seeds find some rules and not all.
    const Finished run = run_program("pccl-sim", {"--mutate", "all", "--seeds", "20"});
    INFO(run.output);
    CHECK(run.status == 1);
    CHECK(run.output.find("M1    no_barrier               I") != std::string::npos);
    CHECK(run.output.find("M12   flags_left_out           not within 20 seeds\n") != std::string::npos);
    CHECK(run_program("pccl-sim", {"--mutate", "all", "--replay", "3"}).status == 2);
}
