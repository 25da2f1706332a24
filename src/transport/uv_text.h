// libuv's errors in words.
#pragma once

#include <uv.h>

#include <string>

namespace pccl::transport {

inline std::string uv_error_text(int uv_code) {
    char text[256];
    return uv_strerror_r(uv_code, text, sizeof text);
}

}  // namespace pccl::transport
