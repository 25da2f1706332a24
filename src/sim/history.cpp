#include "sim/history.h"

#include <algorithm>
#include <cstring>

#include "sim/random.h"

namespace pccl::sim {

namespace {

std::string who(int process) { return "p" + std::to_string(process); }

bool same(const Ending& a, const Ending& b) {
    if (a.code != b.code) return false;
    if (a.code != Code::SUCCESS) return true;
    return a.contributors == b.contributors && a.pending == b.pending && a.revision == b.revision &&
           a.content == b.content;
}

/// Endings that speak for the whole group, whatever becomes of the one that was told: a success, since all
/// were complete, and what only a decision of the coordinator can bring, since that is durable and reaches
/// everybody that goes on.
bool decided(const Ending& e) {
    return e.code == Code::SUCCESS || e.code == Code::RANK_CONNECTION_LOST || e.code == Code::CANCELLED ||
           e.code == Code::TOO_FEW_PEERS;
}

}  // namespace

std::string CallName::text() const {
    const char* what = kind == wire::OpKind::kReduce         ? "reduce"
                       : kind == wire::OpKind::kPendingQuery ? "query"
                                                             : "shared state";
    return std::string(what) + " of group " + std::to_string(group) + " lineage " +
           std::to_string(lineage % 10000) + " position " + std::to_string(position) + " tag " +
           std::to_string(tag);
}

uint64_t CallName::input_key(uint64_t seed, int process) const {
    uint64_t key = mix(seed, lineage);
    key = mix(key, position);
    key = mix(key, tag * 8 + group);
    return mix(key, static_cast<uint64_t>(process));
}

int History::process_of(const MemberId& id) const {
    auto it = processes_.find(id);
    return it == processes_.end() ? -1 : it->second;
}

void History::reduce_called(const CallName& name, int process, const Shape& shape) {
    Call& call = calls_[name];
    if (!call.shapes.emplace(process, shape).second) {
        fail_("I3", who(process) + " called " + name.text() + " twice: the harness is wrong");
    }
}

void History::reduce_ended(const CallName& name, int process, const Ending& ending, bool unknown,
                           std::span<const uint8_t> result) {
    Call& call = calls_[name];
    if (ending.code == Code::SUCCESS) {
        ++successes_;
        check_result(name, call, process, ending, result);
    } else {
        ++errors_;
    }
    if (ending.code != Code::SUCCESS && unknown) return;
    told(name, call, process, ending);
}

void History::ended(const CallName& name, int process, const Ending& ending, bool unknown) {
    if (ending.code == Code::SUCCESS) {
        ++successes_;
    } else {
        ++errors_;
    }
    if (ending.code != Code::SUCCESS && unknown) return;
    if (name.kind == wire::OpKind::kSharedState && ending.code == Code::SUCCESS &&
        !offered_.contains(ending.content)) {
        fail_("I2", name.text() + " left content at " + who(process) + " that nobody offered");
    }
    told(name, calls_[name], process, ending);
}

void History::told(const CallName& name, Call& call, int process, const Ending& ending) {
    if (!call.endings.emplace(process, ending).second)
        fail_("I3", name.text() + " ended twice at " + who(process));
    // The flags of a query are promised among survivors only, who are known at the end.
    if (ending.code != Code::SUCCESS || name.kind == wire::OpKind::kPendingQuery) return;
    for (const auto& [other, theirs] : call.endings) {
        if (other != process && theirs.code == Code::SUCCESS)
            return compare(name, other, theirs, process, ending);
    }
}

void History::finish(const Survived& survived) {
    for (const auto& [name, call] : calls_) agree(name, call, survived);
}

void History::agree(const CallName& name, const Call& call, const Survived& survived) {
    for (auto a = call.endings.begin(); a != call.endings.end(); ++a) {
        for (auto b = std::next(a); b != call.endings.end(); ++b) {
            const Ending &one = a->second, &two = b->second;
            bool binds =
                (decided(one) || survived(a->first, two.at)) && (decided(two) || survived(b->first, one.at));
            if (one.code == Code::SUCCESS && two.code == Code::SUCCESS) {
                // Compared when they were told, but for a query's flags: a flag that only a member knew that
                // is gone may be gone with it. One that was not there when all had reported cannot appear.
                const int told_yes = one.pending ? a->first : b->first;
                binds = one.pending != two.pending && survived(told_yes, one.pending ? two.at : one.at);
            }
            if (binds) compare(name, a->first, one, b->first, two);
        }
    }
}

void History::compare(const CallName& name, int first, const Ending& a, int second, const Ending& b) {
    if (same(a, b)) return;
    auto text = [this](const Ending& e) {
        std::string out = code_name(e.code);
        if (e.code != Code::SUCCESS) return out;
        out += " of {";
        for (const MemberId& id : e.contributors) out += " " + who(process_of(id));
        return out + " } pending " + std::to_string(e.pending) + " revision " + std::to_string(e.revision) +
               " content " + std::to_string(e.content % 100000);
    };
    fail_("I1", name.text() + ": " + who(first) + " was told " + text(a) + ", but " + who(second) +
                    " was told " + text(b));
}

bool History::compute_expected(const CallName& name, Call& call, int process, const Ending& ending) {
    std::vector<uint64_t> keys;
    const Shape& own = call.shapes.at(process);
    for (const MemberId& id : ending.contributors) {
        const int contributor = process_of(id);
        auto it = call.shapes.find(contributor);
        if (it == call.shapes.end()) {
            fail_("I2", name.text() + " at " + who(process) + " names " + who(contributor) +
                            ", which never called it");
            return false;
        }
        if (!(it->second == own)) {
            fail_("I2", name.text() + " succeeded at " + who(process) + " although " + who(contributor) +
                            " called it with another shape");
            return false;
        }
        keys.push_back(name.input_key(seed_, contributor));
    }
    call.contributors = ending.contributors;
    call.expected = expected_result(own, keys);
    return true;
}

void History::check_result(const CallName& name, Call& call, int process, const Ending& ending,
                           std::span<const uint8_t> result) {
    const bool own = std::any_of(ending.contributors.begin(), ending.contributors.end(),
                                 [&](const MemberId& id) { return process_of(id) == process; });
    if (!own) fail_("I2", name.text() + " succeeded at " + who(process) + " without its own input");
    if (call.contributors != ending.contributors) {
        if (!compute_expected(name, call, process, ending)) return;
    }
    if (call.expected.size() != result.size()) return;  // Shapes differ, which is reported above.
    if (result.empty() || std::memcmp(call.expected.data(), result.data(), result.size()) == 0) return;
    size_t at = 0;
    while (call.expected[at] == result[at]) ++at;
    const Shape& shape = call.shapes.at(process);
    fail_("I2", name.text() + ": the result at " + who(process) + " is wrong from byte " +
                    std::to_string(at) + " of " + std::to_string(result.size()) + " on (" +
                    name_of(shape.dtype) + " " + name_of(shape.op) + ")");
}

void History::view_seen(uint32_t group, int process, const core::View& view) {
    if (view.epoch.is_none()) return;
    auto [it, fresh] = epochs_.emplace(std::pair(group, view.epoch), view.members);
    if (!fresh && it->second != view.members) {
        fail_("I1", "epoch " + view.epoch.text() + " has two member lists, one at " + who(process));
    }
    core::View& before = views_[process];
    if (before.epoch == view.epoch) return;
    if (view.epoch < before.epoch) fail_("I5", who(process) + " went back to epoch " + view.epoch.text());
    // Survivors keep their order and newcomers follow.
    std::vector<MemberId> expected;
    auto holds = [](const std::vector<MemberId>& list, const MemberId& id) {
        return std::find(list.begin(), list.end(), id) != list.end();
    };
    for (const MemberId& id : before.members) {
        if (holds(view.members, id)) expected.push_back(id);
    }
    if (!std::equal(expected.begin(), expected.end(), view.members.begin(),
                    view.members.begin() +
                        static_cast<std::ptrdiff_t>(std::min(expected.size(), view.members.size())))) {
        fail_("I1", "epoch " + view.epoch.text() + " changed the order of survivors at " + who(process));
    }
    before = view;
}

}  // namespace pccl::sim
