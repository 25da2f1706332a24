// Reductions, averages and hashes by element type, operator and working set.
//
// Sizes are the bytes of one operand: 8 KiB stays in the first-level cache, 256 KiB is one segment, 32 MiB
// comes from memory. The rate counts the bytes of both operands read and, by the usual convention for d += a,
// not the result. `copy` is the yardstick of the same run. Compare rates within a run only;
// --benchmark_enable_random_interleaving with --benchmark_repetitions gives medians that can be compared.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "kernel/hash.h"
#include "kernel/reduce.h"

namespace {

using namespace pccl;

constexpr size_t kSizes[] = {8 << 10, 256 << 10, 32 << 20};
constexpr RedOp kOps[] = {RedOp::kSum, RedOp::kProd, RedOp::kMax, RedOp::kMin};

struct Release {
    void operator()(uint8_t* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<uint8_t[], Release>;

/// Aligned to pages, so that every run has the same layout.
Memory allocate(size_t bytes) {
    void* memory = std::aligned_alloc(4096, bytes);
    if (memory == nullptr) {
        std::abort();
    }
    return Memory(static_cast<uint8_t*>(memory));
}

/// Ones in each type, so that no fold leaves the range where arithmetic is fast.
Memory ones(DataType type, size_t bytes) {
    uint64_t pattern = 1;
    switch (type) {
        case DataType::kFloat16: pattern = 0x3c00; break;
        case DataType::kBFloat16: pattern = 0x3f80; break;
        case DataType::kFloat: pattern = 0x3f800000; break;
        case DataType::kDouble: pattern = 0x3ff0000000000000; break;
        default: break;
    }
    Memory data = allocate(bytes);
    for (size_t at = 0; at < bytes; at += size_of(type)) {
        std::memcpy(&data[at], &pattern, size_of(type));
    }
    return data;
}

void fold_in_place(benchmark::State& state, DataType type, RedOp op, size_t bytes) {
    const Memory sum = ones(type, bytes);
    const Memory added = ones(type, bytes);
    for (auto _ : state) {
        kernel::reduce(sum.get(), sum.get(), added.get(), bytes / size_of(type), type, op);
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * 2 * bytes));
}

void average(benchmark::State& state, DataType type, size_t bytes) {
    const Memory data = ones(type, bytes);
    // Repeated division of floats would end in subnormal numbers, which some machines handle slowly; dividing
    // by one takes the same instructions. Integers end in zeros, which take the usual time, and are left
    // alone by one.
    const uint32_t contributors = type < DataType::kFloat16 ? 3 : 1;
    for (auto _ : state) {
        kernel::finish_average(data.get(), bytes / size_of(type), type, contributors);
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}

void copy(benchmark::State& state, size_t bytes) {
    const Memory from = ones(DataType::kUint8, bytes);
    const Memory to = ones(DataType::kUint8, bytes);
    for (auto _ : state) {
        std::memcpy(to.get(), from.get(), bytes);
        benchmark::ClobberMemory();
    }
    state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}

void hash(benchmark::State& state, size_t bytes) {
    const Memory data = ones(DataType::kUint8, bytes);
    for (auto _ : state) {
        benchmark::DoNotOptimize(kernel::hash128(data.get(), bytes));
    }
    state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
}

void register_all() {
    for (const size_t bytes : kSizes) {
        const std::string size = std::to_string(bytes >> 10) + "KiB";
        benchmark::RegisterBenchmark(("copy/" + size).c_str(), copy, bytes);
        benchmark::RegisterBenchmark(("hash/" + size).c_str(), hash, bytes);
        for (int i = 0; i < kDataTypeCount; ++i) {
            const auto type = static_cast<DataType>(i);
            for (const RedOp op : kOps) {
                const std::string name = std::string(name_of(op)) + "/" + name_of(type) + "/" + size;
                benchmark::RegisterBenchmark(name.c_str(), fold_in_place, type, op, bytes);
            }
            const std::string name = std::string("average/") + name_of(type) + "/" + size;
            benchmark::RegisterBenchmark(name.c_str(), average, type, bytes);
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
        return 1;
    }
    benchmark::AddCustomContext("instruction_set", kernel::instruction_set());
    register_all();
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
