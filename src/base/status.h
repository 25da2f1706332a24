// Result codes and the status that carries one with its exact cause.
//
// Codes come from include/pccl/result_table.h; inside the library they are `Code`, and the C interface casts
// them. Values are plain data and may be used from any thread.
#pragma once

#include <string>
#include <utility>

#include "pccl/result_table.h"

namespace pccl {

enum class Code : int {
#define PCCL_CODE_ENTRY(c_name, value, python_name, meaning) python_name = value,
    PCCL_RESULT_TABLE(PCCL_CODE_ENTRY)
#undef PCCL_CODE_ENTRY
};

/// The general meaning of a code, as printed by pcclGetErrorString. Never null; unknown codes get a text that
/// says so.
const char* code_text(Code code);

/// The code's name in upper snake case ("INVALID_USAGE").
const char* code_name(Code code);

/// Success, or a code with the exact cause: who, which operation, which phase.
class Status {
   public:
    Status() = default;
    Status(Code code, std::string text) : code_(code), text_(std::move(text)) {}

    bool ok() const { return code_ == Code::SUCCESS; }
    Code code() const { return code_; }
    const std::string& text() const { return text_; }
    explicit operator bool() const { return ok(); }

   private:
    Code code_ = Code::SUCCESS;
    std::string text_;
};

}  // namespace pccl
