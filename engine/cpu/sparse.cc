#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/sparse.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <mollify/engine/cpu/simd_math-inl.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// sum[r] += factor·x[r]
template <class T>
void add_scaled(const T* x, T factor, int64_t n, T* sum) {
  const hn::ScalableTag<T> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto f = hn::Set(d, factor);
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::MulAdd(f, hn::LoadU(d, x + i), hn::LoadU(d, sum + i)), d, sum + i);
  const hn::CappedTag<T, 1> one;
  for (; i < n; ++i)
    hn::StoreU(hn::MulAdd(hn::Set(one, factor), hn::LoadU(one, x + i), hn::LoadU(one, sum + i)), one, sum + i);
}

// The entries `begin` … `end` of one row of the matrix, which starts at place `first`.
template <class T>
void add_row(const T* columns, int64_t stride, const T* values, const int32_t* places, int64_t first, int64_t begin,
             int64_t end, int64_t rows, T* sum) {
  for (int64_t k = begin; k < end; ++k) add_scaled(columns + (places[k] - first) * stride, values[k], rows, sum);
}
void add_row_f32(const float* columns, int64_t stride, const float* values, const int32_t* places, int64_t first,
                 int64_t begin, int64_t end, int64_t rows, float* sum) {
  add_row(columns, stride, values, places, first, begin, end, rows, sum);
}
void add_row_f64(const double* columns, int64_t stride, const double* values, const int32_t* places, int64_t first,
                 int64_t begin, int64_t end, int64_t rows, double* sum) {
  add_row(columns, stride, values, places, first, begin, end, rows, sum);
}

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <mollify/engine/cpu/sparse.h>
#include <mollify/engine/cpu/threads.h>

#include <algorithm>

namespace mollify::cpu {

HWY_EXPORT(add_row_f32);
HWY_EXPORT(add_row_f64);

template <class T>
void put(const T* x, int64_t size, const T* values, const int32_t* places, int64_t count, T* out) {
  constexpr int64_t kGrain = 32768;
  parallel_for(size, kGrain, [&](int64_t begin, int64_t end) {
    std::copy(x + begin, x + end, out + begin);
    for (const int32_t* place = std::lower_bound(places, places + count, begin); place < places + count && *place < end;
         ++place)
      out[*place] = values[place - places];
  });
}

template <class T>
void sparse_dense(const T* columns, int64_t inputs, int64_t rows, const T* values, const int32_t* places, int64_t count,
                  int64_t outputs, T* out) {
  constexpr int64_t kRows = 64;  // whose sums stay in registers or near them
  const int64_t work = rows * std::max<int64_t>(1, count / std::max<int64_t>(1, outputs));
  parallel_for(outputs, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, work)), [&](int64_t begin, int64_t end) {
    int64_t k = std::lower_bound(places, places + count, begin * inputs) - places;
    for (int64_t o = begin; o < end; ++o) {
      int64_t stop = k;
      while (stop < count && places[stop] < (o + 1) * inputs) ++stop;
      for (int64_t r = 0; r < rows; r += kRows) {
        const int64_t here = std::min(kRows, rows - r);
        T sum[kRows] = {};
        if constexpr (sizeof(T) == 4)
          HWY_DYNAMIC_DISPATCH(add_row_f32)(columns + r, rows, values, places, o * inputs, k, stop, here, sum);
        else
          HWY_DYNAMIC_DISPATCH(add_row_f64)(columns + r, rows, values, places, o * inputs, k, stop, here, sum);
        for (int64_t i = 0; i < here; ++i) out[(r + i) * outputs + o] = sum[i];
      }
      k = stop;
    }
  });
}

template void put(const float*, int64_t, const float*, const int32_t*, int64_t, float*);
template void put(const double*, int64_t, const double*, const int32_t*, int64_t, double*);
template void sparse_dense(const float*, int64_t, int64_t, const float*, const int32_t*, int64_t, int64_t, float*);
template void sparse_dense(const double*, int64_t, int64_t, const double*, const int32_t*, int64_t, int64_t, double*);

}  // namespace mollify::cpu

#endif  // HWY_ONCE
