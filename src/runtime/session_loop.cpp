// What only the loop thread does: the timer, the coordinator's connection, name look-up. Without the progress
// lock, but for the turns taken inside.
#include <algorithm>

#include "base/check.h"
#include "base/fault.h"
#include "runtime/session.h"

namespace pccl::runtime {

namespace {

constexpr TimeUs kPauseFirst = 20 * kMillisecond;

}  // namespace

void Session::start_on_loop() {
    for (uv_timer_t* timer : {&timer_, &lease_timer_}) {
        uv_timer_init(loop_.loop(), timer);
        timer->data = this;
    }
    const int rc = uv_poll_init(loop_.loop(), &poll_, poller_.outer_fd());
    poll_.data = this;
    handles_open_ = rc == 0 ? 3 : 2;
    self_ = shared_from_this();
    {
        Turn turn(*this);
        on_loop_ = true;
        pause_ = kPauseFirst;
        if (rc != 0) {
            join_status_ = {Code::MASTER_CONNECTION_FAILED,
                            std::string("cannot watch descriptors: ") + uv_strerror(rc)};
            changed_.notify_all();
            return;
        }
    }
    uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t* handle, int, int) {
        auto* session = static_cast<Session*>(handle->data);
        session->contained([session] { session->serve_descriptors(); });
    });
    open_control();
}

void Session::stop_on_loop() {
    if (handles_open_ == 0) return;  // it could not begin
    control_.reset();
    resolutions_.clear();
    const auto closed = [](uv_handle_t* handle) {
        auto* session = static_cast<Session*>(handle->data);
        if (--session->handles_open_ == 0) session->self_.reset();
    };
    if (handles_open_ == 3) uv_close(reinterpret_cast<uv_handle_t*>(&poll_), closed);
    for (uv_timer_t* timer : {&timer_, &lease_timer_})
        uv_close(reinterpret_cast<uv_handle_t*>(timer), closed);
}

/// Does what turns left for the loop.
void Session::loop_work() {
    std::vector<ControlItem> items;
    std::vector<LookUp> look_ups;
    TimeUs at = kNever;
    bool arm = false, lease = false;
    {
        const std::lock_guard lock(lock_);
        loop_work_posted_ = false;
        if (ended_) return;
        items.swap(control_queue_);
        look_ups.swap(look_ups_);
        arm = std::exchange(arm_wanted_, false);
        lease = std::exchange(lease_wanted_, false);
        at = armed_at_;
    }
    for (const ControlItem& item : items) {
        if (control_ == nullptr || item.connection != control_number_) continue;
        if (item.action.kind == core::Action::Kind::kToCoordinator) {
            control_->send(item.action.type, item.action.body);
        } else {
            control_->close_after_flush(item.action.text);
        }
    }
    for (const LookUp& request : look_ups) look_up(request);
    if (lease) {
        const auto ticked = [](uv_timer_t* timer) {
            auto* session = static_cast<Session*>(timer->data);
            session->contained([session] { session->lease_ticked(); });
        };
        uv_update_time(loop_.loop());
        uv_timer_start(&lease_timer_, ticked, kLeaseMs, kLeaseMs);
    }
    if (arm && at != kNever) {
        TimeUs left_ms = std::max<TimeUs>((at - now() + kMillisecond - 1) / kMillisecond, 0);
        if (PCCL_FAULT(kEarlyTimer)) left_ms = 0;
        uv_update_time(loop_.loop());
        const auto fired = [](uv_timer_t* timer) {
            auto* session = static_cast<Session*>(timer->data);
            session->contained([session] { session->timer_fired(); });
        };
        uv_timer_start(&timer_, fired, static_cast<uint64_t>(left_ms), 0);
    }
}

void Session::look_up(const LookUp& request) {
    std::erase_if(resolutions_, [](const auto& resolution) { return resolution->done(); });
    auto resolution = transport::Resolution::start(
        loop_.loop(), request.endpoint.host, request.endpoint.port,
        [this, request](std::vector<transport::SocketAddress> addresses, const std::string& error) {
            contained([&] {
                Turn turn(*this);
                if (!ended_) links_->resolved(request.peer, request.number, std::move(addresses), error);
            });
        });
    if (resolution != nullptr) resolutions_.push_back(std::move(resolution));
}

void Session::timer_fired() {
    bool reconnect = false;
    {
        Turn turn(*this);
        armed_at_ = kNever;
        if (ended_) return;
        const TimeUs at = now();
        if (member_ != nullptr && at >= member_->deadline()) {
            member_->tick(at);
            drain();
        }
        links_->tick(at);
        if (at >= reconnect_at_) {
            reconnect_at_ = kNever;
            reconnect = true;
        }
    }
    if (reconnect) open_control();
}

void Session::open_control() {
    uint64_t number = 0;
    {
        const std::lock_guard lock(lock_);
        if (ended_) return;
        number = ++connection_;
    }
    transport::ControlConnection::Callbacks callbacks;
    callbacks.on_open = [this, number] { contained([&] { control_opened(number); }); };
    callbacks.on_frame = [this, number](wire::Type type, std::span<const uint8_t> body) {
        bool valid = false;
        contained([&] { valid = control_frame(number, type, body); });
        return valid;
    };
    callbacks.on_closed = [this, number](const std::string& why) {
        contained([&] { control_closed(number, why); });
    };
    control_number_ = number;
    control_ = transport::ControlConnection::connect(loop_.loop(), {master_}, timeouts_.connect,
                                                     std::move(callbacks));
}

void Session::control_opened(uint64_t connection) {
    const std::string local_host = control_->local_host();
    Turn turn(*this);
    if (ended_ || connection != connection_) return;
    coordinator_up_ = true;
    if (member_ == nullptr) {
        std::vector<wire::Endpoint> reached_at = endpoints(local_host);
        if (reached_at.empty()) {
            join_status_ = {
                Code::MASTER_CONNECTION_FAILED,
                "the interface filter \"" + options_.interface_filter + "\" matches no address of this host"};
            changed_.notify_all();
            return;
        }
        make_member(std::move(reached_at));
        core::Ticket ticket = 0;
        const Status status = member_->join(now(), &ticket);
        PCCL_ASSERT(status.ok());
        join_ticket_ = ticket;
        changed_.notify_all();
    }
    member_->coordinator_up(now());
}

bool Session::control_frame(uint64_t connection, wire::Type type, std::span<const uint8_t> body) {
    Turn turn(*this);
    if (ended_ || member_ == nullptr || connection != connection_) return true;
    pause_ = kPauseFirst;
    note_run(type, body);
    const bool valid = member_->coordinator_frame(now(), type, body);
    coordinator_spoke_ |= valid;
    return valid;
}

void Session::control_closed(uint64_t connection, const std::string& why) {
    Turn turn(*this);
    if (ended_ || connection != connection_) return;
    if (member_ == nullptr) {
        join_status_ = {Code::MASTER_CONNECTION_FAILED,
                        "the coordinator at " + options_.master + " cannot be reached: " + why};
        changed_.notify_all();
        return;
    }
    const bool was_up = std::exchange(coordinator_up_, false);
    control_queue_.clear();
    const std::string address = "the coordinator at " + options_.master;
    if (was_up) {
        member_->coordinator_down(now(), coordinator_spoke_ ? address + ": " + why
                                                            : "what listens at " + options_.master +
                                                                  " did not answer as a coordinator: " + why);
    }
    drain();
    if (!member_->wants_coordinator()) return;
    // The pause is drawn between half and all of its length, so that members do not come back all at once.
    reconnect_at_ =
        now() + pause_ / 2 + static_cast<TimeUs>(random_.next() % static_cast<uint64_t>(pause_ / 2 + 1));
    pause_ = std::min(2 * pause_, timeouts_.backoff_cap);
}

}  // namespace pccl::runtime
