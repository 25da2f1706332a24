// A new folder for one test, removed with all that is in it.
#pragma once

#include <stdlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

namespace pccl::test {

struct TemporaryFolder {
    TemporaryFolder() : path((std::filesystem::temp_directory_path() / "pccl-test-XXXXXX").string()) {
        REQUIRE(mkdtemp(path.data()) != nullptr);
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    std::string path;
};

}  // namespace pccl::test
