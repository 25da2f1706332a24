// The coordinator's driver: binding, ending, strangers on the port, the record across a restart. The peers
// here are bare control frames over a socket, so that no member's code is involved.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/coordinator.h"
#include "runtime/master_server.h"
#include "runtime/os_random.h"
#include "runtime/raw_peer.h"
#include "runtime/record_file.h"
#include "temporary_folder.h"
#include "transport/address.h"

using namespace pccl;
using runtime::MasterOptions;
using runtime::MasterServer;
using runtime::testing::RawPeer;
using test::TemporaryFolder;
using Bytes = std::vector<uint8_t>;

namespace {

struct Lines {
    std::mutex mutex;
    std::vector<std::string> lines;
    LogSink sink() {
        return [this](LogLevel, std::string_view text) {
            const std::lock_guard lock(mutex);
            lines.emplace_back(text);
        };
    }
    bool contain(const std::string& part) {
        const std::lock_guard lock(mutex);
        for (const std::string& line : lines) {
            if (line.find(part) != std::string::npos) return true;
        }
        return false;
    }
};

MasterOptions options_for(const std::string& listen = "127.0.0.1:0") {
    MasterOptions options;
    options.listen = {listen};
    options.log_level = LogLevel::kNone;
    return options;
}

wire::Register newcomer() {
    runtime::OsRandom random;
    wire::Register message;
    static_cast<Id128&>(message.id) = random.next_id();
    message.endpoints = {{"127.0.0.1", 1}};
    message.constants.segment_bytes = 1 << 16;
    return message;
}

/// A newcomer to an empty run is its first member at once.
void check_serves(uint16_t port) {
    RawPeer peer(port);
    REQUIRE(peer.connected());
    peer.send(newcomer());
    wire::Welcome welcome;
    CHECK(peer.await(welcome));
}

}  // namespace

TEST_CASE("master: starts, serves, stops, and starts again on the same port") {
    MasterServer master(options_for());
    CHECK_FALSE(master.running());
    REQUIRE(master.start().ok());
    CHECK(master.running());
    const uint16_t port = master.port();
    CHECK(port != 0);
    CHECK(master.addresses() == std::vector<std::string>{"127.0.0.1:" + std::to_string(port)});
    check_serves(port);
    CHECK(master.start().code() == Code::INVALID_USAGE);
    master.interrupt();
    master.interrupt();
    master.await_end();
    CHECK_FALSE(master.running());
    MasterServer again(options_for("127.0.0.1:" + std::to_string(port)));
    REQUIRE(again.start().ok());
    check_serves(port);
    again.interrupt();
    again.await_end();
    REQUIRE(again.start().ok());
    check_serves(port);
}

TEST_CASE("master: a waiting thread is let go by the interrupt of another") {
    MasterServer master(options_for());
    REQUIRE(master.start().ok());
    std::thread waiter([&] { master.await_end(); });
    master.interrupt();
    waiter.join();
    CHECK_FALSE(master.running());
}

TEST_CASE("master: a busy port is an error with the address, and the object can try again") {
    auto first = std::make_unique<MasterServer>(options_for());
    REQUIRE(first->start().ok());
    const std::string address = first->addresses()[0];
    MasterServer second(options_for(address));
    const Status status = second.start();
    CHECK(status.code() == Code::INVALID_USAGE);
    CHECK_THAT(status.text(), Catch::Contains(address) && Catch::Contains("in use"));
    first.reset();
    CHECK(second.start().ok());
}

TEST_CASE("master: addresses that do not parse or are not ours are refused") {
    for (const char* listen : {"nonsense", "127.0.0.1:99999", "127.0.0.1", "192.0.2.1:0"}) {
        INFO(listen);
        MasterServer master(options_for(listen));
        const Status status = master.start();
        CHECK_FALSE(status.ok());
        CHECK_THAT(status.text(), Catch::Contains(listen) || Catch::Contains("192.0.2.1"));
    }
    MasterOptions none = options_for();
    none.listen.clear();
    CHECK(MasterServer(none).start().code() == Code::INVALID_ARGUMENT);
}

TEST_CASE("master: several addresses, names and IPv6, share one port of the system's choice") {
    MasterOptions options = options_for();
    options.listen = {"127.0.0.1:0", "127.0.0.2:0"};
    MasterServer master(options);
    const Status status = master.start();
    INFO(status.text());
    REQUIRE(status.ok());
    REQUIRE(master.addresses().size() == 2);
    CHECK(master.addresses()[1] == "127.0.0.2:" + std::to_string(master.port()));
    MasterServer named(options_for("localhost:0"));
    REQUIRE(named.start().ok());
    check_serves(named.port());
}

TEST_CASE("master: strangers on the port are closed and disturb nobody") {
    Lines lines;
    MasterOptions options = options_for();
    options.timeouts.connect = 200 * kMillisecond;
    options.log_level = LogLevel::kWarn;
    options.log_sink = lines.sink();
    MasterServer master(options);
    REQUIRE(master.start().ok());
    RawPeer member(master.port());
    wire::Install install;
    REQUIRE(member.join(newcomer(), install));
    CHECK(install.members.size() == 1);

    RawPeer silent(master.port());
    RawPeer talker(master.port());
    talker.write("GET / HTTP/1.1\r\n\r\n", 18);
    RawPeer liar(master.port());
    const auto head = wire::encode_preamble({wire::Type::kRegister, 0x7fffffff, 0});
    liar.write(head.data(), head.size());
    RawPeer random(master.port());
    std::mt19937_64 generator(7);
    Bytes noise(4096);
    for (uint8_t& byte : noise) byte = static_cast<uint8_t>(generator());
    random.write(noise.data(), noise.size());
    RawPeer early(master.port());
    early.send(wire::Vote{});
    RawPeer torn(master.port());
    const auto torn_head = wire::encode_preamble({wire::Type::kRegister, 9, 0});
    torn.write(torn_head.data(), torn_head.size());
    torn.write("\xff\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    for (RawPeer* stranger : {&silent, &talker, &liar, &random, &early, &torn})
        CHECK(stranger->await_close());
    CHECK(lines.contain("had not registered"));

    check_serves(master.port());
    member.send(wire::Heartbeat{});
    member.send(wire::Leave{"done"});
    wire::Left left;
    CHECK(member.await(left));
}

TEST_CASE("master: a member of another protocol version is told so") {
    MasterServer master(options_for());
    REQUIRE(master.start().ok());
    RawPeer peer(master.port());
    wire::Register message = newcomer();
    message.version = wire::kProtocolVersion + 1;
    peer.send(message);
    wire::Refused refused;
    REQUIRE(peer.await(refused));
    CHECK(refused.code == static_cast<uint8_t>(Code::VERSION_MISMATCH));
    CHECK_THAT(refused.reason, Catch::Contains("version"));
    CHECK(peer.await_close());
}

TEST_CASE("master: more strangers than allowed push out the oldest") {
    MasterServer master(options_for());
    REQUIRE(master.start().ok());
    std::vector<std::unique_ptr<RawPeer>> strangers;
    for (int i = 0; i < 513; ++i) strangers.push_back(std::make_unique<RawPeer>(master.port()));
    CHECK(strangers[0]->await_close());
    check_serves(master.port());
}

TEST_CASE("master: the record is kept, locked, and read by the next start") {
    const TemporaryFolder folder;
    MasterOptions options = options_for();
    options.state_dir = folder.path + "/state";
    MasterServer master(options);
    REQUIRE(master.start().ok());
    MasterServer other(options);
    const Status locked = other.start();
    CHECK(locked.code() == Code::INVALID_USAGE);
    CHECK_THAT(locked.text(), Catch::Contains("locked"));
    wire::Install install;
    {
        RawPeer member(master.port());
        REQUIRE(member.join(newcomer(), install));
    }
    master.interrupt();
    master.await_end();
    // The record covers the Install that was sent.
    std::unique_ptr<runtime::RecordFile> file;
    REQUIRE(runtime::RecordFile::open(options.state_dir, &file).ok());
    bool found = false;
    Bytes body;
    core::Record record;
    REQUIRE(file->load(&found, &body).ok());
    REQUIRE(found);
    REQUIRE(wire::decode(body, record));
    file.reset();
    REQUIRE(record.groups.size() == 1);
    CHECK(record.run == install.run);
    CHECK(record.groups[0].install.id == install.id);
    CHECK(record.term >= install.term);
    REQUIRE(other.start().ok());
}

TEST_CASE("master: a damaged record stops the start") {
    const TemporaryFolder folder;
    MasterOptions options = options_for();
    options.state_dir = folder.path;
    std::unique_ptr<runtime::RecordFile> file;
    REQUIRE(runtime::RecordFile::open(folder.path, &file).ok());
    REQUIRE(file->store(Bytes{1, 2, 3}).ok());
    file.reset();
    MasterServer master(options);
    const Status status = master.start();
    CHECK_FALSE(status.ok());
    CHECK_THAT(status.text(), Catch::Contains("record"));
    CHECK(master.port() == 0);
}
