// The coordinator's side of the protocol: who is in the run, epochs, decisions after failures, admission. No
// I/O, clock, thread or randomness of its own. It is never asked inside an epoch.
//
// Threads: none; the driver calls it from one thread and empties the outbox after each call.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/log.h"
#include "base/random.h"
#include "base/time.h"
#include "core/mutations.h"
#include "core/outbox.h"
#include "core/timeouts.h"
#include "wire/messages.h"

namespace pccl::core {

/// The small durable record: enough for a restart to continue the run.
struct GroupRecord {
    uint32_t group = 0;
    std::vector<MemberId> members;
    wire::Install install;  ///< the last one, whole
    template <class V>
    void visit(V& v) {
        v(group), v.list(members, wire::kMembersMax), v.item(install);
    }
};

struct Record {
    static constexpr uint32_t kFormat = 2;
    uint32_t format = kFormat;
    RunId run;  ///< zero: no run
    wire::Term term;
    std::vector<GroupRecord> groups;
    template <class V>
    void visit(V& v) {
        v(format), v(run), v.item(term), v.list(groups, wire::kMembersMax);
    }
};

struct CoordinatorConfig {
    Timeouts timeouts;
    Logger log;
    Mutations mutations;
    uint32_t connections_max = 4096;
    /// What stands in for a record where none is kept: each epoch needs more than half of the one before, so
    /// that more than half of the members can tell a restarted coordinator where the run is.
    bool majority = false;
    /// There may have been a run that this coordinator should know: its members get a while to come back
    /// before newcomers begin another.
    bool record_lost = false;
    int64_t unix_time_offset_us = 0;  ///< what makes Unix time of `now`, for accounts of losses
};

class CoordinatorState;

class Coordinator {
   public:
    /// `previous` is the record found at start, or null. The first actions in the outbox make the new term
    /// durable; nothing is sent before.
    Coordinator(CoordinatorConfig config, RandomSource& random, const Record* previous, TimeUs now);
    ~Coordinator();
    Coordinator(const Coordinator&) = delete;
    Coordinator& operator=(const Coordinator&) = delete;

    /// A connection was accepted and has sent nothing yet; it is closed when it says nothing for the connect
    /// time-out.
    void opened(TimeUs now, uint64_t connection, const std::string& address);
    void closed(TimeUs now, uint64_t connection, const std::string& why);
    /// False: not a valid frame in this state; the driver closes the connection.
    bool frame(TimeUs now, uint64_t connection, wire::Type type, std::span<const uint8_t> body);
    void persisted(TimeUs now, uint64_t number);

    TimeUs deadline() const;
    void tick(TimeUs now);

    std::vector<CoordinatorAction>& outbox();

    /// One line per group and member, for tests and debugging.
    std::string describe() const;

   private:
    std::unique_ptr<CoordinatorState> state_;
};

}  // namespace pccl::core
