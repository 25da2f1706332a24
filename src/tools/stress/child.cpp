#include "child.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/process.h"
#include "common/resources.h"

namespace pccl::stress {

void close_descriptor(int* descriptor) {
    if (*descriptor >= 0) {
        close(*descriptor);
        *descriptor = -1;
    }
}

void release(Child& child) {
    close_descriptor(&child.control);
    close_descriptor(&child.reports);
    if (child.page != nullptr) {
        munmap(child.page, sizeof(StatusPage));
        child.page = nullptr;
    }
}

std::unique_ptr<Child> start_child(const WorkerPlace& place, const std::vector<std::string>& options,
                                   std::string* error) {
    auto child = std::make_unique<Child>();
    child->number = place.number;
    child->group = place.group;
    child->peer_address = place.bind_address;
    child->master_address = place.master.substr(0, place.master.rfind(':'));
    int control_read = -1, reports_write = -1;
    int memory = memfd_create("pccl-stress-status", MFD_CLOEXEC);
    const bool good = memory >= 0 && ftruncate(memory, sizeof(StatusPage)) == 0 &&
                      tools::make_pipe(&control_read, &child->control) &&
                      tools::make_pipe(&child->reports, &reports_write);
    void* const page =
        good ? mmap(nullptr, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0) : MAP_FAILED;
    if (page == MAP_FAILED) {
        *error = "no descriptors or memory left for a worker";
    } else {
        child->page = static_cast<StatusPage*>(page);
        child->page->since_ns.store(tools::monotonic_ns());
        fcntl(child->reports, F_SETFL, O_NONBLOCK);
        std::vector<std::string> arguments{
            tools::own_program_path(),   kWorkerArgument,   place.master, std::to_string(place.number),
            std::to_string(place.group), place.bind_address};
        arguments.insert(arguments.end(), options.begin(), options.end());
        child->pid = tools::spawn(
            {arguments, {{control_read, 0}, {reports_write, kReportDescriptor}, {memory, kStatusDescriptor}}},
            error);
    }
    for (int* descriptor : {&control_read, &reports_write, &memory}) {
        close_descriptor(descriptor);
    }
    if (child->pid <= 0) {
        release(*child);
        return nullptr;
    }
    return child;
}

}  // namespace pccl::stress
