// What a worker tells the orchestrator: a page of shared memory that says what it is doing right now, and
// lines in a pipe about what it has done. The worker writes both, the orchestrator only reads.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace pccl::stress {

/// Descriptors of a worker. It leaves when the other end of its standard input is closed.
inline constexpr int kReportDescriptor = 3;
inline constexpr int kStatusDescriptor = 4;

/// The call that a worker is in.
enum class Call : uint32_t {
    kNone,
    kConnect,
    kArePeersPending,
    kUpdateTopology,
    kSynchronize,
    kReduceAsync,
    kAwait,
    kLeave,
    kDestroy
};
const char* call_name(Call call);

/// Lock-free words in memory that both processes map.
struct StatusPage {
    std::atomic<uint32_t> call;
    std::atomic<uint32_t> world;
    std::atomic<uint64_t> step;
    std::atomic<uint64_t> lineage;
    std::atomic<int64_t> since_ns;  ///< when it entered the call, or was last seen outside of one
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

/// Tags of what is no reduce; queries of one step count upwards.
inline constexpr uint64_t kStateTag = uint64_t{1} << 32;
inline constexpr uint64_t kQueryTag = uint64_t{2} << 32;

/// An operation that succeeded. All members agree on (lineage, step, tag), which thereby names it: the step
/// is part of the shared state, and the lineage tells apart runs of steps that began anew because nobody had
/// survived. A synchronisation counts the agreed content as its result, and a query its answer.
struct Success {
    uint64_t lineage = 0, step = 0, tag = 0;
    uint64_t result_hash = 0;
    uint64_t wrong_elements = 0;
    bool inputs_damaged = false;
    bool retried = false;  ///< called again, or with fewer contributors than there were members
    int64_t time_ns = 0;
    std::vector<uint64_t> contributors;  ///< keys of the members' ids, by rank; of a reduce
};

/// One line of the report pipe.
struct Message {
    enum class Kind {
        kJoined,
        kSuccess,
        kLost,
        kStateWrong,
        kInputsDamaged,
        kRetriedVote
    } kind = Kind::kJoined;
    uint64_t member = 0;  ///< of kJoined: the key of its id
    Success success;      ///< of kSuccess
    std::string text;     ///< of kLost: why the worker has to join again
    int64_t result = 0;   ///< of kLost: the code that the call returned
};

std::string to_line(const Message& message);
bool from_line(const std::string& line, Message* message);

}  // namespace pccl::stress
