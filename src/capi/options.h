// Turns config structs and the environment into the runtime's options. Precedence: config, environment,
// default.
#pragma once

#include <cstddef>
#include <string>

#include "base/sized_struct.h"
#include "base/status.h"
#include "pccl/pccl.h"
#include "runtime/communicator.h"
#include "runtime/master_server.h"

namespace pccl::capi {

inline constexpr int kLanesMax = 64;

Status communicator_options(const pcclCommConfig_t& config, runtime::CommunicatorOptions* out);
Status master_options(const pcclMasterConfig_t& config, runtime::MasterOptions* out);

/// sizeof the structs that grow, in version 0.1: up to the field that was their last. No caller was compiled
/// with less.
inline constexpr size_t kCommConfigBytesMin =
    bytes_up_to<pcclCommConfig_t>(offsetof(pcclCommConfig_t, shared_state_adopt_highest), sizeof(int));
inline constexpr size_t kMasterConfigBytesMin =
    bytes_up_to<pcclMasterConfig_t>(offsetof(pcclMasterConfig_t, recovery_timeout_ms), sizeof(int));
inline constexpr size_t kFailureBytesMin =
    bytes_up_to<pcclFailure_t>(offsetof(pcclFailure_t, operations), sizeof(pcclFailure_t::operations));

/// Copies a config struct of a caller that may have been compiled with another version over `out`, which
/// holds the initialiser's values. INVALID_ARGUMENT below `bytes_min`.
template <class Config>
Status copy_config(const Config* config, size_t bytes_min, Config* out) {
    if (config == nullptr) return {Code::INVALID_ARGUMENT, "the argument config is null"};
    if (config->size < bytes_min) {
        return {Code::INVALID_ARGUMENT, "the config's size is " + std::to_string(config->size) +
                                            ", at least " + std::to_string(bytes_min) +
                                            " is needed: start from the initialiser"};
    }
    copy_common(config, config->size, out);
    return {};
}

}  // namespace pccl::capi
