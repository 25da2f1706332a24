#include "resources.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

namespace pccl::tools {
namespace {

constexpr const char* kOwnStatus = "/proc/self/status";

// A line such as "VmHWM:     1234 kB" of a status file, in bytes.
uint64_t status_bytes(const std::string& path, const char* field) {
    std::FILE* file = std::fopen(path.c_str(), "re");
    if (file == nullptr) {
        return 0;
    }
    char line[256];
    unsigned long long kibibytes = 0;
    const size_t length = std::strlen(field);
    while (std::fgets(line, sizeof line, file) != nullptr) {
        if (std::strncmp(line, field, length) == 0 && line[length] == ':') {
            std::sscanf(line + length + 1, "%llu", &kibibytes);
            break;
        }
    }
    std::fclose(file);
    return kibibytes * 1024;
}

double seconds(const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

}  // namespace

double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

uint64_t resident_bytes() { return status_bytes(kOwnStatus, "VmRSS"); }

uint64_t peak_resident_bytes() { return status_bytes(kOwnStatus, "VmHWM"); }

uint64_t resident_bytes_of(pid_t process) {
    return status_bytes("/proc/" + std::to_string(process) + "/status", "VmRSS");
}

int descriptors_of(pid_t process) {
    DIR* const folder = opendir(("/proc/" + std::to_string(process) + "/fd").c_str());
    if (folder == nullptr) {
        return 0;
    }
    int count = 0;
    while (const dirent* entry = readdir(folder)) {
        count += entry->d_name[0] != '.' ? 1 : 0;
    }
    closedir(folder);
    return count;
}

bool reset_peak_resident() {
    const int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        return false;
    }
    const bool good = write(file, "5", 1) == 1;
    close(file);
    return good;
}

int64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace pccl::tools
