#include "json.h"

#include <cctype>
#include <cstdlib>
#include <cstring>

namespace pccl::test {
namespace {

class Reader {
   public:
    explicit Reader(const std::string& text) : text_(text) {}

    std::optional<Json> document() {
        Json value;
        if (!read(&value) || (skip(), at_ != text_.size())) {
            return std::nullopt;
        }
        return value;
    }

   private:
    void skip() {
        while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) != nullptr) {
            ++at_;
        }
    }

    bool take(const char* token) {
        skip();
        const size_t length = std::strlen(token);
        const bool found = text_.compare(at_, length, token) == 0;
        at_ += found ? length : 0;
        return found;
    }

    bool read(Json* value) {
        skip();
        const char first = at_ < text_.size() ? text_[at_] : '\0';
        if (first == '{') {
            return read_object(value);
        }
        if (first == '[') {
            return read_array(value);
        }
        if (first == '"') {
            value->kind = Json::Kind::kText;
            return read_text(&value->text);
        }
        if (take("null")) {
            return true;
        }
        if (take("true") || take("false")) {
            value->kind = Json::Kind::kBool;
            value->truth = text_[at_ - 2] == 'u';
            return true;
        }
        return read_number(value);
    }

    bool read_number(Json* value) {
        const char* const start = text_.c_str() + at_;
        if (!std::isdigit(static_cast<unsigned char>(*start)) && *start != '-') {
            return false;
        }
        char* end = nullptr;
        value->kind = Json::Kind::kNumber;
        value->number = std::strtod(start, &end);
        at_ += static_cast<size_t>(end - start);
        return end != start;
    }

    bool read_text(std::string* text) {
        if (!take("\"")) {
            return false;
        }
        while (at_ < text_.size() && text_[at_] != '"') {
            if (text_[at_] == '\\') {
                ++at_;
            }
            if (at_ >= text_.size() || static_cast<unsigned char>(text_[at_]) < 0x20) {
                return false;
            }
            *text += text_[at_++];
        }
        return take("\"");
    }

    bool read_array(Json* value) {
        value->kind = Json::Kind::kArray;
        take("[");
        if (take("]")) {
            return true;
        }
        do {
            if (!read(&value->items.emplace_back())) {
                return false;
            }
        } while (take(","));
        return take("]");
    }

    bool read_object(Json* value) {
        value->kind = Json::Kind::kObject;
        take("{");
        if (take("}")) {
            return true;
        }
        do {
            std::string name;
            Json content;
            skip();
            if (!read_text(&name) || !take(":") || !read(&content) ||
                !value->members.emplace(name, content).second) {
                return false;
            }
        } while (take(","));
        return take("}");
    }

    const std::string& text_;
    size_t at_ = 0;
};

}  // namespace

const Json& Json::operator[](const std::string& name) const {
    static const Json kNone;
    const auto found = members.find(name);
    return found == members.end() ? kNone : found->second;
}

std::optional<Json> parse_json(const std::string& text) { return Reader(text).document(); }

}  // namespace pccl::test
