// What becomes of each operation when an epoch ends: a pure function of the survivors' records.
#pragma once

#include <string>
#include <vector>

#include "core/mutations.h"
#include "wire/messages.h"

namespace pccl::core {

struct DecideInput {
    /// Survivors: members of both the old epoch and the proposal, in rank order, with their answers. Joiners
    /// do not count.
    std::vector<std::pair<MemberId, const wire::Frozen*>> survivors;
    bool participant_gone = false;  ///< the old epoch had members that are not survivors
    bool joined =
        false;         ///< the proposal has newcomers, who could not take part in an attempt of the old epoch
    std::string gone;  ///< who and why, for the texts
    bool redo = false;  ///< the group's policy is retry, or those who are gone have left by themselves
    Mutations mutations;
};

/// Operations that somebody lists and that have not ended everywhere.
std::vector<wire::OpKey> undecided(const DecideInput& input);

/// One decision for each operation that has not ended everywhere under an applied Install. The order of the
/// rules is fail, commit, finish, cancel, resume, abort.
std::vector<wire::Decision> decide(const DecideInput& input);

/// Makes an Install fit into `bytes_max`: long texts are cut, then attempts that would go on are aborted,
/// those with the largest maps first, for that is right whenever an attempt has not been committed. With
/// `redo` they run again.
void shrink(wire::Install& message, size_t bytes_max, bool redo);

}  // namespace pccl::core
