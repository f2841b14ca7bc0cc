// Benchmarks of a GPU, named cuda/…: registered only where there is one. A name holds the case that torch_side.py knows
// under the same.
#pragma once

#include <bench/measure.h>

#include <mollify/engine/precision.h>

#include <functional>
#include <string>

namespace mollify::bench {

// What the data sheet of the card in use promises, in operations and bytes a second; 0 where the card is not in the
// table.
struct CardPeaks {
  const char* name;
  double bandwidth, fp32, tf32, bf16, fp64;  // tensor cores for all but fp32, without sparsity
};
const CardPeaks& card_peaks();
double peak_of(const CardPeaks& peaks, Precision precision);

inline constexpr Precision kPrecisions[] = {Precision::fp32, Precision::tf32, Precision::bf16};

// $MOLLIFY_BENCH_TINY: sizes for a smoke run, such as on the emulated GPU. Names stay; the times mean nothing.
bool tiny();
template <class T>
T sized(T full, T small) {
  return tiny() ? small : full;
}

// Registers cuda/`name` where there is a device; `body` runs with that precision of products. What it throws is the
// benchmark's error.
int on_cuda(const std::string& name, Precision precision, std::function<void(benchmark::State&)> body);

}  // namespace mollify::bench
