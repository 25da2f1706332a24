// Keeps an exception from ending the process where nobody is left to catch it: on threads of our own and in
// callbacks that C code calls. Ours throw only when memory is exhausted; callbacks of the program may throw
// anything.
#pragma once

#include <exception>

namespace pccl {

/// Runs `work`. What it throws is told to `failed`, as a text; what that throws is dropped.
template <class Work, class Failed>
void contain(Work&& work, Failed&& failed) noexcept {
    const auto tell = [&](const char* why) {
        try {
            failed(why);
        } catch (...) {
            // There is nobody left to tell.
        }
    };
    try {
        work();
    } catch (const std::exception& error) {
        tell(error.what());
    } catch (...) {
        tell("an exception of an unknown type");
    }
}

}  // namespace pccl
