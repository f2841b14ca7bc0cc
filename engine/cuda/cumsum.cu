#include <mollify/engine/cuda/pack.cuh>
#include <mollify/engine/cuda/rows.cuh>
#include <mollify/engine/cuda/sort.h>

namespace mollify::cuda {
namespace {

constexpr int kThreads = 256, kEach = 8;
constexpr int kTile = kThreads * kEach;  // numbers that a block scans at a time

// Rows by the order in which they are summed.
template <class T>
struct Rows {
  const T* x;
  T* out;
  int64_t rows, count;
  bool reverse;

  __device__ int64_t place(int64_t row, int64_t i) const { return row * count + (reverse ? count - 1 - i : i); }
};

// Sums over the lanes up to and including this one.
__device__ double scan_warp(double value) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const double before = __shfl_up_sync(kAllLanes, value, offset);
    if (lane >= offset) value = before + value;
  }
  return value;
}

template <class T>
__global__ void scan_short_rows(Rows<T> r) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  for (int64_t row = global_thread() / kWarp; row < r.rows; row += global_threads() / kWarp) {
    double carry = 0;
    for (int64_t base = 0; base < r.count; base += kWarp) {
      const bool inside = base + lane < r.count;
      const int64_t place = inside ? r.place(row, base + lane) : 0;
      const double sum = carry + scan_warp(inside ? static_cast<double>(r.x[place]) : 0.0);
      if (inside) r.out[place] = static_cast<T>(sum);
      carry = __shfl_sync(kAllLanes, sum, kWarp - 1);
    }
  }
}

__device__ double sum_block(double value) {
  return combine_block(value, 0.0, [](double a, double b) { return a + b; });
}

// totals: [rows, spans]
template <class T>
__global__ void __launch_bounds__(kThreads) sum_spans(Rows<T> r, int64_t span, int64_t spans, double* totals) {
  for (int64_t item = blockIdx.x; item < r.rows * spans; item += gridDim.x) {
    const int64_t row = item / spans, first = item % spans * span,
                  last = first + span < r.count ? first + span : r.count;
    double total = 0;
    for (int64_t i = first + threadIdx.x; i < last; i += kThreads) total += static_cast<double>(r.x[r.place(row, i)]);
    total = sum_block(total);
    if (threadIdx.x == 0) totals[item] = total;
  }
}

// A block scans a span tile by tile, from the sum of its row's earlier spans on. Memory is read and written in its
// order and exchanged through shared memory, so that each thread sums neighbours.
template <class T>
__global__ void __launch_bounds__(kThreads) scan_spans(Rows<T> r, int64_t span, int64_t spans, const double* totals) {
  __shared__ T stage[kTile + kThreads];  // one place in nine is left free, against bank conflicts
  __shared__ double warp_sums[kThreads / kWarp];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  for (int64_t item = blockIdx.x; item < r.rows * spans; item += gridDim.x) {
    const int64_t row = item / spans, first = item % spans * span,
                  last = first + span < r.count ? first + span : r.count;
    double earlier = 0;
    for (int64_t i = thread; i < item % spans; i += kThreads) earlier += totals[item - item % spans + i];
    double carry = sum_block(earlier);
    for (int64_t base = first; base < last; base += kTile) {
      const int count = static_cast<int>(last - base < kTile ? last - base : kTile);
      for (int i = thread; i < kTile; i += kThreads)
        stage[i + i / kEach] = i < count ? r.x[r.place(row, base + i)] : T{0};
      __syncthreads();
      T* own = stage + thread * (kEach + 1);
      double sums[kEach], sum = 0;
      MOLLIFY_UNROLL
      for (int i = 0; i < kEach; ++i) sums[i] = sum += static_cast<double>(own[i]);
      const double through = scan_warp(sum);
      double before = __shfl_up_sync(kAllLanes, through, 1);
      if (lane == kWarp - 1) warp_sums[warp] = through;
      __syncthreads();
      if (lane == 0) before = 0;
      double start = carry;
      for (int i = 0; i < kThreads / kWarp; ++i) {
        if (i == warp) start = carry;
        carry += warp_sums[i];
      }
      MOLLIFY_UNROLL
      for (int i = 0; i < kEach; ++i) own[i] = static_cast<T>(start + before + sums[i]);
      __syncthreads();
      for (int i = thread; i < count; i += kThreads) r.out[r.place(row, base + i)] = stage[i + i / kEach];
      __syncthreads();
    }
  }
}

}  // namespace

template <class T>
void cumsum(const T* x, int64_t rows, int64_t count, bool reverse, T* out) {
  if (rows == 0 || count == 0) return;
  const Rows<T> r{x, out, rows, count, reverse};
  if (count <= 256) {
    launch("cumsum", scan_short_rows<T>, dim3(grid_for(rows * kWarp, kThreads)), dim3(kThreads), 0, r);
    return;
  }
  const int64_t span = span_of_rows(rows, count, 4 * kTile), spans = (count + span - 1) / span;
  const Scratch<double> totals(spans == 1 ? 0 : rows * spans);
  if (spans > 1)
    launch("cumsum", sum_spans<T>, block_for_each(rows * spans), dim3(kThreads), 0, r, span, spans, totals.data());
  launch("cumsum", scan_spans<T>, block_for_each(rows * spans), dim3(kThreads), 0, r, span, spans, totals.data());
}

template void cumsum(const float*, int64_t, int64_t, bool, float*);
template void cumsum(const double*, int64_t, int64_t, bool, double*);

}  // namespace mollify::cuda
