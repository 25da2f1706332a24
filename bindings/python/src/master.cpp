// pccl._native.Master: one coordinator. Waiting for its end happens on a helper thread, so that the Python
// thread that waits can look at signals in between.
#include <chrono>

#include "native.h"

namespace pccl_native {

namespace {

class Master {
   public:
    Master(const std::vector<std::string>& listen, const py::dict& options) {
        pcclMasterConfig_t config = PCCL_MASTER_CONFIG_INITIALIZER;
        const ConfigReader reader(options);
        std::vector<const char*> addresses;
        addresses.reserve(listen.size());
        for (const std::string& address : listen) addresses.push_back(address.c_str());
        config.listen = addresses.data();
        config.listen_count = addresses.size();
        std::string state_dir;
        reader.text("state_dir", state_dir, config.state_dir);
        reader.number("log_level", config.log_level);
        reader.number("liveness_timeout_ms", config.liveness_timeout_ms);
        reader.number("freeze_timeout_ms", config.freeze_timeout_ms);
        reader.number("recovery_timeout_ms", config.recovery_timeout_ms);
        log_callback_ = reader.callable("log_callback");
        if (!log_callback_.is_none()) {
            config.log_callback = &forward_log_message;
            config.log_user_data = &log_callback_;
        }
        creation_ = run_unlocked(nullptr, [&] { return pcclCreateMasterEx(&config, &master_); });
    }

    Master(const Master&) = delete;
    Master& operator=(const Master&) = delete;

    ~Master() { close(); }

    py::tuple creation() const { return to_python(creation_); }

    py::tuple run() {
        if (master_ == nullptr) return to_python(closed());
        join_waiter_if_done();
        return to_python(run_unlocked(nullptr, [&] { return pcclRunMaster(master_); }));
    }

    py::tuple interrupt() {
        if (master_ == nullptr) return to_python(closed());
        return to_python(run_unlocked(nullptr, [&] { return pcclInterruptMaster(master_); }));
    }

    py::tuple port() {
        std::uint16_t port = 0;
        const Outcome outcome =
            master_ == nullptr ? closed()
                               : run_unlocked(nullptr, [&] { return pcclGetMasterPort(master_, &port); });
        return py::make_tuple(std::get<0>(outcome), to_text(std::get<1>(outcome)), port);
    }

    /// Waits at most `timeout_ms` for the end of the coordinator; true when it has ended.
    bool wait(int timeout_ms) {
        if (master_ == nullptr) return true;
        py::gil_scoped_release unlocked;
        std::unique_lock lock(mutex_);
        if (!waiter_.joinable()) {
            ended_ = false;
            waiter_ = std::thread([this] {
                pcclMasterAwaitTermination(master_);
                std::lock_guard inner(mutex_);
                ended_ = true;
                end_.notify_all();
            });
        }
        return end_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] { return ended_; });
    }

    /// Stops the coordinator if it runs and frees it. Idempotent.
    void close() {
        if (master_ == nullptr) return;
        py::gil_scoped_release unlocked;
        pcclInterruptMaster(master_);
        if (waiter_.joinable()) waiter_.join();
        pcclDestroyMaster(master_);
        master_ = nullptr;
    }

   private:
    static Outcome closed() { return {pcclInvalidUsage, "the coordinator object is closed"}; }

    /// After an end that was awaited the coordinator can be run and awaited again.
    void join_waiter_if_done() {
        std::unique_lock lock(mutex_);
        if (!waiter_.joinable() || !ended_) return;
        lock.unlock();
        waiter_.join();
    }

    pcclMasterInstance_t* master_ = nullptr;
    Outcome creation_;
    py::object log_callback_ = py::none();

    std::mutex mutex_;  // guards ended_; never held while waiting for the GIL
    std::condition_variable end_;
    bool ended_ = false;
    std::thread waiter_;
};

}  // namespace

void define_master(py::module_& module) {
    py::class_<Master>(module, "Master")
        .def(py::init<const std::vector<std::string>&, const py::dict&>())
        .def("creation", &Master::creation)
        .def("run", &Master::run)
        .def("interrupt", &Master::interrupt)
        .def("port", &Master::port)
        .def("wait", &Master::wait)
        .def("close", &Master::close);
}

}  // namespace pccl_native
