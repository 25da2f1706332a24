#include "runtime/master_server.h"

#include <pthread.h>
#include <signal.h>
#include <uv.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "base/contain.h"
#include "base/fault.h"
#include "core/coordinator.h"
#include "runtime/listener_set.h"
#include "runtime/os_random.h"
#include "runtime/record_file.h"
#include "transport/control.h"
#include "transport/uv_text.h"

namespace pccl::runtime {
namespace {

using transport::ControlConnection;

constexpr size_t kConnectionsMax = 4096;
/// Connections that have not said anything valid yet; beyond it the oldest of them gives way.
constexpr size_t kStrangersMax = 512;
constexpr TimeUs kStoreRetry = 1 * kSecond;
constexpr int kStrangerLinesPerSecond = 10;

TimeUs now_us() { return static_cast<TimeUs>(uv_hrtime() / 1000); }

template <class Handle>
uv_handle_t* handle_of(Handle* handle) {
    return reinterpret_cast<uv_handle_t*>(handle);
}

/// Limits the lines that strangers can cause.
class LineLimit {
   public:
    /// Whether a line may be written now; `skipped` is the number of those that were not, before it.
    bool allow(TimeUs now, int* skipped) {
        if (now - since_ >= kSecond) {
            since_ = now;
            count_ = 0;
        }
        if (++count_ > kStrangerLinesPerSecond) {
            ++skipped_;
            return false;
        }
        *skipped = skipped_;
        skipped_ = 0;
        return true;
    }

   private:
    TimeUs since_ = -kSecond;
    int count_ = 0;
    int skipped_ = 0;
};

}  // namespace

class MasterServer::Impl {
   public:
    explicit Impl(MasterOptions options)
        : options_(std::move(options)),
          logger_(options_.log_level, options_.log_sink ? options_.log_sink : stderr_sink()) {}
    ~Impl() {
        interrupt();
        if (thread_.joinable()) thread_.join();
    }

    Status start();
    void interrupt();
    void await_end();
    bool running() const {
        const std::lock_guard lock(mutex_);
        return running_;
    }
    std::vector<std::string> addresses() const {
        const std::lock_guard lock(mutex_);
        return addresses_;
    }
    uint16_t port() const {
        const std::lock_guard lock(mutex_);
        return port_;
    }

   private:
    struct Peer {
        std::unique_ptr<ControlConnection> connection;
        bool known = false;  // a frame of it was accepted
    };
    struct Unstored {
        std::vector<uint8_t> body;
        uint64_t number = 0;
    };

    Status open_record();  // the caller's thread, before the loop thread starts

    // The loop thread.
    void serve();
    void begin_serving();
    void stop();
    void end();
    void on_connection(uv_stream_t* listener, int status);
    void make_room();
    bool on_frame(uint64_t id, wire::Type type, std::span<const uint8_t> body);
    void on_closed(uint64_t id, const std::string& why);
    void drain();
    void persist();
    void arm_timer();
    void timer_fired();
    void log_stranger(const std::string& text);
    template <class Work>
    void contained(Work&& work) noexcept;

    const MasterOptions options_;
    const Logger logger_;
    OsRandom random_;

    mutable std::mutex mutex_;  // guards the block below
    std::condition_variable changed_;
    bool running_ = false;
    bool interrupted_ = false;
    bool ready_ = false;  // the first record is stored, or there is none to store
    std::vector<std::string> addresses_;
    uint16_t port_ = 0;

    std::thread thread_;  // joined by the next start() or the destructor
    uv_loop_t loop_{};
    uv_async_t wake_{};
    uv_timer_t timer_{};
    uv_prepare_t prepare_{};
    ListenerSet listeners_;
    std::unique_ptr<RecordFile> record_file_;
    bool has_record_ = false;
    core::Record record_;
    std::unique_ptr<core::Coordinator> coordinator_;
    std::map<uint64_t, Peer> peers_;
    std::vector<std::unique_ptr<ControlConnection>> gone_;  // destroyed outside of their own callbacks
    uint64_t next_connection_ = 1;
    size_t strangers_ = 0;
    std::deque<Unstored> unstored_;
    TimeUs store_retry_ = kNever;
    LineLimit line_limit_;
    bool draining_ = false;
    bool stopping_ = false;
    bool broken_ = false;  // there was no memory to go on
};

// ---- start

Status MasterServer::Impl::start() {
    {
        const std::lock_guard lock(mutex_);
        if (running_) return {Code::INVALID_USAGE, "the coordinator runs already"};
    }
    if (thread_.joinable()) thread_.join();
    if (Status status = open_record(); !status) return status;
    if (const int rc = uv_loop_init(&loop_); rc != 0) {
        record_file_.reset();
        return {Code::RESOURCE_LIMIT, "cannot make an event loop: " + transport::uv_error_text(rc)};
    }
    Status status =
        listeners_.bind(&loop_, options_.listen, [this](uv_stream_t* listener, int accept_status) {
            contained([&] { on_connection(listener, accept_status); });
        });
    if (!status) {
        uv_run(&loop_, UV_RUN_DEFAULT);
        uv_loop_close(&loop_);
        record_file_.reset();
        return status;
    }
    uv_async_init(&loop_, &wake_, [](uv_async_t* wake) { static_cast<Impl*>(wake->data)->stop(); });
    uv_timer_init(&loop_, &timer_);
    uv_prepare_init(&loop_, &prepare_);
    wake_.data = timer_.data = prepare_.data = this;
    stopping_ = broken_ = false;
    {
        const std::lock_guard lock(mutex_);
        running_ = true;
        interrupted_ = ready_ = false;
        addresses_ = listeners_.addresses();
        port_ = listeners_.port();
    }
    // Signals belong to the program's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        thread_ = std::thread([this] { serve(); });
    } catch (const std::exception& error) {
        status = {Code::RESOURCE_LIMIT,
                  std::string("cannot start the coordinator's thread: ") + error.what()};
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!status) {
        stop();
        end();
        return status;
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ready_ || !running_; });
    if (!ready_) return {Code::RESOURCE_LIMIT, "the coordinator ended at its start: memory is exhausted"};
    return {};
}

Status MasterServer::Impl::open_record() {
    has_record_ = false;
    record_ = {};
    if (options_.state_dir.empty()) return {};
    if (Status status = RecordFile::open(options_.state_dir, &record_file_); !status) return status;
    std::vector<uint8_t> body;
    Status status = record_file_->load(&has_record_, &body);
    if (status && has_record_ && (!wire::decode(body, record_) || record_.format != core::Record::kFormat)) {
        status = {Code::VERSION_MISMATCH,
                  "the record " + record_file_->path() + " was written by another version"};
    }
    if (!status) record_file_.reset();
    return status;
}

// ---- the loop thread

/// Runs what the loop calls. An exception, which means that memory is exhausted, may leave the coordinator
/// half-way through a change; it ends then as if it had been killed, which members survive, and the process
/// does not.
template <class Work>
void MasterServer::Impl::contained(Work&& work) noexcept {
    if (broken_) return;
    contain(std::forward<Work>(work), [this](const char* why) {
        broken_ = true;
        interrupt();
        logger_.write(LogLevel::kFatal, std::string("the coordinator ends: ") + why);
    });
}

void MasterServer::Impl::serve() {
    contained([this] { begin_serving(); });
    uv_run(&loop_, UV_RUN_DEFAULT);  // ends when stop() has closed everything
    end();
}

void MasterServer::Impl::begin_serving() {
    core::CoordinatorConfig config;
    config.timeouts = core::Timeouts::derive(options_.timeouts);
    config.log = logger_;
    config.connections_max = kConnectionsMax;
    config.majority = options_.majority;
    config.record_lost = options_.record_lost && !has_record_;
    config.unix_time_offset_us = std::chrono::duration_cast<std::chrono::microseconds>(
                                     std::chrono::system_clock::now().time_since_epoch())
                                     .count() -
                                 now_us();
    for (const std::string& text : config.timeouts.inconsistencies()) logger_.write(LogLevel::kWarn, text);
    coordinator_ = std::make_unique<core::Coordinator>(std::move(config), random_,
                                                       has_record_ ? &record_ : nullptr, now_us());
    // Runs once in each round of the loop, just before it waits.
    uv_prepare_start(&prepare_, [](uv_prepare_t* prepare) {
        auto* self = static_cast<Impl*>(prepare->data);
        self->contained([self] {
            self->gone_.clear();
            self->arm_timer();
        });
    });
    drain();
    {
        const std::lock_guard lock(mutex_);
        ready_ = true;
        changed_.notify_all();
    }
    for (const std::string& address : addresses())
        logger_.write(LogLevel::kInfo, "coordinator listens on " + address);
}

/// What stop() closed is gone or about to go: gives everything back.
void MasterServer::Impl::end() {
    gone_.clear();
    uv_run(&loop_, UV_RUN_DEFAULT);  // lets the last close callbacks run
    uv_loop_close(&loop_);
    coordinator_.reset();
    record_file_.reset();
    unstored_.clear();
    strangers_ = 0;
    store_retry_ = kNever;
    const std::lock_guard lock(mutex_);
    running_ = false;
    addresses_.clear();
    port_ = 0;
    changed_.notify_all();
}

void MasterServer::Impl::stop() {
    if (stopping_) return;
    stopping_ = true;
    logger_.write(LogLevel::kInfo, "coordinator stops");
    listeners_.close();
    for (auto& [id, peer] : peers_) gone_.push_back(std::move(peer.connection));
    peers_.clear();
    uv_close(handle_of(&wake_), nullptr);
    uv_close(handle_of(&timer_), nullptr);
    uv_close(handle_of(&prepare_), nullptr);
    gone_.clear();
}

void MasterServer::Impl::interrupt() {
    const std::lock_guard lock(mutex_);
    // `wake_` is closed only by what this wakes, so it is open at the one time that it is used.
    if (!running_ || interrupted_) return;
    interrupted_ = true;
    uv_async_send(&wake_);
}

void MasterServer::Impl::await_end() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !running_; });
}

void MasterServer::Impl::on_connection(uv_stream_t* listener, int status) {
    if (stopping_) return;
    if (status != 0)
        return log_stranger("could not accept a connection: " + transport::uv_error_text(status));
    const uint64_t id = next_connection_++;
    ControlConnection::Callbacks callbacks;
    callbacks.on_frame = [this, id](wire::Type type, std::span<const uint8_t> body) {
        bool valid = false;
        contained([&] { valid = on_frame(id, type, body); });
        return valid;
    };
    callbacks.on_closed = [this, id](const std::string& why) { contained([&] { on_closed(id, why); }); };
    auto connection = ControlConnection::accept(listener, std::move(callbacks));
    if (!connection) return log_stranger("could not accept a connection");
    const std::string remote = connection->remote_address();
    make_room();
    if (peers_.size() >= kConnectionsMax) {
        return log_stranger("refused " + remote + ": " + std::to_string(kConnectionsMax) +
                            " connections are open");
    }
    peers_[id].connection = std::move(connection);
    ++strangers_;
    coordinator_->opened(now_us(), id, remote);
    drain();
}

/// Strangers that say nothing must not keep members out.
void MasterServer::Impl::make_room() {
    if (strangers_ < kStrangersMax) return;
    for (auto& [id, peer] : peers_) {
        if (peer.known) continue;
        peer.connection->close("too many connections that have not registered");
        peer.known = true;  // counted no more
        --strangers_;
        return;
    }
}

bool MasterServer::Impl::on_frame(uint64_t id, wire::Type type, std::span<const uint8_t> body) {
    const auto found = peers_.find(id);
    if (stopping_ || found == peers_.end()) return false;
    const bool valid = coordinator_->frame(now_us(), id, type, body);
    if (valid && !found->second.known) {
        found->second.known = true;
        --strangers_;
    }
    drain();
    return valid;
}

void MasterServer::Impl::on_closed(uint64_t id, const std::string& why) {
    const auto found = peers_.find(id);
    if (stopping_ || found == peers_.end()) return;
    if (!found->second.known) {
        --strangers_;
        log_stranger("closed " + found->second.connection->remote_address() +
                     ", which had not registered: " + why);
    } else if (logger_.enabled(LogLevel::kDebug)) {
        logger_.write(LogLevel::kDebug,
                      "connection of " + found->second.connection->remote_address() + " closed: " + why);
    }
    gone_.push_back(std::move(found->second.connection));
    peers_.erase(found);
    coordinator_->closed(now_us(), id, why);
    drain();
}

/// Carries out what the coordinator wants, in order, until it wants nothing more.
void MasterServer::Impl::drain() {
    if (draining_) return;
    draining_ = true;
    while (!coordinator_->outbox().empty()) {
        std::vector<core::CoordinatorAction> actions;
        actions.swap(coordinator_->outbox());
        for (core::CoordinatorAction& action : actions) {
            using Kind = core::CoordinatorAction::Kind;
            const auto found = peers_.find(action.connection);
            if (action.kind == Kind::kPersist) {
                unstored_.push_back({std::move(action.body), action.number});
                persist();
            } else if (found != peers_.end() && action.kind == Kind::kSend) {
                found->second.connection->send(action.type, action.body);
            } else if (found != peers_.end()) {
                found->second.connection->close_after_flush(action.text);
            }
        }
    }
    draining_ = false;
}

/// Stores the newest record, which covers the older ones; what waits for any of them goes on after it.
void MasterServer::Impl::persist() {
    if (unstored_.empty()) return;
    if (record_file_) {
        if (const Status status = record_file_->store(unstored_.back().body); !status) {
            logger_.write(LogLevel::kError,
                          "could not keep the run's record, will try again: " + status.text());
            store_retry_ = now_us() + kStoreRetry;
            return;
        }
    }
    store_retry_ = kNever;
    while (!unstored_.empty()) {
        const uint64_t number = unstored_.front().number;
        unstored_.pop_front();
        coordinator_->persisted(now_us(), number);
    }
}

void MasterServer::Impl::arm_timer() {
    if (stopping_) return;
    const TimeUs next = std::min(coordinator_->deadline(), store_retry_);
    if (next == kNever) {
        uv_timer_stop(&timer_);
        return;
    }
    const TimeUs wait = std::max<TimeUs>(next - now_us(), 0);
    auto wait_ms = static_cast<uint64_t>((wait + kMillisecond - 1) / kMillisecond);
    if (PCCL_FAULT(kEarlyTimer)) wait_ms = 0;
    uv_update_time(&loop_);
    uv_timer_start(
        &timer_,
        [](uv_timer_t* timer) {
            auto* self = static_cast<Impl*>(timer->data);
            self->contained([self] { self->timer_fired(); });
        },
        wait_ms, 0);
}

void MasterServer::Impl::timer_fired() {
    const TimeUs now = now_us();
    if (now >= store_retry_) persist();
    if (now >= coordinator_->deadline()) coordinator_->tick(now);
    drain();
}

void MasterServer::Impl::log_stranger(const std::string& text) {
    int skipped = 0;
    if (!line_limit_.allow(now_us(), &skipped)) return;
    logger_.write(LogLevel::kWarn,
                  skipped == 0 ? text : text + " (" + std::to_string(skipped) + " such lines left out)");
}

// ---- the public face

MasterServer::MasterServer(MasterOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
MasterServer::~MasterServer() = default;
Status MasterServer::start() { return impl_->start(); }
void MasterServer::interrupt() { impl_->interrupt(); }
void MasterServer::await_end() { impl_->await_end(); }
bool MasterServer::running() const { return impl_->running(); }
std::vector<std::string> MasterServer::addresses() const { return impl_->addresses(); }
uint16_t MasterServer::port() const { return impl_->port(); }

}  // namespace pccl::runtime
