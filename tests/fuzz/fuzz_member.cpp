// Events of every kind into a member: frames of peers and of a coordinator that are right, nearly right or
// nonsense, links that come and go, time, and calls of the program. No invariant breaks, no memory is used
// that is gone, what is kept for others stays bounded, inputs survive failures, and every call ends.
//
// Input: one byte chooses the group and the stage, then a sequence of events, see handle().
#include "core/noise.h"
#include "events.h"
#include "host.h"
#include "input.h"

using namespace pccl;
using pccl::fuzz::Host;
using pccl::fuzz::Input;
using pccl::fuzz::MemberEvent;
using pccl::test::Rig;

namespace {

constexpr uint64_t kEagerBytesPerPeer = 4096;
constexpr uint32_t kParkedSlotsPerPeer = 2;
/// No payload of an operation here is larger, whatever the size of segments.
constexpr size_t kSlotBytesMax = 8192;
constexpr size_t kTags = 4;
constexpr size_t kCounts[kTags] = {64, 1, 300, 0};  // of floats, by tag
constexpr size_t kTensorBytes = 3000;
constexpr uint32_t kPayloadBytes[] = {64, 44, 4,   16,  kTensorBytes, 24,      20,
                                      0,  1,  128, 256, 4096,         1 << 20, 64 << 20};

plan::Kind g_plan = plan::Kind::kAuto;

/// Small limits, so that short inputs reach them.
void limit(core::MemberConfig& config) {
    config.eager_bytes_per_peer = kEagerBytesPerPeer;
    config.parked_slots_per_peer = kParkedSlotsPerPeer;
    config.tags_max = kTags - 1;
    config.map_bytes_max = 8;
    config.constants.plan = static_cast<uint8_t>(g_plan);
    // Texts are made, too.
    config.log = Logger(LogLevel::kTrace, [](LogLevel, std::string_view) {});
}

class Script {
   public:
    explicit Script(Input& input)
        : input_(input), choice_(input.byte()), rig_(make_rig(choice_)), host_(*rig_) {
        enter_stage(choice_ / 10 % 5);
        pool_.runs = {rig_->run};
        pool_.terms = {rig_->term};
        pool_.constants = {rig_->constants};
        for (const wire::Peer& peer : rig_->list) pool_.ids.push_back(peer.id);
        for (size_t count : kCounts) pool_.descriptors.push_back(rig_->descriptor(count));
        pool_.descriptors.emplace_back();
        note_epoch();
    }

    void run() {
        while (!input_.empty()) {
            handle(static_cast<MemberEvent>(input_.below(fuzz::kMemberEvents)));
            note_epoch();
            check_bounds();
        }
        (void)rig_->member->describe();
        host_.finish();
    }

   private:
    static std::unique_ptr<Rig> make_rig(size_t choice) {
        constexpr size_t kMembers[] = {4, 4, 3, 2, 1};
        constexpr size_t kRanks[] = {3, 1, 0, 1, 0};
        g_plan = static_cast<plan::Kind>(choice / 50 % 3);
        return std::make_unique<Rig>(kMembers[choice % 5], kRanks[choice % 5], limit);
    }

    void enter_stage(size_t stage) {
        if (stage == 0) {
            REQUIRE(rig_->member->join(rig_->now, &rig_->join_ticket).ok());
            rig_->member->coordinator_up(rig_->now);
        } else {
            rig_->prepare();
        }
        if (stage >= 2) {
            rig_->link_all();
            for (const wire::Peer& peer : rig_->list) {
                if (peer.id != rig_->id()) host_.link_opened(peer.id, Rig::kIncarnation);
            }
        }
        if (stage >= 3) rig_->propose().install();
        host_.coordinator_opened();
        if (stage >= 3) rig_->take();
        if (stage < 3) host_.call_made(rig_->join_ticket);
    }

    /// Ids of the epoch that is installed, of the promised one and of the next.
    void note_epoch() {
        rig_->epoch = rig_->member->view().epoch;
        wire::EpochId next = rig_->promised;
        ++next.number;
        pool_.epochs = {rig_->epoch, rig_->epoch, rig_->promised, next};
        pool_.keys.clear();
        for (uint64_t tag = 0; tag < kTags; ++tag) {
            pool_.keys.push_back(test::reduce_key(tag, std::max<uint64_t>(1, calls_[tag])));
            pool_.keys.push_back(test::reduce_key(tag, calls_[tag] + 1));
        }
        pool_.keys.push_back({wire::OpKind::kPendingQuery, 0, queries_});
        pool_.keys.push_back({wire::OpKind::kSharedState, 0, synchronizations_});
    }

    void check_bounds() {
        const core::Holdings holdings = rig_->member->holdings();
        const size_t peers = rig_->list.size() + 2;
        REQUIRE(holdings.slot_bytes <=
                peers * (4 * kEagerBytesPerPeer + kParkedSlotsPerPeer * kSlotBytesMax));
        REQUIRE(holdings.operations <= 2 * wire::kOpsMax);
        REQUIRE(holdings.reports <= wire::kOpsMax);
        REQUIRE(holdings.future_bytes <= 64u << 20);
        REQUIRE(holdings.links <= 2000);
    }

    template <class Message>
    Message noise() {
        return test::NoiseOf<Input>(input_, pool_).template make<Message>();
    }
    template <class T>
    const T& any(const std::vector<T>& from) {
        return from[input_.below(from.size())];
    }
    /// A peer, this member itself, or now and then somebody who is in no list.
    MemberId any_peer() {
        const size_t index = input_.below(rig_->list.size() + 1);
        return index < rig_->list.size() ? rig_->list[index].id : test::member_id(0xee);
    }
    size_t any_lane() { return input_.below(Host::kLanes); }

    template <class Message>
    void tell(const Message& message) {
        std::vector<uint8_t> body = wire::encode(message);
        fuzz::bend(input_, body);
        host_.tell(Message::kType, body);
    }
    template <class Message>
    void hear(const Message& message) {
        std::vector<uint8_t> body = wire::encode(message);
        fuzz::bend(input_, body);
        host_.hear(any_peer(), Message::kType, body);
    }

    void handle(MemberEvent event) {
        switch (event) {
            case MemberEvent::kTime:
                rig_->now += TimeUs{1} << input_.below(26);
                rig_->member->tick(rig_->now);
                host_.drain();
                break;
            case MemberEvent::kLinkUp: host_.open_link(any_peer()); break;
            case MemberEvent::kLinkDown: host_.lose_link(any_peer(), "closed"); break;
            case MemberEvent::kConnectFailed: host_.fail_to_connect(any_peer()); break;
            case MemberEvent::kCoordinatorUp: host_.connect_coordinator(); break;
            case MemberEvent::kCoordinatorDown: host_.lose_coordinator("closed"); break;
            case MemberEvent::kPropose: tell(proposal()); break;
            case MemberEvent::kInstall: tell(installation()); break;
            case MemberEvent::kNoiseOfCoordinator: noise_of_coordinator(); break;
            case MemberEvent::kBytesOfCoordinator: {
                const auto type = static_cast<wire::Type>(input_.byte());
                host_.tell(type, input_.take(input_.byte()));
                break;
            }
            case MemberEvent::kHeard: rig_->member->link_heard(rig_->now, any_peer()); break;
            default: frames_and_calls(event);
        }
    }

    void frames_and_calls(MemberEvent event) {
        switch (event) {
            case MemberEvent::kCalled:
                hear(wire::Called{any(pool_.epochs), any_key(), described(), {}});
                break;
            case MemberEvent::kCalledKeeping: {
                wire::Called called{any(pool_.epochs), any_key(), described(), {}};
                const auto bits = input_.take(input_.below(4));
                called.kept.assign(bits.begin(), bits.end());
                hear(called);
                break;
            }
            case MemberEvent::kDone: {
                wire::Done done{any(pool_.epochs), any_key(), described(), 0, 0};
                done.round = static_cast<uint8_t>(input_.below(3));
                hear(done);
                break;
            }
            case MemberEvent::kOffer: hear(offer()); break;
            case MemberEvent::kAsk: hear(question()); break;
            case MemberEvent::kNoiseOfPeer: noise_of_peer(); break;
            case MemberEvent::kBytesOfPeer: {
                const MemberId peer = any_peer();
                const auto type = static_cast<wire::Type>(input_.byte());
                host_.hear(peer, type, input_.take(input_.byte()));
                break;
            }
            case MemberEvent::kData: data(header()); break;
            case MemberEvent::kNoiseData: data(noise<wire::Data>()); break;
            case MemberEvent::kLand: {
                const MemberId peer = any_peer();
                const size_t lane = any_lane();
                host_.land(peer, lane, input_.byte());
                break;
            }
            case MemberEvent::kPull: {
                const MemberId peer = any_peer();
                host_.pull(peer, any_lane());
                break;
            }
            case MemberEvent::kSent: {
                const MemberId peer = any_peer();
                host_.sent(peer, any_lane());
                break;
            }
            default: calls(event);
        }
    }

    void calls(MemberEvent event) {
        core::Ticket ticket = 0;
        core::Member& member = *rig_->member;
        switch (event) {
            case MemberEvent::kReduce: reduce(); break;
            case MemberEvent::kQuery:
                if (!member.peers_pending(rig_->now, &ticket).ok()) break;
                ++queries_;
                host_.call_made(ticket);
                break;
            case MemberEvent::kSynchronize: synchronize(); break;
            case MemberEvent::kVote: {
                const Status status = input_.flag() ? member.optimize_topology(rig_->now, &ticket)
                                                    : member.update_topology(rig_->now, &ticket);
                if (status.ok()) host_.call_made(ticket);
                break;
            }
            case MemberEvent::kCancel:
                if (const core::Ticket open = host_.open_call(input_.byte()); open != 0)
                    (void)member.cancel(rig_->now, open);
                break;
            case MemberEvent::kForget: host_.forget(input_.byte()); break;
            case MemberEvent::kLeave:
                // Rare, since little happens afterwards.
                if (input_.byte() < 250 || !member.leave(rig_->now, &ticket).ok()) break;
                host_.call_made(ticket);
                break;
            default: break;
        }
        host_.drain();
    }

    // ---- calls
    void reduce() {
        const size_t tag = input_.below(kTags);
        const uint8_t variant = input_.byte();
        auto operands = std::make_unique<Host::Operands>();
        core::ReduceCall call;
        call.tag = tag;
        call.count = variant >= 240 ? input_.byte() : kCounts[tag];
        const size_t bytes = call.count * sizeof(float);
        operands->in_place = variant % 2 == 1;
        operands->is_reduction = true;
        operands->before.assign(bytes, 0x3f);
        operands->receive = operands->before;
        if (!operands->in_place) operands->send = operands->before;
        call.send = operands->input();
        call.receive = operands->receive.data();
        core::Ticket ticket = 0;
        if (!rig_->member->all_reduce(rig_->now, call, &ticket).ok()) return;
        ++calls_[tag];
        host_.call_made(ticket, std::move(operands));
    }
    void synchronize() {
        auto operands = std::make_unique<Host::Operands>();
        operands->receive.assign(kTensorBytes, 7);
        core::SyncCall call;
        call.revision = input_.below(3);
        call.strategy = static_cast<core::SyncStrategy>(input_.below(3));
        core::SharedTensor tensor{"t", operands->receive.data(), kTensorBytes, DataType::kUint8, false, {}};
        tensor.allow_inequality = input_.flag();
        tensor.hash = {input_.below(2), 0};
        call.tensors.push_back(tensor);
        core::Ticket ticket = 0;
        if (!rig_->member->synchronize(rig_->now, std::move(call), &ticket).ok()) return;
        ++synchronizations_;
        host_.call_made(ticket, std::move(operands));
    }

    // ---- frames of peers
    wire::OpKey any_key() { return any(pool_.keys); }
    wire::Descriptor described() { return any(pool_.descriptors); }
    /// As this member's own, or with another revision, strategy or content.
    wire::Offer offer() {
        wire::Offer out = host_.own_offer();
        out.epoch = any(pool_.epochs);
        out.key = {wire::OpKind::kSharedState, 0, synchronizations_ + input_.below(2)};
        const uint8_t variant = input_.byte();
        if (variant % 4 == 1) out.content = {input_.below(2), 0};
        if (variant % 8 == 2) out.revision = input_.below(4);
        if (variant % 8 == 6) out.next_revision = input_.below(3);
        if (variant % 8 == 7) out.strategy = static_cast<uint8_t>(input_.below(4));
        if (variant % 16 == 3) out.tainted = true;
        if (variant / 16 == 1) out.keys.low ^= 1;
        return out;
    }
    /// A range of the table of hashes, of the tensor, or of what is not there; at its borders now and then.
    wire::Pull question() {
        wire::Pull out;
        out.epoch = any(pool_.epochs);
        out.key = {wire::OpKind::kSharedState, 0, synchronizations_};
        out.object = static_cast<uint32_t>(input_.below(3));
        const uint64_t bytes = out.object == 0 ? 16 : kTensorBytes;
        const uint8_t variant = input_.byte();
        out.offset = variant % 4 == 0 ? 0 : variant % 4 == 1 ? bytes : input_();
        out.bytes = variant / 4 % 4 == 0 ? bytes : variant / 4 % 4 == 1 ? bytes - out.offset : input_();
        return out;
    }
    wire::Data header() {
        const size_t tag = input_.below(kTags + 1);
        wire::Data out;
        out.epoch = any(pool_.epochs);
        out.key = tag < kTags ? test::reduce_key(tag, calls_[tag] + input_.below(2))
                              : wire::OpKey{wire::OpKind::kSharedState, 0, synchronizations_};
        if (tag < kTags) out.descriptor = rig_->descriptor(kCounts[tag]);
        out.phase = static_cast<wire::Phase>(1 + input_.below(3));
        out.charge = static_cast<wire::Charge>(input_.below(3));
        out.object = static_cast<uint32_t>(input_.below(24));
        return out;
    }
    void data(const wire::Data& header) {
        const MemberId peer = any_peer();
        const size_t lane = any_lane();
        host_.receive(peer, lane, header, kPayloadBytes[input_.below(std::size(kPayloadBytes))]);
    }
    void noise_of_peer() {
        switch (input_.below(7)) {
            case 0: return hear(noise<wire::Called>());
            case 1: return hear(noise<wire::Done>());
            case 2: return hear(noise<wire::Credit>());
            case 3: return hear(noise<wire::Mismatch>());
            case 4: return hear(noise<wire::Relay>());
            case 5: return hear(noise<wire::Offer>());
            default: return hear(noise<wire::Pull>());
        }
    }

    // ---- frames of the coordinator
    wire::Propose proposal() {
        wire::Propose message = rig_->propose_message();
        const uint8_t variant = input_.byte();
        auto& members = message.members;
        if (variant % 4 == 1)
            members.erase(members.begin() + static_cast<std::ptrdiff_t>(input_.below(members.size())));
        if (variant % 4 == 2) members.push_back({test::member_id(0xee), {{"sim", 9}}});
        if (variant % 8 >= 5) message.dead_links = dead_links();
        if (variant >= 128) {
            const MemberId other = any_peer();
            wire::LostLink lost;
            lost.pair = {std::min(rig_->id(), other), std::max(rig_->id(), other)};
            lost.incarnation = Rig::kIncarnation + input_.below(3);
            message.lost_links.push_back(lost);
        }
        proposed_ = message.members;
        return message;
    }
    std::vector<wire::Pair> dead_links() {
        const MemberId a = any_peer(), b = any_peer();
        return {{std::min(a, b), std::max(a, b)}};
    }
    wire::Install installation() {
        wire::Install message = rig_->install_message();
        const uint8_t variant = input_.byte();
        if (!proposed_.empty()) message.members = proposed_;
        if (variant % 4 == 1) message.dead_links = dead_links();
        message.boundary = variant % 8 == 2;
        message.next_revision = variant % 3;
        for (size_t i = 0; i < variant / 32u; ++i) {
            wire::Decision decision;
            decision.key = any_key();
            if (decision.key.kind == wire::OpKind::kReduce)
                decision.descriptor = rig_->descriptor(kCounts[decision.key.tag]);
            decision.verdict = static_cast<wire::Verdict>(1 + input_.below(6));
            decision.redo = input_.flag();
            decision.code = input_.byte();
            decision.keep = decision.redo && decision.code % 2 == 1;
            decision.attempt = any(pool_.epochs);
            if (input_.flag()) {
                const auto bits = input_.take(3);
                decision.finals.push_back({any_peer(), {bits.begin(), bits.end()}});
            }
            message.decisions.push_back(std::move(decision));
        }
        return message;
    }
    void noise_of_coordinator() {
        switch (input_.below(16)) {
            case 0: return tell(noise<wire::Welcome>());
            case 1: return tell(noise<wire::Prepare>());
            case 2: return tell(noise<wire::Expect>());
            case 3: return tell(noise<wire::VoteAnswer>());
            case 4: return tell(noise<wire::Pending>());
            case 5: return tell(wire::Heartbeat{});
            case 6: return tell(noise<wire::Refused>());
            case 7: return tell(noise<wire::Evicted>());
            case 8: return tell(wire::Left{});
            case 9: return tell(wire::Expect{{any_peer(), any_peer()}});
            case 10: return tell(noise<wire::Propose>());
            case 11: return tell(noise<wire::Install>());
            default: {
                wire::Install message = noise<wire::Install>();
                message.term = rig_->term;
                message.id = rig_->promised;
                message.members = proposed_.empty() ? rig_->list : proposed_;
                message.constants = rig_->constants;
                message.dead_links.clear();
                return tell(message);
            }
        }
    }

    Input& input_;
    const size_t choice_;
    std::unique_ptr<Rig> rig_;
    Host host_;
    test::Pool pool_;
    std::vector<wire::Peer> proposed_;  // the last list
    uint64_t calls_[kTags] = {};        // made so far, by tag
    uint64_t queries_ = 0, synchronizations_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    Input input(data, bytes);
    Script(input).run();
    return 0;
}
