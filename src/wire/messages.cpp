#include "wire/messages.h"

#include "base/dtype.h"

namespace pccl::wire {

std::string OpKey::text() const {
    const char* name = kind == OpKind::kReduce         ? "all-reduce"
                       : kind == OpKind::kPendingQuery ? "pending query"
                                                       : "shared state";
    std::string out = name;
    if (kind == OpKind::kReduce) out += " tag " + std::to_string(tag);
    return out + " call " + std::to_string(sequence);
}

std::string Descriptor::text() const {
    constexpr const char* kPlans[] = {"auto", "ring", "mesh"};
    return std::string("(count ") + std::to_string(count) + ", " + name_of(static_cast<DataType>(dtype)) +
           ", " + name_of(static_cast<RedOp>(redop)) + ", codec " + std::to_string(codec) + ", plan " +
           (plan < 3 ? kPlans[plan] : "unknown") + ", segments of " + std::to_string(segment_bytes) +
           " bytes)";
}

}  // namespace pccl::wire
