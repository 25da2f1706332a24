// A libuv loop on a thread of its own, and the way for other threads to have something done there.
#pragma once

#include <uv.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace pccl::runtime {

class LoopThread {
   public:
    LoopThread() = default;
    /// Ends the loop when all its handles are closed, and joins the thread.
    ~LoopThread();
    LoopThread(const LoopThread&) = delete;
    LoopThread& operator=(const LoopThread&) = delete;

    /// False, with the cause, when the system refuses a thread or a descriptor.
    bool start(std::string* error);
    uv_loop_t* loop() { return &loop_; }
    bool is_current() const { return std::this_thread::get_id() == thread_.get_id(); }
    /// Runs `work` on the loop's thread, in the order of the calls. Any thread; not after the destructor
    /// began.
    void post(std::function<void()> work);

   private:
    void run_posted();

    uv_loop_t loop_{};
    uv_async_t async_{};
    bool started_ = false;
    std::thread thread_;
    std::mutex mutex_;
    std::vector<std::function<void()>> posted_;  // guarded by mutex_
    bool ending_ = false;                        // guarded by mutex_
};

}  // namespace pccl::runtime
