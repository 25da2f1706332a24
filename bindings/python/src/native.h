// The extension module pccl._native: the C interface with Python types, and nothing clever. Arrays arrive as
// plain numbers that the Python layer has checked; each method releases the GIL for the time of the C call
// and returns the result code with the text of the failure, so that the text is read on the thread that
// failed. Only the public C header is used.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "pccl/pccl.h"

namespace pccl_native {

namespace py = pybind11;

/// A result code and, when it is a failure, its text.
using Outcome = std::tuple<int, std::string>;

/// The texts, numbers and the callable of a config dictionary; the setters ignore a key that is missing or
/// None.
class ConfigReader {
   public:
    explicit ConfigReader(const py::dict& options) : options_(options) {}
    void number(const char* key, int& field) const;
    void text(const char* key, std::string& storage, const char*& field) const;
    py::object callable(const char* key) const;

   private:
    const py::dict& options_;
};

/// Passes a log message of the library to the Python callable that `user_data` (a py::object) points to.
void forward_log_message(void* user_data, int level, const char* message);

/// Tells log forwarding that the interpreter is going away, so that no thread asks for the GIL any more.
void stop_log_forwarding();

/// While it exists, the main thread may stop a blocking call of the library because of a signal.
class Interruptible {
   public:
    Interruptible();
    Interruptible(const Interruptible&) = delete;
    Interruptible& operator=(const Interruptible&) = delete;
    ~Interruptible();
};

/// Adds the classes to the module; one function for each source file.
void define_communicator(py::module_& module);
void define_master(py::module_& module);

/// (code, text) for Python. A text may quote bytes of a remote side, so it need not be valid UTF-8.
py::object to_text(const std::string& text);
py::tuple to_python(const Outcome& outcome);

/// (code, text, value).
template <typename Value>
py::tuple to_python(const Outcome& outcome, const Value& value) {
    return py::make_tuple(std::get<0>(outcome), to_text(std::get<1>(outcome)), value);
}

/// Runs a C call without the GIL and pairs a failure with its text. An exception that a signal handler has
/// raised meanwhile is thrown, however the call ended.
template <typename Call>
Outcome run_unlocked(const pcclComm_t* communicator, Call&& call) {
    Outcome outcome{pcclSuccess, std::string()};
    {
        const Interruptible interruptible;
        const py::gil_scoped_release unlocked;
        const pcclResult_t result = call();
        if (result != pcclSuccess) outcome = {result, std::string(pcclGetLastError(communicator))};
    }
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
    return outcome;
}

}  // namespace pccl_native
