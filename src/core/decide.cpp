#include "core/decide.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/status.h"

namespace pccl::core {
namespace {

constexpr size_t kShortTextBytes = 64;

struct Entry {
    MemberId member;
    const wire::OpRecord* record =
        nullptr;  ///< null: not called, or ended before a later one of the same tag
    bool ended_before = false;
};

/// One survivor's answer, indexed: a group may have thousands of tags.
struct Index {
    MemberId member;
    std::map<wire::OpKey, const wire::OpRecord*> records;
    std::map<std::pair<wire::OpKind, uint64_t>, uint64_t> ended;

    Index(const MemberId& id, const wire::Frozen& answer) : member(id) {
        for (const wire::OpRecord& record : answer.records) records[record.key] = &record;
        for (const wire::TagCounter& counter : answer.counters)
            ended[{counter.kind, counter.tag}] = counter.ended;
    }

    Entry entry(const wire::OpKey& key) const {
        Entry out{member};
        if (const auto at = records.find(key); at != records.end()) {
            out.record = at->second;
        } else if (const auto counter = ended.find({key.kind, key.tag}); counter != ended.end()) {
            out.ended_before = counter->second >= key.sequence;
        }
        return out;
    }
};

std::vector<Index> index(const DecideInput& input) {
    std::vector<Index> out;
    for (const auto& [member, answer] : input.survivors) out.emplace_back(member, *answer);
    return out;
}

bool ended(const Entry& entry) {
    if (entry.record == nullptr) return entry.ended_before;
    return entry.record->state == wire::OpState::kSuccess || entry.record->state == wire::OpState::kError;
}

/// Only names that somebody lists can be undecided; all else ended everywhere or was called by nobody.
std::vector<wire::OpKey> undecided_of(const std::vector<Index>& survivors) {
    std::set<wire::OpKey> keys;
    for (const Index& survivor : survivors) {
        for (const auto& [key, record] : survivor.records) keys.insert(key);
    }
    std::vector<wire::OpKey> out;
    for (const wire::OpKey& key : keys) {
        const bool over = std::all_of(survivors.begin(), survivors.end(),
                                      [&](const Index& survivor) { return ended(survivor.entry(key)); });
        if (!over) out.push_back(key);
    }
    return out;
}

bool at_least_complete(const Entry& entry) {
    if (entry.record == nullptr) return entry.ended_before;
    return entry.record->state == wire::OpState::kComplete || entry.record->state == wire::OpState::kSuccess;
}

bool bit(const std::vector<uint8_t>& bits, uint32_t index) {
    return index / 8 < bits.size() && (bits[index / 8] >> (index % 8) & 1) != 0;
}

/// Whether the survivors together hold every final segment.
bool all_finals_held(const std::vector<Entry>& entries, uint32_t segments) {
    if (std::any_of(entries.begin(), entries.end(), at_least_complete)) return true;
    // Without segments only a complete member knows that all contributors had called.
    if (segments == 0) return false;
    for (uint32_t s = 0; s < segments; ++s) {
        const bool held = std::any_of(entries.begin(), entries.end(), [&](const Entry& e) {
            return e.record != nullptr && bit(e.record->finals, s);
        });
        if (!held) return false;
    }
    return true;
}

void fill_finals(const std::vector<Entry>& entries, wire::Decision& out) {
    for (const Entry& entry : entries) {
        if (at_least_complete(entry)) continue;
        out.finals.push_back(
            {entry.member, entry.record != nullptr ? entry.record->finals : std::vector<uint8_t>()});
    }
}

uint32_t flags_of(const std::vector<Entry>& entries) {
    uint32_t all = 0;
    for (const Entry& entry : entries) {
        if (entry.record == nullptr) continue;
        if (entry.record->state == wire::OpState::kSuccess) return entry.record->flags;
        all |= entry.record->flags;
    }
    return all;
}

void decide_one(const DecideInput& input, const std::vector<Entry>& entries, wire::Decision& out) {
    const wire::OpRecord *sample = nullptr, *other = nullptr, *cancel = nullptr;
    bool success = false, same_attempt = true, all_called = true;
    for (const Entry& entry : entries) {
        if (entry.record == nullptr) {
            all_called &= entry.ended_before;
            success |= entry.ended_before;
            continue;
        }
        const wire::OpRecord& record = *entry.record;
        if (record.state == wire::OpState::kError) {
            out.verdict = wire::Verdict::kFail;
            out.code = record.error;
            out.text = record.text;
            return;
        }
        if (sample == nullptr) sample = &record;
        if (record.descriptor != sample->descriptor) other = &record;
        same_attempt &= record.attempt == sample->attempt;
        if (record.cancel && cancel == nullptr) cancel = &record;
        success |= record.state == wire::OpState::kSuccess;
    }
    if (other != nullptr) {
        // Called differently, and the change came before anybody heard of it: nobody was lost.
        out.verdict = wire::Verdict::kFail;
        out.code = static_cast<uint8_t>(Code::MISMATCH);
        out.text = out.key.text() + ": descriptors differ: one member called it with " +
                   sample->descriptor.text() + ", another with " + other->descriptor.text();
        return;
    }
    if (sample != nullptr) {
        out.attempt = sample->attempt;
        out.descriptor = sample->descriptor;
    }
    out.flags = flags_of(entries);
    const bool complete = std::all_of(entries.begin(), entries.end(), at_least_complete);
    const auto many = static_cast<size_t>(std::count_if(entries.begin(), entries.end(), at_least_complete));
    const bool is_reduce = out.key.kind == wire::OpKind::kReduce;
    if ((complete && same_attempt) || (input.mutations.commit_if_any_complete && many > 0) ||
        (input.mutations.commit_on_majority && 2 * many > entries.size())) {
        out.verdict = wire::Verdict::kCommit;
    } else if (is_reduce && all_called && same_attempt && sample != nullptr &&
               all_finals_held(entries, sample->segments)) {
        out.verdict = wire::Verdict::kFinish;
        fill_finals(entries, out);
    } else if (cancel != nullptr && !success) {
        out.verdict = wire::Verdict::kCancel;
        out.text = cancel->text.empty() ? "a participant asked for it" : cancel->text;
    } else if (!input.participant_gone && !input.joined && same_attempt) {
        out.verdict = wire::Verdict::kResume;
        fill_finals(entries, out);
    } else {
        out.verdict = wire::Verdict::kAbort;
        out.redo = is_reduce && input.redo;
        // Only who called the attempt knows how it was cut.
        const bool all_in = std::all_of(entries.begin(), entries.end(), [](const Entry& entry) {
            return entry.record != nullptr && !ended(entry);
        });
        out.keep = out.redo && all_in && same_attempt && !input.joined;
        out.text = input.gone.empty() ? "a member was lost" : input.gone;
    }
}

}  // namespace

std::vector<wire::OpKey> undecided(const DecideInput& input) { return undecided_of(index(input)); }

std::vector<wire::Decision> decide(const DecideInput& input) {
    const std::vector<Index> survivors = index(input);
    std::vector<wire::Decision> out;
    for (const wire::OpKey& key : undecided_of(survivors)) {
        std::vector<Entry> entries;
        for (const Index& survivor : survivors) entries.push_back(survivor.entry(key));
        wire::Decision decision;
        decision.key = key;
        decide_one(input, entries, decision);
        out.push_back(std::move(decision));
    }
    return out;
}

void shrink(wire::Install& message, size_t bytes_max, bool redo) {
    size_t bytes = wire::encode(message).size();
    if (bytes <= bytes_max) return;
    for (wire::Decision& decision : message.decisions) {
        if (decision.text.size() <= kShortTextBytes) continue;
        bytes -= std::min(decision.text.size(), wire::kTextBytesMax) - kShortTextBytes;
        decision.text.resize(kShortTextBytes);
    }
    std::vector<std::pair<size_t, wire::Decision*>> attempts;
    for (wire::Decision& decision : message.decisions) {
        size_t map_bytes = 0;
        for (const wire::FinalsOf& finals : decision.finals) map_bytes += wire::encode(finals).size();
        if (map_bytes > 0) attempts.emplace_back(map_bytes, &decision);
    }
    std::stable_sort(attempts.begin(), attempts.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (auto& [map_bytes, decision] : attempts) {
        if (bytes <= bytes_max) return;
        bytes -= map_bytes + decision->text.size();
        decision->finals.clear();
        decision->verdict = wire::Verdict::kAbort;
        decision->redo = redo && decision->key.kind == wire::OpKind::kReduce;
        decision->keep = false;
        decision->text = "too many operations were interrupted at once";
        bytes += decision->text.size();
    }
}

}  // namespace pccl::core
