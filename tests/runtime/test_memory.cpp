// Exhausted memory: one allocation fails somewhere, at a place that differs from round to round. A
// communicator or a coordinator may end of it, with an error at its own calls; the process goes on and
// nothing waits for ever. This program's operator new is replaced for that.
#include <cstdlib>
#include <new>
#include <stdexcept>

#include "runtime/fleet.h"

using namespace pccl;
using namespace pccl::runtime;
using namespace pccl::runtime::testing;

namespace {

std::atomic<long> allocations_left{-1};  ///< before the one that fails; below 0: none fails
thread_local bool spared = false;

void* allocate(std::size_t bytes, std::size_t alignment) {
    if (!spared && allocations_left.load(std::memory_order_relaxed) >= 0 &&
        allocations_left.fetch_sub(1) == 0) {
        return nullptr;
    }
    if (alignment <= alignof(std::max_align_t)) return std::malloc(bytes == 0 ? 1 : bytes);
    return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
    void* memory = allocate(bytes, alignment);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate_or_throw(bytes, 1); }
void* operator new[](std::size_t bytes) { return allocate_or_throw(bytes, 1); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, 1); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
    return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

struct Round {
    bool master_fails = false;  ///< the coordinator's thread may be the one without memory
    bool callers_fail = false;  ///< the program's threads may be, inside of calls
    long allocations = 0;       ///< before the one that fails
};

/// Two members join, reduce and leave. The status of a call does not matter, that it ends does. Returns the
/// number of successful reductions.
int run(const Round& round) {
    spared = true;
    MasterOptions master_options;
    master_options.listen = {"127.0.0.1:0"};
    master_options.log_level = LogLevel::kInfo;
    // Called on the coordinator's thread before it does anything else.
    master_options.log_sink = [&](LogLevel, std::string_view) { spared = spared || !round.master_fails; };
    master_options.timeouts.liveness = 500 * kMillisecond;
    MasterServer master(master_options);
    REQUIRE(master.start().ok());

    CommunicatorOptions options;
    options.master = "127.0.0.1:" + std::to_string(master.port());
    options.port_first = 0;
    options.log_level = LogLevel::kNone;
    options.timeouts.liveness = 500 * kMillisecond;
    options.timeouts.connect = 500 * kMillisecond;
    std::atomic<int> reductions{0}, gone{0};
    allocations_left = round.allocations;
    in_parallel(2, [&](size_t) {
        spared = true;
        struct Leaving {
            std::atomic<int>& count;
            ~Leaving() { ++count; }
        } const leaving{gone};
        Communicator member(options);
        const auto call = [&](const auto& what) {
            Status status(Code::RESOURCE_LIMIT, "an allocation failed inside of the call");
            spared = !round.callers_fail;
            try {
                status = what();
            } catch (const std::bad_alloc&) {
            }
            spared = true;
            return status;
        };
        std::vector<float> send(5'000, 1.0f), receive(send.size());
        if (!call([&] { return member.connect(); }).ok()) return;
        while (member.connected() && member.view().members.size() < 2 && gone == 0) {
            bool pending = false;
            // After a failed call it cannot know where the others are.
            if (!call([&] { return member.peers_pending(&pending); }).ok()) return;
            if (pending && !call([&] { return member.update_topology(); }).ok()) return;
        }
        for (int i = 0; i < 8; ++i) {
            core::CallResult result;
            const Status status = call([&] {
                return all_reduce(member, reduce_call(send, receive, DataType::kFloat, RedOp::kSum, 1),
                                  &result);
            });
            if (status.ok()) ++reductions;
            if (!member.connected()) break;
        }
    });
    allocations_left = -1;
    return reductions;
}

/// Rounds whose failing allocation moves on by steps, so that it meets every phase; at last one without.
void run_all(Round round, int rounds, long stride) {
    for (int i = 0; i < rounds; ++i) {
        round.allocations = 1 + i * stride;
        INFO("allocation " << round.allocations);
        run(round);
    }
    round.allocations = -1;
    CHECK(run(round) > 0);
}

}  // namespace

TEST_CASE("runtime: memory: an allocation that fails on a communicator's thread ends that one at most") {
    run_all({false, false, 0}, 60, 7);
}

TEST_CASE("runtime: memory: an allocation that fails inside of a call ends that communicator at most") {
    run_all({false, true, 0}, 60, 11);
}

TEST_CASE("runtime: memory: an allocation that fails in the coordinator ends it at most") {
    run_all({true, false, 0}, 20, 29);
}

TEST_CASE("runtime: a log callback that throws harms nobody") {
    MasterOptions master_options;
    master_options.listen = {"127.0.0.1:0"};
    master_options.log_level = LogLevel::kTrace;
    master_options.log_sink = [](LogLevel, std::string_view) {
        throw std::runtime_error("from the callback");
    };
    MasterServer master(master_options);
    REQUIRE(master.start().ok());
    CommunicatorOptions options;
    options.master = "127.0.0.1:" + std::to_string(master.port());
    options.port_first = 0;
    options.log_level = LogLevel::kTrace;
    options.log_sink = master_options.log_sink;
    Communicator member(options);
    CHECK(member.connect().ok());
    CHECK(member.leave().ok());
}
