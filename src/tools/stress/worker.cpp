// The life of a worker: joining, admitting others, leaving.
#include "worker.h"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "common/api.h"
#include "common/resources.h"

namespace pccl::stress {
namespace {

constexpr int kIdleMs = 10;
constexpr int kRejoinPauseMs = 100;
constexpr int kVotesMax = 3;

}  // namespace

Worker::Worker(WorkerPlace place, const Options& options, StatusPage* page)
    : place_(std::move(place)),
      options_(options),
      kind_{options.type, options.op, static_cast<uint32_t>(options.peers) + 1},
      count_(options.bytes / tools::element_bytes(options.type)),
      page_(page),
      random_(tools::mix(options.seed, static_cast<uint64_t>(place_.number) + 1000)),
      weights_(options.state_bytes / sizeof(uint64_t)),
      slots_(static_cast<size_t>(options.inflight)) {
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
    message.result = result;
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
        weights_[i] = tools::mix(tools::mix(lineage() + i, step()), salt());
    }
}

bool Worker::join() {
    pcclCommConfig_t config = PCCL_COMM_CONFIG_INITIALIZER;
    config.master = place_.master.c_str();
    config.peer_group = place_.group;
    config.on_failure = options_.policy;
    config.lanes = options_.lanes;
    config.plan = options_.plan;
    config.bind_address = place_.bind_address.c_str();
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
    salt() = 0;
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
        {"meta", meta_, 3, pcclUint64, pcclDeviceCpu, false},
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

bool Worker::admit() {
    bool pending = false;
    enter(Call::kArePeersPending);
    pcclResult_t result = pcclArePeersPending(communicator_, &pending);
    if (result != pcclSuccess) {
        return lost("pcclArePeersPending", result);
    }
    if (pending && !(update_topology() && synchronize())) {
        return false;
    }
    enter(Call::kNone);
    return true;
}

// A vote that failed has failed for all members alike, who try again together; for one who is out of the run
// it fails again at once.
bool Worker::update_topology() {
    for (int attempt = 1;; ++attempt) {
        enter(Call::kUpdateTopology);
        const pcclResult_t result = pcclUpdateTopology(communicator_);
        if (result == pcclSuccess) {
            return true;
        }
        if (result != pcclUpdateTopologyFailed || attempt == kVotesMax) {
            return lost("pcclUpdateTopology", result);
        }
        Message message;
        message.kind = Message::Kind::kRetriedVote;
        tell(message);
    }
}

// The same at all members, since lineage and step are shared.
Collective Worker::collective_of_step() const {
    if (options_.collective != Collective::kMix) {
        return options_.collective;
    }
    switch (tools::mix(lineage(), step()) % 4) {
        case 0: return Collective::kSharedState;
        case 1: return Collective::kQuery;
        default: return Collective::kAllReduce;
    }
}

bool Worker::train() {
    if (world() < 2) {
        asked_to_leave(kIdleMs);
        return true;
    }
    switch (collective_of_step()) {
        case Collective::kSharedState: return state_step();
        case Collective::kQuery: return query_step();
        default: return reduce_step();
    }
}

void Worker::forget() {
    if (communicator_ != nullptr) {
        enter(Call::kDestroy);
        pcclDestroyCommunicator(communicator_);
        communicator_ = nullptr;
        page_->world.store(0, std::memory_order_relaxed);
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

int run_worker(const WorkerPlace& place, const Options& options) {
    void* const page =
        mmap(nullptr, sizeof(StatusPage), PROT_READ | PROT_WRITE, MAP_SHARED, kStatusDescriptor, 0);
    if (page == MAP_FAILED) {
        std::fprintf(stderr, "pccl-stress: a worker is started by pccl-stress only\n");
        return 2;
    }
    return Worker(place, options, static_cast<StatusPage*>(page)).run();
}

}  // namespace pccl::stress
