// Communicators: create, connect, leave, destroy; attributes, ranks and members; topology.
#include <algorithm>
#include <cstring>

#include "capi/handles.h"
#include "capi/options.h"

using namespace pccl;
using namespace pccl::capi;

namespace {

std::atomic<uint64_t> next_serial{1};

Status create(const pcclCommConfig_t& config, pcclComm_t** comm_out) {
    runtime::CommunicatorOptions options;
    if (Status status = communicator_options(config, &options); !status) return status;
    auto communicator = std::make_unique<pcclComm_t>();
    communicator->serial = next_serial.fetch_add(1);
    communicator->impl = std::make_unique<runtime::Communicator>(std::move(options));
    *comm_out = communicator.release();
    return {};
}

Status not_connected() {
    return {Code::INVALID_USAGE, "the communicator is not connected: call pcclConnect first"};
}

/// The snapshot that the program sees.
Status connected_view(const pcclComm_t* communicator, core::View* out) {
    if (Status status = usable(communicator); !status) return status;
    *out = communicator->impl->view();
    return out->connected ? Status() : not_connected();
}

/// Handles of an ended membership must not be taken for operations of the next one.
void retire_operations(pcclComm_t* communicator) {
    Book& book = *communicator->book;
    const std::lock_guard lock(book.mutex);
    for (auto& [tag, slot] : book.slots) {
        if (slot.state == Slot::State::kOpen) slot.state = Slot::State::kStale;
    }
    book.contributors.clear();
    book.contributors_order.clear();
}

/// The code of 1.0 for the failure of a membership call; wrong use keeps its own.
Status membership_status(const Status& status, Code failure) {
    switch (status.code()) {
        case Code::SUCCESS:
        case Code::CANCELLED:
        case Code::INVALID_USAGE:
        case Code::PENDING_ASYNC_OPS: return status;
        default: return {failure, status.text()};
    }
}

}  // namespace

pcclResult_t pcclCreateCommunicator(const pcclCommCreateParams_t* params, pcclComm_t** comm_out) {
    return guarded(nullptr, "pcclCreateCommunicator", [&]() -> Status {
        if (!initialized.load()) return {Code::NOT_INITIALIZED, "call pcclInit first"};
        if (params == nullptr) return null_argument("params");
        if (comm_out == nullptr) return null_argument("comm_out");
        std::string master;
        if (Status status = address_text(params->master_address, &master); !status) return status;
        pcclCommConfig_t config = PCCL_COMM_CONFIG_INITIALIZER;
        config.master = master.c_str();
        config.peer_group = params->peer_group;
        config.on_failure = pcclOnFailureReport;
        config.lanes = static_cast<int>(std::clamp<uint32_t>(params->p2p_connection_pool_size, 1, kLanesMax));
        return create(config, comm_out);
    });
}

pcclResult_t pcclCreateCommunicatorEx(const pcclCommConfig_t* config, pcclComm_t** comm_out) {
    return guarded(nullptr, "pcclCreateCommunicatorEx", [&]() -> Status {
        if (!initialized.load()) return {Code::NOT_INITIALIZED, "call pcclInit first"};
        if (comm_out == nullptr) return null_argument("comm_out");
        pcclCommConfig_t copy = PCCL_COMM_CONFIG_INITIALIZER;
        if (Status status = copy_config(config, kCommConfigBytesMin, &copy); !status) return status;
        return create(copy, comm_out);
    });
}

pcclResult_t pcclConnect(pcclComm_t* communicator) {
    return guarded(communicator, "pcclConnect", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        if (communicator->impl->connected())
            return {Code::INVALID_USAGE, "the communicator is connected already"};
        retire_operations(communicator);
        return membership_status(communicator->impl->connect(), Code::MASTER_CONNECTION_FAILED);
    });
}

pcclResult_t pcclLeave(pcclComm_t* communicator) {
    return guarded(communicator, "pcclLeave", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        return communicator->impl->leave();
    });
}

pcclResult_t pcclDestroyCommunicator(pcclComm_t* communicator) {
    return guarded(nullptr, "pcclDestroyCommunicator", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        delete communicator;
        return {};
    });
}

pcclResult_t pcclGetAttribute(const pcclComm_t* communicator, pcclAttribute_t attribute, int* attribute_out) {
    return guarded(communicator, "pcclGetAttribute", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        if (attribute_out == nullptr) return null_argument("attribute_out");
        const int number = number_of(attribute);
        if (number < PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE ||
            number > PCCL_ATTRIBUTE_LARGEST_PEER_GROUP_WORLD_SIZE) {
            return {Code::INVALID_ARGUMENT, "there is no attribute " + std::to_string(number)};
        }
        core::View view;
        if (Status status = connected_view(communicator, &view); !status) return status;
        const uint32_t values[] = {view.globals.world_size, static_cast<uint32_t>(view.members.size()),
                                   view.globals.groups, view.globals.largest_group};
        *attribute_out = static_cast<int>(values[number - PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE]);
        return {};
    });
}

pcclResult_t pcclUpdateTopology(pcclComm_t* communicator) {
    return guarded(communicator, "pcclUpdateTopology", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        if (Status status = nothing_in_flight(*communicator->book); !status) return status;
        return membership_status(communicator->impl->update_topology(), Code::UPDATE_TOPOLOGY_FAILED);
    });
}

pcclResult_t pcclArePeersPending(const pcclComm_t* communicator, bool* pending_out) {
    return guarded(communicator, "pcclArePeersPending", [&]() -> Status {
        if (Status status = usable(communicator); !status) return status;
        if (pending_out == nullptr) return null_argument("pending_out");
        bool pending = false;
        Status status = reduce_status(communicator->impl->peers_pending(&pending));
        if (status) *pending_out = pending;
        return status;
    });
}

pcclResult_t pcclOptimizeTopology(const pcclComm_t* communicator) {
    return guarded(communicator, "pcclOptimizeTopology", [&]() -> Status {
        core::View view;
        if (Status status = usable(communicator); !status) return status;
        if (Status status = nothing_in_flight(*communicator->book); !status) return status;
        view = communicator->impl->view();
        if (view.connected && view.globals.world_size < 2) {
            return {Code::INVALID_USAGE, "there is nothing to optimise in a world of one"};
        }
        return membership_status(communicator->impl->optimize_topology(), Code::TOPOLOGY_OPTIMIZATION_FAILED);
    });
}

pcclResult_t pcclGetRankId(const pcclComm_t* communicator, pcclRankUuid_t* out) {
    return guarded(communicator, "pcclGetRankId", [&]() -> Status {
        core::View view;
        if (Status status = usable(communicator); !status) return status;
        if (out == nullptr) return null_argument("out");
        if (Status status = connected_view(communicator, &view); !status) return status;
        std::memcpy(out->data, communicator->impl->id().data.data(), sizeof out->data);
        return {};
    });
}

pcclResult_t pcclGetRank(const pcclComm_t* communicator, int* rank) {
    return guarded(communicator, "pcclGetRank", [&]() -> Status {
        core::View view;
        if (Status status = usable(communicator); !status) return status;
        if (rank == nullptr) return null_argument("rank");
        if (Status status = connected_view(communicator, &view); !status) return status;
        const auto found = std::find(view.members.begin(), view.members.end(), communicator->impl->id());
        if (found == view.members.end())
            return {Code::INVALID_USAGE, "this peer is not a member of its group any more"};
        *rank = static_cast<int>(found - view.members.begin());
        return {};
    });
}

pcclResult_t pcclGetGroupMembers(const pcclComm_t* communicator, pcclRankUuid_t* out, size_t capacity,
                                 size_t* count) {
    return guarded(communicator, "pcclGetGroupMembers", [&]() -> Status {
        core::View view;
        if (Status status = connected_view(communicator, &view); !status) return status;
        return copy_ids(view.members, out, capacity, count);
    });
}
