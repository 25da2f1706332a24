#include "transport/poller.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "base/fault.h"

namespace pccl::transport {

namespace {

constexpr uint64_t kWakeKey = ~uint64_t{0};

}  // namespace

Poller::~Poller() {
    for (int fd : {inner_, outer_, wake_}) {
        if (fd >= 0) ::close(fd);
    }
}

bool Poller::open(std::string* error) {
    PCCL_ASSERT(inner_ < 0);
    inner_ = epoll_create1(EPOLL_CLOEXEC);
    outer_ = epoll_create1(EPOLL_CLOEXEC);
    wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool ok = inner_ >= 0 && outer_ >= 0 && wake_ >= 0;
    if (ok) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = kWakeKey;
        ok = epoll_ctl(inner_, EPOLL_CTL_ADD, wake_, &event) == 0;
        ok = ok && epoll_ctl(outer_, EPOLL_CTL_ADD, inner_, &event) == 0;
    }
    if (!ok) *error = std::string("cannot create an event queue: ") + std::strerror(errno);
    return ok;
}

bool Poller::add(int fd, uint32_t events, Watcher* watcher, Slot* slot) {
    PCCL_ASSERT(watcher != nullptr && fd >= 0);
    if (free_.empty()) {
        entries_.emplace_back();
        free_.push_back(static_cast<Slot>(entries_.size() - 1));
    }
    const Slot at = free_.back();
    Entry& entry = entries_[at];
    ++entry.generation;
    epoll_event event{};
    event.events = events;
    event.data.u64 = key(at);
    if (epoll_ctl(inner_, EPOLL_CTL_ADD, fd, &event) != 0) return false;
    free_.pop_back();
    entry.watcher = watcher;
    entry.events = events;
    entry.fd = fd;
    ++used_;
    *slot = at;
    return true;
}

void Poller::change(Slot slot, uint32_t events) {
    Entry& entry = entries_[slot];
    PCCL_ASSERT(entry.watcher != nullptr);
    if (entry.events == events) return;
    epoll_event event{};
    event.events = events;
    event.data.u64 = key(slot);
    const int rc = epoll_ctl(inner_, EPOLL_CTL_MOD, entry.fd, &event);
    PCCL_ASSERT(rc == 0);
    entry.events = events;
}

void Poller::remove(Slot slot) {
    Entry& entry = entries_[slot];
    PCCL_ASSERT(entry.watcher != nullptr);
    epoll_ctl(inner_, EPOLL_CTL_DEL, entry.fd, nullptr);
    entry.watcher = nullptr;
    entry.fd = -1;
    ++entry.generation;
    free_.push_back(slot);
    --used_;
}

void Poller::take() {
    PCCL_ASSERT(!taken_);
    taken_ = true;
    epoll_ctl(outer_, EPOLL_CTL_DEL, inner_, nullptr);
}

void Poller::give() {
    PCCL_ASSERT(taken_);
    taken_ = false;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = kWakeKey;
    const int rc = epoll_ctl(outer_, EPOLL_CTL_ADD, inner_, &event);
    PCCL_ASSERT(rc == 0);
}

void Poller::wait(int timeout_ms, Ready* out) {
    if (PCCL_FAULT(kEarlyReturn)) {
        out->count = 0;
        out->woken = false;
        return;
    }
    out->count = epoll_wait(inner_, out->events.data(), static_cast<int>(kEventsPerWait), timeout_ms);
    out->woken = false;
    if (out->count < 0)
        out->count = 0;  // interrupted by a signal: the caller looks at its condition and waits again
}

void Poller::dispatch(Ready& ready) {
    if (PCCL_FAULT(kReverseOrder)) std::reverse(ready.events.begin(), ready.events.begin() + ready.count);
    for (int i = 0; i < ready.count; ++i) {
        const epoll_event& event = ready.events[static_cast<size_t>(i)];
        if (event.data.u64 == kWakeKey) {
            uint64_t count = 0;
            [[maybe_unused]] const ssize_t n = ::read(wake_, &count, sizeof count);
            ready.woken = true;
            continue;
        }
        const auto slot = static_cast<Slot>(event.data.u64);
        if (slot >= entries_.size() || key(slot) != event.data.u64) continue;
        Watcher* watcher = entries_[slot].watcher;
        if (watcher == nullptr) continue;
        if (PCCL_FAULT(kSpuriousWakeup)) {
            watcher->ready(event.events | (entries_[slot].events & static_cast<uint32_t>(EPOLLIN)));
        } else {
            watcher->ready(event.events);
        }
    }
}

void Poller::shut_down() {
    for (const Entry& entry : entries_) {
        if (entry.fd >= 0) ::shutdown(entry.fd, SHUT_RDWR);
    }
}

void Poller::abandon() {
    for (const Entry& entry : entries_) {
        if (entry.fd >= 0) ::close(entry.fd);
    }
}

void Poller::wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_, &one, sizeof one);
}

}  // namespace pccl::transport
