#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/reduce.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/engine/cpu/simd_math-inl.h>

#include <mollify/engine/cpu/long_sums.h>
#include <mollify/engine/cpu/reduce.h>

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <Reduction kind, class M, class V>
HWY_INLINE V combine(M m, V a, V b) {
  if constexpr (kind == Reduction::sum) return a + b;
  else if constexpr (kind == Reduction::max) return m.max(a, b);
  else return m.min(a, b);
}

template <Reduction kind, class T>
HWY_INLINE T neutral() {
  if constexpr (kind == Reduction::sum) return T{0};
  else return kind == Reduction::max ? -hwy::HighestValue<T>() * 2 : hwy::HighestValue<T>() * 2;  // ∓∞
}

// Lanes one by one, in order: NaN-keeping for max and min.
template <Reduction kind, class D, class V, class T = hn::TFromD<D>>
HWY_INLINE T combine_lanes(D d, V v) {
  HWY_ALIGN T lanes[HWY_MAX_BYTES / sizeof(T)];
  hn::Store(v, d, lanes);
  const SimdMath<hn::CappedTag<T, 1>> m1{{}};
  auto total = hn::Set(m1.d, lanes[0]);
  for (size_t i = 1; i < hn::Lanes(d); ++i) total = combine<kind>(m1, total, hn::Set(m1.d, lanes[i]));
  return hn::GetLane(total);
}

// Calls f(vector of up to a vector's worth of x) in order; the last one is padded with `padding`.
template <class D, class T, class F>
HWY_INLINE void for_vectors(D d, const T* x, int64_t n, T padding, const F& f) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) f(hn::LoadU(d, x + i));
  if (i == n) return;
  HWY_ALIGN T rest[HWY_MAX_BYTES / sizeof(T)];
  for (int64_t j = 0; j < lanes; ++j) rest[j] = i + j < n ? x[i + j] : padding;
  f(hn::Load(d, rest));
}

// One run of up to a few thousand numbers; four accumulators hide the latency of an addition.
template <Reduction kind, class T>
T reduce_run(const T* x, int64_t n) {
  const hn::ScalableTag<T> d;
  const SimdMath<decltype(d)> m{d};
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto a0 = hn::Set(d, neutral<kind, T>()), a1 = a0, a2 = a0, a3 = a0;
  int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    a0 = combine<kind>(m, a0, hn::LoadU(d, x + i));
    a1 = combine<kind>(m, a1, hn::LoadU(d, x + i + lanes));
    a2 = combine<kind>(m, a2, hn::LoadU(d, x + i + 2 * lanes));
    a3 = combine<kind>(m, a3, hn::LoadU(d, x + i + 3 * lanes));
  }
  for_vectors(d, x + i, n - i, neutral<kind, T>(), [&](auto v) HWY_ATTR { a0 = combine<kind>(m, a0, v); });
  return combine_lanes<kind>(d, combine<kind>(m, combine<kind>(m, a0, a1), combine<kind>(m, a2, a3)));
}

// into[j] = into[j] ⊕ x[r, j] for r < rows, row after row.
template <Reduction kind, class T>
void reduce_columns(const T* x, int64_t rows, int64_t inner, T* into) {
  const hn::ScalableTag<T> d;
  const SimdMath<decltype(d)> m{d};
  const hn::CappedTag<T, 1> d1;
  const SimdMath<decltype(d1)> m1{d1};
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t j = 0;
  for (; j + lanes <= inner; j += lanes) {
    auto total = hn::LoadU(d, into + j);
    for (int64_t r = 0; r < rows; ++r) total = combine<kind>(m, total, hn::LoadU(d, x + r * inner + j));
    hn::StoreU(total, d, into + j);
  }
  for (; j < inner; ++j) {
    auto total = hn::LoadU(d1, into + j);
    for (int64_t r = 0; r < rows; ++r) total = combine<kind>(m1, total, hn::LoadU(d1, x + r * inner + j));
    hn::StoreU(total, d1, into + j);
  }
}

// max + log Σ exp(x − max), the maximum taken as 0 where it is infinite.
template <class T>
T logsumexp_row(const T* x, int64_t n) {
  const hn::ScalableTag<T> d;
  const SimdMath<decltype(d)> m{d};
  const SimdMath<hn::CappedTag<T, 1>> m1{{}};
  const T largest = reduce_run<Reduction::max>(x, n);
  const T shift = largest - largest == 0 ? largest : T{0};
  const auto shifts = hn::Set(d, shift);
  double sum = 0;
  for (int64_t first = 0; first < n; first += kSumBlock) {
    auto total = m.zero();
    for_vectors(d, x + first, std::min(kSumBlock, n - first), neutral<Reduction::max, T>(),
                [&](auto v) HWY_ATTR { total = total + m.exp(v - shifts); });
    sum += static_cast<double>(combine_lanes<Reduction::sum>(d, total));
  }
  return shift + hn::GetLane(m1.log(hn::Set(m1.d, static_cast<T>(sum))));
}

#define MOLLIFY_FOR_REDUCTIONS(X) X(sum) X(max) X(min)
#define MOLLIFY_DEFINE(kind)                                                                        \
  float run_##kind##_f32(const float* x, int64_t n) { return reduce_run<Reduction::kind>(x, n); }   \
  double run_##kind##_f64(const double* x, int64_t n) { return reduce_run<Reduction::kind>(x, n); } \
  void columns_##kind##_f32(const float* x, int64_t rows, int64_t inner, float* into) {             \
    reduce_columns<Reduction::kind>(x, rows, inner, into);                                          \
  }                                                                                                 \
  void columns_##kind##_f64(const double* x, int64_t rows, int64_t inner, double* into) {           \
    reduce_columns<Reduction::kind>(x, rows, inner, into);                                          \
  }
MOLLIFY_FOR_REDUCTIONS(MOLLIFY_DEFINE)
#undef MOLLIFY_DEFINE
float logsumexp_f32(const float* x, int64_t n) { return logsumexp_row(x, n); }
double logsumexp_f64(const double* x, int64_t n) { return logsumexp_row(x, n); }

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/memory.h>

#include <algorithm>
#include <limits>

namespace mollify::cpu {

#define MOLLIFY_EXPORT(kind)        \
  HWY_EXPORT(run_##kind##_f32);     \
  HWY_EXPORT(run_##kind##_f64);     \
  HWY_EXPORT(columns_##kind##_f32); \
  HWY_EXPORT(columns_##kind##_f64);
MOLLIFY_FOR_REDUCTIONS(MOLLIFY_EXPORT)
#undef MOLLIFY_EXPORT
HWY_EXPORT(logsumexp_f32);
HWY_EXPORT(logsumexp_f64);

namespace {

constexpr int64_t kGrain = 32768;  // numbers a range of parallel work

template <class T>
T run(Reduction kind, const T* x, int64_t n) {
#define MOLLIFY_CASE(k)                                                                        \
  case Reduction::k:                                                                           \
    if constexpr (sizeof(T) == 4) return HWY_DYNAMIC_DISPATCH(run_##k##_f32)(x, n);            \
    else return HWY_DYNAMIC_DISPATCH(run_##k##_f64)(x, n);
  switch (kind) { MOLLIFY_FOR_REDUCTIONS(MOLLIFY_CASE) }
#undef MOLLIFY_CASE
  return T{};
}

template <class T>
void columns(Reduction kind, const T* x, int64_t rows, int64_t inner, T* into) {
#define MOLLIFY_CASE(k)                                                                                \
  case Reduction::k:                                                                                   \
    if constexpr (sizeof(T) == 4) return HWY_DYNAMIC_DISPATCH(columns_##k##_f32)(x, rows, inner, into);\
    else return HWY_DYNAMIC_DISPATCH(columns_##k##_f64)(x, rows, inner, into);
  switch (kind) { MOLLIFY_FOR_REDUCTIONS(MOLLIFY_CASE) }
#undef MOLLIFY_CASE
}

double start_of(Reduction kind) {
  const double infinity = std::numeric_limits<double>::infinity();
  return kind == Reduction::sum ? 0 : kind == Reduction::max ? -infinity : infinity;
}

double join(Reduction kind, double a, double b) {
  if (kind == Reduction::sum) return a + b;
  if (a != a || b != b) return a + b;  // NaN
  return kind == Reduction::max ? std::max(a, b) : std::min(a, b);
}

template <class T>
void reduce_rows(Reduction kind, const T* x, int64_t rows, int64_t count, T* out) {
  const int64_t chunks = std::max<int64_t>(1, (count + kSumBlock - 1) / kSumBlock);
  Scratch<double> partial(rows * chunks);
  parallel_for(rows * chunks, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, std::min(count, kSumBlock))),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t row = i / chunks, first = i % chunks * kSumBlock;
                   partial[i] =
                       static_cast<double>(run(kind, x + row * count + first, std::min(kSumBlock, count - first)));
                 }
               });
  for (int64_t row = 0; row < rows; ++row) {
    double total = start_of(kind);
    for (int64_t i = 0; i < chunks; ++i) total = join(kind, total, partial[row * chunks + i]);
    out[row] = static_cast<T>(total);
  }
}

template <class T>
void reduce_middle(Reduction kind, const T* x, int64_t outer, int64_t count, int64_t inner, T* out) {
  const int64_t rows = std::clamp<int64_t>(kGrain / inner, 16, 512);  // of a chunk
  const int64_t chunks = std::max<int64_t>(1, (count + rows - 1) / rows);
  Scratch<T> partial(outer * chunks * inner);
  parallel_for(outer * chunks, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, std::min(rows, count) * inner)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) {
                   const int64_t first = i % chunks * rows;
                   T* into = partial.data() + i * inner;
                   std::fill_n(into, inner, static_cast<T>(start_of(kind)));
                   columns(kind, x + (i / chunks * count + first) * inner, std::min(rows, count - first), inner, into);
                 }
               });
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t j = 0; j < inner; ++j) {
      double total = start_of(kind);
      for (int64_t i = 0; i < chunks; ++i)
        total = join(kind, total, static_cast<double>(partial[(o * chunks + i) * inner + j]));
      out[o * inner + j] = static_cast<T>(total);
    }
  }
}

}  // namespace

template <class T>
void reduce(Reduction kind, const T* x, int64_t outer, int64_t count, int64_t inner, T* out) {
  if (outer * inner == 0) return;
  if (inner == 1) reduce_rows(kind, x, outer, count, out);
  else reduce_middle(kind, x, outer, count, inner, out);
}

template <class T>
void logsumexp(const T* x, int64_t rows, int64_t count, T* out) {
  parallel_for(rows, std::max<int64_t>(1, kGrain / 4 / std::max<int64_t>(1, count)), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if constexpr (sizeof(T) == 4) out[row] = HWY_DYNAMIC_DISPATCH(logsumexp_f32)(x + row * count, count);
      else out[row] = HWY_DYNAMIC_DISPATCH(logsumexp_f64)(x + row * count, count);
    }
  });
}

template void reduce(Reduction, const float*, int64_t, int64_t, int64_t, float*);
template void reduce(Reduction, const double*, int64_t, int64_t, int64_t, double*);
template void logsumexp(const float*, int64_t, int64_t, float*);
template void logsumexp(const double*, int64_t, int64_t, double*);

}  // namespace mollify::cpu

#endif  // HWY_ONCE
