#include "runtime/loop_thread.h"

#include <pthread.h>
#include <signal.h>

#include <exception>

#include "base/check.h"
#include "base/contain.h"

namespace pccl::runtime {

bool LoopThread::start(std::string* error) {
    PCCL_ASSERT(!started_);
    int rc = uv_loop_init(&loop_);
    if (rc != 0) {
        *error = std::string("cannot create an event loop: ") + uv_strerror(rc);
        return false;
    }
    rc = uv_async_init(&loop_, &async_,
                       [](uv_async_t* handle) { static_cast<LoopThread*>(handle->data)->run_posted(); });
    if (rc != 0) {
        *error = std::string("cannot create an event loop: ") + uv_strerror(rc);
        uv_loop_close(&loop_);
        return false;
    }
    async_.data = this;
    // The program's signals are for its own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        thread_ = std::thread([this] { uv_run(&loop_, UV_RUN_DEFAULT); });
        started_ = true;
    } catch (const std::exception& failure) {
        *error = std::string("cannot start a thread: ") + failure.what();
        uv_close(reinterpret_cast<uv_handle_t*>(&async_), nullptr);
        uv_run(&loop_, UV_RUN_DEFAULT);
        uv_loop_close(&loop_);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started_;
}

LoopThread::~LoopThread() {
    if (!started_) return;
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    uv_async_send(&async_);
    thread_.join();
    const int rc = uv_loop_close(&loop_);
    PCCL_ASSERT(rc == 0);
}

void LoopThread::post(std::function<void()> work) {
    {
        const std::lock_guard lock(mutex_);
        PCCL_ASSERT(!ending_);
        posted_.push_back(std::move(work));
    }
    uv_async_send(&async_);
}

void LoopThread::run_posted() {
    bool ending = false;
    for (;;) {
        std::vector<std::function<void()>> work;
        {
            const std::lock_guard lock(mutex_);
            work.swap(posted_);
            ending = ending_;
        }
        if (work.empty()) break;
        // Work that can fail deals with that itself: here is only the last line before the process would end.
        for (auto& item : work) contain(item, [](const char*) {});
    }
    if (ending && !uv_is_closing(reinterpret_cast<uv_handle_t*>(&async_))) {
        uv_close(reinterpret_cast<uv_handle_t*>(&async_), nullptr);
    }
}

}  // namespace pccl::runtime
