// Communicators and a coordinator in one process: everything but the loss of members.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "runtime/fleet.h"

using namespace pccl;
using namespace pccl::runtime;
using namespace pccl::runtime::testing;

TEST_CASE("the first peer is admitted at once and is alone", "[runtime]") {
    Fleet fleet;
    Communicator alone(fleet.options);
    CHECK_FALSE(alone.connected());
    CHECK_FALSE(alone.view().connected);
    core::Ticket ticket = 0;
    CHECK(alone.all_reduce_async({}, &ticket).code() == Code::INVALID_USAGE);
    REQUIRE(alone.connect().ok());
    CHECK(alone.connected());
    CHECK(alone.view().members == std::vector<MemberId>{alone.id()});
    CHECK(alone.view().globals.world_size == 1);
    CHECK(alone.connect().code() == Code::INVALID_USAGE);
    std::vector<float> data(4, 1.0f);
    CHECK(alone.all_reduce_async(reduce_call(data, data, DataType::kFloat, RedOp::kSum, 0), &ticket).code() ==
          Code::TOO_FEW_PEERS);
    bool pending = true;
    REQUIRE(alone.peers_pending(&pending).ok());
    CHECK_FALSE(pending);
    REQUIRE(alone.leave().ok());
    CHECK_FALSE(alone.connected());
    CHECK(alone.leave().code() == Code::INVALID_USAGE);
    REQUIRE(alone.connect().ok());  // again, as somebody new
    CHECK(alone.view().members.size() == 1);
}

TEST_CASE("connecting fails with the cause", "[runtime]") {
    Fleet fleet;
    CommunicatorOptions options = fleet.options;
    SECTION("an address that does not parse") {
        options.master = "nonsense";
        CHECK(Communicator(options).connect().code() == Code::MASTER_CONNECTION_FAILED);
    }
    SECTION("a name that does not exist") {
        options.master = "no.such.host.invalid:1";
        Communicator communicator(options);
        const Status status = communicator.connect();
        CHECK(status.code() == Code::MASTER_CONNECTION_FAILED);
        CHECK(status.text().find("no.such.host.invalid") != std::string::npos);
    }
    SECTION("nobody listens; when somebody does, it works") {
        fleet.master->interrupt();
        fleet.master->await_end();
        Communicator communicator(options);
        const Status status = communicator.connect();
        CHECK(status.code() == Code::MASTER_CONNECTION_FAILED);
        CHECK(status.text().find("refused") != std::string::npos);
        MasterOptions master_options;
        master_options.listen = {options.master};
        master_options.log_level = LogLevel::kNone;
        MasterServer second(master_options);
        REQUIRE(second.start().ok());
        CHECK(communicator.connect().ok());
    }
    SECTION("an interface filter that means nothing") {
        options.interface_filter = "10.0.0.0/99";
        CHECK(Communicator(options).connect().code() == Code::MASTER_CONNECTION_FAILED);
    }
    SECTION("a bind address of another host") {
        options.bind_address = "203.0.113.7";
        CHECK(Communicator(options).connect().code() == Code::MASTER_CONNECTION_FAILED);
    }
    SECTION("another member's port is no coordinator's") {
        // A free port that this process had a moment ago.
        MasterOptions free_port;
        free_port.listen = {"127.0.0.1:0"};
        free_port.log_level = LogLevel::kNone;
        MasterServer probe(free_port);
        REQUIRE(probe.start().ok());
        const uint16_t port = probe.port();
        probe.interrupt();
        probe.await_end();
        CommunicatorOptions here = fleet.options;
        here.port_first = here.port_last = port;
        Communicator first(here);
        REQUIRE(first.connect().ok());
        options.master = "127.0.0.1:" + std::to_string(port);
        Communicator second(options);
        const Status status = second.connect();
        CHECK(status.code() == Code::MASTER_CONNECTION_FAILED);
        INFO(status.text());
        CHECK(status.text().find(options.master + " did not answer as a coordinator") != std::string::npos);
        CHECK(first.connected());
    }
}

TEST_CASE("members reduce, out of place and in place, whatever the size", "[runtime]") {
    const size_t members = GENERATE(2u, 3u, 4u);
    const uint32_t lanes = GENERATE(1u, 3u);
    Fleet fleet;
    fleet.options.lanes = lanes;
    fleet.grow(members);
    const auto total = static_cast<double>(members * (members + 1) / 2);
    for (const size_t count :
         {size_t{0}, size_t{1}, size_t{2}, size_t{7}, size_t{1000}, size_t{70'000}, size_t{1'000'003}}) {
        in_parallel(members, [&](size_t i) {
            std::vector<float> send(count, static_cast<float>(i + 1)), receive(count, -1.0f);
            core::CallResult result;
            fleet.problems.expect(
                all_reduce(fleet.at(i), reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 3),
                           &result),
                "reduce");
            const auto right = [&](float value) { return static_cast<double>(value) == total; };
            fleet.problems.expect(std::all_of(receive.begin(), receive.end(), right),
                                  "wrong sum of " + std::to_string(count));
            fleet.problems.expect(result.contributors == fleet.at(i).view().members, "contributors");
            fleet.problems.expect(
                all_reduce(fleet.at(i), reduce_call(send, send, DataType::kFloat, RedOp::kSum, 3), &result),
                "in place");
            fleet.problems.expect(std::all_of(send.begin(), send.end(), right),
                                  "wrong sum in place of " + std::to_string(count));
        });
        fleet.check();
    }
}

TEST_CASE("many tags are in flight at once, awaited in any order by any thread", "[runtime]") {
    Fleet fleet;
    fleet.options.lanes = 2;
    fleet.grow(3);
    constexpr size_t kTags = 24;
    in_parallel(fleet.size(), [&](size_t i) {
        std::vector<std::vector<int32_t>> send(kTags), receive(kTags);
        std::vector<core::Ticket> tickets(kTags);
        for (size_t k = 0; k < kTags; ++k) {
            const size_t t = i % 2 == 0 ? k : kTags - 1 - k;  // members start them in different orders
            send[t].assign(1 + t * 5000, static_cast<int32_t>(i + t));
            receive[t].resize(send[t].size());
            fleet.problems.expect(
                fleet.at(i).all_reduce_async(
                    reduce_call(send[t], receive[t], DataType::kInt32, RedOp::kSum, t), &tickets[t]),
                "launch");
        }
        in_parallel(4, [&](size_t thread) {
            for (size_t t = thread; t < kTags; t += 4) {
                core::CallResult result;
                fleet.problems.expect(fleet.at(i).wait(tickets[t], kNever, &result), "wait");
                const auto want = static_cast<int32_t>(3 * t + 3);
                fleet.problems.expect(
                    std::all_of(receive[t].begin(), receive[t].end(), [&](int32_t v) { return v == want; }),
                    "wrong sum");
            }
        });
        bool done = true;
        for (const core::Ticket ticket : tickets) {
            fleet.problems.expect(fleet.at(i).test(ticket, &done).code() == Code::INVALID_ARGUMENT,
                                  "an operation left over");
        }
    });
    fleet.check();
}

TEST_CASE("waiting can time out, and tickets are good for one result", "[runtime]") {
    Fleet fleet;
    fleet.grow(2);
    std::vector<float> send(100, 1.0f), receive(100), other_receive(100);
    const auto call = reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 1);
    core::Ticket ticket = 0;
    REQUIRE(fleet.at(0).all_reduce_async(call, &ticket).ok());
    core::Ticket second = 0;
    CHECK(fleet.at(0).all_reduce_async(call, &second).code() ==
          Code::INVALID_ARGUMENT);  // the tag is in flight
    core::CallResult result;
    CHECK(fleet.at(0).wait(ticket, 0, &result).code() == Code::TIMEOUT);
    CHECK(fleet.at(0).wait(ticket, 2 * kMillisecond, &result).code() == Code::TIMEOUT);
    bool done = true;
    REQUIRE(fleet.at(0).test(ticket, &done).ok());
    CHECK_FALSE(done);
    CHECK(fleet.at(0).update_topology().code() == Code::PENDING_ASYNC_OPS);
    core::CallResult other;
    REQUIRE(
        all_reduce(fleet.at(1), reduce_call(send, other_receive, DataType::kFloat, RedOp::kSum, 1), &other)
            .ok());
    REQUIRE(fleet.at(0).wait(ticket, kNever, &result).ok());
    CHECK(receive == std::vector<float>(100, 2.0f));
    CHECK(fleet.at(0).wait(ticket, kNever, &result).code() == Code::INVALID_ARGUMENT);
    CHECK(fleet.at(0).test(ticket, &done).code() == Code::INVALID_ARGUMENT);
    CHECK(fleet.at(0).cancel(ticket).code() == Code::INVALID_ARGUMENT);
    CHECK(fleet.at(0).wait(ticket + 1000, kNever, &result).code() == Code::INVALID_ARGUMENT);
    CHECK(fleet.at(0).wait(ticket + (uint64_t{1} << 48), kNever, &result).code() == Code::INVALID_ARGUMENT);
}

TEST_CASE("cancelling ends the operation on all participants", "[runtime]") {
    Fleet fleet;
    fleet.grow(2);
    std::vector<float> send(100, 1.0f), receive(100), late(100, 5.0f);
    core::Ticket ticket = 0;
    REQUIRE(fleet.at(0)
                .all_reduce_async(reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 1), &ticket)
                .ok());
    REQUIRE(fleet.at(0).cancel(ticket).ok());
    core::CallResult result;
    CHECK(fleet.at(0).wait(ticket, kNever, &result).code() == Code::CANCELLED);
    CHECK(
        all_reduce(fleet.at(1), reduce_call(late, late, DataType::kFloat, RedOp::kSum, 1), &result).code() ==
        Code::CANCELLED);
    CHECK(late == std::vector<float>(100, 5.0f));
    in_parallel(2, [&](size_t i) {
        std::vector<float> in(10, 1.0f), out(10);
        core::CallResult again;
        fleet.problems.expect(
            all_reduce(fleet.at(i), reduce_call(in, out, DataType::kFloat, RedOp::kSum, 1), &again),
            "reduce after a cancel");
    });
    fleet.check();
}

TEST_CASE("a mismatch is an error on all members", "[runtime]") {
    Fleet fleet;
    fleet.grow(2);
    in_parallel(2, [&](size_t i) {
        std::vector<float> data(100 + i, 1.0f);
        core::CallResult result;
        const Status status =
            all_reduce(fleet.at(i), reduce_call(data, data, DataType::kFloat, RedOp::kSum, 1), &result);
        fleet.problems.expect(status.code() == Code::MISMATCH || status.code() == Code::INVALID_USAGE,
                              "mismatch: " + status.text());
    });
    fleet.check();
}

TEST_CASE("shared state is brought in line", "[runtime]") {
    Fleet fleet;
    fleet.grow(3);
    std::vector<std::vector<float>> weights(3, std::vector<float>(300'000, 1.0f)),
        bias(3, std::vector<float>(10, 2.0f));
    weights[1].assign(weights[1].size(), 9.0f);  // the odd one out
    in_parallel(3, [&](size_t i) {
        core::SyncCall call;
        core::SharedTensor tensor;
        tensor.name = "weights";
        tensor.data = reinterpret_cast<uint8_t*>(weights[i].data());
        tensor.count = weights[i].size();
        call.tensors.push_back(tensor);
        tensor.name = "bias";
        tensor.data = reinterpret_cast<uint8_t*>(bias[i].data());
        tensor.count = bias[i].size();
        call.tensors.push_back(tensor);
        core::CallResult result;
        fleet.problems.expect(fleet.at(i).synchronize(call, &result), "synchronise");
        fleet.problems.expect(result.rx_bytes == (i == 1 ? weights[i].size() * 4 : 0),
                              "rx bytes " + std::to_string(result.rx_bytes));
    });
    fleet.check();
    for (const auto& each : weights) CHECK(each == weights[0]);
    CHECK(weights[1][0] == 1.0f);
}

TEST_CASE("a member that leaves gracefully is gone for the others, who go on", "[runtime]") {
    Fleet fleet;
    fleet.grow(3);
    const MemberId leaver = fleet.at(2).id();
    REQUIRE(fleet.at(2).leave().ok());
    in_parallel(2, [&](size_t i) {
        for (int round = 0; round < 5; ++round) {
            std::vector<float> send(1000, 1.0f), receive(1000);
            core::CallResult result;
            fleet.problems.expect(
                all_reduce(fleet.at(i), reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 1),
                           &result),
                "reduce");
            fleet.problems.expect(receive[999] == 2.0f, "sum of the two that are left");
            fleet.problems.expect(std::find(result.contributors.begin(), result.contributors.end(), leaver) ==
                                      result.contributors.end(),
                                  "contributors");
        }
    });
    fleet.check();
    CHECK(fleet.at(0).view().members.size() == 2);
    fleet.members.pop_back();
    fleet.grow(3);  // and somebody new comes
}

TEST_CASE("the log callback never runs under a lock of the library", "[runtime]") {
    Fleet fleet;
    std::mutex mutex;
    size_t messages = 0;
    fleet.options.log_level = LogLevel::kTrace;
    fleet.options.log_sink = [&](LogLevel, std::string_view) {
        const std::lock_guard lock(mutex);
        ++messages;
    };
    fleet.grow(2);
    in_parallel(2, [&](size_t i) {
        for (int round = 0; round < 20; ++round) {
            std::vector<float> send(10, 1.0f), receive(10);
            core::Ticket ticket = 0;
            fleet.problems.expect(fleet.at(i).all_reduce_async(
                                      reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 1), &ticket),
                                  "launch");
            {
                // A sink that waits for this lock while the library waited for the sink would never return.
                const std::lock_guard lock(mutex);
                bool done = false;
                fleet.problems.expect(fleet.at(i).test(ticket, &done), "test");
            }
            core::CallResult result;
            fleet.problems.expect(fleet.at(i).wait(ticket, kNever, &result), "wait");
        }
    });
    fleet.check();
    fleet.members.clear();
    CHECK(messages > 0);
}

TEST_CASE("peers on other groups share the run but not the reductions", "[runtime]") {
    Fleet fleet;
    Communicator first(fleet.options);
    REQUIRE(first.connect().ok());
    CommunicatorOptions options = fleet.options;
    options.group = 7;
    Communicator second(options);
    std::thread join([&] { fleet.problems.expect(second.connect(), "connect"); });
    while (first.view().globals.groups < 2) {
        bool pending = false;
        REQUIRE(first.peers_pending(&pending).ok());
        if (pending) REQUIRE(first.update_topology().ok());
    }
    join.join();
    fleet.check();
    CHECK(first.view().members.size() == 1);
    CHECK(second.view().members.size() == 1);
    CHECK(second.view().globals.world_size == 2);
}
