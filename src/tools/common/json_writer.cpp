#include "json_writer.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace pccl::tools {

void JsonWriter::separate() {
    if (needs_comma_) {
        text_ += ", ";
    }
    needs_comma_ = false;
}

JsonWriter& JsonWriter::raw(std::string_view piece) {
    separate();
    text_ += piece;
    needs_comma_ = true;
    return *this;
}

JsonWriter& JsonWriter::begin_object() {
    separate();
    text_ += '{';
    return *this;
}

JsonWriter& JsonWriter::end_object() {
    text_ += '}';
    needs_comma_ = true;
    return *this;
}

JsonWriter& JsonWriter::begin_array() {
    separate();
    text_ += '[';
    return *this;
}

JsonWriter& JsonWriter::end_array() {
    text_ += ']';
    needs_comma_ = true;
    return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
    value(name);
    text_ += ": ";
    needs_comma_ = false;
    return *this;
}

JsonWriter& JsonWriter::value(std::string_view content) {
    std::string quoted = "\"";
    for (char c : content) {
        if (c == '"' || c == '\\') {
            quoted += '\\';
            quoted += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            char escape[8];
            std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
            quoted += escape;
        } else {
            quoted += c;
        }
    }
    return raw(quoted + '"');
}

JsonWriter& JsonWriter::value(bool truth) { return raw(truth ? "true" : "false"); }

JsonWriter& JsonWriter::value(double number) {
    if (!std::isfinite(number)) {
        return null();
    }
    char digits[40];
    std::snprintf(digits, sizeof digits, "%.9g", number);
    return raw(digits);
}

JsonWriter& JsonWriter::null() { return raw("null"); }

bool write_text_file(const std::string& path, const std::string& text, std::string* error) {
    std::FILE* file = path == "-" ? stdout : std::fopen(path.c_str(), "w");
    bool good = file != nullptr;
    if (good) {
        good = std::fwrite(text.data(), 1, text.size(), file) == text.size() &&
               std::fputc('\n', file) != EOF && std::fflush(file) == 0;
        if (file != stdout) {
            good = std::fclose(file) == 0 && good;
        }
    }
    if (!good) {
        *error = "cannot write '" + path + "': " + std::strerror(errno);
    }
    return good;
}

}  // namespace pccl::tools
