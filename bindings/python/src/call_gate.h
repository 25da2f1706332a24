// What stands between Python threads and a native object: it counts the calls that are inside, so that
// closing can let them finish, and it turns away calls of a process that was forked from the one that made
// the object. The threads of the library do not exist there, and its locks may be held by one of them for
// ever.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <string>

#include "native.h"

namespace pccl_native {

class CallGate {
   public:
    /// `name` is that of the object in texts.
    explicit CallGate(const char* name) : name_(name) {}
    CallGate(const CallGate&) = delete;
    CallGate& operator=(const CallGate&) = delete;

    /// One call, from its construction to its destruction. It may use the object only when it has entered.
    class Call {
       public:
        explicit Call(CallGate& gate) : gate_(gate) {
            if (!gate_.belongs_here()) return;
            std::lock_guard lock(gate_.mutex_);
            entered_ = gate_.state_ == State::kOpen;
            if (entered_) ++gate_.calls_;
        }
        Call(const Call&) = delete;
        Call& operator=(const Call&) = delete;
        ~Call() {
            if (!entered_) return;
            std::lock_guard lock(gate_.mutex_);
            if (--gate_.calls_ == 0) gate_.idle_.notify_all();
        }
        bool entered() const { return entered_; }

       private:
        CallGate& gate_;
        bool entered_ = false;
    };

    /// Whether this is the process that made the object. In another one nothing else here may be used, and
    /// the object must not be destroyed.
    bool belongs_here() const { return getpid() == process_; }

    /// Why a call did not enter.
    Outcome refusal() const {
        if (belongs_here()) return {pcclInvalidUsage, "the " + name_ + " is closed"};
        return {pcclInvalidUsage, "the " + name_ + " belongs to process " + std::to_string(process_) +
                                      ", from which this one was forked; create another one here"};
    }

    /// From now on calls are refused. False when somebody has begun before.
    bool begin_close() {
        std::lock_guard lock(mutex_);
        if (state_ != State::kOpen) return false;
        state_ = State::kClosing;
        return true;
    }
    void end_close() {
        std::lock_guard lock(mutex_);
        state_ = State::kClosed;
    }
    bool closed() {
        std::lock_guard lock(mutex_);
        return state_ == State::kClosed;
    }
    /// Whether no call is inside, or none after at most this time.
    template <typename Duration>
    bool idle_within(Duration time) {
        std::unique_lock lock(mutex_);
        return idle_.wait_for(lock, time, [this] { return calls_ == 0; });
    }

   private:
    enum class State { kOpen, kClosing, kClosed };

    const std::string name_;
    const pid_t process_ = getpid();

    std::mutex mutex_;  // guards the rest; never held while waiting for the GIL
    std::condition_variable idle_;
    int calls_ = 0;
    State state_ = State::kOpen;
};

/// Deletes an object of this process. One that a fork copied is left as it is.
struct DeleteWhereMade {
    template <typename T>
    void operator()(T* object) const {
        if (object->belongs_here()) delete object;
    }
};

}  // namespace pccl_native
