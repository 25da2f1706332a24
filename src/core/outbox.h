// What the core asks its driver to do. The driver empties the box after every event that it handed in, in
// order, and before it lets go of the lock that guards the core.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/log.h"
#include "base/time.h"
#include "wire/messages.h"

namespace pccl::core {

/// An action of a Member.
struct Action {
    enum class Kind : uint8_t {
        kToCoordinator,  ///< send frame (type, body) on the coordinator connection, if it is up
        kToPeer,    ///< send control frame (type, body) on the link to `peer`, before any data not yet pulled
        kPullData,  ///< Member::next_data(peer) has something: call it whenever a lane to `peer` is writable
        kConnect,   ///< open a link to `peer` at `endpoints`, trying all of them until `deadline`
        kCloseLink,  ///< close the link to `peer` if its incarnation is `incarnation` (0: any, and stop
                     ///< connecting)
        kCut,  ///< drop queued data of `key`; finish a partly sent frame from a private copy; scrap one being
               ///< received
        kCutAll,            ///< the same for all operations
        kCompleted,         ///< the call with `ticket` has ended: result(ticket)
        kCloseCoordinator,  ///< close the coordinator connection; `text` says why. With `reconnect`, open it
                            ///< again with back-off
    };
    Kind kind;
    MemberId peer{};
    wire::Type type = wire::Type::kHeartbeat;
    std::vector<uint8_t> body{};
    std::vector<wire::Endpoint> endpoints{};
    uint64_t incarnation = 0;
    TimeUs deadline = 0;
    wire::OpKey key{};
    uint64_t ticket = 0;
    bool reconnect = false;
    std::string text{};
};

/// An action of the Coordinator. A connection is named by a number that the driver gives it.
struct CoordinatorAction {
    enum class Kind : uint8_t {
        kSend,     ///< send frame (type, body) on `connection`
        kClose,    ///< send what is queued, then close `connection`
        kPersist,  ///< write `body` durably as the record numbered `number`, then call
                   ///< Coordinator::persisted(number)
    };
    Kind kind;
    uint64_t connection = 0;
    wire::Type type = wire::Type::kHeartbeat;
    std::vector<uint8_t> body{};
    uint64_t number = 0;
    std::string text{};
};

}  // namespace pccl::core
