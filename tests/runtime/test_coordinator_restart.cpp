// A coordinator with a record that ends and starts again under a run: over real sockets and files.
#include <atomic>

#include "runtime/fleet.h"
#include "temporary_folder.h"

using namespace pccl;
using namespace pccl::runtime;
using namespace pccl::runtime::testing;

TEST_CASE("restart: members reduce, query, vote and are joined while the coordinator comes and goes",
          "[runtime]") {
    const test::TemporaryFolder folder;
    const bool record = GENERATE(true, false), majority = GENERATE(false, true);
    if (record && majority) return;  // The rule makes no difference here.
    INFO("record " << record << ", majority " << majority);
    Fleet fleet(record ? folder.path : "", majority);
    fleet.options.timeouts.backoff_cap = 20 * kMillisecond;
    fleet.grow(2);
    for (size_t size = 2; size <= 4; ++size) {
        std::atomic<bool> restarted{false};
        std::thread operators([&] {
            for (int i = 0; i < 3; ++i) fleet.restart_master();
            restarted = true;
        });
        in_parallel(size, [&](size_t i) {
            std::vector<float> send(1000, 1.0f), receive(send.size());
            bool last = false;
            // All see the same answer to the query, so that they stop and vote together.
            for (uint64_t step = 0; !last; ++step) {
                send[0] = i == 0 && restarted ? 1000.0f : 1.0f;
                core::CallResult result;
                const Status status = all_reduce(
                    fleet.at(i), reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 1), &result);
                fleet.problems.expect(status, "reduction");
                if (!status.ok()) return;
                last = receive[0] >= 1000.0f;
                bool pending = false;
                fleet.problems.expect(fleet.at(i).peers_pending(&pending), "query");
                if (step % 5 == 4 || last)
                    fleet.problems.expect(fleet.at(i).update_topology(), "update of the topology");
            }
        });
        operators.join();
        fleet.check();
        fleet.grow(size + 1);
    }
    fleet.members.pop_back();
    in_parallel(4, [&](size_t i) {
        while (fleet.at(i).view().members.size() > 4) {
            std::vector<float> send(10, 1.0f), receive(send.size());
            core::CallResult result;
            fleet.problems.expect(
                all_reduce(fleet.at(i), reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 1),
                           &result),
                "reduction of those that are left");
        }
    });
    fleet.check();
    fleet.members.clear();
}

TEST_CASE("restart: a newcomer that waits is admitted by the coordinator's next process", "[runtime]") {
    const test::TemporaryFolder folder;
    Fleet fleet(folder.path);
    fleet.options.timeouts.backoff_cap = 20 * kMillisecond;
    fleet.grow(2);
    auto joiner = std::make_unique<Communicator>(fleet.options);
    std::thread join([&] { fleet.problems.expect(joiner->connect(), "connect"); });
    in_parallel(2, [&](size_t i) {
        bool pending = false;
        while (!pending) {
            const Status status = fleet.at(i).peers_pending(&pending);
            fleet.problems.expect(status, "query");
            if (!status.ok()) return;
        }
    });
    fleet.restart_master();
    in_parallel(2, [&](size_t i) { fleet.admit(i, 3); });
    join.join();
    fleet.check();
    CHECK(joiner->view().members.size() == 3);
    joiner.reset();
    fleet.members.clear();
}
