// The operations of a step and their checks.
#include <algorithm>

#include "common/api.h"
#include "common/resources.h"
#include "worker.h"

namespace pccl::stress {
namespace {

using tools::Pattern;

constexpr int kAttemptsMax = 200;  // Losses in a row of one operation; more means that we are out of the run.
constexpr uint64_t kQueriesInStep = 8;

}  // namespace

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

/// Of an operation that has just ended; what was seen of its result is to be filled in.
Message Worker::succeeded(uint64_t step, uint64_t tag) const {
    Message message;
    message.kind = Message::Kind::kSuccess;
    message.success.time_ns = tools::monotonic_ns();
    message.success.lineage = lineage();
    message.success.step = step;
    message.success.tag = tag;
    return message;
}

void Worker::verify(uint64_t tag, const pcclReduceInfo_t& info) {
    const Slot& slot = slots_[tag];
    Message message = succeeded(step(), tag);
    Success& success = message.success;
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

// One member in eight brings content of its own, so that there is something to elect and to fetch. Whatever
// wins fits together, and is the same everywhere.
bool Worker::state_step() {
    salt() = random_() % 8 == 0 ? random_() : tools::mix(lineage(), step());
    const uint64_t here = step();
    if (!synchronize()) {
        return false;
    }
    Message message = succeeded(here, kStateTag);
    Success& success = message.success;
    success.result_hash =
        tools::mix(tools::hash_bytes(meta_, sizeof meta_),
                   tools::hash_bytes(weights_.data(), weights_.size() * sizeof weights_[0]));
    success.wrong_elements = step() == here ? 0 : weights_.size();
    tell(message);
    ++step();
    return true;
}

bool Worker::query_step() {
    for (uint64_t query = 0; query < kQueriesInStep; ++query) {
        bool pending = false;
        enter(Call::kArePeersPending);
        const pcclResult_t result = pcclArePeersPending(communicator_, &pending);
        enter(Call::kNone);
        if (result != pcclSuccess) {
            return lost("pcclArePeersPending", result);
        }
        Message message = succeeded(step(), kQueryTag + query);
        message.success.result_hash = pending ? 1 : 0;
        tell(message);
    }
    ++step();
    return true;
}

}  // namespace pccl::stress
