#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/peak.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace mollify::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Twelve independent chains of multiply-adds; returns how many floating-point operations that was.
double multiply_adds(int64_t rounds, float* sink) {
  const hn::ScalableTag<float> d;
  const auto a = hn::Set(d, 0.999f), b = hn::Set(d, 0.001f);
  const auto start = [&](int chain) HWY_ATTR {
    return hn::Set(d, static_cast<float>(chain));
  };  // all different, or compilers merge them
  auto x0 = start(0), x1 = start(1), x2 = start(2), x3 = start(3), x4 = start(4), x5 = start(5), x6 = start(6),
       x7 = start(7);
  auto x8 = start(8), x9 = start(9), x10 = start(10), x11 = start(11);
  for (int64_t i = 0; i < rounds; ++i) {
    x0 = hn::MulAdd(x0, a, b), x1 = hn::MulAdd(x1, a, b), x2 = hn::MulAdd(x2, a, b), x3 = hn::MulAdd(x3, a, b);
    x4 = hn::MulAdd(x4, a, b), x5 = hn::MulAdd(x5, a, b), x6 = hn::MulAdd(x6, a, b), x7 = hn::MulAdd(x7, a, b);
    x8 = hn::MulAdd(x8, a, b), x9 = hn::MulAdd(x9, a, b), x10 = hn::MulAdd(x10, a, b), x11 = hn::MulAdd(x11, a, b);
  }
  const auto sum = x0 + x1 + x2 + x3 + x4 + x5 + x6 + x7 + x8 + x9 + x10 + x11;
  *sink = hn::GetLane(sum);
  return 24.0 * static_cast<double>(rounds) * static_cast<double>(hn::Lanes(d));
}

}  // namespace mollify::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <bench/peak.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/memory.h>

#include <algorithm>
#include <chrono>
#include <cstring>

namespace mollify::bench {

HWY_EXPORT(multiply_adds);

namespace {

// The best of some runs of work(), which returns how much it did, in that a second.
template <class F>
double best_rate(const F& work) {
  double best = 0;
  for (int i = 0; i < 8; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double amount = work();
    best = std::max(best, amount / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

}  // namespace

double peak_flops() {
  static const double peak = best_rate([] {
    const int threads = num_threads();
    Scratch<double> amounts(threads);
    Scratch<float> sinks(threads);
    cpu::parallel_for(threads, 1, [&](int64_t begin, int64_t) {
      amounts[begin] = HWY_DYNAMIC_DISPATCH(multiply_adds)(1 << 20, &sinks[begin]);
    });
    benchmark::DoNotOptimize(sinks[0]);
    double total = 0;
    for (int i = 0; i < threads; ++i) total += amounts[i];
    return total;
  });
  return peak;
}

double peak_bandwidth() {
  static const double peak = [] {
    constexpr int64_t kBytes = int64_t{1} << 28;
    Scratch<char> from(kBytes), to(kBytes);
    std::memset(from.data(), 1, kBytes);
    std::memset(to.data(), 1, kBytes);
    return best_rate([&] {
      cpu::parallel_for(kBytes, kBytes / num_threads(), [&](int64_t begin, int64_t end) {
        std::memcpy(to.data() + begin, from.data() + begin, static_cast<size_t>(end - begin));
      });
      return 2.0 * kBytes;
    });
  }();
  return peak;
}

void report(benchmark::State& state, const char* name, double per_iteration, double peak) {
  const double total = per_iteration * static_cast<double>(state.iterations());
  state.counters[name] = benchmark::Counter(total, benchmark::Counter::kIsRate);
  if (peak > 0) state.counters["share_of_peak"] = benchmark::Counter(total / peak, benchmark::Counter::kIsRate);
}

void report_flops(benchmark::State& state, double per_iteration) {
  report(state, "FLOP/s", per_iteration, peak_flops());
}
void report_bytes(benchmark::State& state, double per_iteration) {
  report(state, "B/s", per_iteration, peak_bandwidth());
}

}  // namespace mollify::bench

#endif  // HWY_ONCE
