// A network of our own whose connections can be broken: a network namespace with a loopback interface, and
// routing rules that make packets between two addresses disappear. Needs no privilege where the system lets
// users make namespaces. Linux; one thread.
#pragma once

#include <string>

namespace pccl::stress {

/// Packets from one address to another; an empty text stands for any address.
struct Flow {
    std::string from, to;
};

class Network {
   public:
    Network() = default;
    ~Network();
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;

    /// Moves this process, and all that it starts from now on, into a namespace of its own. Call it before
    /// there are threads. False: not permitted here, and nothing has changed.
    bool enter(std::string* error);
    /// Packets of the flow disappear until it is opened; established connections see silence.
    bool block(const Flow& flow, std::string* error);
    bool open(const Flow& flow, std::string* error);

   private:
    bool enter_here(std::string* error);
    bool request(int type, int flags, int action, int table, unsigned priority, const Flow& flow,
                 std::string* error);

    int netlink_ = -1;
};

}  // namespace pccl::stress
