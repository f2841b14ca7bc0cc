#include <bench/measure.h>

#include <mollify/engine/cuda/gpu.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

namespace mollify::bench {
namespace {

// Seconds that `count` calls take, the wait for the device included.
double seconds_of(int64_t count, const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < count; ++i) work();
  cuda::synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Median over runs of at least 10 ms, beside which the wait (some 20 µs) does not count. Where one call takes longer
// than all of them should, the faster of two.
double median_seconds(const std::function<void()>& work) {
  constexpr double kRun = 0.01, kTotal = 0.1;
  constexpr size_t kLeast = 5;
  cuda::synchronize();
  const double first = seconds_of(1, work);
  if (first > kTotal) return std::min(first, seconds_of(1, work));
  const double second = seconds_of(4, work) / 4;
  const auto count = static_cast<int64_t>(std::clamp(std::ceil(kRun / second), 1.0, 4096.0));
  std::vector<double> runs;
  for (double total = 0; total < kTotal || runs.size() < kLeast; total += runs.back() * static_cast<double>(count))
    runs.push_back(seconds_of(count, work) / static_cast<double>(count));
  std::nth_element(runs.begin(), runs.begin() + runs.size() / 2, runs.end());
  return runs[runs.size() / 2];
}

}  // namespace

void measure(benchmark::State& state, Device device, const std::function<void()>& work) {
  if (device == Device::cpu) {
    for (auto _ : state) work();
    return;
  }
  const double seconds = median_seconds(work);
  for (auto _ : state) state.SetIterationTime(seconds);
}

}  // namespace mollify::bench
