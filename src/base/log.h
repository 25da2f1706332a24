// The seam for log messages. A sink may be called from any thread that runs library code and must not call
// back into the library; what it throws is dropped. Messages are plain text, lower case, without a line end;
// the exact cause and the peer are in them.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/contain.h"

namespace pccl {

enum class LogLevel : int { kTrace = 0, kDebug = 1, kInfo = 2, kWarn = 3, kError = 4, kFatal = 5, kNone = 6 };

using LogSink = std::function<void(LogLevel, std::string_view)>;

/// Drops what is below `level` and hands the rest to the sink.
class Logger {
   public:
    Logger() = default;
    Logger(LogLevel level, LogSink sink) : level_(level), sink_(std::move(sink)) {}

    bool enabled(LogLevel level) const { return sink_ && level >= level_; }
    void write(LogLevel level, std::string_view text) const {
        if (enabled(level)) contain([&] { sink_(level, text); }, [](const char*) {});
    }

   private:
    LogLevel level_ = LogLevel::kNone;
    LogSink sink_;
};

/// TRACE, DEBUG, INFO, WARN, ERR, FATAL, NONE (any case; also ERROR). False if the text names none of them.
bool parse_log_level(std::string_view text, LogLevel* out);

/// "warn" and so on.
const char* log_level_name(LogLevel level);

/// A sink that writes one line per message to stderr: severity, process id, text.
LogSink stderr_sink();

}  // namespace pccl
