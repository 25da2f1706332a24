// pccl-perf from outside: its table, its JSON, its checks and its refusals. Goal: a script that reads
// nccl-tests' table by position reads ours. Nothing here depends on how fast anything is.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "json.h"
#include "program.h"

using pccl::test::Finished;
using pccl::test::Json;
using pccl::test::lines_of;
using pccl::test::run_program;
using pccl::test::words_of;

namespace {

std::vector<std::vector<std::string>> rows_of(const std::string& output) {
    std::vector<std::vector<std::string>> rows;
    for (const std::string& line : lines_of(output)) {
        if (!line.empty() && line[0] != '#') {
            rows.push_back(words_of(line));
        }
    }
    return rows;
}

bool has_line(const std::string& output, const std::string& line) {
    for (const std::string& candidate : lines_of(output)) {
        if (candidate == line) {
            return true;
        }
    }
    return false;
}

}  // namespace

TEST_CASE("perf prints the columns of nccl-tests and then its own") {
    const Finished run = run_program(
        "pccl-perf", {"all_reduce", "-b", "4", "-e", "64K", "-f", "128", "-n", "3", "--peers", "2"});
    INFO(run.output << run.errors);
    REQUIRE(run.status == 0);
    const auto rows = rows_of(run.output);
    REQUIRE(rows.size() == 3);
    const std::vector<std::string> sizes = {"4", "512", "65536"};
    for (size_t i = 0; i < rows.size(); ++i) {
        REQUIRE(rows[i].size() == 13 + 6);
        CHECK(rows[i][0] == sizes[i]);
        CHECK(rows[i][1] == std::to_string(std::stoul(sizes[i]) / 4));
        CHECK(rows[i][2] == "float");
        CHECK(rows[i][3] == "sum");
        CHECK(rows[i][4] == "-1");
        CHECK(std::stod(rows[i][5]) > 0);
        CHECK(rows[i][8] == "0");
        CHECK(rows[i][12] == "0");
        CHECK(rows[i][17] == "0");
        CHECK(rows[i][18] == "0");
    }
    CHECK(has_line(run.output, "# Out of bounds values : 0 OK"));
    const auto lines = lines_of(run.output);
    CHECK(lines.back().rfind("# Avg bus bandwidth    : ", 0) == 0);
}

TEST_CASE("perf checks every type and operator among three peers and writes JSON") {
    const pccl::test::TemporaryFile file;
    const Finished run =
        run_program("pccl-perf", {"all_reduce", "-b", "20000", "-e", "20000", "-n", "1", "-d", "all", "-o",
                                  "all", "--peers", "3", "--json", file.path()});
    INFO(run.output << run.errors);
    REQUIRE(run.status == 0);
    const auto json = pccl::test::parse_json(file.read());
    REQUIRE(json.has_value());
    CHECK((*json)["peers"].items.size() == 3);
    CHECK((*json)["out_of_bounds"].number == 0);
    const std::vector<Json>& rows = (*json)["rows"].items;
    REQUIRE(rows.size() == 12 * 5);
    for (const Json& row : rows) {
        INFO(row["type"].text << " " << row["redop"].text);
        CHECK(row["size"].number == 20000);
        for (const char* mode : {"out_of_place", "in_place"}) {
            CHECK(row[mode]["wrong"].kind == Json::Kind::kNumber);
            CHECK(row[mode]["wrong"].number == 0);
            CHECK(row[mode]["time_us"].number > 0);
            CHECK(row[mode].has("cpu_s_per_gb"));
            CHECK(row[mode].has("extra_resident_bytes"));
        }
    }
}

TEST_CASE("perf measures several operations in flight, each plan, one mode alone") {
    for (const char* plan : {"ring", "mesh"}) {
        const Finished run =
            run_program("pccl-perf", {"all_reduce", "-b", "1M", "-e", "1M", "-n", "2", "-I", "--tags", "4",
                                      "--lanes", "2", "--plan", plan, "--in-place-only", "--peers", "3"});
        INFO(run.output << run.errors);
        REQUIRE(run.status == 0);
        const auto rows = rows_of(run.output);
        REQUIRE(rows.size() == 1);
        REQUIRE(rows[0].size() == 13 + 6 + 8);
        CHECK(rows[0][5] == "N/A");
        CHECK(rows[0][8] == "N/A");
        CHECK(rows[0][12] == "0");
    }
}

TEST_CASE("perf refuses bad arguments in words") {
    const std::vector<std::vector<std::string>> bad = {
        {},
        {"all_gather"},
        {"all_reduce", "-b", "12Q"},
        {"all_reduce", "-b", "8", "-e", "4"},
        {"all_reduce", "-d", "float7"},
        {"all_reduce", "-o", "xor"},
        {"all_reduce", "-n", "0"},
        {"all_reduce", "--peers", "1"},
        {"all_reduce", "--plan", "star"},
        {"all_reduce", "--lanes", "0"},
        {"all_reduce", "--in-place-only", "--out-of-place-only"},
        {"all_reduce", "-b", "4", "-e", "8", "-i", "0"},
        {"all_reduce", "--unknown"},
        {"all_reduce", "-b", "0", "-e", "0"},
        {"all_reduce", "-b", "3", "-e", "3"},
    };
    for (const auto& arguments : bad) {
        const Finished run = run_program("pccl-perf", arguments);
        INFO((arguments.empty() ? "no arguments" : arguments.back()));
        CHECK(run.status == 2);
        CHECK_FALSE(run.errors.empty());
    }
    CHECK(run_program("pccl-perf", {"--help"}).status == 0);
}

TEST_CASE("perf measures each number of elements once") {
    const Finished run = run_program("pccl-perf", {"all_reduce", "-b", "4", "-e", "20", "-i", "4", "-d",
                                                   "double", "-n", "1", "--peers", "2"});
    INFO(run.output << run.errors);
    REQUIRE(run.status == 0);
    const auto rows = rows_of(run.output);
    REQUIRE(rows.size() == 2);
    CHECK(rows[0][0] == "8");
    CHECK(rows[1][0] == "16");
}

TEST_CASE("perf names an unreachable coordinator") {
    const Finished run = run_program("pccl-perf", {"all_reduce", "--master", "127.0.0.1:1", "--peers", "2"});
    CHECK(run.status == 1);
    CHECK(run.errors.find("pcclConnect") != std::string::npos);
}
