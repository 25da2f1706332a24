#include "core/shared_state.h"

#include <algorithm>
#include <cstring>

#include "kernel/hash.h"

namespace pccl::core {
namespace {

using plan::Rank;

constexpr size_t kHashBytes = 16;
constexpr size_t kPullsOutstandingMax = 4;
constexpr size_t kServingMax = 64;

void put_u64(uint8_t* out, uint64_t value) {
    for (int i = 0; i < 8; ++i) out[i] = static_cast<uint8_t>(value >> (8 * i));
}

wire::Hash hash_of(const void* data, size_t bytes) {
    const kernel::Hash128 hash = kernel::hash128(data, bytes);
    return {hash.low, hash.high};
}

}  // namespace

uint64_t SharedState::Range::chunks_all() const {
    const uint64_t chunks = (bytes + kChunkBytes - 1) / kChunkBytes;
    return chunks >= 64 ? ~uint64_t{0} : (uint64_t{1} << chunks) - 1;
}

SharedState::SharedState(SyncCall call, uint64_t next_revision, bool first_sync, bool adopt_highest)
    : call_(std::move(call)), first_sync_(first_sync), received_(call_.tensors.size(), false) {
    std::string keys;
    std::vector<uint8_t> compared;
    own_table_.resize(call_.tensors.size() * kHashBytes);
    for (size_t i = 0; i < call_.tensors.size(); ++i) {
        const SharedTensor& tensor = call_.tensors[i];
        uint8_t* entry = own_table_.data() + i * kHashBytes;
        put_u64(entry, tensor.hash.low);
        put_u64(entry + 8, tensor.hash.high);
        if (!tensor.allow_inequality) compared.insert(compared.end(), entry, entry + kHashBytes);
        // Lengths are part of the text, so that two lists of names never read the same.
        keys += std::to_string(tensor.name.size()) + ":" + tensor.name + ":" + std::to_string(tensor.count) +
                ":" + std::to_string(static_cast<int>(tensor.dtype)) + (tensor.allow_inequality ? "?" : "!");
    }
    offer_.revision = call_.revision;
    offer_.next_revision = next_revision;
    offer_.strategy = static_cast<uint8_t>(call_.strategy);
    offer_.adopt_highest = adopt_highest;
    offer_.tainted = call_.tainted;
    offer_.keys = hash_of(keys.data(), keys.size());
    offer_.content = hash_of(compared.data(), compared.size());
}

void SharedState::enter_epoch(const plan::Topology& topology, Rank rank) {
    topology_ = topology;
    rank_ = rank;
    offers_.assign(topology.size, std::nullopt);
    offers_[rank] = offer_;
    election_.reset();
    fetching_ = false;  // Nothing is asked for before this epoch's election has chosen the sources.
    serving_.assign(topology.size, {});
    woken_.clear();
    for (Range& range : ranges_) {
        range.requested = false;
        range.chunks_placed = range.chunks_landed;
    }
    if (topology.size == 1) hold_election();
}

bool SharedState::offered(Rank from, const wire::Offer& offer) {
    if (from >= offers_.size() || offer.strategy > static_cast<uint8_t>(SyncStrategy::kSendOnly))
        return false;
    if (offers_[from].has_value()) return true;
    offers_[from] = offer;
    if (std::all_of(offers_.begin(), offers_.end(), [](const auto& o) { return o.has_value(); }))
        hold_election();
    return true;
}

void SharedState::hold_election() {
    std::vector<wire::Offer> offers;
    for (const auto& offer : offers_) offers.push_back(*offer);
    const bool adopt =
        std::all_of(offers.begin(), offers.end(), [](const wire::Offer& o) { return o.adopt_highest; });
    election_ = elect(offers, adopt);
    if (complete_ || !election_->failure.empty() || election_->roles[rank_] == Election::Role::kEvicted)
        return;
    const bool differs = offer_.tainted || offer_.content != offers_[election_->holders.front()]->content;
    fetching_ = election_->roles[rank_] == Election::Role::kFollower && (differs || first_sync_) &&
                !call_.tensors.empty();
    if (!fetching_) {
        become_complete();
        return;
    }
    choose_sources();
    if (!table_done_ && ranges_.empty()) {
        table_.assign(own_table_.size(), 0);
        want(0);
    }
    for (size_t i = 0; i < ranges_.size(); ++i) ranges_[i].source = sources_[(i + rank_) % sources_.size()];
}

// Holders without a link to this member cannot serve it; then somebody linked to everybody does, once it has
// the content.
void SharedState::choose_sources() {
    sources_.clear();
    for (Rank holder : election_->holders) {
        if (topology_.linked(rank_, holder)) sources_.push_back(holder);
    }
    if (!sources_.empty()) return;
    for (Rank hub : topology_.fully_linked()) {
        if (hub != rank_ && election_->roles[hub] != Election::Role::kEvicted) sources_.push_back(hub);
    }
    if (sources_.empty()) sources_.push_back(election_->holders.front());
}

void SharedState::want(uint32_t object) {
    const uint64_t bytes = object_bytes(object);
    for (uint64_t at = 0; at < bytes; at += kRangeBytes) {
        Range range{object, at, std::min(kRangeBytes, bytes - at)};
        range.source = sources_[(ranges_.size() + rank_) % sources_.size()];
        ranges_.push_back(range);
    }
}

std::vector<SharedState::Request> SharedState::take_requests() {
    std::vector<Request> out;
    if (!fetching_ || complete_) return out;
    std::vector<size_t> outstanding(topology_.size, 0);
    for (const Range& range : ranges_) outstanding[range.source] += range.requested ? 1 : 0;
    for (Range& range : ranges_) {
        if (range.requested || outstanding[range.source] >= kPullsOutstandingMax) continue;
        range.requested = true;
        ++outstanding[range.source];
        wire::Pull pull;
        pull.object = range.object;
        pull.offset = range.offset;
        pull.bytes = range.bytes;
        out.push_back({range.source, pull});
    }
    return out;
}

bool SharedState::pulled(Rank from, const wire::Pull& pull) {
    if (from >= serving_.size() || pull.object > call_.tensors.size() || serving_[from].size() >= kServingMax)
        return false;
    const uint64_t size = object_bytes(pull.object);
    if (pull.bytes == 0 || pull.bytes > kRangeBytes || pull.offset > size || pull.bytes > size - pull.offset)
        return false;
    serving_[from].push_back({pull.object, pull.offset, pull.bytes});
    if (complete_) woken_.push_back(from);
    return true;
}

bool SharedState::has_data(Rank to) const {
    return complete_ && to < serving_.size() && !serving_[to].empty();
}

bool SharedState::next(Rank to, Out& out) {
    if (!has_data(to)) return false;
    Serving& serving = serving_[to].front();
    const uint64_t bytes = std::min(serving.bytes, kChunkBytes);
    out = {serving.object, serving.offset, {object_data(serving.object) + serving.offset, bytes}};
    if (serving.object > 0) tx_bytes_ += bytes;
    serving.offset += bytes;
    serving.bytes -= bytes;
    if (serving.bytes == 0) serving_[to].pop_front();
    return true;
}

SharedState::Range* SharedState::find(Rank from, const wire::Data& header, uint32_t bytes, uint64_t* chunk) {
    for (Range& range : ranges_) {
        if (range.object != header.object || !range.requested || range.source != from) continue;
        if (header.offset < range.offset || header.offset >= range.offset + range.bytes) continue;
        const uint64_t within = header.offset - range.offset;
        if (within % kChunkBytes != 0 || bytes != std::min(kChunkBytes, range.bytes - within)) return nullptr;
        *chunk = uint64_t{1} << (within / kChunkBytes);
        return &range;
    }
    return nullptr;
}

uint8_t* SharedState::place(Rank from, const wire::Data& header, uint32_t bytes, const char** error) {
    uint64_t chunk = 0;
    Range* range = find(from, header, bytes, &chunk);
    if (range == nullptr || (range->chunks_placed & chunk) != 0 || header.phase != wire::Phase::kPulled) {
        *error = "a part of the shared state that was not asked for";
        return nullptr;
    }
    range->chunks_placed |= chunk;
    if (header.object == 0) return table_.data() + header.offset;
    wrote_ = true;
    received_[header.object - 1] = true;
    return object_data(header.object) + header.offset;
}

void SharedState::landed(Rank from, const wire::Data& header, uint32_t bytes) {
    uint64_t chunk = 0;
    Range* range = find(from, header, bytes, &chunk);
    if (range == nullptr) return;
    range->chunks_landed |= chunk;
    if (header.object > 0) rx_bytes_ += bytes;
    if (range->chunks_landed != range->chunks_all()) return;
    ranges_.erase(ranges_.begin() + (range - ranges_.data()));
    if (!table_done_ && ranges_.empty()) table_arrived();
    finish_if_done();
}

void SharedState::table_arrived() {
    table_done_ = true;
    for (size_t i = 0; i < call_.tensors.size(); ++i) {
        const bool differs =
            std::memcmp(table_.data() + i * kHashBytes, own_table_.data() + i * kHashBytes, kHashBytes) != 0;
        const bool wanted = call_.tensors[i].allow_inequality ? first_sync_ && differs : differs;
        if (wanted && call_.tensors[i].bytes() > 0) want(static_cast<uint32_t>(i + 1));
    }
}

void SharedState::finish_if_done() {
    if (!table_done_ || !ranges_.empty() || complete_) return;
    // The table served to others from here on is the holders', which this member's content matches now.
    own_table_ = table_;
    become_complete();
}

// Pulls that came early, from members that knew the outcome sooner, can be served from now on.
void SharedState::become_complete() {
    complete_ = true;
    for (Rank r = 0; r < serving_.size(); ++r) {
        if (!serving_[r].empty()) woken_.push_back(r);
    }
}

uint8_t* SharedState::object_data(uint32_t object) {
    return object == 0 ? own_table_.data() : call_.tensors[object - 1].data;
}

uint64_t SharedState::object_bytes(uint32_t object) const {
    return object == 0 ? own_table_.size() : call_.tensors[object - 1].bytes();
}

}  // namespace pccl::core
