// Bounds-checked little-endian encoding of message bodies.
//
// A message is a struct with a `visit(v)` that names its fields once; the same visit encodes and decodes. A
// body is the fixed fields in order, then tagged extension fields (u16 tag, u32 bytes, value). A decoder
// skips extensions that it does not know, unless the tag has kRequiredBit, which refuses the message. Every
// count is checked against the bytes that are really there before anything is allocated. Pure functions on
// spans; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "base/ids.h"

namespace pccl::wire {

inline constexpr uint16_t kRequiredBit = 0x8000;
inline constexpr size_t kTextBytesMax = 4096;

class Encoder {
   public:
    explicit Encoder(std::vector<uint8_t>& out) : out_(out) {}

    template <class T>
    void number(const T& value) {
        static_assert(std::is_integral_v<T> || std::is_enum_v<T>);
        const auto bits = static_cast<uint64_t>(value);
        uint8_t raw[sizeof(T)];
        for (size_t i = 0; i < sizeof(T); ++i) raw[i] = static_cast<uint8_t>(bits >> (8 * i));
        out_.insert(out_.end(), raw, raw + sizeof(T));
    }
    void operator()(const bool& value) { number(static_cast<uint8_t>(value)); }
    void operator()(const Id128& id) { out_.insert(out_.end(), id.data.begin(), id.data.end()); }
    template <class T>
    requires(std::is_integral_v<T> || std::is_enum_v<T>) void operator()(const T& value) { number(value); }
    /// Long texts are cut; they are for people.
    void text(const std::string& value) {
        const size_t bytes = value.size() < kTextBytesMax ? value.size() : kTextBytesMax;
        number(static_cast<uint32_t>(bytes));
        out_.insert(out_.end(), value.begin(), value.begin() + static_cast<std::ptrdiff_t>(bytes));
    }
    void bytes(const std::vector<uint8_t>& value, size_t) {
        number(static_cast<uint32_t>(value.size()));
        out_.insert(out_.end(), value.begin(), value.end());
    }
    template <class T>
    void list(const std::vector<T>& values, size_t) {
        number(static_cast<uint32_t>(values.size()));
        for (const T& value : values) item(value);
    }
    template <class T>
    void item(const T& value) {
        if constexpr (requires(T & t) { t.visit(*this); }) {
            const_cast<T&>(value).visit(*this);
        } else {
            (*this)(value);
        }
    }

   private:
    std::vector<uint8_t>& out_;
};

class Decoder {
   public:
    explicit Decoder(std::span<const uint8_t> in) : in_(in) {}

    bool ok() const { return ok_; }
    void fail() { ok_ = false; }
    size_t left() const { return in_.size() - at_; }

    template <class T>
    void number(T& value) {
        uint64_t bits = 0;
        if (left() < sizeof(T)) {
            ok_ = false;
            at_ = in_.size();
        } else {
            for (size_t i = 0; i < sizeof(T); ++i) bits |= static_cast<uint64_t>(in_[at_ + i]) << (8 * i);
            at_ += sizeof(T);
        }
        value = static_cast<T>(bits);
    }
    void operator()(bool& value) {
        uint8_t byte = 0;
        number(byte);
        if (byte > 1) ok_ = false;
        value = byte == 1;
    }
    void operator()(Id128& id) {
        if (left() < id.data.size()) {
            ok_ = false;
            at_ = in_.size();
            return;
        }
        std::memcpy(id.data.data(), in_.data() + at_, id.data.size());
        at_ += id.data.size();
    }
    template <class T>
    requires(std::is_integral_v<T> || std::is_enum_v<T>) void operator()(T& value) { number(value); }
    void text(std::string& value) {
        const size_t bytes = count(1, kTextBytesMax);
        value.assign(reinterpret_cast<const char*>(in_.data()) + at_, bytes);
        at_ += bytes;
    }
    void bytes(std::vector<uint8_t>& value, size_t bytes_max) {
        const size_t n = count(1, bytes_max);
        value.assign(in_.begin() + static_cast<std::ptrdiff_t>(at_),
                     in_.begin() + static_cast<std::ptrdiff_t>(at_ + n));
        at_ += n;
    }
    /// The vector grows item by item, so a claimed count allocates nothing that the bytes do not back.
    template <class T>
    void list(std::vector<T>& values, size_t count_max) {
        const size_t n = count(1, count_max);
        values.clear();
        for (size_t i = 0; i < n && ok_; ++i) item(values.emplace_back());
    }
    template <class T>
    void item(T& value) {
        if constexpr (requires(T & t) { t.visit(*this); }) {
            value.visit(*this);
        } else {
            (*this)(value);
        }
    }
    /// Skips extension fields that this version does not know; fails on a required one.
    void extensions() {
        while (ok_ && left() > 0) {
            uint16_t tag = 0;
            uint32_t bytes = 0;
            number(tag);
            number(bytes);
            if (!ok_ || (tag & kRequiredBit) != 0 || bytes > left()) {
                ok_ = false;
                return;
            }
            at_ += bytes;
        }
    }

   private:
    /// A count prefix; zero and failure when it exceeds the limit or what the remaining bytes could hold.
    size_t count(size_t item_bytes_min, size_t count_max) {
        uint32_t n = 0;
        number(n);
        if (!ok_ || n > count_max || n > left() / item_bytes_min) {
            ok_ = false;
            return 0;
        }
        return n;
    }

    std::span<const uint8_t> in_;
    size_t at_ = 0;
    bool ok_ = true;
};

template <class Message>
std::vector<uint8_t> encode(const Message& message) {
    std::vector<uint8_t> out;
    Encoder encoder(out);
    encoder.item(message);
    return out;
}

/// True if the whole span is one well-formed message.
template <class Message>
bool decode(std::span<const uint8_t> in, Message& message) {
    Decoder decoder(in);
    decoder.item(message);
    decoder.extensions();
    return decoder.ok();
}

}  // namespace pccl::wire
