// A strict reader of JSON for tests: what it accepts is JSON, and its parts can be looked up.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pccl::test {

struct Json {
    enum class Kind { kNull, kBool, kNumber, kText, kArray, kObject } kind = Kind::kNull;
    bool truth = false;
    double number = 0;
    std::string text;
    std::vector<Json> items;
    std::map<std::string, Json> members;

    bool has(const std::string& name) const { return members.count(name) == 1; }
    /// The null value where there is no such member.
    const Json& operator[](const std::string& name) const;
};

/// Nothing when the text is not one JSON value.
std::optional<Json> parse_json(const std::string& text);

}  // namespace pccl::test
