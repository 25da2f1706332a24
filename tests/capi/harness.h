// What the tests of the C interface share: a coordinator in this process, peers on threads, a list of
// problems that threads may add to (Catch's own assertions belong to the main thread), and child processes
// that can be killed.
#pragma once

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "pccl/pccl.h"

namespace harness {

/// Short enough that a lost peer is noticed soon, long enough for a busy machine.
inline constexpr int kLivenessMs = 2000;

class Problems {
   public:
    Problems() = default;
    ~Problems() { release(); }
    Problems(const Problems&) = delete;
    Problems& operator=(const Problems&) = delete;
    void add(const std::string& text) {
        const std::lock_guard lock(mutex_);
        if (texts_.size() < 20) texts_.push_back(text);
    }
    std::string all() const {
        const std::lock_guard lock(mutex_);
        std::string out;
        for (const std::string& text : texts_) out += text + "\n";
        return out;
    }

    /// Takes over a communicator that is still good, until all threads have ended.
    void keep(pcclComm_t* comm) {
        const std::lock_guard lock(mutex_);
        kept_.push_back(comm);
    }
    void release() {
        for (pcclComm_t* comm : std::exchange(kept_, {})) pcclDestroyCommunicator(comm);
    }

   private:
    mutable std::mutex mutex_;
    std::vector<std::string> texts_;
    std::vector<pcclComm_t*> kept_;
};

/// Something that one thread waits for and another says; it gives up waiting when the other has failed.
class Event {
   public:
    void set() {
        const std::lock_guard lock(mutex_);
        happened_ = true;
        changed_.notify_all();
    }
    bool wait() {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(30), [this] { return happened_; });
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool happened_ = false;
};

/// Thrown by a peer's thread to end it after its problem was noted.
struct Stop {};

class Master {
   public:
    explicit Master(std::string listen = "127.0.0.1:0") : listen_(std::move(listen)) {
        const char* addresses[] = {listen_.c_str()};
        pcclMasterConfig_t config = PCCL_MASTER_CONFIG_INITIALIZER;
        config.listen = addresses;
        config.listen_count = 1;
        config.liveness_timeout_ms = kLivenessMs;
        config.log_level = pcclLogNone;
        REQUIRE(pcclCreateMasterEx(&config, &instance_) == pcclSuccess);
        const pcclResult_t ran = pcclRunMaster(instance_);
        INFO(pcclGetLastError(nullptr));
        REQUIRE(ran == pcclSuccess);
        REQUIRE(pcclGetMasterPort(instance_, &port_) == pcclSuccess);
    }
    ~Master() { pcclDestroyMaster(instance_); }
    Master(const Master&) = delete;
    Master& operator=(const Master&) = delete;

    pcclMasterInstance_t* instance() const { return instance_; }
    uint16_t port() const { return port_; }
    std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
    /// The address as a program of 1.0 gives it.
    ccoip_socket_address_t socket_address() const {
        ccoip_socket_address_t out{};
        out.inet.protocol = inetIPv4;
        out.inet.ipv4 = {{127, 0, 0, 1}};
        out.port = port_;
        return out;
    }

   private:
    std::string listen_;
    pcclMasterInstance_t* instance_ = nullptr;
    uint16_t port_ = 0;
};

inline pcclCommConfig_t quick_config(const char* master) {
    pcclCommConfig_t config = PCCL_COMM_CONFIG_INITIALIZER;
    config.master = master;
    config.liveness_timeout_ms = kLivenessMs;
    config.bind_address = "127.0.0.1";
    config.port_first = 0;
    config.log_level = pcclLogNone;
    return config;
}

/// A communicator, and calls on it that note what went wrong. Its membership ends when all threads have
/// ended, so that nobody sees another leave who is done earlier; at once after a problem, so that the others
/// do not wait for it.
class Peer {
   public:
    Peer(Problems& problems, const std::string& master, int on_failure = pcclOnFailureReport,
         uint32_t group = 0)
        : problems_(problems) {
        pcclCommConfig_t config = quick_config(master.c_str());
        config.on_failure = on_failure;
        config.peer_group = group;
        create(config);
    }
    Peer(Problems& problems, const pcclCommConfig_t& config) : problems_(problems) { create(config); }
    ~Peer() {
        if (comm_ != nullptr && std::uncaught_exceptions() == 0) problems_.keep(comm_);
        if (comm_ != nullptr && std::uncaught_exceptions() > 0) pcclDestroyCommunicator(comm_);
    }
    void destroy() { ok(pcclDestroyCommunicator(std::exchange(comm_, nullptr)), "destroy"); }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    pcclComm_t* comm() const { return comm_; }

    void ok(pcclResult_t result, const std::string& what) { same(result, pcclSuccess, what); }
    void same(pcclResult_t result, pcclResult_t wanted, const std::string& what) {
        if (result == wanted) return;
        problems_.add(what + ": code " + std::to_string(result) + ", wanted " + std::to_string(wanted) +
                      " (" + pcclGetLastError(comm_) + ")");
        throw Stop{};
    }
    void expect(bool fact, const std::string& what) {
        if (fact) return;
        problems_.add("not so: " + what);
        throw Stop{};
    }
    int attribute(pcclAttribute_t which) {
        int value = -1;
        ok(pcclGetAttribute(comm_, which, &value), "attribute");
        return value;
    }
    int group_size() { return attribute(PCCL_ATTRIBUTE_PEER_GROUP_WORLD_SIZE); }
    int world_size() { return attribute(PCCL_ATTRIBUTE_GLOBAL_WORLD_SIZE); }
    /// Connects and admits others until the run has `world` members; they all leave the loop at the same
    /// boundary.
    void join(int world) {
        ok(pcclConnect(comm_), "connect");
        grow(world);
    }
    void grow(int world) {
        while (world_size() < world) ok(pcclUpdateTopology(comm_), "update");
    }

   private:
    void create(const pcclCommConfig_t& config) {
        pcclInit();
        ok(pcclCreateCommunicatorEx(&config, &comm_), "create");
    }

    Problems& problems_;
    pcclComm_t* comm_ = nullptr;
};

/// Runs `body(rank of the thread)` on `count` threads and fails the test with what they noted.
inline void on_threads(int count, Problems& problems, const std::function<void(int)>& body) {
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) {
        threads.emplace_back([&, i] {
            try {
                body(i);
            } catch (const Stop&) {
            } catch (const std::exception& error) {
                problems.add(std::string("exception: ") + error.what());
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    problems.release();
    const std::string all = problems.all();
    INFO(all);
    REQUIRE(all.empty());
}

/// `count` peers of one group, each joined to the others, run `body(peer, index)`.
inline void with_peers(int count, const std::function<void(Peer&, int)>& body,
                       int on_failure = pcclOnFailureReport) {
    Master master;
    Problems problems;
    on_threads(count, problems, [&](int i) {
        Peer peer(problems, master.address(), on_failure);
        peer.join(count);
        body(peer, i);
    });
}

inline pcclReduceDescriptor_t descriptor_of(size_t count, pcclDataType_t type, pcclRedOp_t op,
                                            uint64_t tag = 0) {
    pcclReduceDescriptor_t out{};
    out.count = count;
    out.op = op;
    out.tag = tag;
    out.src_descriptor.datatype = type;
    return out;
}

/// This program once more, running the hidden test case `mode` with `arguments` in PCCL_CHILD_ARGUMENTS.
class Child {
   public:
    Child(const std::string& mode, const std::string& arguments) {
        std::vector<std::string> texts;
        for (char** entry = environ; *entry != nullptr; ++entry) texts.emplace_back(*entry);
        texts.push_back("PCCL_CHILD_ARGUMENTS=" + arguments);
        std::vector<char*> environment;
        for (std::string& text : texts) environment.push_back(text.data());
        environment.push_back(nullptr);
        std::string program = "/proc/self/exe", filter = mode;
        char* argv[] = {program.data(), filter.data(), nullptr};
        REQUIRE(posix_spawn(&pid_, program.c_str(), nullptr, nullptr, argv, environment.data()) == 0);
    }
    ~Child() { kill(); }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;
    void kill() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        wait();
    }
    /// Waits until the child stops itself; false when it ends.
    bool wait_stopped() {
        int status = -1;
        const bool stopped = waitpid(pid_, &status, WUNTRACED) == pid_ && WIFSTOPPED(status);
        if (!stopped) pid_ = -1;
        return stopped;
    }
    void resume() const { ::kill(pid_, SIGCONT); }
    int wait() {
        int status = -1;
        if (pid_ > 0) waitpid(pid_, &status, 0);
        pid_ = -1;
        return status;
    }

   private:
    pid_t pid_ = -1;
};

}  // namespace harness
