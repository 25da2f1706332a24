// A set of watched descriptors that either the loop thread or a blocked caller can serve.
//
// Two epoll instances: the inner one holds all descriptors, the outer one holds only the inner one. The loop
// watches the outer one, so that a caller who waits for a result takes the whole set away from the loop by
// one system call (take), serves it itself without a hand-over between threads, and gives it back (give).
// Interests can be changed from any thread. Descriptors are named by a slot with a generation, because
// between wait() and dispatch() another thread may have closed some of them.
//
// Threads: wait() and wake() may be called without the owner's lock; everything else is called under it.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace pccl::transport {

class Poller {
   public:
    /// Something that watches a descriptor. It must be removed before it is destroyed.
    class Watcher {
       public:
        virtual void ready(uint32_t epoll_events) = 0;

       protected:
        ~Watcher() = default;
    };
    using Slot = uint32_t;
    static constexpr size_t kEventsPerWait = 32;
    struct Ready {
        std::array<epoll_event, kEventsPerWait> events;
        int count = 0;
        bool woken = false;
    };

    Poller() = default;
    ~Poller();
    Poller(const Poller&) = delete;
    Poller& operator=(const Poller&) = delete;

    /// False, with the cause, when the system has no descriptors left.
    bool open(std::string* error);
    /// The descriptor that the loop watches for reading.
    int outer_fd() const { return outer_; }

    /// Watches `fd` for the epoll events given; errors and hang-ups are always reported. False when the
    /// system refuses.
    bool add(int fd, uint32_t events, Watcher* watcher, Slot* slot);
    void change(Slot slot, uint32_t events);
    void remove(Slot slot);
    size_t size() const { return used_; }

    /// Hides the set from the loop until give().
    void take();
    void give();
    bool taken() const { return taken_; }

    /// Waits for events; only the one who took the set waits longer than zero.
    void wait(int timeout_ms, Ready* out);
    void dispatch(Ready& ready);
    /// Ends every watched connection; both ends see that. Nothing is forgotten, so that slots stay valid.
    void shut_down();
    /// Closes them. Only when their watchers are never used again.
    void abandon();
    /// Ends a wait() that is going on or comes next.
    void wake();

   private:
    struct Entry {
        Watcher* watcher = nullptr;
        uint32_t generation = 0;
        uint32_t events = 0;
        int fd = -1;
    };
    uint64_t key(Slot slot) const { return static_cast<uint64_t>(entries_[slot].generation) << 32 | slot; }

    int inner_ = -1, outer_ = -1, wake_ = -1;
    bool taken_ = false;
    size_t used_ = 0;
    std::vector<Entry> entries_;
    std::vector<Slot> free_;
};

}  // namespace pccl::transport
