// Events of every kind into a coordinator: members and strangers that register, vote, answer proposals
// rightly, nearly rightly or with nonsense, that vanish and come back, a coordinator that is restarted, and
// time. No invariant breaks, all that is sent decodes and fits into a frame, the durable record can be read
// back, and once they are all gone two honest newcomers share an epoch.
//
// Input: a sequence of events, see handle().
#include "core/noise.h"
#include "core/office.h"
#include "events.h"
#include "input.h"

using namespace pccl;
using pccl::fuzz::CoordinatorEvent;
using pccl::fuzz::Input;
using pccl::test::Office;

namespace {

constexpr size_t kClerksMax = 24;  // connections over all
constexpr size_t kIds = 6;

class Script {
   public:
    explicit Script(Input& input) : input_(input), office_(input.byte() % 2) {
        for (uint8_t i = 1; i <= kIds; ++i) pool_.ids.push_back(test::member_id(i));
        for (uint64_t tag = 0; tag < 3; ++tag) pool_.keys.push_back(test::reduce_key(tag, 1));
        pool_.constants = {office_.constants};
        pool_.descriptors = {wire::Descriptor{64, 64, static_cast<uint8_t>(DataType::kFloat), 0, 0, 1}, {}};
    }

    void run() {
        while (!input_.empty()) {
            handle(static_cast<CoordinatorEvent>(input_.below(fuzz::kCoordinatorEvents)));
            tell_closed();
        }
        (void)office_.coordinator->describe();
        check_going();
    }

   private:
    using Clerk = Office::Clerk;

    template <class T>
    const T& any(const std::vector<T>& from) {
        return from[input_.below(from.size())];
    }
    /// Somebody whose connection is open; false if there is nobody.
    bool choose(size_t* index) {
        std::vector<size_t> open;
        for (size_t i = 0; i < office_.clerks.size(); ++i) {
            if (office_.clerks[i].connection != 0) open.push_back(i);
        }
        if (open.empty()) return false;
        *index = any(open);
        return true;
    }
    template <class Message>
    Message noise() {
        note_epochs();
        return test::NoiseOf<Input>(input_, pool_).template make<Message>();
    }
    void note_epochs() {
        pool_.epochs.clear();
        pool_.terms.clear();
        pool_.runs.clear();
        for (const Clerk& clerk : office_.clerks) {
            if (clerk.proposal) pool_.epochs.push_back(clerk.proposal->id);
            if (clerk.install) pool_.runs = {clerk.install->run};
            if (!clerk.installed.is_none()) pool_.epochs.push_back(clerk.installed);
        }
        for (const wire::EpochId& id : pool_.epochs) pool_.terms.push_back(id.term);
    }

    /// Whatever is refused closes the connection, as the driver does.
    template <class Message>
    void say(size_t index, const Message& message) {
        std::vector<uint8_t> body = wire::encode(message);
        fuzz::bend(input_, body);
        say_raw(index, Message::kType, body);
    }
    void say_raw(size_t index, wire::Type type, const std::vector<uint8_t>& body) {
        if (!office_.say_raw(index, type, body) && office_.clerks[index].connection != 0)
            office_.hang_up(index);
    }
    size_t open(const MemberId& id) {
        const size_t index = office_.open();
        office_.clerks[index].id = id;
        known_.push_back(office_.clerks[index].connection);
        return index;
    }
    /// A connection that the coordinator closed is reported closed, once.
    void tell_closed() {
        for (size_t i = 0; i < known_.size(); ++i) {
            if (known_[i] == 0 || office_.clerks[i].connection != 0) continue;
            office_.coordinator->closed(office_.now, known_[i], "closed");
            known_[i] = 0;
            office_.advance(0);
        }
    }

    void handle(CoordinatorEvent event) {
        size_t at = 0;
        switch (event) {
            case CoordinatorEvent::kOpen:
                if (office_.clerks.size() < kClerksMax) open(any(pool_.ids));
                return;
            case CoordinatorEvent::kTime: return office_.advance(TimeUs{1} << input_.below(25));
            case CoordinatorEvent::kReturn: return come_back();
            case CoordinatorEvent::kRestart:
                office_.restart();
                std::fill(known_.begin(), known_.end(), 0);
                return;
            default: break;
        }
        if (!choose(&at)) return;
        switch (event) {
            case CoordinatorEvent::kRegister: return enrol(at);
            case CoordinatorEvent::kPrepared: return prepared(at);
            case CoordinatorEvent::kAnswer:
                if (!office_.clerks[at].proposal) return;
                say(at, office_.linked(at));
                if (office_.clerks[at].connection == 0 || !office_.clerks[at].proposal) return;
                return say(at, frozen(at));
            case CoordinatorEvent::kFrozen:
                if (office_.clerks[at].proposal) say(at, frozen(at));
                return;
            case CoordinatorEvent::kLinked:
                if (office_.clerks[at].proposal) say(at, linked(at));
                return;
            case CoordinatorEvent::kVote:
                return say(at, wire::Vote{static_cast<wire::VoteKind>(1 + input_.below(2)),
                                          1 + input_.below(4), office_.clerks[at].round + input_.below(3)});
            case CoordinatorEvent::kWithdraw: return say(at, wire::Withdraw{1 + input_.below(4)});
            default: return others(event, at);
        }
    }

    void others(CoordinatorEvent event, size_t at) {
        Clerk& clerk = office_.clerks[at];
        switch (event) {
            case CoordinatorEvent::kSuspect: {
                wire::Suspect message{clerk.installed, any(pool_.ids), input_.below(3), input_.flag(),
                                      "lost"};
                return say(at, message);
            }
            case CoordinatorEvent::kRequestChange:
                return say(at, wire::RequestChange{clerk.installed,
                                                   static_cast<wire::ChangeReason>(1 + input_.below(2))});
            case CoordinatorEvent::kLeave: return say(at, wire::Leave{"leaves"});
            case CoordinatorEvent::kNoise: return noise_of(at);
            case CoordinatorEvent::kBytes: {
                const auto type = static_cast<wire::Type>(input_.byte());
                const auto body = input_.take(input_.byte());
                return say_raw(at, type, {body.begin(), body.end()});
            }
            case CoordinatorEvent::kHangUp: return office_.hang_up(at);
            default: return;
        }
    }

    void enrol(size_t at) {
        wire::Register message =
            office_.registration(office_.clerks[at].id, static_cast<uint32_t>(input_.below(2)));
        const uint8_t variant = input_.byte();
        if (variant % 16 == 1) {
            message = noise<wire::Register>();
            message.version = wire::kProtocolVersion;
            message.constants = office_.constants;
            message.endpoints = {{"sim", 1}};
        }
        say(at, message);
    }
    /// The same member on a new connection, with what it has installed and promised.
    void come_back() {
        if (office_.clerks.empty() || office_.clerks.size() >= kClerksMax) return;
        const size_t at = input_.below(office_.clerks.size());
        const Clerk before = office_.clerks[at];
        if (input_.flag() && before.connection != 0) office_.hang_up(at);
        const size_t index = open(before.id);
        wire::Register message = office_.registration(before.id, 0);
        if (before.install) {
            message.run = before.install->run;
            message.installed = message.promised = before.installed;
            for (const wire::Peer& peer : before.install->members)
                message.installed_members.push_back(peer.id);
        }
        if (before.proposal) {
            message.promised = before.proposal->id;
            for (const wire::Peer& peer : before.proposal->members)
                message.promised_members.push_back(peer.id);
        }
        message.round = input_.below(3);
        message.round_succeeded = input_.below(3);
        message.vote_number = input_.below(3);
        office_.clerks[index].install = before.install;
        office_.clerks[index].installed = before.installed;
        say(index, message);
    }
    void prepared(size_t at) {
        if (!office_.clerks[at].prepare) return;
        wire::Prepared message;
        message.number = office_.clerks[at].prepare->number;
        const uint8_t variant = input_.byte();
        message.ok = variant < 224;
        if (!message.ok) message.unreachable = {any(pool_.ids)};
        say(at, message);
    }
    wire::Linked linked(size_t at) {
        const uint8_t variant = input_.byte();
        wire::Linked out = office_.linked(at);
        for (size_t i = 0; i < out.links.size(); ++i) {
            wire::LinkReport& report = out.links[i];
            if ((variant >> i % 4 & 1) != 0) report.failed = true, report.incarnation = 0;
            if ((variant >> i % 4 & 16) != 0) report.incarnation = input_.below(3);
        }
        return out;
    }
    wire::Frozen frozen(size_t at) {
        wire::Frozen out = office_.frozen(at);
        const size_t records = input_.below(4);
        for (size_t i = 0; i < records; ++i) {
            wire::OpRecord record;
            record.key = any(pool_.keys);
            record.key.sequence += input_.below(2);
            record.descriptor = any(pool_.descriptors);
            record.state = static_cast<wire::OpState>(1 + input_.below(4));
            record.error = input_.byte();
            record.cancel = input_.below(8) == 7;
            record.attempt = office_.clerks[at].installed;
            record.segments = static_cast<uint32_t>(input_.below(20));
            const auto bits = input_.take(std::min<size_t>((record.segments + 7) / 8, input_.below(4)));
            record.finals.assign(bits.begin(), bits.end());
            out.records.push_back(std::move(record));
        }
        const size_t counters = input_.below(4);
        for (size_t i = 0; i < counters; ++i)
            out.counters.push_back({wire::OpKind::kReduce, i, input_.below(3)});
        if (input_.below(4) == 3) out.tombstones = {any(pool_.keys)};
        out.wants_counter_reset = input_.below(8) == 7;
        out.next_revision = input_.below(3);
        return out;
    }
    void noise_of(size_t at) {
        switch (input_.below(9)) {
            case 0: return say(at, noise<wire::Register>());
            case 1: return say(at, noise<wire::Vote>());
            case 2: return say(at, noise<wire::Withdraw>());
            case 3: return say(at, noise<wire::Suspect>());
            case 4: return say(at, noise<wire::RequestChange>());
            case 5: return say(at, noise<wire::Linked>());
            case 6: return say(at, noise<wire::Prepared>());
            case 7: return say(at, wire::Heartbeat{});
            default: return say(at, noise<wire::Frozen>());
        }
    }

    /// Everybody hangs up, and every time-out passes: two honest newcomers are admitted together.
    void check_going() {
        for (size_t i = 0; i < office_.clerks.size(); ++i) {
            if (office_.clerks[i].connection != 0) office_.hang_up(i);
        }
        tell_closed();
        for (int i = 0; i < 60; ++i) office_.advance(kSecond);
        const size_t first = open(test::member_id(0x70)), second = open(test::member_id(0x71));
        for (size_t i : {first, second}) REQUIRE(office_.say(i, office_.registration(office_.clerks[i].id)));
        for (int round = 0; round < 40 && !together(first, second); ++round) {
            for (size_t i : {first, second}) {
                Clerk& clerk = office_.clerks[i];
                REQUIRE(clerk.connection != 0);
                REQUIRE_FALSE((clerk.refused || clerk.evicted));
                if (clerk.prepare) {
                    office_.prepared(i);
                    clerk.prepare.reset();
                }
                if (clerk.proposal) office_.answer(i);
                if (!clerk.installed.is_none())
                    REQUIRE(office_.say(i, wire::Vote{wire::VoteKind::kUpdate,
                                                      static_cast<uint64_t>(round) + 1, clerk.round + 1}));
                REQUIRE(office_.say(i, wire::Heartbeat{}));
            }
            office_.advance(kSecond);
        }
        REQUIRE(together(first, second));
    }
    bool together(size_t first, size_t second) const {
        const Clerk &a = office_.clerks[first], &b = office_.clerks[second];
        return !a.installed.is_none() && a.installed == b.installed && a.install->members.size() == 2;
    }

    Input& input_;
    Office office_;
    test::Pool pool_;
    std::vector<uint64_t> known_;  ///< connections by clerk; 0: reported closed
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
    Input input(data, bytes);
    Script(input).run();
    return 0;
}
