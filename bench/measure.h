// How work is timed. On the CPU Google Benchmark counts iterations; on a GPU, where calls only queue work, runs of many
// calls end with one wait, and the benchmark's single iteration is the median run's share: register such a benchmark
// with Iterations(1)->UseManualTime().
#pragma once

#include <mollify/engine/memory.h>

#include <benchmark/benchmark.h>

#include <functional>

namespace mollify::bench {

void measure(benchmark::State& state, Device device, const std::function<void()>& work);

}  // namespace mollify::bench
