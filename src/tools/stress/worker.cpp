// The loop of a worker. Each decision that must be the same at all members rests on something that the
// library gives equally to all of them (a pending answer, the outcome of an operation), never on the local
// view of the membership, which survivors may see change at different moments.
#include "worker.h"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <random>
#include <utility>
#include <vector>

#include "common/api.h"
#include "common/resources.h"
#include "common/values.h"
#include "messages.h"

namespace pccl::stress {
namespace {

using tools::Pattern;

constexpr int kAttemptsMax = 200;  // Losses in a row of one operation; more means that we are out of the run.
constexpr int kIdleMs = 10;
constexpr int kRejoinPauseMs = 100;

class Worker {
   public:
    Worker(std::string master, int number, const Options& options, StatusPage* page);

    int run();

   private:
    bool asked_to_leave(int wait_ms) const;
    void enter(Call call);
    void tell(const Message& message) const;
    bool lost(const char* function, pcclResult_t result);

    bool join();
    bool synchronize();
    bool admit();
    bool train();
    bool reduce_step();
    bool launch(const std::vector<uint64_t>& tags, std::vector<pcclAsyncReduceOp_t>* handles, bool* alone);
    bool await(const std::vector<pcclAsyncReduceOp_t>& handles, std::vector<uint64_t>* again, bool* alone);
    void prepare(uint64_t tag);
    void verify(uint64_t tag, const pcclReduceInfo_t& info);
    bool inputs_intact(uint64_t tag) const;
    void forget();
    void fill_weights();
    int world() const;

    uint64_t operation_key(uint64_t member, uint64_t tag) const {
        return tools::mix(tools::mix(member, step()), tools::mix(tag, lineage()));
    }
    uint64_t& lineage() { return meta_[0]; }
    uint64_t lineage() const { return meta_[0]; }
    uint64_t& step() { return meta_[1]; }
    uint64_t step() const { return meta_[1]; }

    /// Buffers and fate of one of the operations in flight.
    struct Slot {
        std::vector<uint8_t> send, receive;
        Pattern input;
        bool in_place = false;
        bool retried = false;
        int world_before = 0;
    };

    const std::string master_;
    const Options& options_;
    const tools::ValueKind kind_;
    const size_t count_;
    StatusPage* const page_;
    std::mt19937_64 random_;
    pcclComm_t* communicator_ = nullptr;
    uint64_t self_ = 0;
    uint64_t revision_ = 0;
    bool synchronized_ = false;
    uint64_t meta_[2] = {0, 0};
    std::vector<uint64_t> weights_;
    std::vector<Slot> slots_;
};

Worker::Worker(std::string master, int number, const Options& options, StatusPage* page)
    : master_(std::move(master)),
      options_(options),
      kind_{options.type, options.op, static_cast<uint32_t>(options.peers) + 1},
      count_(options.bytes / tools::element_bytes(options.type)),
      page_(page),
      random_(tools::mix(options.seed, static_cast<uint64_t>(number) + 1000)),
      weights_(options.state_bytes / sizeof(uint64_t)),
      slots_(static_cast<size_t>(options.tags)) {
    for (Slot& slot : slots_) {
        slot.send.resize(count_ * tools::element_bytes(options.type));
        slot.receive.resize(slot.send.size());
    }
}

bool Worker::asked_to_leave(int wait_ms) const {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    return poll(&input, 1, wait_ms) > 0;
}

void Worker::enter(Call call) {
    page_->call.store(static_cast<uint32_t>(call), std::memory_order_relaxed);
    page_->step.store(step(), std::memory_order_relaxed);
    page_->lineage.store(lineage(), std::memory_order_relaxed);
    page_->since_ns.store(tools::monotonic_ns(), std::memory_order_release);
}

void Worker::tell(const Message& message) const {
    const std::string line = to_line(message);
    for (size_t sent = 0; sent < line.size();) {
        const ssize_t wrote = write(kReportDescriptor, line.data() + sent, line.size() - sent);
        if (wrote < 0 && errno != EINTR) {
            _exit(4);  // The orchestrator is gone.
        }
        sent += wrote > 0 ? static_cast<size_t>(wrote) : 0;
    }
}

// Always false: the caller gives the membership up.
bool Worker::lost(const char* function, pcclResult_t result) {
    Message message;
    message.kind = Message::Kind::kLost;
    message.text = tools::api_error(function, result, communicator_);
    tell(message);
    return false;
}

int Worker::world() const {
    int members = 0;
    pcclGetAttribute(communicator_, PCCL_ATTRIBUTE_PEER_GROUP_WORLD_SIZE, &members);
    page_->world.store(static_cast<uint32_t>(members), std::memory_order_relaxed);
    return members;
}

void Worker::fill_weights() {
    for (size_t i = 0; i < weights_.size(); ++i) {
        weights_[i] = tools::mix(lineage() + i, step());
    }
}

bool Worker::join() {
    pcclCommConfig_t config = PCCL_COMM_CONFIG_INITIALIZER;
    config.master = master_.c_str();
    config.on_failure = options_.policy;
    config.lanes = options_.lanes;
    config.plan = options_.plan;
    config.bind_address = "127.0.0.1";
    config.port_first = 0;
    pcclResult_t result = pcclCreateCommunicatorEx(&config, &communicator_);
    if (result != pcclSuccess) {
        return lost("pcclCreateCommunicatorEx", result);
    }
    enter(Call::kConnect);
    result = pcclConnect(communicator_);
    enter(Call::kNone);
    if (result != pcclSuccess) {
        return lost("pcclConnect", result);
    }
    pcclRankUuid_t id{};
    if ((result = pcclGetRankId(communicator_, &id)) != pcclSuccess) {
        return lost("pcclGetRankId", result);
    }
    self_ = tools::id_key(id);
    // Content of our own, which wins only where nobody holds a state yet.
    lineage() = random_();
    step() = 0;
    revision_ = 0;
    synchronized_ = false;
    Message message;
    message.kind = Message::Kind::kJoined;
    message.member = self_;
    tell(message);
    return synchronize();
}

bool Worker::synchronize() {
    fill_weights();
    pcclTensorInfo_t tensors[] = {
        {"meta", meta_, 2, pcclUint64, pcclDeviceCpu, false},
        {"weights", weights_.data(), weights_.size(), pcclUint64, pcclDeviceCpu, false},
    };
    pcclSharedState_t state{revision_ + (synchronized_ ? 1 : 0), 2, tensors};
    enter(Call::kSynchronize);
    const pcclResult_t result = pcclSynchronizeSharedState(
        communicator_, &state, PCCL_SHARED_STATE_SYNC_STRATEGY_ENFORCE_POPULAR, nullptr);
    enter(Call::kNone);
    if (result != pcclSuccess) {
        return lost("pcclSynchronizeSharedState", result);
    }
    revision_ = state.revision;
    synchronized_ = true;
    const std::vector<uint64_t> received = weights_;
    fill_weights();
    if (weights_ != received) {
        Message message;
        message.kind = Message::Kind::kStateWrong;
        tell(message);
    }
    return true;
}

void Worker::prepare(uint64_t tag) {
    Slot& slot = slots_[tag];
    const double choice = static_cast<double>(random_() >> 11) * 0x1p-53;
    slot.in_place = choice < options_.in_place_share;
    slot.retried = false;
    slot.world_before = world();
    slot.input = Pattern::input(kind_, operation_key(self_, tag), count_);
    slot.input.fill(slot.in_place ? slot.receive.data() : slot.send.data(), count_);
}

bool Worker::inputs_intact(uint64_t tag) const {
    const Slot& slot = slots_[tag];
    return slot.input.count_wrong(slot.in_place ? slot.receive.data() : slot.send.data(), count_) == 0;
}

void Worker::verify(uint64_t tag, const pcclReduceInfo_t& info) {
    const Slot& slot = slots_[tag];
    Message message;
    message.kind = Message::Kind::kSuccess;
    Success& success = message.success;
    success.time_ns = tools::monotonic_ns();
    success.lineage = lineage();
    success.step = step();
    success.tag = tag;
    std::vector<uint64_t> keys;
    bool includes_self = false;
    for (const pcclRankUuid_t& id : tools::contributors_of(communicator_, tag)) {
        const uint64_t member = tools::id_key(id);
        success.contributors.push_back(member);
        keys.push_back(operation_key(member, tag));
        includes_self = includes_self || member == self_;
    }
    const Pattern expected = Pattern::expected(kind_, keys, count_);
    success.wrong_elements = expected.count_wrong(slot.receive.data(), count_);
    if (!includes_self || info.local_world_size != keys.size()) {
        success.wrong_elements = count_;
    }
    success.inputs_damaged = !slot.in_place && !inputs_intact(tag);
    success.result_hash = tools::hash_bytes(slot.receive.data(), slot.receive.size());
    success.retried = slot.retried || static_cast<int>(keys.size()) < slot.world_before;
    tell(message);
}

bool Worker::launch(const std::vector<uint64_t>& tags, std::vector<pcclAsyncReduceOp_t>* handles,
                    bool* alone) {
    for (uint64_t tag : tags) {
        Slot& slot = slots_[tag];
        pcclReduceDescriptor_t descriptor{};
        descriptor.count = count_;
        descriptor.op = options_.op;
        descriptor.tag = tag;
        descriptor.src_descriptor = {options_.type, pcclDistributionNone};
        descriptor.quantization_options = {options_.type, pcclQuantNone};
        pcclAsyncReduceOp_t handle{};
        enter(Call::kReduceAsync);
        const pcclResult_t result =
            pcclAllReduceAsync(slot.in_place ? slot.receive.data() : slot.send.data(), slot.receive.data(),
                               &descriptor, communicator_, &handle);
        if (result == pcclTooFewPeers) {
            *alone = true;
            return true;
        }
        if (result != pcclSuccess) {
            return lost("pcclAllReduceAsync", result);
        }
        handles->push_back(handle);
    }
    return true;
}

bool Worker::await(const std::vector<pcclAsyncReduceOp_t>& handles, std::vector<uint64_t>* again,
                   bool* alone) {
    bool good = true;
    for (const pcclAsyncReduceOp_t& handle : handles) {
        pcclReduceInfo_t info{};
        enter(Call::kAwait);
        const pcclResult_t result = pcclAwaitAsyncReduce(&handle, &info);
        enter(Call::kNone);
        if (result == pcclSuccess) {
            verify(handle.tag, info);
            continue;
        }
        if (!inputs_intact(handle.tag)) {
            Message message;
            message.kind = Message::Kind::kInputsDamaged;
            tell(message);
        }
        if (result == pcclTooFewPeers) {
            *alone = true;
        } else if (result == pcclRankConnectionLost && options_.policy == pcclOnFailureReport) {
            slots_[handle.tag].retried = true;
            again->push_back(handle.tag);
        } else if (good) {
            good = lost("pcclAwaitAsyncReduce", result);
        }
    }
    return good;
}

bool Worker::reduce_step() {
    std::vector<uint64_t> open(slots_.size());
    for (size_t tag = 0; tag < open.size(); ++tag) {
        open[tag] = tag;
        prepare(tag);
    }
    bool alone = false;
    for (int attempt = 0; !open.empty() && !alone; ++attempt) {
        if (attempt == kAttemptsMax) {
            return lost("pcclAwaitAsyncReduce", pcclRankConnectionLost);
        }
        // Tags pair the calls, so each member may launch in an order of its own.
        std::shuffle(open.begin(), open.end(), random_);
        std::vector<pcclAsyncReduceOp_t> handles;
        std::vector<uint64_t> again;
        const bool launched = launch(open, &handles, &alone);
        if (!await(handles, &again, &alone) || !launched) {
            return false;
        }
        open = again;
    }
    // Left alone in the middle of a step: some of its operations may have succeeded, so it is not repeated
    // with others.
    ++step();
    return true;
}

bool Worker::admit() {
    bool pending = false;
    enter(Call::kArePeersPending);
    pcclResult_t result = pcclArePeersPending(communicator_, &pending);
    if (result != pcclSuccess) {
        return lost("pcclArePeersPending", result);
    }
    if (pending) {
        enter(Call::kUpdateTopology);
        result = pcclUpdateTopology(communicator_);
        if (result != pcclSuccess) {
            return lost("pcclUpdateTopology", result);
        }
        if (!synchronize()) {
            return false;
        }
    }
    enter(Call::kNone);
    return true;
}

bool Worker::train() {
    if (world() < 2) {
        asked_to_leave(kIdleMs);
        return true;
    }
    return reduce_step();
}

void Worker::forget() {
    if (communicator_ != nullptr) {
        enter(Call::kDestroy);
        pcclDestroyCommunicator(communicator_);
        communicator_ = nullptr;
        enter(Call::kNone);
    }
}

int Worker::run() {
    enter(Call::kNone);
    if (pcclInit() != pcclSuccess) {
        return 3;
    }
    while (!asked_to_leave(0)) {
        // A newcomer enters where the others are when they have admitted it: behind their synchronisation.
        const bool is_member = communicator_ == nullptr ? join() : admit();
        if (!is_member || !train()) {
            forget();
            asked_to_leave(kRejoinPauseMs);
        }
    }
    pcclResult_t result = pcclSuccess;
    if (communicator_ != nullptr) {
        enter(Call::kLeave);
        result = pcclLeave(communicator_);
        if (result != pcclSuccess) {
            lost("pcclLeave", result);
        }
    }
    forget();
    return result == pcclSuccess ? 0 : 1;
}

}  // namespace

int run_worker(const std::string& master, int number, const Options& options) {
    void* const page =
        mmap(nullptr, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, kStatusDescriptor, 0);
    if (page == MAP_FAILED) {
        std::fprintf(stderr, "pccl-stress: a worker is started by pccl-stress only\n");
        return 2;
    }
    return Worker(master, number, options, static_cast<StatusPage*>(page)).run();
}

}  // namespace pccl::stress
