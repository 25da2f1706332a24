// Everything that programs asked for and were told, and the checks of I1 (agreement) and I2 (integrity) over
// it. Knows nothing of the network or of time; each fact is checked against all earlier ones as it comes in.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "core/member.h"
#include "sim/payload.h"

namespace pccl::sim {

/// A call as the programs count: the same at all members of a group that are in step. `lineage` tells apart
/// histories of a group that died out; `position` counts the program's calls within it.
struct CallName {
    uint32_t group = 0;
    uint64_t lineage = 0;
    uint64_t position = 0;
    wire::OpKind kind = wire::OpKind::kReduce;
    uint64_t tag = 0;
    auto operator<=>(const CallName&) const = default;
    std::string text() const;
    /// Of the input that `process` brings to a reduction.
    uint64_t input_key(uint64_t seed, int process) const;
};

/// What must be equal wherever a call ended; which fields matter depends on the kind.
struct Ending {
    Code code = Code::SUCCESS;
    std::vector<MemberId> contributors;  ///< of a reduction
    bool pending = false;                ///< of a query
    uint64_t revision = 0;               ///< of a shared state
    uint64_t content = 0;                ///< hash of a shared state's tensors
    TimeUs at = 0;
};

class History {
   public:
    using Fail = std::function<void(const char* invariant, const std::string& what)>;

    History(uint64_t seed, Fail fail) : seed_(seed), fail_(std::move(fail)) {}

    void process_started(int process, const MemberId& id) { processes_[id] = process; }
    int process_of(const MemberId& id) const;

    void reduce_called(const CallName& name, int process, const Shape& shape);
    /// `unknown`: the member was removed from the run, so an error says nothing about the others.
    void reduce_ended(const CallName& name, int process, const Ending& ending, bool unknown,
                      std::span<const uint8_t> result);
    /// Queries and shared states. `offered`: the content's hash at the call, also of those not in step yet.
    void ended(const CallName& name, int process, const Ending& ending, bool unknown);
    void content_offered(uint64_t content) { offered_[content] = true; }

    /// A member list that a program saw.
    void view_seen(uint32_t group, int process, const core::View& view);

    /// Holds what was told against what others were told, once it is known who survived. Everybody's
    /// successes bind. An error binds its member against what another was told at `at` when
    /// `survived(process, at)`: one that was told an error by a decision, and was gone before the others
    /// heard of that decision, proves nothing. Called once, at the end.
    using Survived = std::function<bool(int process, TimeUs at)>;
    void finish(const Survived& survived);

    uint64_t successes() const { return successes_; }
    uint64_t errors() const { return errors_; }
    uint64_t epochs() const { return epochs_.size(); }

   private:
    struct Call {
        std::map<int, Shape> shapes;         ///< by process
        std::map<int, Ending> endings;       ///< by process
        std::vector<MemberId> contributors;  ///< that `expected` was made of
        std::vector<uint8_t> expected;       ///< the right result, once it succeeded somewhere
    };

    void told(const CallName& name, Call& call, int process, const Ending& ending);
    void agree(const CallName& name, const Call& call, const Survived& survived);
    void compare(const CallName& name, int first, const Ending& a, int second, const Ending& b);
    void check_result(const CallName& name, Call& call, int process, const Ending& ending,
                      std::span<const uint8_t> result);
    bool compute_expected(const CallName& name, Call& call, int process, const Ending& ending);

    uint64_t seed_;
    Fail fail_;
    std::map<MemberId, int> processes_;
    std::map<CallName, Call> calls_;
    std::map<uint64_t, bool> offered_;
    std::map<std::pair<uint32_t, wire::EpochId>, std::vector<MemberId>> epochs_;
    std::map<int, core::View> views_;
    uint64_t successes_ = 0, errors_ = 0;
};

}  // namespace pccl::sim
