// A coordinator and several communicators in one process, over loopback.
#pragma once

#include <atomic>
#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "runtime/communicator.h"
#include "runtime/master_server.h"

namespace pccl::runtime::testing {

/// Catch's assertions are for one thread, so that threads note what went wrong, and the test looks at it.
class Problems {
   public:
    void add(const std::string& text) {
        const std::lock_guard lock(mutex_);
        text_ += text + "\n";
    }
    void expect(bool ok, const std::string& text) {
        if (!ok) add(text);
    }
    void expect(const Status& status, const std::string& what) {
        if (!status.ok()) add(what + ": " + code_name(status.code()) + ": " + status.text());
    }
    std::string text() const {
        const std::lock_guard lock(mutex_);
        return text_;
    }

   private:
    mutable std::mutex mutex_;
    std::string text_;
};

inline void in_parallel(size_t count, const std::function<void(size_t)>& work) {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < count; ++i) threads.emplace_back([&work, i] { work(i); });
    for (std::thread& thread : threads) thread.join();
}

class Fleet {
   public:
    /// With a folder the coordinator keeps its record there; `majority`: the rule for one without.
    explicit Fleet(const std::string& state_dir = "", bool majority = false)
        : state_dir_(state_dir), majority_(majority) {
        start_master("127.0.0.1:0");
        options.master = "127.0.0.1:" + std::to_string(master->port());
        options.port_first = 0;
        options.log_level = LogLevel::kNone;
    }

    /// In place of the one that there was.
    void restart_master() {
        master.reset();
        start_master(options.master);
    }

    Communicator& at(size_t i) { return *members[i]; }
    size_t size() const { return members.size(); }

    /// Adds members one after another until there are `count`.
    void grow(size_t count) {
        while (members.size() < count) {
            auto joiner = std::make_unique<Communicator>(options);
            std::thread join([&] { problems.expect(joiner->connect(), "connect"); });
            in_parallel(members.size(), [&](size_t i) { admit(i, members.size() + 1); });
            join.join();
            members.push_back(std::move(joiner));
            INFO(problems.text());
            REQUIRE(problems.text().empty());
        }
    }
    /// Votes whenever peers wait, until the group has `count` members.
    void admit(size_t i, size_t count) {
        while (at(i).view().members.size() < count) {
            bool pending = false;
            Status status = at(i).peers_pending(&pending);
            if (status.ok() && pending) status = at(i).update_topology();
            problems.expect(status, "admitting");
            if (!status.ok()) return;
        }
    }
    void check() {
        INFO(problems.text());
        CHECK(problems.text().empty());
    }

    CommunicatorOptions options;
    Problems problems;
    std::unique_ptr<MasterServer> master;
    std::vector<std::unique_ptr<Communicator>> members;

   private:
    void start_master(const std::string& listen) {
        MasterOptions master_options;
        master_options.listen = {listen};
        master_options.log_level = LogLevel::kNone;
        master_options.state_dir = state_dir_;
        master_options.majority = majority_;
        master_options.record_lost = state_dir_.empty() && !members.empty();
        master = std::make_unique<MasterServer>(master_options);
        const Status started = master->start();
        INFO(started.text());
        REQUIRE(started.ok());
    }

    std::string state_dir_;
    bool majority_;
};

template <class T>
core::ReduceCall reduce_call(const std::vector<T>& send, std::vector<T>& receive, DataType dtype, RedOp op,
                             uint64_t tag) {
    core::ReduceCall call;
    call.send = reinterpret_cast<const uint8_t*>(send.data());
    call.receive = reinterpret_cast<uint8_t*>(receive.data());
    call.count = send.size();
    call.dtype = dtype;
    call.op = op;
    call.tag = tag;
    return call;
}

inline Status all_reduce(Communicator& on, const core::ReduceCall& call, core::CallResult* result) {
    core::Ticket ticket = 0;
    const Status status = on.all_reduce_async(call, &ticket);
    return status.ok() ? on.wait(ticket, kNever, result) : status;
}

}  // namespace pccl::runtime::testing
