// Writes JSON text piece by piece; the caller keeps objects and arrays balanced. Numbers that JSON cannot
// express (infinities, NaN) become null.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace pccl::tools {

class JsonWriter {
   public:
    JsonWriter& begin_object();
    JsonWriter& end_object();
    JsonWriter& begin_array();
    JsonWriter& end_array();
    JsonWriter& key(std::string_view name);

    JsonWriter& value(std::string_view text);
    JsonWriter& value(const char* text) { return value(std::string_view(text)); }
    JsonWriter& value(bool truth);
    JsonWriter& value(double number);
    template <class Integer>
    requires(std::is_integral_v<Integer> &&
             !std::is_same_v<Integer, bool>) JsonWriter& value(Integer number) {
        return raw(std::to_string(number));
    }
    JsonWriter& null();

    template <class Value>
    JsonWriter& member(std::string_view name, const Value& content) {
        return key(name).value(content);
    }

    const std::string& text() const { return text_; }

   private:
    JsonWriter& raw(std::string_view piece);
    void separate();

    std::string text_;
    bool needs_comma_ = false;
};

/// Writes the text, with a line end, to a file in one go; "-" means standard output. False with `error`
/// filled.
bool write_text_file(const std::string& path, const std::string& text, std::string* error);

}  // namespace pccl::tools
