// Files of any content where the coordinator's durable record is looked for: only what has the right head is
// taken for a record, and gives back the body as it was stored; what decodes starts a coordinator in a later
// term, whose own record can be read back and which admits a newcomer.
//
// Input: one byte chooses how much of the head is right, then the file, or the body behind that head.
#include <catch2/catch.hpp>
#include <fstream>

#include "core/office.h"
#include "input.h"
#include "kernel/hash.h"
#include "runtime/record_file.h"
#include "temporary_folder.h"

using namespace pccl;
using pccl::fuzz::Input;
using pccl::runtime::RecordFile;
using Bytes = std::vector<uint8_t>;

namespace {

struct State {
    State() {
        REQUIRE(RecordFile::open(folder.path, &file).ok());
        path = file->path();
    }
    test::TemporaryFolder folder;
    std::unique_ptr<RecordFile> file;
    std::string path;
};

/// One folder for all inputs, since it is locked and unlocked but once.
State& state() {
    static State out;
    return out;
}

void write_file(const Bytes& content) {
    std::ofstream out(state().path, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
    REQUIRE(out.flush().good());
}

/// As a store leaves it, so that the fuzzer need not guess a hash, and no time goes into synchronising.
Bytes stored(const Bytes& body) {
    const kernel::Hash128 hash = kernel::hash128(body.data(), body.size());
    Bytes out = {0, 'P', 'C', 'C', 'L', 'R', 'D', '1'};
    wire::Encoder encoder(out);
    encoder(uint64_t{body.size()}), encoder(hash.low), encoder(hash.high);
    out.insert(out.end(), body.begin(), body.end());
    return out;
}

/// What a restarted coordinator does with it.
void restart(const Bytes& body) {
    core::Record record;
    if (!wire::decode(body, record) || record.format != core::Record::kFormat) return;
    // No coordinator counts so far.
    if (record.term.count > UINT64_MAX / 2) return;
    test::Office office(0, &record);
    REQUIRE(office.record.term.count == record.term.count + 1);
    (void)office.coordinator->describe();
    // Nobody of the record comes back, which takes no longer than this.
    for (int i = 0; i < 60; ++i) office.advance(kSecond);
    const size_t index = office.add();
    office.answer_all();
    REQUIRE_FALSE(office.clerks[index].installed.is_none());
    REQUIRE(office.clerks[index].installed.term.count == record.term.count + 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    Input input(data, bytes);
    const uint8_t mode = input.byte();
    const auto rest = input.rest();
    const Bytes given(rest.begin(), rest.end());
    Bytes content = given;
    if (mode % 4 != 0) content = stored(given);
    // One bit of the file is wrong.
    const bool damaged = mode % 4 == 3;
    if (damaged) content[mode / 4 % content.size()] ^= static_cast<uint8_t>(1u << mode % 8);
    write_file(content);

    bool found = true;
    Bytes body;
    const Status status = state().file->load(&found, &body);
    REQUIRE(found == status.ok());
    REQUIRE_FALSE((found && damaged));
    REQUIRE((found || mode % 4 == 0 || damaged));
    if (!found) {
        REQUIRE(body.empty());
        return 0;
    }
    REQUIRE(stored(body) == content);
    restart(body);
    return 0;
}
