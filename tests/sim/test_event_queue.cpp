// The simulator's own ground: the order of events, chance, and the hash of a run.
#include <catch2/catch.hpp>

#include <vector>

#include "sim/event_queue.h"
#include "sim/random.h"
#include "sim/trace.h"

using namespace pccl;
using namespace pccl::sim;

namespace {

Event event_at(TimeUs time, uint64_t number) {
    Event event;
    event.time = time;
    event.number = number;
    return event;
}

std::vector<uint64_t> drain(EventQueue& queue) {
    std::vector<uint64_t> numbers;
    while (!queue.empty()) numbers.push_back(queue.pop().number);
    return numbers;
}

}  // namespace

TEST_CASE("events come by time, and at one time in the order of scheduling") {
    EventQueue queue;
    queue.push(event_at(20, 1));
    queue.push(event_at(10, 2));
    queue.push(event_at(20, 3));
    queue.push(event_at(10, 4));
    CHECK(drain(queue) == std::vector<uint64_t>{2, 4, 1, 3});
}

TEST_CASE("events put off keep their order among each other") {
    EventQueue queue;
    queue.push(event_at(10, 1));
    queue.push(event_at(11, 2));
    const Event first = queue.pop();
    const Event second = queue.pop();
    queue.put_off(second, 50);
    queue.put_off(first, 50);
    queue.push(event_at(50, 3));
    CHECK(drain(queue) == std::vector<uint64_t>{1, 2, 3});
}

TEST_CASE("chance repeats with its seed and stays in its bounds") {
    Random a(7), b(7), c(8);
    bool differs = false;
    for (int i = 0; i < 100; ++i) {
        const uint64_t value = a.next();
        CHECK(value == b.next());
        differs = differs || value != c.next();
    }
    CHECK(differs);
    for (int i = 0; i < 1000; ++i) {
        const int64_t value = a.between(-3, 4);
        CHECK((value >= -3 && value <= 4));
    }
    CHECK_FALSE(a.chance(0.0));
    CHECK(a.chance(1.0));
}

TEST_CASE("the hash of a run depends on content and order") {
    Trace a(nullptr), b(nullptr), c(nullptr);
    const std::vector<uint8_t> x = {1, 2, 3, 4, 5, 6, 7, 8, 9}, y = {1, 2, 3, 4, 5, 6, 7, 8, 10};
    a.add(x), a.add(y);
    b.add(y), b.add(x);
    c.add(x), c.add(y);
    CHECK(a.hash() == c.hash());
    CHECK(a.hash() != b.hash());
}
