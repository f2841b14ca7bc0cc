// The machine's limits, measured: what a benchmark's rate is a share of.
#pragma once

#include <benchmark/benchmark.h>

namespace mollify::bench {

double peak_flops();      // f32 multiply-adds in registers, two operations each, on all threads
double peak_bandwidth();  // bytes a second read and written by a copy much larger than the caches, on all threads

// Adds the rate of `per_iteration` and its share of the peak, which may be unknown: 0.
void report(benchmark::State& state, const char* name, double per_iteration, double peak);

// Adds the rate of `per_iteration` floating-point operations (bytes) and its share of the peak to the benchmark's
// output.
void report_flops(benchmark::State& state, double per_iteration);
void report_bytes(benchmark::State& state, double per_iteration);

}  // namespace mollify::bench
