// Small helpers around the public interface that the programs share. Any thread.
#pragma once

#include <string>
#include <vector>

#include "pccl/pccl.h"

namespace pccl::tools {

/// "pcclConnect: <meaning> (<text of the library>)".
std::string api_error(const char* function, pcclResult_t result, const pcclComm_t* communicator);

/// Members of the group, as of the caller's last call; empty on failure.
std::vector<pcclRankUuid_t> group_members(const pcclComm_t* communicator);
/// Contributors of the last result of the tag; empty on failure.
std::vector<pcclRankUuid_t> contributors_of(const pcclComm_t* communicator, uint64_t tag);

bool same_id(const pcclRankUuid_t& a, const pcclRankUuid_t& b);
std::string id_text(const pcclRankUuid_t& id);  ///< 32 hexadecimal digits
uint64_t id_key(const pcclRankUuid_t& id);      ///< a number for tables and for known data

}  // namespace pccl::tools
