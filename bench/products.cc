// Matrix products of both backends by turns: the time and the rate are the own kernel's, `OpenBLAS` is its rate, and
// `ratio` its time over the own kernel's.
#include <bench/convolution.h>
#include <bench/peak.h>

#include <mollify/engine/error.h>
#include <mollify/engine/products.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

namespace mollify {
namespace {

struct Sizes {
  const char* kind;  // matmul: a·b; dense: a·bᵀ; gradient: aᵀ·b
  int64_t m, k, n;
};

constexpr Sizes kSizes[] = {
    {"dense", 1, 1000, 1000},    {"dense", 8, 1000, 1000},     {"dense", 64, 1000, 1000},
    {"dense", 256, 1000, 1000},  {"matmul", 64, 64, 64},       {"matmul", 128, 128, 128},
    {"matmul", 512, 512, 512},   {"matmul", 1024, 1024, 1024}, {"matmul", 2048, 2048, 2048},
    {"matmul", 16384, 64, 64},   {"gradient", 10, 64, 6000},   {"gradient", 100, 6000, 10},
    {"matmul", 128, 4608, 128},  {"matmul", 16, 4608, 128}};

struct Factors {
  Factors(const Sizes& s, DType dtype)
      : kind(s.kind),
        a(bench::random_values(kind == "gradient" ? Shape{s.k, s.m} : Shape{s.m, s.k}, dtype)),
        b(bench::random_values(kind == "dense" ? Shape{s.n, s.k} : Shape{s.k, s.n}, dtype)) {}
  Tensor product() const {
    return kind == "dense" ? dense(a, b, {}) : matmul(kind == "gradient" ? transpose(a) : a, b);
  }

  std::string kind;
  Tensor a, b;
};

// Seconds a call.
double seconds_of(int64_t calls, const Factors& factors) {
  const auto start = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < calls; ++i) benchmark::DoNotOptimize(factors.product());
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / static_cast<double>(calls);
}

// Medians of runs of at least 2 ms, that another program disturbs alike: 31 rounds, or as many as fit into a second.
std::vector<double> medians_by_turns(const std::vector<Products>& backends, const Factors& factors) {
  constexpr double kRun = 0.002, kTotal = 1;
  constexpr size_t kLeast = 5, kMost = 31;
  std::vector<std::vector<double>> runs(backends.size());
  std::vector<int64_t> calls;
  double total = 0;
  for (size_t round = 0; round < kLeast || (round < kMost && total < kTotal); ++round)
    for (size_t i = 0; i < backends.size(); ++i) {
      set_products(backends[i]);
      if (round == 0) calls.push_back(std::max<int64_t>(1, std::llround(kRun / seconds_of(2, factors))));
      runs[i].push_back(seconds_of(calls[i], factors));
      total += runs[i].back() * static_cast<double>(calls[i]);
    }
  set_products(Products::own);
  std::vector<double> medians;
  for (std::vector<double>& times : runs) {
    std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
    medians.push_back(times[times.size() / 2]);
  }
  return medians;
}

std::vector<Products> backends() {
  try {
    set_products(Products::openblas);
    return {Products::own, Products::openblas};
  } catch (const Error&) { return {Products::own}; }
}

void product(benchmark::State& state, const Sizes& sizes, DType dtype) {
  const Factors factors(sizes, dtype);
  const std::vector<double> seconds = medians_by_turns(backends(), factors);
  for (auto _ : state) state.SetIterationTime(seconds[0]);
  const double flops = 2.0 * static_cast<double>(sizes.m * sizes.k * sizes.n);
  bench::report(state, "FLOP/s", flops, bench::peak_flops() / (dtype == DType::f64 ? 2 : 1));
  if (seconds.size() == 1) return;
  state.counters["OpenBLAS"] = flops / seconds[1];
  state.counters["ratio"] = seconds[1] / seconds[0];
}

[[maybe_unused]] const int registered = [] {
  int count = 0;
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Sizes& s : kSizes) {
      const std::string name = format("product/{}/{}/{}x{}x{}", to_string(dtype), s.kind, s.m, s.k, s.n);
      benchmark::RegisterBenchmark(name.c_str(), [s, dtype](benchmark::State& state) { product(state, s, dtype); })
          ->Iterations(1)
          ->UseManualTime();
      ++count;
    }
  return count;
}();

}  // namespace
}  // namespace mollify
