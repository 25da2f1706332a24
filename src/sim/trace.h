// The record of a run: a rolling hash of everything that happened and, for replays, one line per event.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>

#include "base/time.h"
#include "sim/random.h"

namespace pccl::sim {

class Trace {
   public:
    /// `out` null: nothing is printed.
    explicit Trace(std::FILE* out) : out_(out) {}

    bool verbose() const { return out_ != nullptr; }
    uint64_t hash() const { return hash_; }

    void add(uint64_t value) { hash_ = mix(hash_ ^ value, hash_ >> 32); }
    void add(std::span<const uint8_t> bytes) {
        uint64_t h = bytes.size();
        size_t i = 0;
        for (; i + 8 <= bytes.size(); i += 8) {
            uint64_t word;
            std::memcpy(&word, bytes.data() + i, 8);
            h = (h ^ word) * 0x9FB21C651E98DF25ull;
            h ^= h >> 29;
        }
        for (; i < bytes.size(); ++i) h = (h ^ bytes[i]) * 0x100000001B3ull;
        add(h);
    }
    /// Time, who, what, with whom, and the rest, in fixed columns.
    void line(TimeUs now, const std::string& who, const char* what, const std::string& whom,
              const std::string& rest) const {
        if (out_) {
            std::fprintf(out_, "%11lld  %-4s %-14s %-4s %s\n", static_cast<long long>(now), who.c_str(), what,
                         whom.c_str(), rest.c_str());
        }
    }

   private:
    std::FILE* out_;
    uint64_t hash_ = 0x5043434C;
};

}  // namespace pccl::sim
