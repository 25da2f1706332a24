// The communicator: a session per membership, and what blocks on top of it.
#include "runtime/communicator.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "kernel/hash.h"
#include "runtime/loop_thread.h"
#include "runtime/session.h"

namespace pccl::runtime {

namespace {

/// How often a blocking call is made again after deaths; each one costs the run a member or a link, so that
/// this is only a guard against a fault of ours.
constexpr int kTriesMax = 64;
/// Tickets of the program carry the number of their session, since every session counts from one.
constexpr int kSessionShift = 48;
/// How often a thread that waits for another one's connect() to end looks.
constexpr auto kConnectLookPause = std::chrono::milliseconds(5);

Status not_connected() { return {Code::INVALID_USAGE, "the communicator is not connected"}; }

void hash_tensor(core::SharedTensor& tensor) {
    const kernel::Hash128 hash = kernel::hash128(tensor.data, tensor.bytes());
    tensor.hash = {hash.low, hash.high};
}

}  // namespace

class Communicator::Impl {
   public:
    explicit Impl(CommunicatorOptions from) : options(std::move(from)) {}

    std::shared_ptr<Session> current() const {
        const std::lock_guard lock(mutex);
        return session;
    }
    /// The session that a program's ticket belongs to, and its ticket there; null when it is over.
    std::shared_ptr<Session> of(core::Ticket ticket, core::Ticket* inner) const {
        const std::lock_guard lock(mutex);
        *inner = ticket & ((core::Ticket{1} << kSessionShift) - 1);
        return ticket >> kSessionShift == (number & 0xffff) ? session : nullptr;
    }
    core::Ticket outer(core::Ticket inner) const {
        const std::lock_guard lock(mutex);
        return (number & 0xffff) << kSessionShift | inner;
    }
    void refresh_view(const Session& from) {
        core::View view = from.view();
        const std::lock_guard lock(mutex);
        if (session.get() == &from) snapshot = std::move(view);
    }
    /// Calls and waits.
    Status run(const std::shared_ptr<Session>& in, const Session::Call& call, core::CallResult* result) {
        core::Ticket ticket = 0;
        Status status = in->call(call, false, &ticket);
        if (status.ok()) status = in->wait(ticket, false, kNever, result);
        refresh_view(*in);
        return status;
    }
    void set_joining(std::shared_ptr<Session> to) {
        const std::lock_guard lock(mutex);
        joining = std::move(to);
    }
    /// One connect() or leave() at a time: waits for another to end. With `stop` a connect() is made to end;
    /// true when there was one.
    bool acquire(bool stop) {
        bool stopped = false;
        std::unique_lock lock(mutex);
        while (busy) {
            if (const auto other = joining; stop && other != nullptr) {
                lock.unlock();
                other->stop_joining();
                stopped = true;
                lock.lock();
            }
            // Looks again now and then, since a connect() may not have begun to wait yet.
            if (busy) changed.wait_for(lock, kConnectLookPause);
        }
        busy = true;
        return stopped;
    }
    void release() {
        const std::lock_guard lock(mutex);
        busy = false;
        changed.notify_all();
    }
    void end_session() {
        std::shared_ptr<Session> old;
        {
            const std::lock_guard lock(mutex);
            old.swap(session);
            snapshot = {};
        }
        if (old != nullptr) old->leave();
    }

    const CommunicatorOptions options;
    mutable std::mutex mutex;         // guards what follows; never held while anything blocks
    std::condition_variable changed;  // of `busy`
    bool busy = false;                // in a connect() or leave()
    LoopThread loop;                  // ends last: sessions close their handles on it
    bool loop_started = false;
    std::shared_ptr<Session> joining;  // what connect() waits for
    std::shared_ptr<Session> session;
    uint64_t number = 0;  // of the session
    core::View snapshot;
};

/// Ends a turn of connect() or leave().
struct Communicator::Turn {
    explicit Turn(Impl& of_impl) : impl(of_impl) {}
    ~Turn() { impl.release(); }
    Impl& impl;
};

Communicator::Communicator(CommunicatorOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}

Communicator::~Communicator() { impl_->end_session(); }

Status Communicator::connect() {
    impl_->acquire(false);
    const Turn turn(*impl_);
    if (const auto session = impl_->current(); session != nullptr && session->connected()) {
        return {Code::INVALID_USAGE, "the communicator is connected already"};
    }
    impl_->end_session();
    if (!impl_->loop_started) {
        std::string error;
        if (!impl_->loop.start(&error)) return {Code::RESOURCE_LIMIT, error};
        impl_->loop_started = true;
    }
    auto session = std::make_shared<Session>(impl_->loop, impl_->options);
    impl_->set_joining(session);
    const Status status = session->connect();
    impl_->set_joining(nullptr);
    if (!status.ok()) {
        session->leave();
        return status;
    }
    const std::lock_guard lock(impl_->mutex);
    impl_->session = session;
    ++impl_->number;
    impl_->snapshot = session->view();
    return status;
}

bool Communicator::connected() const {
    const auto session = impl_->current();
    return session != nullptr && session->connected();
}

Status Communicator::leave() {
    const bool stopped = impl_->acquire(true);
    const Turn turn(*impl_);
    if (impl_->current() == nullptr) return stopped ? Status() : not_connected();
    impl_->end_session();
    return {};
}

Status Communicator::all_reduce_async(const core::ReduceCall& call, core::Ticket* ticket) {
    const auto session = impl_->current();
    if (session == nullptr) return not_connected();
    core::Ticket inner = 0;
    const auto launch = [&](core::Member& member, TimeUs now, core::Ticket* out) {
        return member.all_reduce(now, call, out);
    };
    const Status status = session->call(launch, true, &inner);
    if (status.ok()) {
        *ticket = impl_->outer(inner);
    } else {
        // Nothing is waited for: the attributes must show here why, or a loop over them would never end.
        impl_->refresh_view(*session);
    }
    return status;
}

Status Communicator::wait(core::Ticket ticket, TimeUs timeout, core::CallResult* result, bool goes_on) {
    core::Ticket inner = 0;
    const auto session = impl_->of(ticket, &inner);
    if (session == nullptr) return {Code::INVALID_ARGUMENT, "no such operation on this connection"};
    const Status status = session->wait(inner, true, timeout, result, goes_on);
    impl_->refresh_view(*session);
    return status;
}

Status Communicator::test(core::Ticket ticket, bool* done) {
    core::Ticket inner = 0;
    const auto session = impl_->of(ticket, &inner);
    if (session == nullptr) return {Code::INVALID_ARGUMENT, "no such operation on this connection"};
    return session->test(inner, done);
}

Status Communicator::cancel(core::Ticket ticket) {
    core::Ticket inner = 0;
    const auto session = impl_->of(ticket, &inner);
    if (session == nullptr) return {Code::INVALID_ARGUMENT, "no such operation on this connection"};
    return session->cancel(inner);
}

Status Communicator::peers_pending(bool* pending) {
    const auto session = impl_->current();
    if (session == nullptr) return not_connected();
    const auto ask = [](core::Member& member, TimeUs now, core::Ticket* out) {
        return member.peers_pending(now, out);
    };
    Status status;
    for (int i = 0; i < kTriesMax; ++i) {
        core::CallResult result;
        status = impl_->run(session, ask, &result);
        *pending = result.peers_pending;
        if (status.code() != Code::RANK_CONNECTION_LOST) break;
    }
    return status;
}

Status Communicator::update_topology() {
    const auto session = impl_->current();
    if (session == nullptr) return not_connected();
    core::CallResult result;
    return impl_->run(
        session, [](core::Member& m, TimeUs now, core::Ticket* out) { return m.update_topology(now, out); },
        &result);
}

Status Communicator::optimize_topology() {
    const auto session = impl_->current();
    if (session == nullptr) return not_connected();
    core::CallResult result;
    return impl_->run(
        session, [](core::Member& m, TimeUs now, core::Ticket* out) { return m.optimize_topology(now, out); },
        &result);
}

Status Communicator::synchronize(core::SyncCall call, core::CallResult* result) {
    const auto session = impl_->current();
    if (session == nullptr) return not_connected();
    for (core::SharedTensor& tensor : call.tensors) hash_tensor(tensor);
    uint64_t tx_bytes = 0, rx_bytes = 0;
    Status status;
    for (int i = 0; i < kTriesMax; ++i) {
        *result = {};
        const auto ask = [&](core::Member& member, TimeUs now, core::Ticket* out) {
            return member.synchronize(now, call, out);
        };
        status = impl_->run(session, ask, result);
        tx_bytes += result->tx_bytes;
        rx_bytes += result->rx_bytes;
        if (status.code() != Code::RANK_CONNECTION_LOST) break;
        // Somebody died on the way. What was being received is neither old nor new; everybody tries again.
        for (size_t t = 0; t < call.tensors.size() && t < result->received.size(); ++t) {
            if (result->received[t]) hash_tensor(call.tensors[t]);
        }
        call.tainted = call.tainted || result->tainted;
    }
    result->tx_bytes = tx_bytes;
    result->rx_bytes = rx_bytes;
    return status;
}

core::View Communicator::view() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->snapshot;
}

MemberId Communicator::id() const {
    const auto session = impl_->current();
    return session != nullptr ? session->id() : MemberId{};
}

const CommunicatorOptions& Communicator::options() const { return impl_->options; }

}  // namespace pccl::runtime
