// One membership of a run, from joining to leaving: the core's Member with its timer, its links, and its
// connection to the coordinator.
//
// Threads: the progress lock guards the member, the links and everything below it in this class. A Turn holds
// it: at its end the core's actions have been carried out and frames written. Things that only the loop may
// do (the timer, the coordinator's connection, name look-up) are noted under the lock and done by the loop
// after it was let go. A thread that waits for a result takes the descriptors from the loop and serves them
// itself, so that no result changes threads on its way. Log messages are collected under the lock and
// delivered without it. An exception, which means that memory is exhausted, may leave the member and its
// links half-way through a transition: the session is broken then. Its connections end, nothing touches the
// member again, and all calls return an error.
#pragma once

#include <uv.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/contain.h"
#include "core/member.h"
#include "runtime/communicator.h"
#include "runtime/interrupt.h"
#include "runtime/link_table.h"
#include "runtime/loop_thread.h"
#include "runtime/os_random.h"
#include "transport/control.h"
#include "transport/resolver.h"

namespace pccl::runtime {

class Session final : public std::enable_shared_from_this<Session>, public LinkEvents {
   public:
    Session(LoopThread& loop, const CommunicatorOptions& options);
    ~Session();

    /// Blocks until the run admits this peer, or it failed. Called once.
    Status connect();
    /// Ends connect() with an error, from another thread.
    void stop_joining();
    /// Leaves the run, unless that happened, and closes everything. Called once, also after a failed
    /// connect(); blocks for a bounded time.
    void leave();

    using Call = std::function<Status(core::Member&, TimeUs now, core::Ticket*)>;
    /// With `listed` the ticket is one that the program holds.
    Status call(const Call& call, bool listed, core::Ticket* ticket);
    /// TIMEOUT: it goes on. INVALID_ARGUMENT: it is not `listed`, or no longer. An interruption by the
    /// program ends the membership, except with `goes_on`, where it ends the wait only.
    Status wait(core::Ticket ticket, bool listed, TimeUs timeout, core::CallResult* result,
                bool goes_on = false);
    Status test(core::Ticket ticket, bool* done);
    Status cancel(core::Ticket ticket);
    core::View view() const;
    bool connected() const;
    MemberId id() const { return id_; }
    std::string describe() const;

   private:
    struct Turn;
    struct ControlItem {
        core::Action action;
        uint64_t connection = 0;  ///< the one it is for
    };
    struct LookUp {
        MemberId peer;
        uint64_t number = 0;
        wire::Endpoint endpoint;
    };
    /// How long after the last event a waiting thread looks again and again before it sleeps. Waking up costs
    /// more than a hop of a small operation; the processor is offered to others between two looks.
    static constexpr TimeUs kSpin = 50;
    /// Whoever has waited keeps the descriptors for about this long after, for the next call.
    static constexpr uint64_t kLeaseMs = 1;

    // session.cpp
    void finish(std::unique_lock<std::mutex>& lock);
    void settle();
    Status await_registration(core::Ticket* ticket);
    bool interrupted(std::unique_lock<std::mutex>& lock, InterruptPoll& poll);
    Status await_result(core::Ticket ticket, bool listed, TimeUs timeout, core::CallResult* result,
                        bool goes_on);
    void drive(std::unique_lock<std::mutex>& lock, core::Ticket ticket, TimeUs until);
    void stop_driving();
    TimeUs spin_time() const;
    void serve_descriptors();
    void lease_ticked();
    void await_lingering(TimeUs until);
    template <class Work>
    void contained(Work&& work) noexcept;
    void break_down(const char* why) noexcept;
    void break_off(std::unique_lock<std::mutex>& lock);
    Status broken_status() const;

    // session_actions.cpp
    void drain();
    void carry_out(core::Action& action);
    void close_coordinator(core::Action& action);

    // session_loop.cpp: loop thread only, without the lock
    void start_on_loop();
    void stop_on_loop();
    void loop_work();
    void look_up(const LookUp& request);
    void timer_fired();
    void open_control();
    void control_opened(uint64_t connection);
    bool control_frame(uint64_t connection, wire::Type type, std::span<const uint8_t> body);
    void control_closed(uint64_t connection, const std::string& why);

    // under the lock
    TimeUs next_deadline() const;
    void make_member(std::vector<wire::Endpoint> endpoints);
    std::vector<wire::Endpoint> endpoints(const std::string& local_host) const;
    void note_run(wire::Type type, std::span<const uint8_t> body);

    // session_links.cpp: LinkEvents
    TimeUs now() override { return static_cast<TimeUs>(uv_hrtime() / 1000); }
    uint64_t random() override { return random_.next(); }
    const Logger& log() override { return log_; }
    wire::Hello make_hello(const MemberId& peer) override;
    wire::HelloAck judge_hello(const wire::Hello& hello) override;
    void link_up(const MemberId& peer, uint64_t incarnation) override;
    void link_down(const MemberId& peer, uint64_t incarnation, const std::string& why) override;
    void connect_failed(const MemberId& peer, const std::string& why) override;
    void link_heard(const MemberId& peer) override;
    bool peer_frame(const MemberId& peer, wire::Type type, std::span<const uint8_t> body) override;
    transport::IncomingPlace place(const MemberId& peer, const wire::Data& header,
                                   uint32_t payload_bytes) override;
    bool landed(const MemberId& peer, const wire::Data& header, uint8_t* data,
                uint32_t payload_bytes) override;
    void dropped(const MemberId& peer, const wire::Data& header, uint8_t* data,
                 uint32_t payload_bytes) override;
    bool next_data(const MemberId& peer, transport::OutgoingData& out) override;
    void resolve(const MemberId& peer, uint64_t number, const wire::Endpoint& endpoint) override;

    LoopThread& loop_;
    const CommunicatorOptions options_;
    const core::Timeouts timeouts_;
    const size_t cores_;
    OsRandom random_;
    const MemberId id_;
    const LogSink sink_;

    mutable std::mutex lock_;
    std::condition_variable changed_;
    int sleepers_ = 0;
    std::vector<std::pair<LogLevel, std::string>> logs_;
    Logger log_;
    transport::Poller poller_;
    std::unique_ptr<LinkTable> links_;
    /// Where the member and its links of a broken session stay, allocated while there was memory.
    struct Remains {
        std::unique_ptr<core::Member> member;
        std::unique_ptr<LinkTable> links;
        Remains* next = nullptr;
    };
    std::unique_ptr<Remains> remains_ = std::make_unique<Remains>();
    std::unique_ptr<core::Member> member_;
    core::Ticket join_ticket_ = 0;
    Status join_status_;  // of the first connection to the coordinator, until there is a member
    transport::InterfaceFilter filter_;
    wire::Endpoint master_;
    RunId run_;
    std::unordered_set<core::Ticket> listed_;
    std::atomic<bool> broken_{false};  // there was no memory to go on
    bool draining_ = false;
    bool completed_ = false;  // a call ended in this turn
    bool driven_ = false;
    std::thread::id driver_;
    bool lease_used_ = false;     // since the last tick
    bool lease_ticking_ = false;  // the loop looks every kLeaseMs whether it is still used
    bool posted_ = false;  // the loop has been given start_on_loop(); of the thread that connects and leaves
    bool leaving_ = false;
    bool ended_ = false;

    // Work for the loop.
    bool loop_work_posted_ = false;
    std::vector<ControlItem> control_queue_;
    std::vector<LookUp> look_ups_;
    TimeUs armed_at_ = kNever;
    bool arm_wanted_ = false;
    bool lease_wanted_ = false;

    // The coordinator. Connections are numbered, and what concerns an older one is ignored.
    uint64_t connection_ = 0;
    bool coordinator_up_ = false;
    bool coordinator_spoke_ = false;  // anything valid, on any connection
    TimeUs reconnect_at_ = kNever;
    TimeUs pause_ = 0;

    // Loop thread only.
    std::unique_ptr<transport::ControlConnection> control_;
    uint64_t control_number_ = 0;
    std::vector<std::unique_ptr<transport::Resolution>> resolutions_;
    bool on_loop_ = false;
    uv_timer_t timer_{}, lease_timer_{};
    uv_poll_t poll_{};
    std::shared_ptr<Session> self_;  // until the handles are closed
    int handles_open_ = 0;
};

/// Holds the progress lock; carries out what the core asks for before it lets go.
struct Session::Turn {
    explicit Turn(Session& of_session) : session(of_session), lock(of_session.lock_) {}
    ~Turn() {
        // An exception on its way through left the member in the middle of something.
        if (std::uncaught_exceptions() > exceptions) {
            session.break_off(lock);
        } else {
            contain([this] { session.finish(lock); }, [this](const char*) { session.break_off(lock); });
        }
    }
    Session& session;
    const int exceptions = std::uncaught_exceptions();
    std::unique_lock<std::mutex> lock;
};

/// Runs what the loop calls, unless the session is broken; an exception breaks the session and not the
/// process.
template <class Work>
void Session::contained(Work&& work) noexcept {
    if (broken_) return;
    contain(std::forward<Work>(work), [this](const char* why) { break_down(why); });
}

}  // namespace pccl::runtime
