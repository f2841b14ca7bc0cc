#include <mollify/engine/cpu/sort.h>

#include <mollify/engine/cpu/pool_vector.h>
#include <mollify/engine/cpu/threads.h>

#include <algorithm>
#include <numeric>

namespace mollify::cpu {
namespace {

template <class T>
bool beats(T a, T b) { return a > b || (a != a && b == b); }  // NaN beats all numbers

// Calls f(row) for all rows, in parallel.
template <class F>
void for_rows(int64_t rows, int64_t count, const F& f) {
  parallel_for(rows, std::max<int64_t>(1, 8192 / std::max<int64_t>(1, count)), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) f(row);
  });
}

}  // namespace

template <class T>
void argmax(const T* x, int64_t rows, int64_t count, int32_t* out) {
  for_rows(rows, count, [&](int64_t r) {
    const T* row = x + r * count;
    int64_t best = 0;
    for (int64_t i = 1; i < count; ++i)
      if (beats(row[i], row[best])) best = i;
    out[r] = static_cast<int32_t>(best);
  });
}

template <class T>
void cumsum(const T* x, int64_t rows, int64_t count, bool reverse, T* out) {
  for_rows(rows, count, [&](int64_t r) {
    double total = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = r * count + (reverse ? count - 1 - i : i);
      out[at] = static_cast<T>(total += static_cast<double>(x[at]));
    }
  });
}

template <class T>
void sort(const T* x, int64_t rows, int64_t count, int64_t kept, bool descending, T* values, int32_t* indices) {
  for_rows(rows, count, [&](int64_t r) {
    const T* row = x + r * count;
    PoolVector<int32_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    const auto before = [&](int32_t i, int32_t j) {
      if (descending ? beats(row[i], row[j]) : beats(row[j], row[i])) return true;
      if (descending ? beats(row[j], row[i]) : beats(row[i], row[j])) return false;
      return i < j;
    };
    std::partial_sort(order.begin(), order.begin() + kept, order.end(), before);
    for (int64_t i = 0; i < kept; ++i) {
      indices[r * kept + i] = order[static_cast<size_t>(i)];
      values[r * kept + i] = row[order[static_cast<size_t>(i)]];
    }
  });
}

template void argmax(const float*, int64_t, int64_t, int32_t*);
template void argmax(const double*, int64_t, int64_t, int32_t*);
template void cumsum(const float*, int64_t, int64_t, bool, float*);
template void cumsum(const double*, int64_t, int64_t, bool, double*);
template void sort(const float*, int64_t, int64_t, int64_t, bool, float*, int32_t*);
template void sort(const double*, int64_t, int64_t, int64_t, bool, double*, int32_t*);

}  // namespace mollify::cpu
