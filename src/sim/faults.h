// Carries out the scenario's faults, at their times or at their steps of the protocol.
#pragma once

#include <vector>

#include "sim/event_queue.h"
#include "sim/scenario.h"

namespace pccl::sim {

class World;

class Faults {
   public:
    explicit Faults(World& world);

    /// Schedules the faults that wait for a time.
    void begin();
    void handle(const Event& event);
    /// A step of the protocol at `node`.
    void step(Fault::When when, wire::Type type, int node);

   private:
    struct Armed {
        Fault fault;
        bool done = false;
    };
    void strike(Armed& armed, int where);
    void isolate(int node, TimeUs until);
    int random_alive();
    int random_other(int node);

    World& world_;
    std::vector<Armed> armed_;
    size_t waiting_for_steps_ = 0;
};

}  // namespace pccl::sim
