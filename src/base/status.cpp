#include "base/status.h"

namespace pccl {

const char* code_text(Code code) {
    switch (code) {
#define PCCL_CODE_CASE(c_name, value, python_name, meaning) \
    case Code::python_name: return meaning;
        PCCL_RESULT_TABLE(PCCL_CODE_CASE)
#undef PCCL_CODE_CASE
    }
    return "unknown result code";
}

const char* code_name(Code code) {
    switch (code) {
#define PCCL_CODE_CASE(c_name, value, python_name, meaning) \
    case Code::python_name: return #python_name;
        PCCL_RESULT_TABLE(PCCL_CODE_CASE)
#undef PCCL_CODE_CASE
    }
    return "UNKNOWN";
}

}  // namespace pccl
