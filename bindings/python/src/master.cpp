// pccl._native.Master: one coordinator. Waiting for its end happens on a helper thread, so that the Python
// thread that waits can look at signals in between.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "call_gate.h"
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
        reader.number("majority", config.majority);
        reader.number("record_lost", config.record_lost);
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
        return to_python(call([this] {
            join_waiter_if_done();
            const pcclResult_t result = pcclRunMaster(master_);
            if (result == pcclSuccess) has_run_.store(true);
            return result;
        }));
    }

    /// Unlike the C function it lets a coordinator alone that was never run or is closed.
    py::tuple interrupt() {
        const CallGate::Call entry(gate_);
        if (!entry.entered() && !belongs_here()) return to_python(gate_.refusal());
        if (!entry.entered() || !has_run_.load()) return to_python(Outcome{pcclSuccess, ""});
        return to_python(run_unlocked(nullptr, [this] { return pcclInterruptMaster(master_); }));
    }

    py::tuple port() {
        std::uint16_t port = 0;
        const Outcome outcome = call([&] { return pcclGetMasterPort(master_, &port); });
        return to_python(outcome, port);
    }

    /// Waits at most `timeout_ms` for the end of the coordinator; the value is whether it has ended. A closed
    /// one has.
    py::tuple wait(int timeout_ms) {
        bool ended = false;
        Outcome outcome = call([&] {
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
            ended = end_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] { return ended_; });
            return pcclSuccess;
        });
        if (std::get<0>(outcome) != pcclSuccess && belongs_here()) {
            outcome = Outcome{pcclSuccess, ""};
            ended = true;
        }
        return to_python(outcome, ended);
    }

    /// Stops the coordinator if it runs and frees it. Idempotent.
    void close() {
        if (!belongs_here()) return;
        py::gil_scoped_release unlocked;
        if (!gate_.begin_close()) return;
        if (master_ != nullptr) pcclInterruptMaster(master_);
        while (!gate_.idle_within(std::chrono::seconds(1))) {
        }
        if (waiter_.joinable()) waiter_.join();
        if (master_ != nullptr) pcclDestroyMaster(master_);
        gate_.end_close();
    }

    bool belongs_here() const { return gate_.belongs_here(); }

   private:
    template <typename Function>
    Outcome call(Function&& function) {
        const CallGate::Call entry(gate_);
        if (!entry.entered()) return gate_.refusal();
        return run_unlocked(nullptr, function);
    }

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

    CallGate gate_{"coordinator object"};
    std::atomic<bool> has_run_{false};

    std::mutex mutex_;  // guards ended_; never held while waiting for the GIL
    std::condition_variable end_;
    bool ended_ = false;
    std::thread waiter_;
};

}  // namespace

void define_master(py::module_& module) {
    py::class_<Master, std::unique_ptr<Master, DeleteWhereMade>>(module, "Master")
        .def(py::init<const std::vector<std::string>&, const py::dict&>())
        .def("creation", &Master::creation)
        .def("run", &Master::run)
        .def("interrupt", &Master::interrupt)
        .def("port", &Master::port)
        .def("wait", &Master::wait)
        .def("close", &Master::close)
        .def("belongs_here", &Master::belongs_here);
}

}  // namespace pccl_native
