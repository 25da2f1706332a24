#include "runtime/session.h"

#include <sched.h>

#include <algorithm>
#include <chrono>

#include "base/check.h"

namespace pccl::runtime {

namespace {

constexpr TimeUs kSleepMax = 1 * kSecond;  // a waiting thread looks around at least so often
constexpr const char* kInterruptedText =
    "the program interrupted a call, so the communicator has left the run";
/// How long the last frames are given to be read by the others.
constexpr TimeUs kLingerWait = 1 * kSecond;
/// Leaving without a coordinator, frames included, is over within a second; so long it may answer.
constexpr TimeUs kLeaveAlone = 950 * kMillisecond;
constexpr TimeUs kLeaveStep = 800 * kMillisecond;

/// That this process may use.
size_t count_cores() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return static_cast<size_t>(std::max(1, CPU_COUNT(&set)));
}

MemberId make_id(RandomSource& random) {
    MemberId id;
    static_cast<Id128&>(id) = random.next_id();
    return id;
}

}  // namespace

Session::Session(LoopThread& loop, const CommunicatorOptions& options)
    : loop_(loop),
      options_(options),
      timeouts_(core::Timeouts::derive(options.timeouts)),
      cores_(count_cores()),
      id_(make_id(random_)),
      sink_(options.log_sink ? options.log_sink : stderr_sink()),
      log_(options.log_level,
           [this](LogLevel level, std::string_view text) { logs_.emplace_back(level, std::string(text)); }) {}

Session::~Session() {
    if (!broken_) return;
    // Whoever was stopped half-way through something must not be destroyed either.
    poller_.abandon();
    remains_->member = std::move(member_);
    remains_->links = std::move(links_);
    static std::mutex mutex;
    static Remains* all = nullptr;
    const std::lock_guard lock(mutex);
    remains_->next = std::exchange(all, remains_.get());
    [[maybe_unused]] const Remains* kept = remains_.release();
}

Status Session::connect() {
    const auto failed = [](const std::string& why) { return Status(Code::MASTER_CONNECTION_FAILED, why); };
    {
        Turn turn(*this);
        for (const std::string& text : timeouts_.inconsistencies())
            log_.write(LogLevel::kWarn, "time-outs: " + text);
        if (!transport::parse_address(options_.master, &master_)) {
            return failed("\"" + options_.master + "\" is not an address of the form host:port");
        }
        if (Status status = transport::InterfaceFilter::parse(options_.interface_filter, &filter_); !status) {
            return failed(status.text());
        }
        std::string error;
        if (!poller_.open(&error)) return failed(error);
        LinkOptions link_options;
        link_options.lanes = options_.lanes;
        link_options.handshake = timeouts_.connect;
        link_options.tcp.liveness = timeouts_.liveness;
        links_ = std::make_unique<LinkTable>(poller_, *this, link_options);
        if (Status status = links_->listen(options_.bind_address, options_.port_first, options_.port_last);
            !status) {
            return failed(status.text());
        }
    }
    loop_.post([self = shared_from_this()] { self->contained([&] { self->start_on_loop(); }); });
    posted_ = true;
    core::Ticket ticket = 0;
    if (Status status = await_registration(&ticket); !status) return status;
    core::CallResult result;
    return wait(ticket, false, kNever, &result);
}

/// Waits until the coordinator's connection stands and the member asks to be admitted.
Status Session::await_registration(core::Ticket* ticket) {
    Turn turn(*this);
    InterruptPoll interrupt(now());
    while (join_ticket_ == 0 && join_status_.ok() && !broken_) {
        ++sleepers_;
        changed_.wait_for(turn.lock, std::chrono::microseconds(interrupt.pause(now(), kSecond)));
        --sleepers_;
        if (interrupt.due(now()) && interrupted(turn.lock, interrupt))
            join_status_ = {Code::CANCELLED, kInterruptedText};
    }
    *ticket = join_ticket_;
    if (!join_status_.ok()) return join_status_;
    return join_ticket_ == 0 ? broken_status() : Status();
}

/// Asks the program, without the lock.
bool Session::interrupted(std::unique_lock<std::mutex>& lock, InterruptPoll& poll) {
    finish(lock);
    const bool wanted = poll.ask(now());
    lock.lock();
    return wanted;
}

void Session::stop_joining() {
    contained([&] {
        Turn turn(*this);
        const Status status(Code::MASTER_CONNECTION_FAILED, "the communicator was closed while it connected");
        if (member_ == nullptr) {
            join_status_ = status;
            changed_.notify_all();
        } else if (!member_->admitted()) {
            member_->abandon(now(), status);
        }
    });
}

Status Session::call(const Call& call, bool listed, core::Ticket* ticket) {
    Status status = broken_status();
    contained([&] {
        Turn turn(*this);
        if (broken_) return;
        status = {Code::INVALID_USAGE, "the communicator is not connected"};
        if (member_ == nullptr) return;
        status = call(*member_, now(), ticket);
        if (status.ok() && listed) listed_.insert(*ticket);
    });
    return broken_ ? broken_status() : status;
}

Status Session::wait(core::Ticket ticket, bool listed, TimeUs timeout, core::CallResult* result,
                     bool goes_on) {
    Status status;
    contained([&] { status = await_result(ticket, listed, timeout, result, goes_on); });
    return broken_ ? broken_status() : status;
}

Status Session::await_result(core::Ticket ticket, bool listed, TimeUs timeout, core::CallResult* result,
                             bool goes_on) {
    const TimeUs started = now();
    const TimeUs until = timeout >= kNever - started ? kNever : started + timeout;
    Turn turn(*this);
    InterruptPoll interrupt(started);
    for (;;) {
        if (broken_) return broken_status();
        // Another thread may fetch it while this one waits.
        if (member_ == nullptr || (listed && listed_.count(ticket) == 0)) {
            return {Code::INVALID_ARGUMENT, "no such operation, or its result was fetched already"};
        }
        if (const core::CallResult* ended = member_->result(ticket); ended != nullptr) {
            *result = *ended;
            member_->forget(ticket);
            listed_.erase(ticket);
            return result->status;
        }
        const TimeUs at = now();
        if (at >= until) return {Code::TIMEOUT, "the wait timed out; the operation goes on"};
        if (interrupt.due(at)) {
            if (!interrupted(turn.lock, interrupt)) continue;
            if (goes_on) return {Code::CANCELLED, "the program interrupted the wait; the operation goes on"};
            // The buffers of the call must be in nobody's hands when it returns.
            if (!broken_) member_->abandon(now(), {Code::CANCELLED, kInterruptedText});
            continue;
        }
        const TimeUs left =
            interrupt.pause(at, until == kNever ? kSleepMax : std::min(until - at, kSleepMax));
        if (!driven_) {
            drive(turn.lock, ticket, at + left);
            continue;
        }
        settle();
        ++sleepers_;
        changed_.wait_for(turn.lock, std::chrono::microseconds(left));
        --sleepers_;
    }
}

/// Serves the descriptors in place of the loop until the call has ended or the time is over.
void Session::drive(std::unique_lock<std::mutex>& lock, core::Ticket ticket, TimeUs until) {
    driven_ = true;
    driver_ = std::this_thread::get_id();
    if (!poller_.taken()) poller_.take();
    TimeUs spin_until = now() + spin_time();
    transport::Poller::Ready ready;
    for (TimeUs at = now(); !broken_ && member_->result(ticket) == nullptr && at < until; at = now()) {
        int sleep_ms = 0;
        if (at >= spin_until) {
            sleep_ms = static_cast<int>((until - at) / kMillisecond + 1);
        }
        finish(lock);
        poller_.wait(sleep_ms, &ready);
        const bool quiet = ready.count == 0 && !ready.woken;
        if (quiet && sleep_ms == 0) std::this_thread::yield();
        lock.lock();
        if (broken_) return;
        if (!quiet) spin_until = now() + spin_time();
        poller_.dispatch(ready);
        settle();
    }
    stop_driving();
}

/// Waking a thread costs more than a small operation. With more members on this host than cores, looking
/// again only keeps the others from running.
TimeUs Session::spin_time() const {
    if (options_.spin_us >= 0) return options_.spin_us;
    return links_->same_host_links() + 1 <= cores_ ? kSpin : 0;
}

/// Keeps the descriptors for the next call if that is likely to come at once: otherwise the loop would wake
/// up for every frame in between and compete for the lock. A timer of the loop takes them back when no call
/// comes.
void Session::stop_driving() {
    driven_ = false;
    driver_ = {};
    if (sleepers_ > 0) changed_.notify_all();  // one of them drives from here on
    if (sleepers_ > 0 || leaving_ || member_->open_calls() > 1) {
        poller_.give();
        return;
    }
    lease_used_ = true;
    if (!lease_ticking_) lease_ticking_ = lease_wanted_ = true;
}

void Session::lease_ticked() {
    Turn turn(*this);
    if (!driven_ && std::exchange(lease_used_, false)) return;
    if (!driven_ && poller_.taken()) poller_.give();
    lease_ticking_ = false;
    uv_timer_stop(&lease_timer_);
}

/// The loop's turn with the descriptors.
void Session::serve_descriptors() {
    Turn turn(*this);
    if (poller_.taken() || ended_) return;
    transport::Poller::Ready ready;
    poller_.wait(0, &ready);
    poller_.dispatch(ready);
}

Status Session::broken_status() const {
    return {Code::RESOURCE_LIMIT, "memory is exhausted, so this communicator has left the run"};
}

/// Ends all connections, so that the others go on without this member, and all calls.
void Session::break_down(const char* why) noexcept {
    {
        std::unique_lock lock(lock_);
        break_off(lock);
    }
    contain(
        [&] {
            const auto close = [self = shared_from_this()] {
                if (self->control_ != nullptr) self->control_->close("memory is exhausted");
            };
            // Once the waiting calls know, the loop may end at any time, unless this is its thread.
            loop_.is_current() ? close() : loop_.post(close);
            Logger(options_.log_level, sink_)
                .write(LogLevel::kError, std::string("the communicator has left the run: ") + why);
        },
        [](const char*) {});
}

void Session::break_off(std::unique_lock<std::mutex>& lock) {
    if (!lock.owns_lock()) lock.lock();
    broken_ = true;
    driven_ = false;
    driver_ = {};
    poller_.shut_down();
    poller_.wake();
    changed_.notify_all();
}

/// Carries out everything that is to be done now. Afterwards nothing waits but for an event.
void Session::settle() {
    drain();
    if (links_ != nullptr) {
        links_->flush();
        links_->clear_graveyard();
    }
    if (completed_) {
        completed_ = false;
        if (sleepers_ > 0) changed_.notify_all();
        if (driven_ && driver_ != std::this_thread::get_id()) poller_.wake();
    }
    if (leaving_ && sleepers_ > 0) changed_.notify_all();
    const TimeUs next = next_deadline();
    if (next < armed_at_) {
        armed_at_ = next;
        arm_wanted_ = true;
    }
}

/// Ends a turn: settles, lets go of the lock, and does or hands over what must be done without it.
void Session::finish(std::unique_lock<std::mutex>& lock) {
    if (broken_) return;
    settle();
    const bool work = (arm_wanted_ || lease_wanted_ || !control_queue_.empty() || !look_ups_.empty()) &&
                      on_loop_ && !loop_work_posted_;
    if (work) loop_work_posted_ = true;
    std::vector<std::pair<LogLevel, std::string>> logs;
    logs.swap(logs_);
    lock.unlock();
    if (work) {
        if (loop_.is_current()) {
            loop_work();
        } else {
            loop_.post([self = shared_from_this()] { self->contained([&] { self->loop_work(); }); });
        }
    }
    const Logger out(LogLevel::kTrace, sink_);
    for (const auto& [level, text] : logs) out.write(level, text);
}

Status Session::test(core::Ticket ticket, bool* done) {
    Turn turn(*this);
    if (broken_) return broken_status();
    if (listed_.count(ticket) == 0)
        return {Code::INVALID_ARGUMENT, "no such operation, or its result was fetched already"};
    *done = member_->result(ticket) != nullptr;
    return {};
}

Status Session::cancel(core::Ticket ticket) {
    Turn turn(*this);
    if (broken_) return broken_status();
    if (listed_.count(ticket) == 0)
        return {Code::INVALID_ARGUMENT, "no such operation, or its result was fetched already"};
    return member_->cancel(now(), ticket);
}

core::View Session::view() const {
    const std::lock_guard lock(lock_);
    return member_ != nullptr && !broken_ ? member_->view() : core::View{};
}

bool Session::connected() const {
    const std::lock_guard lock(lock_);
    return member_ != nullptr && !broken_ && member_->admitted() && member_->fate().ok();
}

std::string Session::describe() const {
    const std::lock_guard lock(lock_);
    return member_ != nullptr ? member_->describe() : "no member\n";
}

void Session::leave() {
    core::Ticket ticket = 0;
    const TimeUs asked = now();
    TimeUs until = kNever;
    const auto ask = [](core::Member& member, TimeUs at, core::Ticket* out) { return member.leave(at, out); };
    if (call(ask, false, &ticket).ok()) {
        core::CallResult result;
        TimeUs step = kLeaveStep;
        while (wait(ticket, false, step, &result).code() == Code::TIMEOUT) {
            Turn turn(*this);
            // A coordinator that is there acknowledges at once, though others may hold up the end of it.
            const bool acknowledged = coordinator_up_ && member_->coordinator_heard() > asked;
            step = std::min(kLeaveStep, asked + timeouts_.freeze - now());
            if (acknowledged && step > 0) continue;
            if (!acknowledged) until = asked + kLeaveAlone;
            member_->abandon(now(), {Code::INVALID_USAGE, "the communicator has left the run"});
            break;
        }
    }
    if (!broken_) {
        Turn turn(*this);
        leaving_ = true;
        if (poller_.taken() && !driven_) poller_.give();
        if (links_ != nullptr) links_->shut_down();
    }
    await_lingering(until);
    {
        Turn turn(*this);
        ended_ = true;
    }
    if (posted_) loop_.post([self = shared_from_this()] { self->stop_on_loop(); });
}

/// Gives the last frames time to be read by the others before the sockets are closed.
void Session::await_lingering(TimeUs until) {
    Turn turn(*this);
    if (links_ == nullptr || !on_loop_) return;
    until = std::min(until, now() + kLingerWait);
    while (!broken_ && links_->lingering() > 0 && now() < until) {
        settle();
        ++sleepers_;
        changed_.wait_for(turn.lock, std::chrono::microseconds(until - now()));
        --sleepers_;
    }
}

}  // namespace pccl::runtime
