// Losses: a member's process is killed, the coordinator ends and comes back. A member that is to be killed is
// this program itself, started again with the hidden test case at the end.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "runtime/fleet.h"
#include "runtime/raw_peer.h"

using namespace pccl;
using namespace pccl::runtime;
using namespace pccl::runtime::testing;

namespace {

/// A process that joins the run and then reduces without end.
class Victim {
   public:
    explicit Victim(const std::string& master, bool churns = false) {
        int fds[2];
        REQUIRE(::pipe(fds) == 0);
        ready_ = fds[0];
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            // Only what is safe between fork and exec in a program with threads.
            char variable[256] = "PCCL_TEST_VICTIM=";
            char pipe[64] = "PCCL_TEST_VICTIM_PIPE=";
            std::strncat(variable, master.c_str(), sizeof variable - std::strlen(variable) - 1);
            const char digits[] = {static_cast<char>('0' + fds[1] / 100),
                                   static_cast<char>('0' + fds[1] / 10 % 10),
                                   static_cast<char>('0' + fds[1] % 10), '\0'};
            std::strncat(pipe, digits, sizeof pipe - std::strlen(pipe) - 1);
            char churn_variable[] = "PCCL_TEST_CHURN=1";
            char* const environment[] = {variable, pipe, churns ? churn_variable : nullptr, nullptr};
            char program[] = "test", name[] = "a member in a process of its own";
            char option[] = "--out", nowhere[] = "/dev/null";
            char* const arguments[] = {program, name, option, nowhere, nullptr};
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody else would end it if this program is killed
            ::execve("/proc/self/exe", arguments, environment);
            ::_exit(127);
        }
        ::close(fds[1]);
    }
    ~Victim() {
        kill();
        ::close(ready_);
    }
    /// Waits until it has reduced once.
    bool await_first_reduction() {
        char byte = 0;
        return ::read(ready_, &byte, 1) == 1;
    }
    void stop() { ::kill(pid_, SIGSTOP); }
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }

   private:
    pid_t pid_ = -1;
    int ready_ = -1;
};

/// Reduces until the group has `count` members and has reduced `rounds` times more.
void reduce_until(Fleet& fleet, size_t i, size_t count, int rounds,
                  const std::function<bool(const Status&)>& allowed) {
    std::vector<float> send(50'000, 1.0f), receive(send.size());
    for (int left = rounds; left > 0;) {
        core::CallResult result;
        const Status status =
            all_reduce(fleet.at(i), reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 9), &result);
        if (!status.ok()) {
            if (!allowed(status)) return fleet.problems.add("reduce: " + status.text());
            continue;
        }
        const auto want = static_cast<float>(result.contributors.size());
        fleet.problems.expect(receive.front() == want && receive.back() == want,
                              "sum and contributors differ");
        if (result.contributors.size() == count) --left;
    }
}

void admit_victim(Fleet& fleet, Victim& victim) {
    const size_t before = fleet.size();
    in_parallel(before, [&](size_t i) { fleet.admit(i, before + 1); });
    fleet.check();
    std::vector<std::thread> threads;
    for (size_t i = 0; i < before; ++i) {
        threads.emplace_back([&fleet, i, before] {
            reduce_until(fleet, i, before + 1, 3, [](const Status&) { return false; });
        });
    }
    CHECK(victim.await_first_reduction());
    for (auto& thread : threads) thread.join();
    fleet.check();
}

/// What every member of a run with comings and goings does: admits who waits, reduces two large tensors in
/// place at once, and checks every element against the number of contributors. Ends everywhere in the same
/// round, once somebody asks. A newcomer enters behind the update that admitted it.
Status churn(Communicator& member, bool newcomer, const std::function<bool()>& ask_to_stop,
             const std::function<void()>& each_round) {
    for (;; newcomer = false) {
        bool pending = false;
        Status status;
        if (!newcomer) status = member.peers_pending(&pending);
        if (status.ok() && pending) status = member.update_topology();
        if (!status.ok()) return status;
        std::vector<float> first(200'000, 1.0f), second(70'001, 2.0f), stop(1, ask_to_stop() ? 1.0f : 0.0f);
        core::Ticket tickets[3] = {};
        std::vector<float>* tensors[3] = {&first, &second, &stop};
        for (uint64_t tag = 0; tag < 3; ++tag) {
            const auto call = reduce_call(*tensors[tag], *tensors[tag], DataType::kFloat, RedOp::kSum, tag);
            if (status = member.all_reduce_async(call, &tickets[tag]); !status.ok()) return status;
        }
        for (int tag = 0; tag < 3; ++tag) {
            core::CallResult result;
            if (status = member.wait(tickets[tag], kNever, &result); !status.ok()) return status;
            if (tag == 2) continue;
            const auto want = static_cast<float>(result.contributors.size() * static_cast<size_t>(tag + 1));
            const auto& sums = *tensors[tag];
            if (!std::all_of(sums.begin(), sums.end(), [&](float sum) { return sum == want; })) {
                return {Code::INTERNAL_ERROR, "a sum differs from the number of contributors"};
            }
        }
        each_round();
        if (stop[0] > 0) return {};
    }
}

}  // namespace

TEST_CASE("a killed member is dropped and the operation is run again without it", "[runtime]") {
    Fleet fleet;
    fleet.grow(2);
    Victim victim(fleet.options.master);
    admit_victim(fleet, victim);
    std::thread killer([&] { victim.kill(); });
    in_parallel(2, [&](size_t i) { reduce_until(fleet, i, 2, 5, [](const Status&) { return false; }); });
    killer.join();
    fleet.check();
    CHECK(fleet.at(0).view().members.size() == 2);
    CHECK(fleet.at(0).view().epoch == fleet.at(1).view().epoch);
}

TEST_CASE("with the report policy a death is told once, with the input intact", "[runtime]") {
    Fleet fleet;
    fleet.options.report_failures = true;
    fleet.grow(2);
    Victim victim(fleet.options.master);
    admit_victim(fleet, victim);
    std::atomic<int> reports{0};
    std::thread killer([&] { victim.kill(); });
    in_parallel(2, [&](size_t i) {
        reduce_until(fleet, i, 2, 5, [&](const Status& status) {
            ++reports;
            return status.code() == Code::RANK_CONNECTION_LOST;
        });
    });
    killer.join();
    fleet.check();
    CHECK(reports % 2 == 0);
}

TEST_CASE("a member that is frozen is dropped after the liveness time", "[runtime]") {
    Fleet fleet;
    fleet.options.timeouts.liveness = 400 * kMillisecond;
    MasterOptions master_options;
    master_options.listen = {"127.0.0.1:0"};
    master_options.log_level = LogLevel::kNone;
    master_options.timeouts.liveness = 400 * kMillisecond;
    MasterServer master(master_options);
    REQUIRE(master.start().ok());
    fleet.options.master = "127.0.0.1:" + std::to_string(master.port());
    fleet.grow(2);
    Victim victim(fleet.options.master);
    admit_victim(fleet, victim);
    victim.stop();
    in_parallel(2, [&](size_t i) { reduce_until(fleet, i, 2, 3, [](const Status&) { return false; }); });
    fleet.check();
    fleet.members.clear();
}

TEST_CASE("members come and are killed while the others reduce", "[runtime][slow]") {
    Fleet fleet;
    fleet.options.lanes = GENERATE(1u, 3u);
    fleet.grow(2);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (size_t i = 0; i < 2; ++i) {
        threads.emplace_back([&, i] {
            const auto nothing = [] {};
            fleet.problems.expect(churn(
                                      fleet.at(i), false, [&] { return stop.load(); }, nothing),
                                  "churn");
        });
    }
    for (int round = 0; round < 10; ++round) {
        std::vector<std::unique_ptr<Victim>> victims;
        for (int i = 0; i <= round % 3; ++i)
            victims.push_back(std::make_unique<Victim>(fleet.options.master, true));
        for (auto& victim : victims) CHECK(victim->await_first_reduction());
        in_parallel(victims.size(), [&](size_t i) { victims[i]->kill(); });
    }
    stop = true;
    for (auto& thread : threads) thread.join();
    fleet.check();
}

TEST_CASE("members go on without the coordinator", "[runtime]") {
    Fleet fleet;
    fleet.grow(2);
    const auto reduce = [&](int rounds) {
        in_parallel(
            2, [&](size_t i) { reduce_until(fleet, i, 2, rounds, [](const Status&) { return false; }); });
        fleet.check();
    };
    reduce(3);
    fleet.master.reset();
    reduce(20);
    in_parallel(2, [&](size_t i) {
        bool pending = true;
        fleet.problems.expect(fleet.at(i).peers_pending(&pending), "pending without the coordinator");
        fleet.problems.expect(!pending, "nobody can wait without a coordinator");
    });
    fleet.check();
}

TEST_CASE("members find a coordinator that came back, and learn it when it serves another run", "[runtime]") {
    Fleet fleet;
    fleet.options.timeouts.backoff_cap = 50 * kMillisecond;
    fleet.grow(3);
    fleet.master.reset();
    fleet.members.pop_back();
    MasterOptions master_options;
    master_options.listen = {fleet.options.master};
    master_options.log_level = LogLevel::kNone;
    master_options.timeouts.liveness = 200 * kMillisecond;
    // Without a record it cannot know whether the third went on without these two.
    MasterServer second(master_options);
    REQUIRE(second.start().ok());
    in_parallel(2, [&](size_t i) {
        Status status;
        while (status.ok()) {
            bool pending = false;
            status = fleet.at(i).peers_pending(&pending);
        }
        fleet.problems.expect(status.code() == Code::EVICTED, "expected an eviction: " + status.text());
        fleet.problems.expect(!fleet.at(i).connected(), "still connected");
    });
    fleet.check();
    REQUIRE(fleet.at(0).connect().ok());  // under a new identity
    std::thread join([&] { fleet.problems.expect(fleet.at(1).connect(), "connect again"); });
    fleet.admit(0, 2);
    join.join();
    in_parallel(2, [&](size_t i) { reduce_until(fleet, i, 2, 3, [](const Status&) { return false; }); });
    fleet.check();
    fleet.members.clear();
}

// With these time-outs whoever waited for a coordinator would outlast the test's own limit.
TEST_CASE("leaving does not wait for a coordinator that is gone", "[runtime]") {
    Fleet fleet;
    fleet.options.timeouts.liveness = 1200 * kSecond;
    fleet.grow(2);
    fleet.master->interrupt();
    fleet.master->await_end();
    fleet.members.clear();
    fleet.check();
}

TEST_CASE("leaving does not wait for a coordinator that has fallen silent", "[runtime]") {
    std::mutex mutex;
    std::condition_variable changed;
    bool silent = false, stands = false, over = false;
    MasterOptions master_options;
    master_options.listen = {"127.0.0.1:0"};
    master_options.log_level = LogLevel::kInfo;
    master_options.timeouts.liveness = 1200 * kSecond;
    // The coordinator's only thread stands still in here, with its connections open.
    master_options.log_sink = [&](LogLevel, std::string_view) {
        std::unique_lock lock(mutex);
        if (silent) {
            stands = true;
            changed.notify_all();
        }
        changed.wait(lock, [&] { return !silent || over; });
    };
    MasterServer master(master_options);
    REQUIRE(master.start().ok());
    CommunicatorOptions options;
    options.master = "127.0.0.1:" + std::to_string(master.port());
    options.port_first = 0;
    options.log_level = LogLevel::kNone;
    options.timeouts.liveness = 1200 * kSecond;
    Communicator member(options);
    REQUIRE(member.connect().ok());
    {
        std::unique_lock lock(mutex);
        silent = true;
        // A stranger makes it say something; a coordinator that had read the Leave would be waited for.
        RawPeer stranger(master.port());
        stranger.write("GET / HTTP/1.1\r\n\r\n", 18);
        changed.wait(lock, [&] { return stands; });
    }
    CHECK(member.leave().ok());
    CHECK_FALSE(member.connected());
    const std::lock_guard lock(mutex);
    over = true;
    changed.notify_all();
}

TEST_CASE("a member in a process of its own", "[.victim]") {
    const char* master = std::getenv("PCCL_TEST_VICTIM");
    const char* pipe = std::getenv("PCCL_TEST_VICTIM_PIPE");
    if (master == nullptr || pipe == nullptr) return;
    CommunicatorOptions options;
    options.master = master;
    options.port_first = 0;
    options.log_level = LogLevel::kNone;
    Communicator member(options);
    REQUIRE(member.connect().ok());
    if (std::getenv("PCCL_TEST_CHURN") != nullptr) {
        const auto tell = [&, told = false]() mutable {
            if (!std::exchange(told, true)) REQUIRE(::write(std::atoi(pipe), "x", 1) == 1);
        };
        churn(
            member, true, [] { return false; }, tell);
        return;
    }
    std::vector<float> send(50'000, 1.0f), receive(send.size());
    for (bool first = true;; first = false) {
        core::CallResult result;
        if (!all_reduce(member, reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 9), &result).ok())
            return;
        if (first && ::write(std::atoi(pipe), "x", 1) != 1) return;
    }
}
