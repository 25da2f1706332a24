// Entry point of pccl._native: process-wide functions, the result table, and what all classes share.
#include <atomic>

#include "native.h"

namespace pccl_native {

namespace {

std::atomic<bool> log_forwarding_stopped{false};

#define PCCL_NATIVE_STRING_OF(text) #text
#define PCCL_NATIVE_STRING(text) PCCL_NATIVE_STRING_OF(text)

constexpr const char* kVersionText = PCCL_NATIVE_STRING(PCCL_VERSION_MAJOR) "." PCCL_NATIVE_STRING(
    PCCL_VERSION_MINOR) "." PCCL_NATIVE_STRING(PCCL_VERSION_PATCH);

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
    const py::object& callback = *static_cast<const py::object*>(user_data);
    try {
        callback(level, to_text(message));
    } catch (py::error_already_set& error) {
        error.discard_as_unraisable("the log callback of pccl");
    }
}

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
    module.attr("__version__") = kVersionText;
    module.attr("RESULT_TABLE") = result_table();

    module.def("init", [] { return to_python(run_unlocked(nullptr, [] { return pcclInit(); })); });
    module.def("version_code", [] {
        int code = 0;
        pcclGetVersion(&code);
        return code;
    });
    module.def("has_cuda_support", [] {
        pcclBuildInfo_t info{};
        return pcclGetBuildInfo(&info) == pcclSuccess && info.has_cuda_support;
    });
    module.def("error_string",
               [](int code) { return std::string(pcclGetErrorString(static_cast<pcclResult_t>(code))); });
    module.def("last_error", [] { return to_text(pcclGetLastError(nullptr)); });
    module.def("stop_log_forwarding", &stop_log_forwarding);

    define_communicator(module);
    define_master(module);
}
