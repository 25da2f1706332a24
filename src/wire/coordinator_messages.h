// Messages between a member and the coordinator, and the parts that they share. One schema each (`visit`),
// used by encode and decode. A message beyond the limits beside its fields does not decode.
#pragma once

#include "wire/names.h"

namespace pccl::wire {

// ---- shared by the coordinator's messages
// ---------------------------------------------------------------------------

/// What must be equal on all members of a group for as long as it lives; the first member's settings.
struct Constants {
    uint8_t retry_policy = 0;  ///< 0 retry, 1 report
    uint8_t plan = 0;          ///< plan::Kind wish
    uint32_t segment_bytes = 0;
    bool operator==(const Constants&) const = default;
    template <class V>
    void visit(V& v) {
        v(retry_policy), v(plan), v(segment_bytes);
    }
};

struct Globals {
    uint32_t world_size = 0;
    uint32_t groups = 0;
    uint32_t largest_group = 0;
    bool operator==(const Globals&) const = default;
    template <class V>
    void visit(V& v) {
        v(world_size), v(groups), v(largest_group);
    }
};

/// Calls so far of (kind, tag): all earlier numbers have ended.
struct TagCounter {
    OpKind kind = OpKind::kReduce;
    uint64_t tag = 0;
    uint64_t ended = 0;
    auto operator<=>(const TagCounter&) const = default;
    template <class V>
    void visit(V& v) {
        v(kind), v(tag), v(ended);
    }
};

enum class OpState : uint8_t { kIncomplete = 1, kComplete = 2, kSuccess = 3, kError = 4 };

/// A member's state of one operation at the moment it froze. Not listed, with a counter below its number: not
/// called.
struct OpRecord {
    OpKey key;
    Descriptor descriptor;
    OpState state = OpState::kIncomplete;
    uint8_t error = 0;  ///< Code, with kError
    bool cancel = false;
    EpochId attempt;
    uint32_t flags = 0;
    uint32_t segments = 0;        ///< of the attempt
    std::vector<uint8_t> finals;  ///< bit per segment, with kIncomplete
    std::string text;             ///< with kError
    template <class V>
    void visit(V& v) {
        v.item(key), v.item(descriptor), v(state), v(error), v(cancel), v.item(attempt), v(flags),
            v(segments);
        v.bytes(finals, kSegmentMapBytesMax), v.text(text);
    }
};

enum class Verdict : uint8_t { kFail = 1, kCommit = 2, kFinish = 3, kCancel = 4, kResume = 5, kAbort = 6 };

struct FinalsOf {
    MemberId member;
    std::vector<uint8_t> finals;
    bool operator==(const FinalsOf&) const = default;
    template <class V>
    void visit(V& v) {
        v(member), v.bytes(finals, kSegmentMapBytesMax);
    }
};

struct Decision {
    OpKey key;
    Descriptor descriptor;
    Verdict verdict = Verdict::kAbort;
    bool redo = false;  ///< with kAbort: run again in the new epoch; else report
    bool keep = false;  ///< with `redo`: cut as before, and with what survivors have of each other's inputs
    uint8_t code = 0;   ///< Code, with kFail
    EpochId attempt;    ///< of which the verdict speaks
    uint32_t flags = 0;
    std::vector<FinalsOf> finals;  ///< with kFinish and kResume: of members that lack some; others hold all
    std::string text;
    bool operator==(const Decision&) const = default;
    template <class V>
    void visit(V& v) {
        v.item(key), v.item(descriptor), v(verdict), v(redo), v(keep), v(code), v.item(attempt), v(flags);
        v.list(finals, kMembersMax), v.text(text);
    }
};

// ---- coordinator to member
// ------------------------------------------------------------------------------------------

struct Welcome {
    static constexpr Type kType = Type::kWelcome;
    uint16_t version = kProtocolVersion;
    RunId run;
    Term term;
    template <class V>
    void visit(V& v) {
        v(version), v(run), v.item(term);
    }
};

/// The registration is refused; the connection closes.
struct Refused {
    static constexpr Type kType = Type::kRefused;
    uint16_t version = kProtocolVersion;
    uint8_t code = 0;  ///< Code
    std::string reason;
    template <class V>
    void visit(V& v) {
        v(version), v(code), v.text(reason);
    }
};

/// To a newcomer: open links to these members now.
struct Prepare {
    static constexpr Type kType = Type::kPrepare;
    uint64_t number = 0;
    RunId run;
    std::vector<Peer> peers;
    template <class V>
    void visit(V& v) {
        v(number), v(run), v.list(peers, kMembersMax);
    }
};

/// To members: these newcomers may open links.
struct Expect {
    static constexpr Type kType = Type::kExpect;
    std::vector<MemberId> newcomers;
    template <class V>
    void visit(V& v) {
        v.list(newcomers, kMembersMax);
    }
};

/// A link that somebody lost: both ends drop that incarnation.
struct LostLink {
    Pair pair;
    uint64_t incarnation = 0;
    template <class V>
    void visit(V& v) {
        v.item(pair), v(incarnation);
    }
};

struct Propose {
    static constexpr Type kType = Type::kPropose;
    Term term;
    RunId run;
    EpochId id;
    std::vector<Peer> members;
    std::vector<Pair> dead_links;
    std::vector<LostLink> lost_links;
    bool majority = false;  ///< as its Install will say
    template <class V>
    void visit(V& v) {
        v.item(term), v(run), v.item(id), v.list(members, kMembersMax), v.list(dead_links, kDeadLinksMax);
        v.list(lost_links, kDeadLinksMax), v(majority);
    }
};

/// A member that was lost: the same account for every survivor.
struct Loss {
    MemberId member;
    uint32_t rank = 0;  ///< in the epoch that ends
    std::string address;
    uint64_t unix_time_us = 0;    ///< when the coordinator gave it up, by the coordinator's clock
    std::string cause;            ///< who reported it, and what was seen
    bool heard = false;           ///< a survivor had a link to it: the next three say something
    uint64_t silent_us = 0;       ///< since a survivor last received a byte from it, when that one froze
    uint64_t received_bytes = 0;  ///< of data, by that survivor, over the link
    MemberId heard_by;            ///< that survivor
    std::string operations;       ///< those that were interrupted, how far they were, and what was decided
    bool operator==(const Loss&) const = default;
    template <class V>
    void visit(V& v) {
        v(member), v(rank), v.text(address), v(unix_time_us), v.text(cause), v(heard), v(silent_us);
        v(received_bytes), v(heard_by), v.text(operations);
    }
};

struct Install {
    static constexpr Type kType = Type::kInstall;
    Term term;
    RunId run;
    EpochId id;
    std::vector<Peer> members;
    std::vector<Pair> dead_links;
    Constants constants;
    bool reset_counters = false;
    std::vector<Decision> decisions;
    std::vector<TagCounter> counters;  ///< for newcomers
    std::vector<OpKey>
        tombstones;  ///< for newcomers: never, as they join with no operation open; kept for the record
    uint64_t next_revision = 0;
    bool boundary = false;  ///< answers the members' votes for an update
    uint64_t round = 0;     ///< votes of the whole run that have ended, with `boundary` this one included
    Globals globals;
    std::vector<Loss> losses;  ///< of members of the epoch that ends
    bool majority = false;     ///< the next epoch too needs more than half of these members
    template <class V>
    void visit(V& v) {
        v.item(term), v(run), v.item(id), v.list(members, kMembersMax), v.list(dead_links, kDeadLinksMax);
        v.item(constants), v(reset_counters), v.list(decisions, kOpsMax), v.list(counters, kTagsMax);
        v.list(tombstones, kOpsMax), v(next_revision), v(boundary), v(round), v.item(globals);
        v.list(losses, kMembersMax), v(majority);
    }
};

enum class VoteKind : uint8_t { kUpdate = 1, kOptimize = 2 };

struct VoteAnswer {
    static constexpr Type kType = Type::kVoteAnswer;
    uint64_t number = 0;  ///< of the member's vote that is answered
    VoteKind kind = VoteKind::kUpdate;
    uint8_t code = 0;  ///< Code
    std::string text;
    uint64_t round = 0;  ///< the vote of the whole run that ends hereby; 0: the member's was withdrawn
    Globals globals;
    template <class V>
    void visit(V& v) {
        v(number), v(kind), v(code), v.text(text), v(round), v.item(globals);
    }
};

/// Whether newcomers wait for admission.
struct Pending {
    static constexpr Type kType = Type::kPending;
    bool level = false;
    template <class V>
    void visit(V& v) {
        v(level);
    }
};

struct Evicted {
    static constexpr Type kType = Type::kEvicted;
    std::string reason;
    template <class V>
    void visit(V& v) {
        v.text(reason);
    }
};

struct Left {
    static constexpr Type kType = Type::kLeft;
    template <class V>
    void visit(V&) {}
};

/// From a coordinator that has lost the record of the run: what was registered counts from here on for this
/// term, and no earlier one goes on. It may ask for the Install of the epoch that was registered.
struct Recall {
    static constexpr Type kType = Type::kRecall;
    Term term;
    bool wants_install = false;
    template <class V>
    void visit(V& v) {
        v.item(term), v(wants_install);
    }
};

// ---- member to coordinator
// ------------------------------------------------------------------------------------------

struct Suspect {
    static constexpr Type kType = Type::kSuspect;
    EpochId epoch;
    MemberId peer;
    uint64_t incarnation = 0;
    bool closed = true;  ///< a lane closed or was refused; otherwise silence
    std::string reason;
    template <class V>
    void visit(V& v) {
        v.item(epoch), v(peer), v(incarnation), v(closed), v.text(reason);
    }
};

/// First message of every coordinator connection; later ones of the same member report what it has installed.
struct Register {
    static constexpr Type kType = Type::kRegister;
    uint16_t version = kProtocolVersion;
    RunId run;  ///< zero for a newcomer
    MemberId id;
    uint32_t group = 0;
    std::vector<Endpoint> endpoints;
    Constants constants;
    EpochId installed;
    EpochId promised;
    uint64_t round = 0;            ///< the last vote of the whole run that has ended for this member
    uint64_t round_succeeded = 0;  ///< the last one that it knows to have succeeded
    uint64_t vote_number = 0;      ///< count of this member's standing vote, or 0
    VoteKind vote = VoteKind::kUpdate;
    std::vector<MemberId> installed_members;
    std::vector<MemberId> promised_members;
    std::vector<Suspect> suspicions;
    Term term;             ///< the highest that this member has heard of
    bool leaving = false;  ///< it goes on in no epoch
    bool promised_majority = false;
    template <class V>
    void visit(V& v) {
        v(version), v(run), v(id), v(group), v.list(endpoints, kEndpointsMax), v.item(constants),
            v.item(installed);
        v.item(promised), v(round), v(round_succeeded), v(vote_number), v(vote),
            v.list(installed_members, kMembersMax);
        v.list(promised_members, kMembersMax), v.list(suspicions, kMembersMax), v.item(term), v(leaving),
            v(promised_majority);
    }
};

/// `number` counts this member's votes; a repeated one is the same vote.
struct Vote {
    static constexpr Type kType = Type::kVote;
    VoteKind kind = VoteKind::kUpdate;
    uint64_t number = 0;
    uint64_t round = 0;  ///< which vote of the whole run it is for, counted from 1
    template <class V>
    void visit(V& v) {
        v(kind), v(number), v(round);
    }
};

struct Withdraw {
    static constexpr Type kType = Type::kWithdraw;
    uint64_t number = 0;
    template <class V>
    void visit(V& v) {
        v(number);
    }
};

enum class ChangeReason : uint8_t { kCancel = 1, kTags = 2 };

/// Asks for a new epoch with the same members.
struct RequestChange {
    static constexpr Type kType = Type::kRequestChange;
    EpochId epoch;
    ChangeReason reason = ChangeReason::kCancel;
    template <class V>
    void visit(V& v) {
        v.item(epoch), v(reason);
    }
};

/// What a member knows of one that is not in the proposal.
struct LastHeard {
    MemberId peer;
    uint64_t silent_us = 0;       ///< since the last byte came
    uint64_t received_bytes = 0;  ///< of data, over the link
    template <class V>
    void visit(V& v) {
        v(peer), v(silent_us), v(received_bytes);
    }
};

/// The answer to Propose: the member makes no further transition in its old epoch.
struct Frozen {
    static constexpr Type kType = Type::kFrozen;
    EpochId id;
    EpochId installed;
    uint64_t next_revision = 0;
    bool wants_counter_reset = false;
    std::vector<TagCounter> counters;
    std::vector<OpKey> tombstones;
    std::vector<OpRecord> records;
    std::vector<LastHeard> missing;  ///< members of the installed epoch that are not proposed
    template <class V>
    void visit(V& v) {
        v.item(id), v.item(installed), v(next_revision), v(wants_counter_reset), v.list(counters, kTagsMax);
        v.list(tombstones, kOpsMax), v.list(records, kOpsMax + kTagsMax), v.list(missing, kMembersMax);
    }
};

struct LinkReport {
    MemberId peer;
    uint64_t incarnation = 0;  ///< 0: not up
    bool failed = false;       ///< given up
    std::string reason;
    bool closed = false;  ///< it was lost, or refused, and is not up again
    template <class V>
    void visit(V& v) {
        v(peer), v(incarnation), v(failed), v(closed), v.text(reason);
    }
};

/// State of the links to the proposed members; sent again whenever it changes while the proposal stands.
struct Linked {
    static constexpr Type kType = Type::kLinked;
    EpochId id;
    std::vector<LinkReport> links;
    template <class V>
    void visit(V& v) {
        v.item(id), v.list(links, kMembersMax);
    }
};

struct Prepared {
    static constexpr Type kType = Type::kPrepared;
    uint64_t number = 0;
    bool ok = false;
    std::vector<MemberId> unreachable;
    std::string reason;
    template <class V>
    void visit(V& v) {
        v(number), v(ok), v.list(unreachable, kMembersMax), v.text(reason);
    }
};

/// The answer to Recall.
struct Recalled {
    static constexpr Type kType = Type::kRecalled;
    Term term;
    Install install;  ///< where it was asked for
    template <class V>
    void visit(V& v) {
        v.item(term), v.item(install);
    }
};

struct Leave {
    static constexpr Type kType = Type::kLeave;
    std::string reason;
    template <class V>
    void visit(V& v) {
        v.text(reason);
    }
};

}  // namespace pccl::wire
