// The bytes of a fuzzer read as a sequence of choices. Nearly every choice takes one byte, so that a changed
// byte is one changed choice and what follows keeps its meaning.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pccl::fuzz {

class Input {
   public:
    Input(const uint8_t* data, size_t bytes) : left_(data, bytes) {}

    bool empty() const { return left_.empty(); }

    /// 0 at the end.
    uint8_t byte() {
        if (left_.empty()) return 0;
        const uint8_t out = left_.front();
        left_ = left_.subspan(1);
        return out;
    }
    /// 0 to `count` - 1.
    size_t below(size_t count) { return byte() % count; }
    bool flag() { return byte() % 2 == 1; }

    std::span<const uint8_t> take(size_t bytes) {
        const auto out = left_.first(std::min(bytes, left_.size()));
        left_ = left_.subspan(out.size());
        return out;
    }
    std::span<const uint8_t> rest() { return take(left_.size()); }

    /// The source of choices of test::NoiseOf. 255 stands before a number of eight bytes; the others are
    /// numbers themselves. At the end it is the choice from which Noise makes the smallest messages.
    uint64_t operator()() {
        if (left_.empty()) return 5;
        const uint8_t first = byte();
        if (first != 0xff) return first;
        uint64_t out = 0;
        for (uint8_t b : take(sizeof out)) out = out << 8 | b;
        return out;
    }

   private:
    std::span<const uint8_t> left_;
};

/// Now and then a body with a few bytes changed, cut off or added.
inline void bend(Input& input, std::vector<uint8_t>& body) {
    const size_t changes = input.byte();
    if (changes < 200) return;
    for (size_t i = 200; i <= changes && i < 208 && !body.empty(); ++i) {
        const size_t at = (size_t{input.byte()} << 8 | input.byte()) % body.size();
        body[at] = input.byte();
    }
    if (changes >= 240) body.resize(body.size() - std::min<size_t>(body.size(), input.byte()));
    if (changes >= 248) {
        for (uint8_t b : input.take(input.byte())) body.push_back(b);
    }
}

}  // namespace pccl::fuzz
