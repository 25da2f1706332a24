// Whether processes give back what they take: descriptors and resident memory at the end of a run against
// those at its start, both when all is quiet. Pure but for the readings.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace pccl::stress {

struct Footprint {
    int descriptors = 0;  ///< beyond those of its links
    uint64_t resident = 0;

    /// `links` are the connections that the process holds by right, one descriptor each.
    static Footprint of(pid_t process, int links);
};

/// One kind of process: the workers, or the coordinator.
class LeakCheck {
   public:
    /// `slack_bytes` of growth are no leak, nor is a quarter.
    explicit LeakCheck(uint64_t slack_bytes) : slack_bytes_(slack_bytes) {}

    void at_start(const Footprint& one);
    /// Before a new round of at_end.
    void begin_end() { end_ = {}; }
    /// Returns what is wrong with it, or nothing.
    std::string at_end(const Footprint& one);

    const Footprint& start() const { return start_; }  ///< the greatest of each figure
    const Footprint& end() const { return end_; }

   private:
    uint64_t slack_bytes_;
    Footprint start_, end_;
};

}  // namespace pccl::stress
