// Runs a test once for each instruction set that this machine has and the kernels were compiled for.
#pragma once

#include <cstdint>

#include <catch2/catch.hpp>

#include "hwy/targets.h"
#include "kernel/reduce.h"

namespace pccl::test {

/// While it lives, the kernels run on one instruction set.
class ChosenInstructionSet {
   public:
    explicit ChosenInstructionSet(int64_t target) { choose(target); }
    ~ChosenInstructionSet() { choose(0); }
    ChosenInstructionSet(const ChosenInstructionSet&) = delete;
    ChosenInstructionSet& operator=(const ChosenInstructionSet&) = delete;

   private:
    static void choose(int64_t targets) {
        hwy::SetSupportedTargetsForTest(targets);
        hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    }
};

template <class Function>
void for_each_instruction_set(Function function) {
    // The static target, portable code on most machines, is always there; the processor's own list may leave
    // it out.
    const int64_t targets = (hwy::SupportedTargets() & HWY_TARGETS) | HWY_STATIC_TARGET;
    for (int64_t rest = targets; rest != 0; rest &= rest - 1) {
        const int64_t target = rest & -rest;
        const ChosenInstructionSet chosen(target);
        REQUIRE(std::string(kernel::instruction_set()) == hwy::TargetName(target));
        INFO("instruction set " << kernel::instruction_set());
        function();
    }
}

}  // namespace pccl::test
