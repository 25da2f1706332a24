// Entry point of pccl._native: process-wide functions, the result table, and what all classes share.
#include <pthread.h>

#include <atomic>
#include <optional>

#include "native.h"

namespace pccl_native {

namespace {

std::atomic<bool> log_forwarding_stopped{false};

/// Python runs signal handlers on its main thread only. In a forked process that is the thread that forked.
std::atomic<pthread_t> main_thread{};
thread_local bool interruptible_call = false;

bool finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
}

/// Asked by a thread that is blocked in the library: non-zero ends its call. The exception stays in the state
/// of the thread, which is the one that the interpreter knew before the GIL was released, until run_unlocked
/// throws it.
int check_signals() {
    if (!interruptible_call || finalizing()) return 0;
    const PyGILState_STATE state = PyGILState_Ensure();
    const bool raised = PyErr_Occurred() != nullptr || PyErr_CheckSignals() != 0;
    PyGILState_Release(state);
    return raised ? 1 : 0;
}

void install_signal_check() {
    const py::object thread = py::module_::import("threading").attr("main_thread")();
    main_thread.store(static_cast<pthread_t>(thread.attr("ident").cast<unsigned long>()));
    pthread_atfork(nullptr, nullptr, [] { main_thread.store(pthread_self()); });
    pcclSetInterruptCheck(&check_signals);
}

/// (python name, value, meaning) of every result code, in the order of the table.
py::tuple result_table() {
    py::list rows;
#define PCCL_NATIVE_ROW(c_name, value, python_name, meaning) \
    rows.append(py::make_tuple(#python_name, value, meaning));
    PCCL_RESULT_TABLE(PCCL_NATIVE_ROW)
#undef PCCL_NATIVE_ROW
    return py::tuple(rows);
}

}  // namespace

void ConfigReader::number(const char* key, int& field) const {
    if (!options_.contains(key)) return;
    const py::object value = options_[key];
    if (!value.is_none()) field = value.cast<int>();
}

void ConfigReader::text(const char* key, std::string& storage, const char*& field) const {
    if (!options_.contains(key)) return;
    const py::object value = options_[key];
    if (value.is_none()) return;
    storage = value.cast<std::string>();
    field = storage.c_str();
}

py::object ConfigReader::callable(const char* key) const {
    if (!options_.contains(key)) return py::none();
    return options_[key];
}

void forward_log_message(void* user_data, int level, const char* message) {
    if (log_forwarding_stopped.load() || !Py_IsInitialized()) return;
    py::gil_scoped_acquire locked;
    // On the main thread a signal may have raised an exception before this message, or may do so inside the
    // callable; it belongs to the call that is running.
    std::optional<py::error_already_set> pending;
    if (PyErr_Occurred() != nullptr) pending.emplace();
    const py::object& callback = *static_cast<const py::object*>(user_data);
    try {
        callback(level, to_text(message));
    } catch (py::error_already_set& error) {
        if (interruptible_call && !pending && !error.matches(PyExc_Exception)) {
            pending.emplace(error);
        } else {
            error.discard_as_unraisable("the log callback of pccl");
        }
    }
    if (pending) pending->restore();
}

Interruptible::Interruptible() {
    interruptible_call = pthread_equal(pthread_self(), main_thread.load()) != 0;
}
Interruptible::~Interruptible() { interruptible_call = false; }

py::object to_text(const std::string& text) {
    return py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

py::tuple to_python(const Outcome& outcome) {
    return py::make_tuple(std::get<0>(outcome), to_text(std::get<1>(outcome)));
}

void stop_log_forwarding() { log_forwarding_stopped.store(true); }

}  // namespace pccl_native

PYBIND11_MODULE(_native, module) {
    using namespace pccl_native;

    module.doc() = "The C interface of PCCL; use the package pccl instead.";
    module.attr("__version__") = PCCL_VERSION_STRING;
    module.attr("RESULT_TABLE") = result_table();

    install_signal_check();

    module.def("init", [] { return to_python(run_unlocked(nullptr, [] { return pcclInit(); })); });
    module.def("has_cuda_support", [] {
        pcclBuildInfo_t info{};
        return pcclGetBuildInfo(&info) == pcclSuccess && info.has_cuda_support;
    });
    module.def("stop_log_forwarding", &stop_log_forwarding);

    define_communicator(module);
    define_master(module);
}
