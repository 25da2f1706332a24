#include "sizes.h"

#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdlib>

namespace pccl::tools {

bool parse_size(const std::string& text, uint64_t* bytes) {
    if (text.empty() || !std::isdigit(static_cast<unsigned char>(text[0]))) {
        return false;
    }
    errno = 0;
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    std::string suffix(end);
    if (errno != 0 || !std::isfinite(number)) {
        return false;
    }
    double unit = 1;
    if (!suffix.empty()) {
        switch (std::toupper(static_cast<unsigned char>(suffix[0]))) {
            case 'K': unit = 1024.0; break;
            case 'M': unit = 1024.0 * 1024; break;
            case 'G': unit = 1024.0 * 1024 * 1024; break;
            case 'T': unit = 1024.0 * 1024 * 1024 * 1024; break;
            case 'B': break;
            default: return false;
        }
        const std::string rest = suffix.substr(1);
        if (rest != "" && rest != "B" && rest != "iB") {
            return false;
        }
    }
    const double value = number * unit;
    constexpr double kSizeMax = 9007199254740992.0;  // Beyond 2^53 a double would no longer be exact.
    if (value > kSizeMax || value != std::floor(value)) {
        return false;
    }
    *bytes = static_cast<uint64_t>(value);
    return true;
}

}  // namespace pccl::tools
