#include "base/ids.h"

namespace pccl {

std::string Id128::hex() const {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(32);
    for (uint8_t byte : data) {
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

}  // namespace pccl
