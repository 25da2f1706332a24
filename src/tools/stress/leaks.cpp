#include "leaks.h"

#include <algorithm>

#include "common/resources.h"

namespace pccl::stress {
namespace {

void raise(Footprint* most, const Footprint& one) {
    most->descriptors = std::max(most->descriptors, one.descriptors);
    most->resident = std::max(most->resident, one.resident);
}

std::string kibibytes(uint64_t bytes) { return std::to_string(bytes / 1024) + " KiB"; }

}  // namespace

Footprint Footprint::of(pid_t process, int links) {
    const int descriptors = tools::descriptors_of(process);
    return {descriptors == 0 ? 0 : descriptors - links, tools::resident_bytes_of(process)};
}

void LeakCheck::at_start(const Footprint& one) { raise(&start_, one); }

std::string LeakCheck::at_end(const Footprint& one) {
    raise(&end_, one);
    if (one.descriptors > start_.descriptors) {
        return std::to_string(one.descriptors) + " descriptors besides its links, at the start " +
               std::to_string(start_.descriptors);
    }
    if (one.resident > start_.resident + std::max(slack_bytes_, start_.resident / 4)) {
        return kibibytes(one.resident) + " resident, at the start " + kibibytes(start_.resident);
    }
    return "";
}

}  // namespace pccl::stress
