// Turns config structs and the environment into the runtime's options. Precedence: config, environment,
// default.
#pragma once

#include "base/status.h"
#include "pccl/pccl.h"
#include "runtime/communicator.h"
#include "runtime/master_server.h"

namespace pccl::capi {

inline constexpr int kLanesMax = 64;

Status communicator_options(const pcclCommConfig_t& config, runtime::CommunicatorOptions* out);
Status master_options(const pcclMasterConfig_t& config, runtime::MasterOptions* out);

/// Copies a config struct of a caller that may have been compiled with a longer one; INVALID_ARGUMENT for a
/// shorter one.
template <class Config>
Status copy_config(const Config* config, Config* out) {
    if (config == nullptr) return {Code::INVALID_ARGUMENT, "the argument config is null"};
    if (config->size < sizeof(Config)) {
        return {Code::INVALID_ARGUMENT, "the config's size is " + std::to_string(config->size) +
                                            ", at least " + std::to_string(sizeof(Config)) +
                                            " is needed: start from the initialiser"};
    }
    *out = *config;
    return {};
}

}  // namespace pccl::capi
