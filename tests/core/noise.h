// Random frames that decode: filled in through the messages' own schema, so that they have the right types
// and nearly right contents, which is where checks are missed.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "wire/messages.h"

namespace pccl::test {

/// What random fields are drawn from besides numbers out of nowhere.
struct Pool {
    std::vector<MemberId> ids;
    std::vector<RunId> runs;
    std::vector<wire::Term> terms;
    std::vector<wire::EpochId> epochs;
    std::vector<wire::OpKey> keys;
    std::vector<wire::Descriptor> descriptors;
    std::vector<wire::Constants> constants;
};

/// A visitor like wire::Encoder that fills a message at random; each choice is a call of `Random`.
template <class Random>
class NoiseOf {
   public:
    NoiseOf(Random& random, const Pool& pool) : random_(random), pool_(pool) {}

    template <class Message>
    Message make() {
        Message message;
        message.visit(*this);
        return message;
    }

    template <class T>
    requires(std::is_integral_v<T> || std::is_enum_v<T>) void operator()(T& value) {
        if constexpr (std::is_same_v<T, bool>) {
            value = random_() % 2 == 0;
        } else {
            value = static_cast<T>(number());
        }
    }
    void operator()(MemberId& id) {
        if (!pick(pool_.ids, id)) random_id(id);
    }
    void operator()(RunId& id) {
        if (!pick(pool_.runs, id)) random_id(id);
    }
    void text(std::string& value) { value.assign(random_() % 50 == 0 ? 4096 : random_() % 8, 'x'); }
    void bytes(std::vector<uint8_t>& value, size_t bytes_max) {
        value.resize(random_() % 100 == 0 ? bytes_max : random_() % 16);
        for (uint8_t& byte : value) byte = static_cast<uint8_t>(random_());
    }
    template <class T>
    void list(std::vector<T>& values, size_t count_max) {
        const size_t many = count_max < 300 ? count_max : 300;
        values.resize(random_() % 100 == 0 ? many : random_() % 5);
        for (T& value : values) item(value);
    }
    template <class T>
    void item(T& value) {
        if constexpr (std::is_same_v<T, wire::Term>) {
            if (pick(pool_.terms, value)) return;
        } else if constexpr (std::is_same_v<T, wire::EpochId>) {
            if (pick(pool_.epochs, value)) return;
        } else if constexpr (std::is_same_v<T, wire::OpKey>) {
            if (pick(pool_.keys, value)) return;
        } else if constexpr (std::is_same_v<T, wire::Descriptor>) {
            if (pick(pool_.descriptors, value)) return;
        } else if constexpr (std::is_same_v<T, wire::Constants>) {
            if (pick(pool_.constants, value)) return;
        }
        if constexpr (requires(T & t) { t.visit(*this); }) {
            value.visit(*this);
        } else {
            (*this)(value);
        }
    }

   private:
    uint64_t number() {
        switch (random_() % 8) {
            case 0: return random_();
            case 1: return ~uint64_t{0} - random_() % 3;
            case 2: return uint64_t{1} << (random_() % 64);
            case 3: return random_() % 300;
            default: return random_() % 5;
        }
    }
    template <class T>
    bool pick(const std::vector<T>& from, T& value) {
        if (from.empty() || random_() % 8 == 0) return false;
        value = from[random_() % from.size()];
        return true;
    }
    void random_id(Id128& id) {
        for (uint8_t& byte : id.data) byte = static_cast<uint8_t>(random_());
    }

    Random& random_;
    const Pool& pool_;
};

using Noise = NoiseOf<std::mt19937_64>;

}  // namespace pccl::test
