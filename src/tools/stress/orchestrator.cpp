#include "orchestrator.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "common/resources.h"

namespace pccl::stress {
namespace {

constexpr int kStartTimeoutMs = 30'000;
constexpr int kStopTimeoutMs = 10'000;
constexpr size_t kAliveMin = 2;
constexpr int64_t kLookNs = 50'000'000;

int64_t to_ns(double seconds) { return static_cast<int64_t>(seconds * 1e9); }

// What no crash, freeze or break of the network leads to.
bool is_fault_of_library(int64_t result) {
    switch (result) {
        case pcclNotInitialized:
        case pcclInternalError:
        case pcclInvalidArgument:
        case pcclPendingAsyncOps:
        case pcclCancelled:
        case pcclMismatch:
        case pcclVersionMismatch:
        case pcclAccessDenied:
        case pcclResourceLimit:
        case pcclUnsupported: return true;
        default: return false;
    }
}

}  // namespace

Orchestrator::Orchestrator(int argc, char** argv, const Options& options)
    : options_(options),
      random_(options.seed),
      worker_leaks_(options.memory_slack_bytes),
      coordinator_leaks_(options.memory_slack_bytes) {
    worker_arguments_.assign(argv + 1, argv + argc);
}

Orchestrator::~Orchestrator() {
    for (auto& child : children_) {
        tools::kill_and_reap(child->pid);
        bury(*child);
    }
    coordinator_.kill();
    if (!state_folder_.empty()) {
        std::error_code ignored;
        std::filesystem::remove_all(state_folder_, ignored);
    }
}

void Orchestrator::say(const std::string& text) const {
    std::fprintf(stderr, "pccl-stress: %8.3f s: %s\n",
                 static_cast<double>(tools::monotonic_ns() - start_ns_) * 1e-9, text.c_str());
}

void Orchestrator::say_if_verbose(const std::string& text) const {
    if (options_.verbose) {
        say(text);
    }
}

// What the processes inherit, and a place for the coordinator's record.
bool Orchestrator::prepare(std::string* error) {
    if (options_.sets_liveness) {
        setenv("PCCL_LIVENESS_TIMEOUT_MS", std::to_string(std::lround(options_.liveness_s * 1e3)).c_str(), 1);
    }
    if (options_.sets_recovery) {
        setenv("PCCL_RECOVERY_TIMEOUT_MS", std::to_string(std::lround(options_.recovery_s * 1e3)).c_str(), 1);
    }
    if (!options_.partition_every.off()) {
        has_network_ = network_.enter(error);
        totals_.partitions_skipped = !has_network_;
        if (!has_network_) {
            say("--partition-every is skipped: not permitted here: " + *error);
        }
    }
    if (!options_.coordinator_kill_every.off()) {
        std::error_code failure;
        std::string name = (std::filesystem::temp_directory_path(failure) / "pccl-stress-XXXXXX").string();
        if (failure || mkdtemp(name.data()) == nullptr) {
            *error = "no temporary folder for the coordinator's record";
            return false;
        }
        state_folder_ = name;
    }
    return true;
}

// A coordinator that is to come back needs a port that nobody else takes meanwhile: one below those that the
// system hands out.
bool Orchestrator::start_coordinator(std::string* error) {
    const std::string program = options_.master_program.empty() ? tools::sibling_program_path("pccl-master")
                                                                : options_.master_program;
    const std::string host = has_network_ ? "0.0.0.0:" : "127.0.0.1:";
    const std::string state = state_folder_.empty() ? "none" : state_folder_;
    constexpr int kTries = 20;
    for (int attempt = 1;; ++attempt) {
        const bool chooses = port_ == 0 && !state_folder_.empty();
        const int port = chooses ? std::uniform_int_distribution<int>(15'000, 31'999)(random_) : port_;
        if (coordinator_.start({program, "--listen", host + std::to_string(port), "--state", state},
                               kStartTimeoutMs, error)) {
            const std::string& address = coordinator_.address();
            port_ = std::atoi(address.substr(address.rfind(':') + 1).c_str());
            return true;
        }
        coordinator_.kill();
        if (!chooses || attempt == kTries) {
            return false;
        }
    }
}

bool Orchestrator::start_worker(std::string* error) {
    WorkerPlace place;
    place.number = next_number_++;
    std::vector<size_t> members(static_cast<size_t>(options_.groups));
    for (const auto& child : children_) {
        ++members[child->group];
    }
    place.group = static_cast<uint32_t>(std::min_element(members.begin(), members.end()) - members.begin());
    // Addresses of its own, by which it can be cut off from a peer and from the coordinator.
    const std::string own =
        std::to_string(place.number / 250 % 250) + "." + std::to_string(place.number % 250 + 2);
    place.bind_address = has_network_ ? "127.0." + own : "127.0.0.1";
    place.master = (has_network_ ? "127.1." + own : "127.0.0.1") + ":" + std::to_string(port_);
    auto child = start_child(place, worker_arguments_, error);
    if (child == nullptr) {
        return false;
    }
    children_.push_back(std::move(child));
    return true;
}

void Orchestrator::bury(Child& child) {
    release(child);
    ledger_.gone(child.number);
}

// A worker lives and is out of the run. That is a finding unless a fault of ours explains it.
void Orchestrator::lost(const Child& child, const Message& message) {
    const std::string who = "worker " + std::to_string(child.number);
    if (is_fault_of_library(message.result)) {
        ++totals_.errors;
        say("ERROR: " + who + ": " + message.text);
    }
    if (!ledger_.gone(child.number)) {
        ++totals_.failed_joins;
        say_if_verbose(who + " has to try to join again: " + message.text);
        return;
    }
    const int64_t now_ns = tools::monotonic_ns();
    if (child.frozen() || child.breaks > 0 || now_ns < child.excused_until_ns) {
        ++totals_.evictions_by_fault;
        say_if_verbose(who + " was evicted after a fault: " + message.text);
    } else if (now_ns < starved_until_ns_) {
        ++totals_.evictions_starved;
        say(who + " was evicted while the machine did not run us: " + message.text);
    } else {
        ++totals_.evictions;
        say("EVICTION: " + who + " lives and is out: " + message.text);
    }
}

void Orchestrator::handle(Child& child, const std::string& line) {
    Message message;
    if (!from_line(line, &message)) {
        return;  // Cut off by the death of the worker.
    }
    const std::string who = "worker " + std::to_string(child.number);
    switch (message.kind) {
        case Message::Kind::kJoined: ledger_.joined(child.number, message.member, child.group); break;
        case Message::Kind::kSuccess: {
            const std::string contradiction = ledger_.success(child.number, message.success);
            if (!contradiction.empty()) {
                say("DIVERGENCE: " + contradiction);
            }
            if (message.success.wrong_elements > 0 || message.success.inputs_damaged) {
                say("WRONG: " + who + ", step " + std::to_string(message.success.step) + ": " +
                    std::to_string(message.success.wrong_elements) + " elements" +
                    (message.success.inputs_damaged ? ", and its input was changed" : ""));
            }
            break;
        }
        case Message::Kind::kLost: lost(child, message); break;
        case Message::Kind::kRetriedVote: ++totals_.retried_votes; break;
        case Message::Kind::kStateWrong:
            ledger_.count_wrong();
            say("WRONG: " + who + " received a shared state that does not fit together");
            break;
        case Message::Kind::kInputsDamaged:
            ledger_.count_wrong();
            say("WRONG: " + who + " lost its input in a failed operation");
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
    if (coordinator_back_at_ns_ != INT64_MAX) {
        return;  // Members may well wait for it.
    }
    const auto hung = std::find_if(children_.begin(), children_.end(), [&](const auto& child) {
        return !child->frozen() &&
               now_ns - child->page->since_ns.load(std::memory_order_acquire) > to_ns(options_.hang_s);
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

// One look at everything, for which it waits until `next_ns` at most.
void Orchestrator::step(int64_t next_ns) {
    const int64_t before_ns = tools::monotonic_ns();
    const int64_t wait_ns = std::max<int64_t>(0, std::min(next_ns, before_ns + kLookNs) - before_ns);
    collect(static_cast<int>((wait_ns + 999'999) / 1'000'000));
    const int64_t now_ns = tools::monotonic_ns();
    if (now_ns - before_ns > kLookNs + to_ns(options_.liveness_s / 3)) {
        starved_until_ns_ = now_ns + grace_ns();
        say("the machine did not run us for " + std::to_string((now_ns - before_ns) / 1'000'000) + " ms");
    }
    reap_crashed();
    look_for_hangs(now_ns);
    int status = 0;
    if (coordinator_.pid() > 0 && coordinator_.ended(&status)) {
        totals_.coordinator_failed = true;
        say("CRASH: the coordinator ended by itself: " + tools::describe_wait_status(status));
    }
}

void Orchestrator::run_with_faults() {
    const int64_t begin_ns = tools::monotonic_ns();
    const int64_t end_ns = begin_ns + to_ns(options_.seconds);
    begin_faults(begin_ns);
    for (int64_t now_ns = begin_ns; now_ns < end_ns && !totals_.coordinator_failed;
         now_ns = tools::monotonic_ns()) {
        step(std::min(end_ns, next_fault_ns()));
        faults(tools::monotonic_ns());
    }
    end_faults();
    totals_.seconds = static_cast<double>(tools::monotonic_ns() - begin_ns) * 1e-9;
}

// All workers are members, know it, and have been at work.
bool Orchestrator::is_quiet() const {
    return std::all_of(children_.begin(), children_.end(), [&](const auto& child) {
        const auto members = std::count_if(children_.begin(), children_.end(),
                                           [&](const auto& other) { return other->group == child->group; });
        constexpr uint64_t kStepsMin = 2;
        const uint32_t world = child->page->world.load();
        return world == static_cast<uint32_t>(members) && (world == 1 || child->page->step >= kStepsMin);
    });
}

bool Orchestrator::await_quiet() {
    constexpr int kLooks = 4;
    const int64_t deadline_ns = tools::monotonic_ns() + to_ns(options_.hang_s);
    for (int looks = 0; looks < kLooks && !totals_.coordinator_failed;) {
        const int64_t look_ns = tools::monotonic_ns() + kLookNs;
        while (tools::monotonic_ns() < look_ns) {
            step(look_ns);
        }
        looks = is_quiet() ? looks + 1 : 0;
        if (looks == 0 && tools::monotonic_ns() > deadline_ns) {
            ++totals_.hangs;
            say("HANG: the workers do not all become members");
            describe_workers(tools::monotonic_ns());
            return false;
        }
    }
    return !totals_.coordinator_failed;
}

void Orchestrator::measure_start() {
    const int lanes = options_.lanes > 0 ? options_.lanes : 1;
    for (const auto& child : children_) {
        const int peers = static_cast<int>(child->page->world.load()) - 1;
        worker_leaks_.at_start(Footprint::of(child->pid, peers * lanes));
    }
    coordinator_leaks_.at_start(Footprint::of(coordinator_.pid(), static_cast<int>(children_.size())));
}

// Connections that have just been closed may take a moment.
void Orchestrator::look_for_leaks() {
    const int lanes = options_.lanes > 0 ? options_.lanes : 1;
    const int64_t deadline_ns = tools::monotonic_ns() + to_ns(5 + 2 * options_.liveness_s);
    std::vector<std::string> findings;
    do {
        step(tools::monotonic_ns() + kLookNs);
        findings.clear();
        worker_leaks_.begin_end();
        coordinator_leaks_.begin_end();
        for (const auto& child : children_) {
            const int peers = std::max(1, static_cast<int>(child->page->world.load())) - 1;
            const std::string what = worker_leaks_.at_end(Footprint::of(child->pid, peers * lanes));
            if (!what.empty()) {
                findings.push_back("worker " + std::to_string(child->number) + ": " + what);
            }
        }
        const std::string what =
            coordinator_leaks_.at_end(Footprint::of(coordinator_.pid(), static_cast<int>(children_.size())));
        if (!what.empty()) {
            findings.push_back("the coordinator: " + what);
        }
    } while (!findings.empty() && tools::monotonic_ns() < deadline_ns && !totals_.coordinator_failed);
    totals_.leaks += findings.size();
    for (const std::string& finding : findings) {
        say("LEAK: " + finding);
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
    start_ns_ = tools::monotonic_ns();
    if (!prepare(error) || !start_coordinator(error)) {
        return false;
    }
    for (int i = 0; i < options_.peers; ++i) {
        if (!start_worker(error)) {
            return false;
        }
    }
    const bool started = await_quiet();
    if (started) {
        measure_start();
    }
    run_with_faults();
    if (!totals_.coordinator_failed && await_quiet() && started) {
        look_for_leaks();
    }
    ledger_.finish();
    if (totals_.coordinator_failed) {
        *error = "there is no coordinator any more";
        return false;
    }
    leave_all();
    int status = 0;
    if (!coordinator_.stop(kStopTimeoutMs, &status)) {
        totals_.coordinator_failed = true;
        say("the coordinator ended with " + tools::describe_wait_status(status));
    }
    return true;
}

}  // namespace pccl::stress
