// Ending calls that are blocked: a connect from another thread, any call by the program's interrupt check.
#include "runtime/fleet.h"
#include "runtime/interrupt.h"

using namespace pccl;
using namespace pccl::runtime;
using namespace pccl::runtime::testing;

namespace {

std::atomic<bool> wanted{false};
std::atomic<int> asked{0};

/// Installed for the length of a test.
struct Check {
    Check() {
        wanted = false;
        asked = 0;
        interrupt_check = [] {
            ++asked;
            return wanted ? 1 : 0;
        };
    }
    ~Check() { interrupt_check = nullptr; }
};

void await_pending(Communicator& member) {
    bool pending = false;
    while (!pending) REQUIRE(member.peers_pending(&pending).ok());
}

}  // namespace

TEST_CASE("a connect ends when another thread leaves", "[runtime]") {
    Fleet fleet;
    fleet.grow(1);
    Communicator joiner(fleet.options);
    Status status;
    std::thread connecting([&] { status = joiner.connect(); });
    await_pending(fleet.at(0));
    CHECK(joiner.leave().ok());
    connecting.join();
    CHECK(status.code() == Code::MASTER_CONNECTION_FAILED);
    CHECK(status.text() == "the communicator was closed while it connected");
    CHECK(joiner.leave().code() == Code::INVALID_USAGE);
    // It can join later.
    std::thread again([&] { fleet.problems.expect(joiner.connect(), "connect again"); });
    fleet.admit(0, 2);
    again.join();
    fleet.check();
}

TEST_CASE("an interrupted connect gives up, and another may follow", "[runtime]") {
    Fleet fleet;
    fleet.grow(1);
    Communicator joiner(fleet.options);
    {
        const Check check;
        Status status;
        std::thread connecting([&] { status = joiner.connect(); });
        await_pending(fleet.at(0));
        wanted = true;
        connecting.join();
        CHECK(status.code() == Code::CANCELLED);
    }
    std::thread again([&] { fleet.problems.expect(joiner.connect(), "connect again"); });
    fleet.admit(0, 2);
    again.join();
    fleet.check();
}

TEST_CASE("an interrupted wait leaves an asynchronous reduce as it is", "[runtime]") {
    Fleet fleet;
    fleet.grow(2);
    std::vector<float> send(1000, 1.0f), receive[2] = {std::vector<float>(1000), std::vector<float>(1000)};
    const auto call = [&](size_t i) {
        return reduce_call(send, receive[i], DataType::kFloat, RedOp::kSum, 3);
    };
    core::Ticket ticket = 0;
    REQUIRE(fleet.at(0).all_reduce_async(call(0), &ticket).ok());
    core::CallResult result;
    {
        const Check check;
        wanted = true;
        CHECK(fleet.at(0).wait(ticket, kNever, &result).code() == Code::CANCELLED);
        CHECK(asked > 0);
    }
    std::thread other([&] {
        core::CallResult own;
        fleet.problems.expect(all_reduce(fleet.at(1), call(1), &own), "the other's reduce");
    });
    CHECK(fleet.at(0).wait(ticket, kNever, &result).ok());
    other.join();
    CHECK(receive[0] == receive[1]);
    CHECK(receive[0][0] == 2.0f);
    fleet.check();
}

TEST_CASE("any other interrupted call takes the member out of the run", "[runtime]") {
    Fleet fleet;
    fleet.grow(3);
    Status status;
    {
        const Check check;
        std::thread voting([&] { status = fleet.at(2).update_topology(); });
        while (asked == 0) std::this_thread::yield();
        wanted = true;
        voting.join();
    }
    CHECK(status.code() == Code::CANCELLED);
    CHECK_FALSE(fleet.at(2).connected());
    // The others go on without it.
    std::vector<float> send(1000, 1.0f);
    in_parallel(2, [&](size_t i) {
        std::vector<float> receive(send.size());
        core::CallResult result;
        for (int tries = 0; tries < 3; ++tries) {
            fleet.problems.expect(
                all_reduce(fleet.at(i), reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 3),
                           &result),
                "reduce");
        }
        fleet.problems.expect(receive[0] == 2.0f, "the two that are left contribute");
    });
    fleet.check();
}
