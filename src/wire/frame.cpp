#include "wire/frame.h"

namespace pccl::wire {
namespace {

uint32_t read_u32(const uint8_t* in) {
    return static_cast<uint32_t>(in[0]) | static_cast<uint32_t>(in[1]) << 8 |
           static_cast<uint32_t>(in[2]) << 16 | static_cast<uint32_t>(in[3]) << 24;
}

void write_u32(uint8_t* out, uint32_t value) {
    for (int i = 0; i < 4; ++i) out[i] = static_cast<uint8_t>(value >> (8 * i));
}

}  // namespace

bool decode_preamble(std::span<const uint8_t, kPreambleBytes> in, uint32_t body_bytes_max, Preamble& out) {
    const uint16_t magic = static_cast<uint16_t>(in[0] | in[1] << 8);
    if (magic != kMagic || in[3] != 0) return false;
    out.type = static_cast<Type>(in[2]);
    out.body_bytes = read_u32(in.data() + 4);
    out.payload_bytes = read_u32(in.data() + 8);
    if (out.body_bytes > body_bytes_max) return false;
    return out.payload_bytes == 0 || (out.type == Type::kData && out.payload_bytes <= kPayloadBytesMax);
}

std::array<uint8_t, kPreambleBytes> encode_preamble(const Preamble& preamble) {
    std::array<uint8_t, kPreambleBytes> out{};
    out[0] = static_cast<uint8_t>(kMagic & 0xff);
    out[1] = static_cast<uint8_t>(kMagic >> 8);
    out[2] = static_cast<uint8_t>(preamble.type);
    write_u32(out.data() + 4, preamble.body_bytes);
    write_u32(out.data() + 8, preamble.payload_bytes);
    return out;
}

}  // namespace pccl::wire
