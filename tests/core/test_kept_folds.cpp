// Goal: a reduction that goes on without a member has the bits of one that its survivors began with the same
// plan, and what they keep of each other's inputs is not sent again. Method: the collectives of all members
// run on their own, frames are delivered in random order, and members are lost at random moments.
#include <catch2/catch.hpp>

#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "core/collective.h"

namespace pccl::core {
namespace {

using plan::Kind;
using plan::kNoRank;

/// One member's operand and what runs on it.
struct Part {
    std::vector<float> input, send, receive;
    std::unique_ptr<Collective> run;
};

/// All members of an attempt and the frames between them.
class Net {
   public:
    Net(Kind kind, Rank size, uint64_t count, bool in_place, uint64_t seed)
        : kind_(kind), in_place_(in_place), random_(seed), segmentation_(count, 4, size, 64) {
        for (Rank r = 0; r < size; ++r) {
            auto part = std::make_unique<Part>();
            for (uint64_t i = 0; i < count; ++i) {
                // Sums of such numbers depend on their order.
                part->input.push_back(static_cast<float>(random_() % 1000) * 1e-3f +
                                      static_cast<float>(random_() % 7) * 1e6f);
            }
            add(*part);
            parts_.push_back(std::move(part));
        }
        homes_ = plan::homes_of(kind, size, topology());
        for (Rank r = 0; r < size; ++r) {
            part(r).run->begin(segmentation_, size);
            part(r).run->enter_epoch(plan::make_plan(kind, segmentation_, topology(), r));
        }
    }

    Part& part(Rank rank) { return *parts_[rank]; }
    Rank size() const { return static_cast<Rank>(parts_.size()); }
    plan::Topology topology() const { return {size(), {}}; }
    std::mt19937_64& random() { return random_; }

    /// Sends and delivers up to `frames` frames between random pairs; false when none can be sent.
    bool run(uint64_t frames) {
        for (uint64_t i = 0; i < frames; ++i) {
            std::vector<std::pair<Rank, Rank>> pairs;
            for (Rank from = 0; from < size(); ++from) {
                for (Rank to = 0; to < size(); ++to) {
                    if (from != silent && part(from).run->has_data(to)) pairs.emplace_back(from, to);
                }
            }
            bool delivered = false;
            while (!delivered && !pairs.empty()) {
                const size_t pick = random_() % pairs.size();
                delivered = deliver(pairs[pick].first, pairs[pick].second);
                pairs.erase(pairs.begin() + static_cast<std::ptrdiff_t>(pick));
            }
            if (!delivered) return false;
        }
        return true;
    }
    void finish() {
        while (run(1000)) {
        }
    }

    /// False: it has no credit.
    bool deliver(Rank from, Rank to) {
        Collective::Out out;
        if (!part(from).run->next(to, {true, true, 0, kSlots - slots_used_[{from, to}]}, out)) return false;
        if (out.phase == wire::Phase::kPartial) ++operands_sent;
        if (out.charge == wire::Charge::kSlot) ++slots_used_[{from, to}];
        wire::Data header;
        header.phase = out.phase;
        header.charge = out.charge;
        header.object = out.segment;
        const auto bytes = static_cast<uint32_t>(out.payload.size());
        const Collective::Landing landing = part(to).run->place(from, header, bytes);
        INFO("from " << from << " to " << to << ", segment " << out.segment);
        REQUIRE(std::string(landing.error != nullptr ? landing.error : "") == "");
        std::memcpy(landing.data, out.payload.data(), bytes);
        part(to).run->landed(from, header, landing.data, landing.is_slot, bytes);
        for (const Collective::Consumed& used : part(to).run->consumed()) --slots_used_[{used.rank, to}];
        part(to).run->consumed().clear();
        return true;
    }

    /// A member is lost; the others go on with what they keep.
    void lose(Rank gone) {
        silent = kNoRank;
        slots_used_.clear();
        parts_.erase(parts_.begin() + gone);
        Collective::Moved moved;
        for (Rank r = 0; r <= size(); ++r)
            moved.rank_of.push_back(r == gone ? kNoRank : static_cast<Rank>(r > gone ? r - 1 : r));
        for (Rank& home : homes_) home = moved.now(home);
        operands_sent = 0;
        for (Rank r = 0; r < size(); ++r) {
            part(r).run->begin_again(size());
            part(r).run->enter_epoch(plan::make_repair_plan(kind_, segmentation_, topology(), r, {}, homes_),
                                     &moved);
        }
        for (Rank from = 0; from < size(); ++from) {
            for (Rank to = 0; to < size(); ++to) {
                if (from != to) REQUIRE(part(to).run->kept_by(from, part(from).run->kept()[to]));
            }
        }
    }

    uint64_t kept_bytes() {
        uint64_t bytes = 0;
        for (const auto& part : parts_) bytes += part->run->kept_bytes();
        return bytes;
    }

    /// The same plan, from the inputs.
    std::vector<float> fresh_result() {
        std::vector<std::unique_ptr<Part>> kept = std::move(parts_);
        parts_.clear();
        for (const auto& one : kept) {
            auto part = std::make_unique<Part>();
            part->input = one->input;
            add(*part);
            parts_.push_back(std::move(part));
        }
        for (Rank r = 0; r < size(); ++r) {
            part(r).run->begin(segmentation_, size());
            part(r).run->enter_epoch(plan::make_repair_plan(kind_, segmentation_, topology(), r, {}, homes_));
        }
        slots_used_.clear();
        finish();
        std::vector<float> out = part(0).receive;
        if (in_place_) out = part(0).send;
        parts_ = std::move(kept);
        return out;
    }
    const std::vector<float>& result(Rank rank) { return in_place_ ? part(rank).send : part(rank).receive; }
    const plan::Segmentation& segmentation() const { return segmentation_; }
    size_t slot_bytes() const { return slots_.bytes_taken(); }

    Rank silent = kNoRank;  ///< sends nothing more
    uint64_t operands_sent = 0;

   private:
    static constexpr uint32_t kSlots = 2;

    void add(Part& part) {
        part.send = part.input;
        part.receive.assign(part.input.size(), -1.0f);
        auto* send = reinterpret_cast<uint8_t*>(part.send.data());
        auto* receive = in_place_ ? send : reinterpret_cast<uint8_t*>(part.receive.data());
        part.run = std::make_unique<Collective>(
            Collective::Buffers{send, receive, DataType::kFloat, RedOp::kSum}, slots_, undo_);
    }

    Kind kind_;
    bool in_place_;
    std::mt19937_64 random_;
    plan::Segmentation segmentation_;
    SlotPool slots_;
    UndoCache undo_;
    std::vector<std::unique_ptr<Part>> parts_;
    std::vector<Rank> homes_;
    std::map<std::pair<Rank, Rank>, uint32_t> slots_used_;
};

void check_end(Net& net) {
    const std::vector<float> expected = net.fresh_result();
    for (Rank r = 0; r < net.size(); ++r) {
        REQUIRE(net.part(r).run->complete());
        REQUIRE(std::memcmp(net.result(r).data(), expected.data(), expected.size() * 4) == 0);
    }
    REQUIRE(net.slot_bytes() == 0);
}

}  // namespace

TEST_CASE("a mesh whose last member falls silent keeps all that the others folded") {
    Net net(Kind::kMesh, 4, 1000, false, 1);
    net.silent = 3;
    net.finish();
    net.lose(3);
    // Three owners hold the inputs of two others each, for their own shards.
    const uint64_t shard_bytes = 1000 / 4 * 4;
    CHECK(net.kept_bytes() == 3 * 2 * shard_bytes);
    net.finish();
    // What is left is the lost member's shard, of which two inputs go to each segment's new owner.
    CHECK(net.operands_sent == 2 * net.segmentation().segments_of(3));
    check_end(net);
}

TEST_CASE("a mesh keeps nothing that the lost member's input is in") {
    Net net(Kind::kMesh, 3, 600, false, 2);
    net.finish();
    net.lose(1);
    CHECK(net.kept_bytes() == 0);
    net.finish();
    check_end(net);
}

TEST_CASE("a ring keeps the folds of the chain before the lost member") {
    Net net(Kind::kRing, 5, 1000, true, 3);
    net.silent = 4;
    net.finish();
    net.lose(4);
    // Every chain came to the silent one, but for its own, which never began.
    const uint64_t shard_bytes = 1000 / 5 * 4;
    // Shard 0: rank 1 has one other's input, rank 2 two, rank 3 three; shard 1: ranks 2 and 3; shard 2:
    // rank 3.
    CHECK(net.kept_bytes() == (1 + 2 + 3 + 1 + 2 + 1) * shard_bytes);
    net.finish();
    check_end(net);
}

TEST_CASE("results are those of a run from the inputs, whoever is lost and whenever") {
    uint64_t kept = 0, kept_twice = 0;
    for (uint64_t seed = 1; seed <= 600; ++seed) {
        std::mt19937_64 random(seed);
        const Kind kind = seed % 2 == 0 ? Kind::kRing : Kind::kMesh;
        const auto size = static_cast<Rank>(3 + random() % 5);
        Net net(kind, size, random() % 800, random() % 2 == 0, seed);
        INFO("seed " << seed << ", " << size << " members");
        bool again = false;
        while (net.size() > 1 && (net.size() == size || random() % 2 == 0)) {
            if (random() % 2 == 0) net.silent = static_cast<Rank>(random() % net.size());
            net.run(random() % 400);
            const auto gone = net.silent != kNoRank ? net.silent : static_cast<Rank>(random() % net.size());
            net.lose(gone);
            (again ? kept_twice : kept) += net.kept_bytes();
            again = true;
        }
        net.finish();
        check_end(net);
    }
    CHECK(kept > 100'000);
    CHECK(kept_twice > 10'000);
}

TEST_CASE("the input in place is back after a reduction that kept folds is given up") {
    for (const Kind kind : {Kind::kMesh, Kind::kRing}) {
        Net net(kind, 4, 500, true, 9);
        net.silent = 3;
        net.finish();
        net.lose(3);
        net.run(20);
        for (Rank r = 0; r < net.size(); ++r) {
            net.part(r).run->restore();
            CHECK(net.part(r).send == net.part(r).input);
        }
    }
}

TEST_CASE("nothing but results is sent before all have said what they keep") {
    Net net(Kind::kMesh, 3, 300, false, 4);
    std::vector<Rank> all = {0, 1, 2};
    Collective& run = *net.part(0).run;
    const plan::Plan plan = run.plan();
    const Collective::Moved moved{all};
    run.enter_epoch(plan, &moved);
    REQUIRE(run.continues());
    REQUIRE(run.has_data(1));
    Collective::Out out;
    REQUIRE_FALSE(run.next(1, {true, true, 1 << 20, 8}, out));
    REQUIRE(run.kept_by(1, {}));
    REQUIRE(run.kept_by(1, {}));
    REQUIRE_FALSE(run.next(1, {true, true, 1 << 20, 8}, out));
    // Of more segments than there are.
    REQUIRE_FALSE(run.kept_by(2, std::vector<uint8_t>(run.segments(), 0)));
    REQUIRE(run.kept_by(2, {}));
    REQUIRE(run.next(1, {true, true, 1 << 20, 8}, out));
}

TEST_CASE("a fresh attempt has nothing that somebody could keep") {
    Net net(Kind::kMesh, 3, 300, false, 5);
    REQUIRE(net.part(0).run->kept_by(1, {}));
    REQUIRE_FALSE(net.part(0).run->kept_by(1, {1}));
}

// The table of docs/reliability.md, printed on request.
TEST_CASE("what a redo sends of a fresh run's operands", "[.measure]") {
    const std::pair<Kind, Rank> groups[] = {
        {Kind::kMesh, 4}, {Kind::kMesh, 8}, {Kind::kRing, 4}, {Kind::kRing, 16}};
    for (const auto& [kind, size] : groups) {
        for (const bool silent : {false, true}) {
            std::printf("%s of %d, %s:", plan::name_of(kind), int{size}, silent ? "silent" : "killed");
            for (const double at : {0.1, 0.25, 0.5, 0.75}) {
                double sent = 0, whole = 0;
                for (uint64_t seed = 1; seed <= 24; ++seed) {
                    Net net(kind, size, 3000, false, seed);
                    const double segments = net.segmentation().segments();
                    net.run(static_cast<uint64_t>(at * 2 * (size - 1) * segments));
                    const auto gone = static_cast<Rank>(seed % size);
                    if (silent) {
                        net.silent = gone;
                        net.finish();
                    }
                    net.lose(gone);
                    net.finish();
                    sent += static_cast<double>(net.operands_sent);
                    whole += (size - 2) * segments;
                }
                std::printf(" %.2f", sent / whole);
            }
            std::printf("\n");
        }
    }
}

}  // namespace pccl::core
