// The coordinator's durable record as one file in a directory of its own.
//
// The directory is locked for as long as the object lives, so that two coordinators never share one. A store
// writes a temporary file, synchronises it, renames it over the old one and synchronises the directory: after
// a crash at any moment either the old or the new record is there, whole. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace pccl::runtime {

class RecordFile {
   public:
    static constexpr size_t kBodyBytesMax = size_t{256} << 20;

    /// Creates the directory with its parents where missing, and locks it. INVALID_USAGE when another holds
    /// the lock.
    static Status open(const std::string& directory, std::unique_ptr<RecordFile>* out);
    ~RecordFile();
    RecordFile(const RecordFile&) = delete;
    RecordFile& operator=(const RecordFile&) = delete;

    /// Reads the record. `found` is false when there is none. A damaged one is an error that names the file:
    /// it is never taken for an absent one, since that would forget what the coordinator promised.
    Status load(bool* found, std::vector<uint8_t>* body) const;
    Status store(std::span<const uint8_t> body);

    std::string path() const;

   private:
    RecordFile(std::string directory, int directory_fd, int lock_fd);

    std::string directory_;
    int directory_fd_;
    int lock_fd_;
};

}  // namespace pccl::runtime
