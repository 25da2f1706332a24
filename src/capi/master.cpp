// Coordinators inside this process.
#include "capi/handles.h"
#include "capi/options.h"

using namespace pccl;
using namespace pccl::capi;

namespace {

Status create(const pcclMasterConfig_t& config, pcclMasterInstance_t** out) {
    runtime::MasterOptions options;
    if (Status status = master_options(config, &options); !status) return status;
    auto master = std::make_unique<pcclMasterInstanceState_t>();
    master->server = std::make_unique<runtime::MasterServer>(std::move(options));
    *out = master.release();
    return {};
}

Status started(const pcclMasterInstance_t* master) {
    if (master == nullptr) return null_argument("master_instance");
    if (!master->started.load()) return {Code::INVALID_USAGE, "the coordinator has not been run"};
    return {};
}

}  // namespace

pcclResult_t pcclCreateMaster(ccoip_socket_address_t listen_address,
                              pcclMasterInstance_t** master_instance_out) {
    return guarded(nullptr, "pcclCreateMaster", [&]() -> Status {
        if (master_instance_out == nullptr) return null_argument("master_instance_out");
        std::string text;
        if (Status status = address_text(listen_address, &text); !status) return status;
        const char* listen[] = {text.c_str()};
        pcclMasterConfig_t config = PCCL_MASTER_CONFIG_INITIALIZER;
        config.listen = listen;
        config.listen_count = 1;
        return create(config, master_instance_out);
    });
}

pcclResult_t pcclCreateMasterEx(const pcclMasterConfig_t* config,
                                pcclMasterInstance_t** master_instance_out) {
    return guarded(nullptr, "pcclCreateMasterEx", [&]() -> Status {
        if (master_instance_out == nullptr) return null_argument("master_instance_out");
        pcclMasterConfig_t copy = PCCL_MASTER_CONFIG_INITIALIZER;
        if (Status status = copy_config(config, kMasterConfigBytesMin, &copy); !status) return status;
        return create(copy, master_instance_out);
    });
}

pcclResult_t pcclRunMaster(pcclMasterInstance_t* master_instance) {
    return guarded(nullptr, "pcclRunMaster", [&]() -> Status {
        if (master_instance == nullptr) return null_argument("master_instance");
        Status status = master_instance->server->start();
        if (status) master_instance->started.store(true);
        return status;
    });
}

pcclResult_t pcclInterruptMaster(pcclMasterInstance_t* master_instance) {
    return guarded(nullptr, "pcclInterruptMaster", [&]() -> Status {
        if (Status status = started(master_instance); !status) return status;
        master_instance->server->interrupt();
        return {};
    });
}

pcclResult_t pcclMasterAwaitTermination(pcclMasterInstance_t* master_instance) {
    return guarded(nullptr, "pcclMasterAwaitTermination", [&]() -> Status {
        if (Status status = started(master_instance); !status) return status;
        master_instance->server->await_end();
        return {};
    });
}

pcclResult_t pcclDestroyMaster(pcclMasterInstance_t* master_instance) {
    return guarded(nullptr, "pcclDestroyMaster", [&]() -> Status {
        if (master_instance == nullptr) return null_argument("master_instance");
        delete master_instance;
        return {};
    });
}

pcclResult_t pcclGetMasterPort(const pcclMasterInstance_t* master_instance, uint16_t* port) {
    return guarded(nullptr, "pcclGetMasterPort", [&]() -> Status {
        if (port == nullptr) return null_argument("port");
        if (Status status = started(master_instance); !status) return status;
        const uint16_t bound = master_instance->server->port();
        if (bound == 0) return {Code::INVALID_USAGE, "the coordinator does not run"};
        *port = bound;
        return {};
    });
}
