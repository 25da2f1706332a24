// The set of watched descriptors: taking it from the loop, waking whoever waits, and removal at any moment.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <functional>
#include <thread>

#include "transport/poller.h"

using namespace pccl::transport;

namespace {

struct Event final : Poller::Watcher {
    Event() : fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}
    ~Event() { ::close(fd); }
    void signal() {
        const uint64_t one = 1;
        REQUIRE(::write(fd, &one, sizeof one) == sizeof one);
    }
    void ready(uint32_t events) override {
        ++count;
        seen |= events;
        if (then) then();
    }
    int fd;
    int count = 0;
    uint32_t seen = 0;
    Poller::Slot slot = 0;
    std::function<void()> then;
};

bool readable(int fd) {
    pollfd entry{fd, POLLIN, 0};
    return ::poll(&entry, 1, 0) == 1;
}

}  // namespace

TEST_CASE("the set is hidden from the loop while somebody has taken it", "[transport]") {
    Poller poller;
    std::string error;
    REQUIRE(poller.open(&error));
    Event event;
    REQUIRE(poller.add(event.fd, EPOLLIN, &event, &event.slot));
    CHECK_FALSE(readable(poller.outer_fd()));
    poller.take();
    event.signal();
    CHECK_FALSE(readable(poller.outer_fd()));
    Poller::Ready ready;
    poller.wait(1000, &ready);
    poller.dispatch(ready);
    CHECK(event.count == 1);
    poller.give();
    CHECK(readable(poller.outer_fd()));  // what is ready already is announced again
    poller.remove(event.slot);
    CHECK_FALSE(readable(poller.outer_fd()));
    CHECK(poller.size() == 0);
}

TEST_CASE("a watcher that was removed between waiting and dispatching is left alone", "[transport]") {
    Poller poller;
    std::string error;
    REQUIRE(poller.open(&error));
    Event one, two, three;
    for (Event* event : {&one, &two}) {
        REQUIRE(poller.add(event->fd, EPOLLIN, event, &event->slot));
        event->signal();
    }
    Poller::Ready ready;
    poller.wait(1000, &ready);
    REQUIRE(ready.count == 2);
    // Whichever comes first removes the other, whose slot is given to a third at once.
    one.then = [&] {
        poller.remove(two.slot);
        REQUIRE(poller.add(three.fd, EPOLLIN, &three, &three.slot));
    };
    two.then = [&] {
        poller.remove(one.slot);
        REQUIRE(poller.add(three.fd, EPOLLIN, &three, &three.slot));
    };
    poller.dispatch(ready);
    CHECK(one.count + two.count == 1);
    CHECK(three.count == 0);
}

TEST_CASE("interests can be changed", "[transport]") {
    Poller poller;
    std::string error;
    REQUIRE(poller.open(&error));
    Event event;
    REQUIRE(poller.add(event.fd, 0, &event, &event.slot));
    event.signal();
    Poller::Ready ready;
    poller.wait(0, &ready);
    CHECK(ready.count == 0);
    poller.change(event.slot, EPOLLOUT);
    poller.wait(1000, &ready);
    poller.dispatch(ready);
    CHECK(event.seen == static_cast<uint32_t>(EPOLLOUT));
    poller.remove(event.slot);
}

TEST_CASE("wake ends a wait on another thread", "[transport]") {
    Poller poller;
    std::string error;
    REQUIRE(poller.open(&error));
    poller.take();
    std::thread waker([&] { poller.wake(); });
    Poller::Ready ready;
    poller.wait(60'000, &ready);
    poller.dispatch(ready);
    CHECK(ready.woken);
    waker.join();
    poller.give();
}
