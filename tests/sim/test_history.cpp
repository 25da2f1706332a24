// The checker itself: fabricated histories, each with one lie that it must find.
#include <catch2/catch.hpp>

#include <string>
#include <vector>

#include "sim/history.h"

using namespace pccl;
using namespace pccl::sim;

namespace {

constexpr uint64_t kSeed = 5;
const Shape kShape{6, DataType::kInt32, RedOp::kSum};

MemberId member(int process) {
    MemberId id;
    id.data[0] = static_cast<uint8_t>(process + 1);
    return id;
}

struct Checker {
    std::vector<std::string> found;
    History history{kSeed, [this](const char* invariant, const std::string&) { found.push_back(invariant); }};
    CallName name{0, 77, 3, wire::OpKind::kReduce, 9};

    Checker() {
        for (int p = 0; p < 3; ++p) history.process_started(p, member(p));
    }
    void call(int process) { history.reduce_called(name, process, kShape); }
    std::vector<uint8_t> result(const std::vector<int>& of) const {
        std::vector<uint64_t> keys;
        for (int p : of) keys.push_back(name.input_key(kSeed, p));
        return expected_result(kShape, keys);
    }
    void success(int process, const std::vector<int>& of, const std::vector<uint8_t>& bytes, TimeUs at = 0) {
        Ending ending;
        for (int p : of) ending.contributors.push_back(member(p));
        ending.at = at;
        history.reduce_ended(name, process, ending, false, bytes);
    }
    void error(int process, Code code, bool unknown = false, TimeUs at = 0) {
        Ending ending;
        ending.code = code;
        ending.at = at;
        history.reduce_ended(name, process, ending, unknown, {});
    }
    void finish(std::vector<int> gone = {}) {
        history.finish([gone](int process, TimeUs) {
            for (int p : gone) {
                if (p == process) return false;
            }
            return true;
        });
    }
};

}  // namespace

TEST_CASE("a sound history has no violation") {
    Checker checker;
    for (int p : {0, 1, 2}) checker.call(p);
    for (int p : {0, 1, 2}) checker.success(p, {0, 1, 2}, checker.result({0, 1, 2}));
    checker.finish();
    CHECK(checker.found.empty());
}

TEST_CASE("a wrong bit in a result is found") {
    Checker checker;
    for (int p : {0, 1}) checker.call(p);
    auto bytes = checker.result({0, 1});
    checker.success(0, {0, 1}, bytes);
    bytes[5] ^= 1;
    checker.success(1, {0, 1}, bytes);
    CHECK(checker.found == std::vector<std::string>{"I2"});
}

TEST_CASE("different contributors of one call are found") {
    Checker checker;
    for (int p : {0, 1, 2}) checker.call(p);
    checker.success(2, {0, 1, 2}, checker.result({0, 1, 2}));
    checker.success(0, {0, 1}, checker.result({0, 1}));
    CHECK(checker.found == std::vector<std::string>{"I1"});
}

TEST_CASE("a contributor that never called is found") {
    Checker checker;
    checker.call(0);
    checker.success(0, {0, 1}, checker.result({0, 1}));
    CHECK(checker.found == std::vector<std::string>{"I2"});
}

TEST_CASE("a result without the member's own input is found") {
    Checker checker;
    for (int p : {0, 1, 2}) checker.call(p);
    checker.success(0, {1, 2}, checker.result({1, 2}));
    CHECK(checker.found == std::vector<std::string>{"I2"});
}

TEST_CASE("a success that survivors contradict is found, also a dead member's") {
    Checker checker;
    for (int p : {0, 1, 2}) checker.call(p);
    checker.success(2, {0, 1, 2}, checker.result({0, 1, 2}));
    checker.error(0, Code::RANK_CONNECTION_LOST);
    checker.finish({2});
    CHECK(checker.found == std::vector<std::string>{"I1"});
}

TEST_CASE("an error that a dead member saw alone binds nobody, an unknown outcome neither") {
    Checker checker;
    for (int p : {0, 1, 2}) checker.call(p);
    checker.error(2, Code::MISMATCH);
    checker.error(1, Code::EVICTED, true);
    checker.success(0, {0, 1, 2}, checker.result({0, 1, 2}));
    checker.finish({2});
    CHECK(checker.found.empty());
}

TEST_CASE("an error that only a decision brings binds, also told to a member that died since") {
    for (Code code : {Code::RANK_CONNECTION_LOST, Code::CANCELLED, Code::TOO_FEW_PEERS}) {
        Checker checker;
        for (int p : {0, 1, 2}) checker.call(p);
        checker.error(2, code);
        checker.success(0, {0, 1}, checker.result({0, 1}));
        checker.finish({2});
        CHECK(checker.found == std::vector<std::string>{"I1"});
    }
}

TEST_CASE("a contributor that never called is found also where there is nothing to reduce") {
    Checker checker;
    checker.history.reduce_called(checker.name, 0, {0, DataType::kInt32, RedOp::kSum});
    checker.success(0, {0, 1}, {});
    CHECK(checker.found == std::vector<std::string>{"I2"});
}

TEST_CASE("survivors with different errors are found") {
    Checker checker;
    for (int p : {0, 1}) checker.call(p);
    checker.error(0, Code::RANK_CONNECTION_LOST);
    checker.error(1, Code::CANCELLED);
    checker.finish();
    CHECK(checker.found == std::vector<std::string>{"I1"});
}

TEST_CASE("a call that ends twice is found") {
    Checker checker;
    for (int p : {0, 1}) checker.call(p);
    checker.error(0, Code::CANCELLED);
    checker.error(0, Code::CANCELLED);
    CHECK(checker.found == std::vector<std::string>{"I3"});
}

TEST_CASE("answers of a query must be equal at all survivors") {
    Checker checker;
    CallName query{0, 1, 1, wire::OpKind::kPendingQuery, 0};
    Ending yes, no;
    yes.pending = true;
    checker.history.ended(query, 0, yes, false);
    checker.history.ended(query, 1, no, false);
    SECTION("both live on") {
        checker.finish();
        CHECK(checker.found == std::vector<std::string>{"I1"});
    }
    SECTION("the one that had heard of it died, and what it knew with it") {
        checker.finish({0});
        CHECK(checker.found.empty());
    }
    SECTION("it was not there when all had reported, and yet the survivor was told") {
        checker.finish({1});
        CHECK(checker.found == std::vector<std::string>{"I1"});
    }
}

TEST_CASE("shared content that nobody offered is found, and so is a second content") {
    Checker checker;
    CallName sync{0, 1, 1, wire::OpKind::kSharedState, 0};
    Ending ending;
    ending.content = 100;
    checker.history.ended(sync, 0, ending, false);
    CHECK(checker.found == std::vector<std::string>{"I2"});
    checker.history.content_offered(200);
    ending.content = 200;
    checker.history.ended(sync, 1, ending, false);
    CHECK(checker.found == std::vector<std::string>{"I2", "I1"});
}

TEST_CASE("member lists of an epoch are equal, keep their order, and do not go back") {
    Checker checker;
    core::View view;
    view.epoch.number = 1;
    view.members = {member(0), member(1)};
    checker.history.view_seen(0, 0, view);
    checker.history.view_seen(0, 1, view);
    CHECK(checker.found.empty());
    view.members = {member(1), member(0)};
    checker.history.view_seen(0, 2, view);
    CHECK(checker.found == std::vector<std::string>{"I1"});
    view.epoch.number = 2;
    checker.history.view_seen(0, 0, view);
    CHECK(checker.found == std::vector<std::string>{"I1", "I1"});
    view.epoch.number = 1;
    checker.history.view_seen(1, 0, view);
    CHECK(checker.found.back() == "I5");
}
