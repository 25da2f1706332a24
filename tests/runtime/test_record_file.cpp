// The durable record: written whole or not at all, locked, and never misread.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "runtime/record_file.h"
#include "temporary_folder.h"

using namespace pccl;
using runtime::RecordFile;
using test::TemporaryFolder;
using Bytes = std::vector<uint8_t>;

namespace {

std::unique_ptr<RecordFile> open_at(const std::string& path) {
    std::unique_ptr<RecordFile> file;
    const Status status = RecordFile::open(path, &file);
    INFO(status.text());
    REQUIRE(status.ok());
    return file;
}

Bytes read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

void write_file(const std::string& path, const Bytes& bytes) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

TEST_CASE("record: what was stored last is loaded, by the next owner too") {
    const TemporaryFolder folder;
    const std::string path = folder.path + "/deep/state";
    bool found = true;
    Bytes body;
    {
        auto file = open_at(path);
        REQUIRE(file->load(&found, &body).ok());
        CHECK_FALSE(found);
        REQUIRE(file->store(Bytes(100000, 7)).ok());
        REQUIRE(file->store(Bytes{1, 2, 3}).ok());
    }
    auto file = open_at(path);
    REQUIRE(file->load(&found, &body).ok());
    CHECK(found);
    CHECK(body == Bytes{1, 2, 3});
    REQUIRE(file->store({}).ok());
    REQUIRE(file->load(&found, &body).ok());
    CHECK(found);
    CHECK(body.empty());
}

TEST_CASE("record: a directory has one owner") {
    const TemporaryFolder folder;
    auto first = open_at(folder.path);
    std::unique_ptr<RecordFile> second;
    const Status status = RecordFile::open(folder.path, &second);
    CHECK(status.code() == Code::INVALID_USAGE);
    CHECK_THAT(status.text(), Catch::Contains("locked") && Catch::Contains(folder.path));
    CHECK(second == nullptr);
    first.reset();
    open_at(folder.path);
}

TEST_CASE("record: a damaged file is an error that names it") {
    const TemporaryFolder folder;
    auto file = open_at(folder.path);
    REQUIRE(file->store(Bytes(500, 3)).ok());
    const Bytes good = read_file(file->path());
    Bytes bad = good;
    SECTION("cut short") { bad.resize(good.size() / 2); }
    SECTION("cut inside the head") { bad.resize(5); }
    SECTION("empty") { bad.clear(); }
    SECTION("a bit flipped") { bad[good.size() - 20] ^= 1; }
    SECTION("another kind of file") { bad[0] ^= 1; }
    SECTION("bytes behind the end") { bad.push_back(0); }
    write_file(file->path(), bad);
    bool found = true;
    Bytes body;
    const Status status = file->load(&found, &body);
    CHECK_FALSE(status.ok());
    CHECK_FALSE(found);
    CHECK_THAT(status.text(), Catch::Contains("damaged") && Catch::Contains(file->path()));
}

TEST_CASE("record: a store that a crash interrupted leaves the old record") {
    const TemporaryFolder folder;
    auto file = open_at(folder.path);
    REQUIRE(file->store(Bytes{1}).ok());
    file.reset();
    write_file(folder.path + "/record.new", Bytes(10, 9));
    file = open_at(folder.path);
    bool found = false;
    Bytes body;
    REQUIRE(file->load(&found, &body).ok());
    CHECK(body == Bytes{1});
    CHECK_FALSE(std::filesystem::exists(folder.path + "/record.new"));
}

TEST_CASE("record: a directory that cannot be made is an error") {
    const TemporaryFolder folder;
    write_file(folder.path + "/file", {1});
    std::unique_ptr<RecordFile> file;
    const Status status = RecordFile::open(folder.path + "/file/below", &file);
    CHECK_FALSE(status.ok());
    CHECK_THAT(status.text(), Catch::Contains("state directory"));
}
