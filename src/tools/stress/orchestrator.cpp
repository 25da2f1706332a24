#include "orchestrator.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "common/resources.h"

namespace pccl::stress {
namespace {

constexpr int kStartTimeoutMs = 30'000;
constexpr int kStopTimeoutMs = 10'000;
constexpr size_t kAliveMin = 2;

int64_t to_ns(double seconds) { return static_cast<int64_t>(seconds * 1e9); }

void close_descriptor(int* descriptor) {
    if (*descriptor >= 0) {
        close(*descriptor);
        *descriptor = -1;
    }
}

}  // namespace

Orchestrator::Orchestrator(int argc, char** argv, const Options& options)
    : options_(options), random_(options.seed) {
    worker_arguments_.assign(argv + 1, argv + argc);
}

Orchestrator::~Orchestrator() {
    for (auto& child : children_) {
        tools::kill_and_reap(child->pid);
        bury(*child);
    }
}

void Orchestrator::say(const std::string& text) const {
    std::fprintf(stderr, "pccl-stress: %8.3f s: %s\n",
                 static_cast<double>(tools::monotonic_ns() - start_ns_) * 1e-9, text.c_str());
}

bool Orchestrator::start_worker(std::string* error) {
    auto child = std::make_unique<Child>();
    child->number = next_number_++;
    int control_read = -1, reports_write = -1;
    const int memory = memfd_create("pccl-stress-status", MFD_CLOEXEC);
    bool good = memory >= 0 && ftruncate(memory, sizeof(StatusPage)) == 0 &&
                tools::make_pipe(&control_read, &child->control) &&
                tools::make_pipe(&child->reports, &reports_write);
    void* const page =
        good ? mmap(nullptr, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0) : MAP_FAILED;
    if (page == MAP_FAILED) {
        *error = "no descriptors or memory left for a worker";
        good = false;
    } else {
        child->page = static_cast<StatusPage*>(page);
        child->page->since_ns.store(tools::monotonic_ns());
        fcntl(child->reports, F_SETFL, O_NONBLOCK);
        std::vector<std::string> arguments{tools::own_program_path(), kWorkerArgument, coordinator_.address(),
                                           std::to_string(child->number)};
        arguments.insert(arguments.end(), worker_arguments_.begin(), worker_arguments_.end());
        child->pid = tools::spawn(
            {arguments, {{control_read, 0}, {reports_write, kReportDescriptor}, {memory, kStatusDescriptor}}},
            error);
        good = child->pid > 0;
    }
    for (int* descriptor : {&control_read, &reports_write}) {
        close_descriptor(descriptor);
    }
    if (memory >= 0) {
        close(memory);
    }
    if (!good) {
        bury(*child);
        return false;
    }
    children_.push_back(std::move(child));
    return true;
}

// Gives back what belongs to a worker whose process has ended.
void Orchestrator::bury(Child& child) {
    close_descriptor(&child.control);
    close_descriptor(&child.reports);
    if (child.page != nullptr) {
        munmap(child.page, sizeof(StatusPage));
        child.page = nullptr;
    }
    ledger_.gone(child.number);
}

void Orchestrator::handle(Child& child, const std::string& line) {
    Message message;
    if (!from_line(line, &message)) {
        return;  // Cut off by the death of the worker.
    }
    switch (message.kind) {
        case Message::Kind::kJoined: ledger_.joined(child.number, message.member); break;
        case Message::Kind::kSuccess: {
            const std::string contradiction = ledger_.success(child.number, message.success);
            if (!contradiction.empty()) {
                say("DIVERGENCE: " + contradiction);
            }
            if (message.success.wrong_elements > 0) {
                say("WRONG: worker " + std::to_string(child.number) + ", step " +
                    std::to_string(message.success.step) + ": " +
                    std::to_string(message.success.wrong_elements) + " elements");
            }
            break;
        }
        case Message::Kind::kLost:
            if (ledger_.gone(child.number)) {
                ++totals_.evictions;
                say("EVICTION: worker " + std::to_string(child.number) +
                    " lives and is out: " + message.text);
            } else {
                ++totals_.failed_joins;
                say("worker " + std::to_string(child.number) + " has to try to join again: " + message.text);
            }
            break;
        case Message::Kind::kStateWrong:
            ledger_.count_wrong();
            say("WRONG: worker " + std::to_string(child.number) +
                " received a shared state that does not fit together");
            break;
        case Message::Kind::kInputsDamaged:
            ledger_.count_wrong();
            say("WRONG: worker " + std::to_string(child.number) + " lost its input in a failed operation");
            break;
    }
}

void Orchestrator::read_reports(Child& child) {
    char piece[65536];
    ssize_t got;
    while ((got = read(child.reports, piece, sizeof piece)) > 0) {
        child.partial.append(piece, static_cast<size_t>(got));
        size_t start = 0;
        for (size_t end; (end = child.partial.find('\n', start)) != std::string::npos; start = end + 1) {
            handle(child, child.partial.substr(start, end - start));
        }
        child.partial.erase(0, start);
    }
}

// Waits for reports and takes them in.
void Orchestrator::collect(int timeout_ms) {
    std::vector<pollfd> readable;
    for (const auto& child : children_) {
        readable.push_back({child->reports, POLLIN, 0});
    }
    poll(readable.data(), readable.size(), timeout_ms);
    for (size_t i = 0; i < readable.size(); ++i) {
        if ((readable[i].revents & POLLIN) != 0) {
            read_reports(*children_[i]);
        }
    }
}

void Orchestrator::reap_crashed() {
    std::erase_if(children_, [&](std::unique_ptr<Child>& child) {
        int status = 0;
        if (!tools::try_reap(child->pid, &status)) {
            return false;
        }
        read_reports(*child);
        ++totals_.crashes;
        say("CRASH: worker " + std::to_string(child->number) + ": " + tools::describe_wait_status(status));
        bury(*child);
        return true;
    });
}

// Somewhere in the second half of the interval or the first half of the next one, so that kills and newcomers
// meet in all ways, while their number is what was asked for.
int64_t Orchestrator::next_moment(double every_s, int64_t after_ns) {
    if (every_s <= 0) {
        return INT64_MAX;
    }
    return after_ns + to_ns(every_s * std::uniform_real_distribution<double>(0.75, 1.25)(random_));
}

void Orchestrator::kill_one(int64_t now_ns) {
    const size_t victim = std::uniform_int_distribution<size_t>(0, children_.size() - 1)(random_);
    Child& child = *children_[victim];
    read_reports(child);
    // The moment is taken before the signal, as the survivors may notice at once.
    ledger_.killed(child.number, now_ns);
    tools::kill_and_reap(child.pid);
    read_reports(child);
    if (options_.verbose) {
        say("killed worker " + std::to_string(child.number) + " in " +
            call_name(static_cast<Call>(child.page->call.load())));
    }
    bury(child);
    children_.erase(children_.begin() + static_cast<std::ptrdiff_t>(victim));
    ++totals_.kills;
}

void Orchestrator::churn(int64_t now_ns) {
    if (now_ns >= kill_at_ns_) {
        kill_at_ns_ = next_moment(options_.kill_every_s, kill_at_ns_);
        if (children_.size() > kAliveMin) {
            kill_one(tools::monotonic_ns());
        }
    }
    if (now_ns >= join_at_ns_) {
        join_at_ns_ = next_moment(options_.join_every_s, join_at_ns_);
        std::string error;
        if (children_.size() < static_cast<size_t>(options_.peers)) {
            if (start_worker(&error)) {
                ++totals_.joins;
                if (options_.verbose) {
                    say("started worker " + std::to_string(children_.back()->number));
                }
            } else {
                say(error);
            }
        }
    }
}

void Orchestrator::describe_workers(int64_t now_ns) const {
    for (const auto& child : children_) {
        const StatusPage& page = *child->page;
        const double since_s = static_cast<double>(now_ns - page.since_ns.load()) * 1e-9;
        char text[200];
        std::snprintf(
            text, sizeof text, "worker %d (process %d): in %s for %.1f s, step %llu, world %u, lineage %llx",
            child->number, static_cast<int>(child->pid), call_name(static_cast<Call>(page.call.load())),
            since_s, static_cast<unsigned long long>(page.step.load()), page.world.load(),
            static_cast<unsigned long long>(page.lineage.load()));
        say(text);
    }
}

void Orchestrator::look_for_hangs(int64_t now_ns) {
    const auto hung = std::find_if(children_.begin(), children_.end(), [&](const auto& child) {
        return now_ns - child->page->since_ns.load(std::memory_order_acquire) > to_ns(options_.hang_s);
    });
    if (hung == children_.end() || children_.size() < kAliveMin) {
        return;
    }
    ++totals_.hangs;
    say("HANG: worker " + std::to_string((*hung)->number) + " makes no progress");
    describe_workers(now_ns);
    tools::kill_and_reap((*hung)->pid);
    read_reports(**hung);
    bury(**hung);
    children_.erase(hung);
    // The others may only have waited for this one: their clocks start anew.
    for (auto& child : children_) {
        child->page->since_ns.store(tools::monotonic_ns());
    }
}

void Orchestrator::leave_all() {
    for (auto& child : children_) {
        close_descriptor(&child->control);
    }
    const int64_t deadline_ns = tools::monotonic_ns() + to_ns(options_.hang_s);
    while (!children_.empty() && tools::monotonic_ns() < deadline_ns) {
        collect(20);
        std::erase_if(children_, [&](std::unique_ptr<Child>& child) {
            int status = 0;
            if (!tools::try_reap(child->pid, &status)) {
                return false;
            }
            read_reports(*child);
            if (status != 0) {
                ++totals_.bad_exits;
                say("worker " + std::to_string(child->number) +
                    " did not leave gracefully: " + tools::describe_wait_status(status));
            }
            bury(*child);
            return true;
        });
    }
    if (!children_.empty()) {
        totals_.hangs += children_.size();
        say("HANG: " + std::to_string(children_.size()) + " workers did not leave");
        describe_workers(tools::monotonic_ns());
    }
}

bool Orchestrator::run(std::string* error) {
    const std::string program = options_.master_program.empty() ? tools::sibling_program_path("pccl-master")
                                                                : options_.master_program;
    if (!coordinator_.start({program, "--listen", "127.0.0.1:0", "--state", "none"}, kStartTimeoutMs,
                            error)) {
        return false;
    }
    start_ns_ = tools::monotonic_ns();
    for (int i = 0; i < options_.peers; ++i) {
        if (!start_worker(error)) {
            return false;
        }
    }
    const int64_t end_ns = start_ns_ + to_ns(options_.seconds);
    kill_at_ns_ = next_moment(options_.kill_every_s, start_ns_);
    join_at_ns_ = next_moment(options_.join_every_s, start_ns_);
    int status = 0;
    for (int64_t now_ns = start_ns_; now_ns < end_ns && !totals_.coordinator_failed;
         now_ns = tools::monotonic_ns()) {
        constexpr int64_t kLookNs = 50'000'000;
        const int64_t next_ns = std::min({end_ns, kill_at_ns_, join_at_ns_, now_ns + kLookNs});
        collect(static_cast<int>(std::max<int64_t>(0, (next_ns - now_ns + 999'999) / 1'000'000)));
        now_ns = tools::monotonic_ns();
        reap_crashed();
        churn(now_ns);
        look_for_hangs(now_ns);
        totals_.coordinator_failed = coordinator_.ended(&status);
    }
    ledger_.finish();
    totals_.seconds = static_cast<double>(tools::monotonic_ns() - start_ns_) * 1e-9;
    if (totals_.coordinator_failed) {
        *error = "the coordinator ended by itself: " + tools::describe_wait_status(status);
        return false;
    }
    leave_all();
    if (!coordinator_.stop(kStopTimeoutMs, &status)) {
        totals_.coordinator_failed = true;
        say("the coordinator ended with " + tools::describe_wait_status(status));
    }
    return true;
}

}  // namespace pccl::stress
