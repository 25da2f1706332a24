#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "base/dtype.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/status.h"

using namespace pccl;

TEST_CASE("codes have distinct values, names and texts") {
    std::set<std::string> names, texts;
    std::set<int> values;
    int count = 0;
#define CHECK_ENTRY(c_name, value, python_name, meaning)                           \
    {                                                                              \
        ++count;                                                                   \
        values.insert(value);                                                      \
        names.insert(code_name(static_cast<Code>(value)));                         \
        texts.insert(code_text(static_cast<Code>(value)));                         \
        REQUIRE(std::string(code_name(static_cast<Code>(value))) == #python_name); \
    }
    PCCL_RESULT_TABLE(CHECK_ENTRY)
#undef CHECK_ENTRY
    REQUIRE(values.size() == static_cast<size_t>(count));
    REQUIRE(names.size() == static_cast<size_t>(count));
    REQUIRE(texts.size() == static_cast<size_t>(count));
    REQUIRE(std::string(code_text(static_cast<Code>(999))).find("unknown") != std::string::npos);
}

TEST_CASE("element sizes") {
    REQUIRE(size_of(DataType::kUint8) == 1);
    REQUIRE(size_of(DataType::kBFloat16) == 2);
    REQUIRE(size_of(DataType::kFloat) == 4);
    REQUIRE(size_of(DataType::kDouble) == 8);
    REQUIRE(size_of(static_cast<DataType>(12)) == 0);
    REQUIRE_FALSE(is_valid(static_cast<DataType>(12)));
    REQUIRE_FALSE(is_valid(static_cast<RedOp>(5)));
}

TEST_CASE("log levels are read in any case and by v1's names") {
    LogLevel level = LogLevel::kNone;
    REQUIRE(parse_log_level("ERR", &level));
    REQUIRE(level == LogLevel::kError);
    REQUIRE(parse_log_level("debug", &level));
    REQUIRE(level == LogLevel::kDebug);
    REQUIRE_FALSE(parse_log_level("loud", &level));
    REQUIRE(level == LogLevel::kDebug);
}

TEST_CASE("a logger drops what is below its level") {
    std::string seen;
    const Logger logger(LogLevel::kWarn, [&](LogLevel, std::string_view text) { seen += text; });
    logger.write(LogLevel::kInfo, "no");
    logger.write(LogLevel::kError, "yes");
    REQUIRE(seen == "yes");
}

TEST_CASE("ids print as hexadecimal digits") {
    MemberId id;
    id.data[0] = 0xab;
    id.data[15] = 0x01;
    REQUIRE(id.hex() == "ab000000000000000000000000000001");
    REQUIRE(id.brief() == "ab000000");
    REQUIRE_FALSE(id.is_zero());
}
