// Each file in scripts/ is the membership machine's own account of one course of events: what its lines print
// must be what it says they print. With PCCL_UPDATE_SCRIPTS set the files are rewritten instead.
#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "script.h"

using namespace pccl::test;

namespace {

const std::filesystem::path kFolder = std::filesystem::path(PCCL_TEST_SOURCE_DIR) / "tests/core/scripts";

std::vector<std::string> lines_of(const std::string& text) {
    std::istringstream in(text);
    std::vector<std::string> out;
    for (std::string line; std::getline(in, line);) out.push_back(line);
    return out;
}

/// Lines that are only in the file with '-', those that are only in the output with '+'.
std::string difference(const std::string& file, const std::string& output) {
    const auto a = lines_of(file), b = lines_of(output);
    // Length of the longest common subsequence of the ends from (i, j) on.
    std::vector<std::vector<size_t>> common(a.size() + 1, std::vector<size_t>(b.size() + 1, 0));
    for (size_t i = a.size(); i-- > 0;) {
        for (size_t j = b.size(); j-- > 0;) {
            common[i][j] =
                a[i] == b[j] ? common[i + 1][j + 1] + 1 : std::max(common[i + 1][j], common[i][j + 1]);
        }
    }
    std::string out;
    for (size_t i = 0, j = 0; i < a.size() || j < b.size();) {
        if (i < a.size() && j < b.size() && a[i] == b[j]) {
            out += "  " + a[i++] + "\n";
            ++j;
        } else if (j == b.size() || (i < a.size() && common[i + 1][j] >= common[i][j + 1])) {
            out += "- " + a[i++] + "\n";
        } else {
            out += "+ " + b[j++] + "\n";
        }
    }
    return out;
}

void check_script(const std::string& name) {
    const std::filesystem::path path = kFolder / (name + ".txt");
    std::ostringstream content;
    content << std::ifstream(path).rdbuf();
    REQUIRE_FALSE(content.str().empty());
    const std::string output = Script().run(content.str());
    if (std::getenv("PCCL_UPDATE_SCRIPTS") != nullptr) {
        std::ofstream(path) << output;
        return;
    }
    INFO(path.filename().string() << "\n" << difference(content.str(), output));
    CHECK(output == content.str());
}

}  // namespace

TEST_CASE("script: the first member is alone in its run, and others found it with it") {
    check_script("founding");
}
TEST_CASE("script: a newcomer is admitted when all have voted") { check_script("admission"); }
TEST_CASE("script: a member dies in the middle of an epoch change") { check_script("kill_in_change"); }
TEST_CASE("script: a link breaks between two members that live") { check_script("false_suspicion"); }
TEST_CASE("script: a member that was evicted comes back after a restart of the coordinator") {
    check_script("zombie");
}
TEST_CASE("script: a member leaves during a change") { check_script("leave_in_change"); }
TEST_CASE("script: a joiner dies while it joins") { check_script("joiner_dies"); }
TEST_CASE("script: one group loses a member, the other does not notice") { check_script("two_groups"); }
TEST_CASE("script: a vote is given up") { check_script("vote_given_up"); }
TEST_CASE("script: the coordinator restarts before its proposal was answered") {
    check_script("restart_before_answers");
}
TEST_CASE("script: the coordinator restarts after the record was written, before the install was sent") {
    check_script("restart_before_install");
}
TEST_CASE("script: the coordinator restarts after some have installed") {
    check_script("restart_after_install");
}
TEST_CASE("script: a second member dies during the change that the first one caused") {
    check_script("double_failure");
}
TEST_CASE("script: a stopped process holds nobody up for long, and learns of it") {
    check_script("stopped_member");
}
TEST_CASE("script: a loss is reported to all") { check_script("report_policy"); }

TEST_CASE("script: each file has its test") {
    size_t files = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(kFolder)) ++files;
    CHECK(files == 15);
}

TEST_CASE("script: a difference is shown line by line") {
    CHECK(difference("a\nb\nc\n", "a\nx\nc\n") == "  a\n- b\n+ x\n  c\n");
    CHECK(Script().run("no-such-verb\n    old output\n") ==
          "no-such-verb\n    there is no verb no-such-verb\n");
}
