#include "ledger.h"

#include <algorithm>

#include "common/values.h"

namespace pccl::stress {
namespace {

constexpr size_t kNamesMax = 100'000;  // Far more than the operations that workers can be apart.

}  // namespace

size_t Ledger::NameHash::operator()(const Name& name) const {
    return tools::mix(tools::mix(name.lineage, name.step), name.tag);
}

void Ledger::joined(int worker, uint64_t member, uint32_t group) { members_[worker] = {member, group}; }

bool Ledger::gone(int worker) {
    const bool was_member = members_.erase(worker) > 0;
    std::erase_if(recoveries_, [&](Recovery& recovery) {
        const bool was_last = recovery.waiting.erase(worker) > 0 && recovery.waiting.empty();
        if (was_last) {
            close(recovery);
        }
        return was_last;
    });
    return was_member;
}

void Ledger::killed(int worker, int64_t time_ns) {
    const auto victim = members_.find(worker);
    if (victim == members_.end()) {
        return;  // It had not joined yet, so nobody has to recover.
    }
    Recovery recovery{victim->second.member, time_ns, 0, 0, {}, 0};
    for (const auto& [other, membership] : members_) {
        if (other != worker && membership.group == victim->second.group) {
            recovery.waiting.insert(other);
        }
    }
    recovery.survivors = static_cast<int>(recovery.waiting.size());
    if (recovery.survivors < 2) {
        ++recoveries_alone_;  // The survivor has nobody to reduce with before somebody joins.
    } else {
        recoveries_.push_back(recovery);
    }
}

void Ledger::close(const Recovery& recovery) {
    if (recovery.first_ns == 0) {
        ++not_recovered_;
        return;
    }
    recovery_first_ms_.push_back(static_cast<double>(recovery.first_ns - recovery.killed_ns) * 1e-6);
    recovery_all_ms_.push_back(static_cast<double>(recovery.last_ns - recovery.killed_ns) * 1e-6);
}

void Ledger::note_recovery(int worker, const Success& report) {
    std::erase_if(recoveries_, [&](Recovery& recovery) {
        const auto& contributors = report.contributors;
        const bool without_victim =
            std::find(contributors.begin(), contributors.end(), recovery.victim) == contributors.end();
        if (!without_victim || report.time_ns < recovery.killed_ns || recovery.waiting.erase(worker) == 0) {
            return false;
        }
        recovery.first_ns =
            recovery.first_ns == 0 ? report.time_ns : std::min(recovery.first_ns, report.time_ns);
        recovery.last_ns = std::max(recovery.last_ns, report.time_ns);
        if (!recovery.waiting.empty()) {
            return false;
        }
        close(recovery);
        return true;
    });
}

std::string Ledger::success(int worker, const Success& report) {
    ++operations_;
    retries_ += report.retried ? 1 : 0;
    wrong_ += report.wrong_elements > 0 || report.inputs_damaged ? 1 : 0;
    if (report.tag < kStateTag) {
        note_recovery(worker, report);  // Other operations do not tell their contributors.
    }
    const uint64_t contributors_hash =
        tools::hash_bytes(report.contributors.data(), report.contributors.size() * sizeof(uint64_t));
    const Name name{report.lineage, report.step, report.tag};
    const auto [entry, is_new] =
        outcomes_.try_emplace(name, Outcome{contributors_hash, report.result_hash, worker});
    if (is_new) {
        iterations_ += report.tag == 0 || report.tag == kStateTag || report.tag == kQueryTag ? 1 : 0;
        order_.push_back(name);
        if (order_.size() > kNamesMax) {
            outcomes_.erase(order_.front());
            order_.pop_front();
        }
        return "";
    }
    const Outcome& known = entry->second;
    if (known.contributors_hash == contributors_hash && known.result_hash == report.result_hash) {
        return "";
    }
    ++divergences_;
    const char* what = known.contributors_hash == contributors_hash ? "results" : "contributors";
    return std::string(what) + " of step " + std::to_string(report.step) + ", tag " +
           std::to_string(report.tag) + " differ between worker " + std::to_string(known.worker) +
           " and worker " + std::to_string(worker);
}

void Ledger::finish() {
    for (const Recovery& recovery : recoveries_) {
        // A kill just before the end leaves no time; only those with a first success tell something.
        if (recovery.first_ns != 0) {
            close(recovery);
        }
    }
    recoveries_.clear();
}

}  // namespace pccl::stress
