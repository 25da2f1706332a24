#include "base/log.h"

#include <unistd.h>

#include <cctype>
#include <cstdio>

namespace pccl {

bool parse_log_level(std::string_view text, LogLevel* out) {
    std::string upper;
    for (char c : text.substr(0, 16)) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    constexpr std::pair<const char*, LogLevel> kLevels[] = {
        {"TRACE", LogLevel::kTrace}, {"DEBUG", LogLevel::kDebug}, {"INFO", LogLevel::kInfo},
        {"WARN", LogLevel::kWarn},   {"ERR", LogLevel::kError},   {"ERROR", LogLevel::kError},
        {"FATAL", LogLevel::kFatal}, {"NONE", LogLevel::kNone},
    };
    for (const auto& [name, level] : kLevels) {
        if (upper == name) {
            *out = level;
            return true;
        }
    }
    return false;
}

const char* log_level_name(LogLevel level) {
    constexpr const char* kNames[] = {"trace", "debug", "info", "warn", "error", "fatal", "none"};
    const int index = static_cast<int>(level);
    return index >= 0 && index <= 6 ? kNames[index] : "unknown";
}

LogSink stderr_sink() {
    return [](LogLevel level, std::string_view text) {
        std::fprintf(stderr, "pccl %s [%d] %.*s\n", log_level_name(level), static_cast<int>(getpid()),
                     static_cast<int>(text.size()), text.data());
    };
}

}  // namespace pccl
