#include "api.h"

#include <cstring>

#include "values.h"

namespace pccl::tools {
namespace {

template <class Get>
std::vector<pcclRankUuid_t> read_ids(Get get) {
    std::vector<pcclRankUuid_t> ids(64);
    while (true) {
        size_t count = 0;
        if (get(ids.data(), ids.size(), &count) != pcclSuccess) {
            return {};
        }
        const bool complete = count <= ids.size();
        ids.resize(count);
        if (complete) {
            return ids;
        }
    }
}

}  // namespace

std::string api_error(const char* function, pcclResult_t result, const pcclComm_t* communicator) {
    std::string text = std::string(function) + ": " + pcclGetErrorString(result);
    const std::string detail = pcclGetLastError(communicator);
    return detail.empty() ? text : text + " (" + detail + ")";
}

std::vector<pcclRankUuid_t> group_members(const pcclComm_t* communicator) {
    return read_ids([&](pcclRankUuid_t* out, size_t capacity, size_t* count) {
        return pcclGetGroupMembers(communicator, out, capacity, count);
    });
}

std::vector<pcclRankUuid_t> contributors_of(const pcclComm_t* communicator, uint64_t tag) {
    return read_ids([&](pcclRankUuid_t* out, size_t capacity, size_t* count) {
        return pcclGetContributors(communicator, tag, out, capacity, count);
    });
}

bool same_id(const pcclRankUuid_t& a, const pcclRankUuid_t& b) {
    return std::memcmp(a.data, b.data, sizeof a.data) == 0;
}

std::string id_text(const pcclRankUuid_t& id) {
    std::string text;
    for (uint8_t byte : id.data) {
        text += "0123456789abcdef"[byte >> 4];
        text += "0123456789abcdef"[byte & 15];
    }
    return text;
}

uint64_t id_key(const pcclRankUuid_t& id) { return hash_bytes(id.data, sizeof id.data); }

}  // namespace pccl::tools
