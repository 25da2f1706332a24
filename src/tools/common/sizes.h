// Sizes on the command line, as in nccl-tests: a number with an optional binary suffix K, M or G.
#pragma once

#include <cstdint>
#include <string>

namespace pccl::tools {

/// False for what is not a size or does not fit.
bool parse_size(const std::string& text, uint64_t* bytes);

}  // namespace pccl::tools
