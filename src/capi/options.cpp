#include "capi/options.h"

#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>

#include "transport/address.h"
#include "transport/control.h"

namespace pccl::capi {
namespace {

/// What the coordinator accepts as a group's constant.
constexpr int kSegmentBytesMin = 16;
constexpr int kSegmentBytesMax = 32 << 20;

/// Null when the variable is absent or empty.
const char* environment(const char* name) {
    const char* text = std::getenv(name);
    return text != nullptr && *text != '\0' ? text : nullptr;
}

bool parse_int(std::string_view text, int* out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
    return error == std::errc() && end == text.data() + text.size();
}

std::string range_text(int low, int high) {
    if (high == INT_MAX) return "at least " + std::to_string(low);
    return "from " + std::to_string(low) + " to " + std::to_string(high);
}

struct IntOption {
    const char* field;
    const char* variable;
    int low, high;
};

/// Leaves `out` alone when neither the config nor the environment sets the option.
Status read_int(const IntOption& option, int configured, int* out) {
    if (configured != PCCL_CONFIG_UNSET) {
        if (configured < option.low || configured > option.high) {
            return {Code::INVALID_ARGUMENT, std::string(option.field) + " is " + std::to_string(configured) +
                                                ", it must be " + range_text(option.low, option.high)};
        }
        *out = configured;
        return {};
    }
    const char* text = environment(option.variable);
    if (text == nullptr) return {};
    int value = 0;
    if (!parse_int(text, &value) || value < option.low || value > option.high) {
        return {Code::INVALID_ARGUMENT, std::string("the environment variable ") + option.variable +
                                            " is \"" + text + "\", it must be a number " +
                                            range_text(option.low, option.high)};
    }
    *out = value;
    return {};
}

Status read_time(const IntOption& option, int configured, TimeUs* out) {
    int value_ms = 0;
    Status status = read_int(option, configured, &value_ms);
    if (status) *out = value_ms * kMillisecond;
    return status;
}

struct Word {
    const char* text;
    int value;
};

/// An enumerator in the config, a word in the environment.
template <size_t kCount>
Status read_word(const IntOption& option, const Word (&words)[kCount], int configured, int* out) {
    if (configured != PCCL_CONFIG_UNSET) return read_int(option, configured, out);
    const char* text = environment(option.variable);
    if (text == nullptr) return {};
    std::string known;
    for (const Word& word : words) {
        if (std::strcmp(text, word.text) == 0) {
            *out = word.value;
            return {};
        }
        known += (known.empty() ? "" : ", ") + std::string(word.text);
    }
    return {Code::INVALID_ARGUMENT, std::string("the environment variable ") + option.variable + " is \"" +
                                        text + "\", it must be one of " + known};
}

std::string read_text(const char* variable, const char* configured) {
    if (configured != nullptr) return configured;
    const char* text = environment(variable);
    return text == nullptr ? "" : text;
}

LogSink sink_of(pcclLogCallback_t callback, void* user_data) {
    if (callback == nullptr) return {};
    auto one_at_a_time = std::make_shared<std::mutex>();
    return [callback, user_data, one_at_a_time](LogLevel level, std::string_view text) {
        const std::string terminated(text);
        const std::lock_guard lock(*one_at_a_time);
        callback(user_data, static_cast<int>(level), terminated.c_str());
    };
}

Status read_log_level(int configured, const LogSink& sink, LogLevel* out) {
    *out = LogLevel::kError;
    if (configured != PCCL_CONFIG_UNSET) {
        if (configured < pcclLogTrace || configured > pcclLogNone) {
            return {Code::INVALID_ARGUMENT,
                    "log_level is " + std::to_string(configured) + ", it must be from 0 to 6"};
        }
        *out = static_cast<LogLevel>(configured);
        return {};
    }
    const char* text = environment("PCCL_LOG_LEVEL");
    // Programs of 1.0 run with whatever this variable holds; an unknown word is told and does not stop them.
    if (text != nullptr && !parse_log_level(text, out)) {
        Logger(LogLevel::kError, sink ? sink : stderr_sink())
            .write(LogLevel::kError, std::string("PCCL_LOG_LEVEL is \"") + text +
                                         "\"; it must be one of TRACE, DEBUG, INFO, WARN, ERR, FATAL, NONE");
    }
    return {};
}

Status read_timeouts(const pcclCommConfig_t& config, core::TimeoutWishes* out) {
    struct Row {
        IntOption option;
        int configured;
        TimeUs* out;
    };
    const Row rows[] = {
        {{"connect_timeout_ms", "PCCL_CONNECT_TIMEOUT_MS", 0, INT_MAX},
         config.connect_timeout_ms,
         &out->connect},
        {{"heartbeat_ms", "PCCL_HEARTBEAT_MS", 0, INT_MAX}, config.heartbeat_ms, &out->heartbeat},
        {{"liveness_timeout_ms", "PCCL_LIVENESS_TIMEOUT_MS", 0, INT_MAX},
         config.liveness_timeout_ms,
         &out->liveness},
        {{"freeze_timeout_ms", "PCCL_FREEZE_TIMEOUT_MS", 0, INT_MAX}, config.freeze_timeout_ms, &out->freeze},
        {{"recovery_timeout_ms", "PCCL_RECOVERY_TIMEOUT_MS", 0, INT_MAX},
         config.recovery_timeout_ms,
         &out->recovery},
        {{"backoff_cap_ms", "PCCL_BACKOFF_CAP_MS", 0, INT_MAX}, config.backoff_cap_ms, &out->backoff_cap},
        {{"slow_warning_ms", "PCCL_SLOW_WARNING_MS", 0, INT_MAX}, config.slow_warning_ms, &out->slow_warning},
        {{"operation_timeout_ms", "PCCL_OPERATION_TIMEOUT_MS", 0, INT_MAX},
         config.operation_timeout_ms,
         &out->operation},
    };
    for (const Row& row : rows) {
        if (Status status = read_time(row.option, row.configured, row.out); !status) return status;
    }
    return {};
}

/// "port" or "first-last".
bool parse_range(std::string_view text, int* first, int* last) {
    const size_t dash = text.find('-');
    if (dash == std::string_view::npos) {
        if (!parse_int(text, first)) return false;
        *last = *first;
    } else if (!parse_int(text.substr(0, dash), first) || !parse_int(text.substr(dash + 1), last)) {
        return false;
    }
    return *first >= 0 && *last <= 65535 && *first <= *last;
}

Status read_ports(const pcclCommConfig_t& config, runtime::CommunicatorOptions* out) {
    const bool configured = config.port_first != PCCL_CONFIG_UNSET || config.port_last != PCCL_CONFIG_UNSET;
    if (const char* range = environment("PCCL_PORT_RANGE"); range != nullptr && !configured) {
        if (!parse_range(range, &out->port_first, &out->port_last)) {
            return {Code::INVALID_ARGUMENT, std::string("the environment variable PCCL_PORT_RANGE is \"") +
                                                range + "\", it must be a port or first-last"};
        }
    }
    // A port from the environment must not pair with one from the config.
    const char* first_variable = configured ? "" : "PCCL_PORT_FIRST";
    const char* last_variable = configured ? "" : "PCCL_PORT_LAST";
    Status status = read_int({"port_first", first_variable, 0, 65535}, config.port_first, &out->port_first);
    if (status) status = read_int({"port_last", last_variable, 0, 65535}, config.port_last, &out->port_last);
    if (status && out->port_first != 0 && out->port_first > out->port_last) {
        status = {Code::INVALID_ARGUMENT, "the port range " + std::to_string(out->port_first) + " to " +
                                              std::to_string(out->port_last) + " is empty"};
    }
    return status;
}

bool is_host(const std::string& text) {
    wire::Endpoint endpoint;
    const bool six = text.find(':') != std::string::npos && text.front() != '[';
    return transport::parse_address((six ? "[" + text + "]" : text) + ":1", &endpoint);
}

Status read_addresses(const pcclCommConfig_t& config, runtime::CommunicatorOptions* out) {
    wire::Endpoint endpoint;
    if (config.master == nullptr)
        return {Code::INVALID_ARGUMENT, "the address of the coordinator (master) is null"};
    out->master = config.master;
    if (!transport::parse_address(out->master, &endpoint) || endpoint.port == 0) {
        return {Code::INVALID_ARGUMENT,
                "\"" + out->master + "\" is no address of a coordinator; host:port or [v6]:port is"};
    }
    out->bind_address = read_text("PCCL_BIND_ADDRESS", config.bind_address);
    if (!out->bind_address.empty() && !is_host(out->bind_address)) {
        return {Code::INVALID_ARGUMENT, "\"" + out->bind_address + "\" is no address to bind to"};
    }
    out->advertise = read_text("PCCL_ADVERTISE_ADDRESS", config.advertise_address);
    if (!out->advertise.empty() && !is_host(out->advertise) &&
        (!transport::parse_address(out->advertise, &endpoint) || endpoint.port == 0)) {
        return {Code::INVALID_ARGUMENT,
                "\"" + out->advertise + "\" is no address to advertise; host or host:port is"};
    }
    out->interface_filter = read_text("PCCL_SOCKET_IFNAME", config.interface);
    transport::InterfaceFilter filter;
    return transport::InterfaceFilter::parse(out->interface_filter, &filter);
}

}  // namespace

Status communicator_options(const pcclCommConfig_t& config, runtime::CommunicatorOptions* out) {
    constexpr Word kFailureWords[] = {{"retry", pcclOnFailureRetry}, {"report", pcclOnFailureReport}};
    constexpr Word kPlanWords[] = {{"auto", pcclPlanAuto}, {"ring", pcclPlanRing}, {"mesh", pcclPlanMesh}};
    out->group = config.peer_group;
    Status status = read_addresses(config, out);
    if (status) status = read_timeouts(config, &out->timeouts);
    if (status) status = read_ports(config, out);
    int on_failure = pcclOnFailureRetry, plan = pcclPlanAuto, lanes = 0, segment_bytes = 0, adopt_highest = 1;
    if (status) {
        status = read_word({"on_failure", "PCCL_ON_FAILURE", pcclOnFailureRetry, pcclOnFailureReport},
                           kFailureWords, config.on_failure, &on_failure);
    }
    if (status)
        status = read_word({"plan", "PCCL_PLAN", pcclPlanAuto, pcclPlanMesh}, kPlanWords, config.plan, &plan);
    if (status) status = read_int({"lanes", "PCCL_LANES", 0, kLanesMax}, config.lanes, &lanes);
    if (status) {
        status = read_int({"segment_bytes", "PCCL_SEGMENT_BYTES", 0, kSegmentBytesMax}, config.segment_bytes,
                          &segment_bytes);
    }
    if (status && segment_bytes > 0 && segment_bytes < kSegmentBytesMin) {
        status = {Code::INVALID_ARGUMENT, "segment_bytes is " + std::to_string(segment_bytes) +
                                              ", it must be 0 or " +
                                              range_text(kSegmentBytesMin, kSegmentBytesMax)};
    }
    if (status) {
        status = read_int({"shared_state_adopt_highest", "PCCL_SHARED_STATE_ADOPT_HIGHEST", 0, 1},
                          config.shared_state_adopt_highest, &adopt_highest);
    }
    out->log_sink = sink_of(config.log_callback, config.log_user_data);
    if (status) status = read_log_level(config.log_level, out->log_sink, &out->log_level);
    if (!status) return status;
    out->report_failures = on_failure == pcclOnFailureReport;
    out->plan = static_cast<plan::Kind>(plan);
    out->lanes = static_cast<uint32_t>(lanes);
    out->segment_bytes = static_cast<uint32_t>(segment_bytes);
    out->adopt_highest_revision = adopt_highest != 0;
    return {};
}

Status master_options(const pcclMasterConfig_t& config, runtime::MasterOptions* out) {
    if (config.listen == nullptr || config.listen_count == 0) {
        return {Code::INVALID_ARGUMENT, "there is no address to listen on"};
    }
    for (size_t i = 0; i < config.listen_count; ++i) {
        wire::Endpoint endpoint;
        if (config.listen[i] == nullptr) return {Code::INVALID_ARGUMENT, "an address to listen on is null"};
        if (!transport::parse_address(config.listen[i], &endpoint)) {
            return {Code::INVALID_ARGUMENT, std::string("\"") + config.listen[i] +
                                                "\" is no address to listen on; host:port or [v6]:port is"};
        }
        out->listen.emplace_back(config.listen[i]);
    }
    if (config.state_dir != nullptr) {
        out->state_dir = config.state_dir;
        if (out->state_dir.empty()) return {Code::INVALID_ARGUMENT, "the state directory's name is empty"};
    }
    const auto is_set = [](int value) { return value != PCCL_CONFIG_UNSET && value != 0; };
    out->majority = is_set(config.majority);
    out->record_lost = is_set(config.record_lost);
    Status status = read_time({"liveness_timeout_ms", "PCCL_LIVENESS_TIMEOUT_MS", 0, INT_MAX},
                              config.liveness_timeout_ms, &out->timeouts.liveness);
    if (status) {
        status = read_time({"freeze_timeout_ms", "PCCL_FREEZE_TIMEOUT_MS", 0, INT_MAX},
                           config.freeze_timeout_ms, &out->timeouts.freeze);
    }
    if (status) {
        status = read_time({"recovery_timeout_ms", "PCCL_RECOVERY_TIMEOUT_MS", 0, INT_MAX},
                           config.recovery_timeout_ms, &out->timeouts.recovery);
    }
    out->log_sink = sink_of(config.log_callback, config.log_user_data);
    if (status) status = read_log_level(config.log_level, out->log_sink, &out->log_level);
    return status;
}

}  // namespace pccl::capi
