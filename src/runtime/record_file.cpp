#include "runtime/record_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/fault.h"
#include "kernel/hash.h"
#include "wire/codec.h"

namespace pccl::runtime {
namespace {

constexpr const char* kName = "record";
constexpr const char* kTemporaryName = "record.new";
constexpr const char* kLockName = "lock";

/// Stands before the body; a file of another kind or a torn one does not match it.
struct Head {
    static constexpr uint64_t kMagic = 0x3144524c43435000;  // "\0PCCLRD1", read as little-endian
    static constexpr size_t kBytes = 32;
    uint64_t magic = kMagic;
    uint64_t body_bytes = 0;
    uint64_t hash_low = 0, hash_high = 0;
    template <class V>
    void visit(V& v) {
        v(magic), v(body_bytes), v(hash_low), v(hash_high);
    }
};

Head head_of(std::span<const uint8_t> body) {
    const kernel::Hash128 hash = kernel::hash128(body.data(), body.size());
    Head head;
    head.body_bytes = body.size(), head.hash_low = hash.low, head.hash_high = hash.high;
    return head;
}

Status failure(const std::string& what, const std::string& path) {
    return {Code::INTERNAL_ERROR, what + " " + path + ": " + std::generic_category().message(errno)};
}

class Descriptor {
   public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return fd_; }
    int release() {
        const int fd = fd_;
        fd_ = -1;
        return fd;
    }

   private:
    int fd_;
};

bool write_all(int fd, std::span<const uint8_t> bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes = bytes.subspan(static_cast<size_t>(n));
    }
    return true;
}

bool read_all(int fd, std::span<uint8_t> bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::read(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes = bytes.subspan(static_cast<size_t>(n));
    }
    return true;
}

}  // namespace

RecordFile::RecordFile(std::string directory, int directory_fd, int lock_fd)
    : directory_(std::move(directory)), directory_fd_(directory_fd), lock_fd_(lock_fd) {}

RecordFile::~RecordFile() {
    ::close(lock_fd_);
    ::close(directory_fd_);
}

std::string RecordFile::path() const { return directory_ + "/" + kName; }

Status RecordFile::open(const std::string& directory, std::unique_ptr<RecordFile>* out) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) {
        return {Code::INVALID_ARGUMENT,
                "cannot create the state directory " + directory + ": " + error.message()};
    }
    Descriptor folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() < 0) return failure("cannot open the state directory", directory);
    Descriptor lock(::openat(folder.get(), kLockName, O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (lock.get() < 0) return failure("cannot open the lock of the state directory", directory);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return failure("cannot lock the state directory", directory);
        return {Code::INVALID_USAGE,
                "the state directory " + directory +
                    " is locked by another coordinator; each needs a directory of its own"};
    }
    // Left over from a crash in the middle of a store; it was never the record.
    ::unlinkat(folder.get(), kTemporaryName, 0);
    out->reset(new RecordFile(directory, folder.release(), lock.release()));
    return {};
}

Status RecordFile::load(bool* found, std::vector<uint8_t>* body) const {
    *found = false;
    body->clear();
    Descriptor file(::openat(directory_fd_, kName, O_RDONLY | O_CLOEXEC));
    if (file.get() < 0) {
        if (errno == ENOENT) return {};
        return failure("cannot open", path());
    }
    struct stat info {};
    if (::fstat(file.get(), &info) != 0) return failure("cannot read", path());
    const Status damaged(Code::INTERNAL_ERROR,
                         "the record " + path() + " is damaged; remove it to go on without it");
    const auto bytes = static_cast<uint64_t>(info.st_size);
    if (bytes < Head::kBytes || bytes > kBodyBytesMax + Head::kBytes) return damaged;
    std::vector<uint8_t> content(bytes);
    if (!read_all(file.get(), content)) return damaged;
    const std::span<const uint8_t> all(content);
    Head head;
    if (!wire::decode(all.first(Head::kBytes), head)) return damaged;
    const Head expected = head_of(all.subspan(Head::kBytes));
    if (head.magic != expected.magic || head.body_bytes != expected.body_bytes ||
        head.hash_low != expected.hash_low || head.hash_high != expected.hash_high) {
        return damaged;
    }
    body->assign(content.begin() + Head::kBytes, content.end());
    *found = true;
    return {};
}

Status RecordFile::store(std::span<const uint8_t> body) {
    if (body.size() > kBodyBytesMax) return {Code::RESOURCE_LIMIT, "the record of the run is too large"};
    const std::string temporary = directory_ + "/" + kTemporaryName;
    Descriptor file(::openat(directory_fd_, kTemporaryName, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0) return failure("cannot create", temporary);
    const bool written = write_all(file.get(), wire::encode(head_of(body))) && write_all(file.get(), body);
    if (PCCL_FAULT(kRecordFails)) {
        errno = ENOSPC;
        return failure("cannot write", temporary);
    }
    if (!written) {
        return failure("cannot write", temporary);
    }
    if (::fsync(file.get()) != 0) return failure("cannot synchronise", temporary);
    if (::renameat(directory_fd_, kTemporaryName, directory_fd_, kName) != 0)
        return failure("cannot rename", temporary);
    if (::fsync(directory_fd_) != 0) return failure("cannot synchronise", directory_);
    return {};
}

}  // namespace pccl::runtime
