// What a script acts on: the production core with queues in place of a network. Queues are ordered streams,
// one for each direction between two ends; "C" is the coordinator, "disk" keeps its record.
#pragma once

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/coordinator.h"
#include "core/member.h"
#include "harness.h"

namespace pccl::test {

struct ScriptCall {
    std::string what;
    core::Ticket ticket = 0;
    std::unique_ptr<Reduction> buffers;
};

struct ScriptNode {
    std::string name;
    MemberId id;
    std::vector<ScriptCall> calls;
    std::unique_ptr<core::Member> member;
    uint64_t connection = 0;
    bool closing = false;  ///< the coordinator has closed the connection; the end is under way
    bool alive = true;
    bool stopped = false;  ///< the process is: it handles nothing
};

struct ScriptFrame {
    wire::Type type = wire::Type::kHeartbeat;  ///< kData: asks the sender's core for all that it has
    std::vector<uint8_t> body{};
    uint64_t number = 0;  ///< of a record on its way to the disk
    bool end = false;     ///< no frame but the end of the connection; `why` says why
    std::string why = {};
};

class ScriptWorld {
   public:
    ScriptWorld() : random_(7) { start_coordinator(); }

    // ---- what lines do
    void join(const std::string& name, uint32_t group);
    void vote(ScriptNode& node);
    void reduce(ScriptNode& node, uint64_t tag);
    void query(ScriptNode& node);
    void cancel(ScriptNode& node);
    void leave(ScriptNode& node);
    /// `silent`: nobody is told.
    void kill(ScriptNode& node, bool silent);
    void connect(ScriptNode& node);
    void disconnect(ScriptNode& node);
    void reconnect();
    /// `a` finds its link to `b` closed; `b` does not know yet.
    void suspect(const std::string& a, const std::string& b);
    /// The connection between two ends is lost, with everything that is under way on it.
    void drop(const std::string& a, const std::string& b);
    /// One frame, or all of them up to the first of a type, or with "all" everything that waits.
    void deliver(const std::string& from, const std::string& to, const std::string& until);
    void store() { deliver("C", "disk", ""); }
    void stop_coordinator();
    void start_coordinator();
    /// Everything is delivered, and what that causes, until nothing moves.
    void stabilise();
    void tick(int64_t milliseconds);
    void print_views();
    void print_calls();
    void print_coordinator();
    void print_queues();

    ScriptNode* find(const std::string& name);

    std::string printed;
    std::set<std::pair<std::string, std::string>> unreachable;
    bool report_losses = false;

   private:
    using Ends = std::pair<std::string, std::string>;
    struct HalfLink {
        uint64_t incarnation = 0;
    };

    void collect();
    void collect(ScriptNode& node);
    void act(ScriptNode& node, core::Action& action);
    void act(core::CoordinatorAction& action);
    bool step(const Ends& ends);
    bool ready(const Ends& ends);
    void hand_over(const Ends& ends, const ScriptFrame& frame);
    void open_link(ScriptNode& from, ScriptNode& to);
    void close_link(const std::string& a, const std::string& b, bool tell_a, bool tell_b);
    void pull(ScriptNode& from, ScriptNode& to);
    ScriptNode* find(const MemberId& id);
    std::string named(std::string text);
    static std::string type_name(wire::Type type);
    static std::string text_of(const Ends& ends, const ScriptFrame& frame);
    void note_call(ScriptNode& node, const char* what, const Status& status, core::Ticket ticket,
                   std::unique_ptr<Reduction> buffers = nullptr);

    TimeUs now_ = kSecond;
    CountingRandom random_;
    std::unique_ptr<core::Coordinator> coordinator_;
    std::vector<std::unique_ptr<ScriptNode>> nodes_;
    std::map<Ends, std::deque<ScriptFrame>> queues_;
    std::map<Ends, HalfLink> links_;  ///< (end, other end): as this end believes
    std::set<Ends> connecting_;       ///< attempts that wait for a stopped process
    std::vector<uint8_t> record_;
    uint64_t connections_ = 0;
    uint64_t incarnations_ = 0;
};

}  // namespace pccl::test
