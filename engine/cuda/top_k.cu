#include <mollify/engine/cuda/sort_items.cuh>

#include <algorithm>

namespace mollify::cuda {
namespace {

constexpr int kThreads = 256, kInFlight = 4;

// Items of rows of numbers, [rows, count], …
template <class T>
struct FromNumbers {
  const T* x;
  int64_t count;
  bool descending;
  __device__ SortItem<T> operator()(int64_t row, int64_t i) const {
    return SortItem<T>::of(x[row * count + i], i, descending);
  }
};

// … and items that an earlier selection has left.
template <class T>
struct FromItems {
  const SortItem<T>* items;
  int64_t count;
  __device__ SortItem<T> operator()(int64_t row, int64_t i) const { return items[row * count + i]; }
};

// This lane keeps the earlier or the later of its item and that of lane ^ offset.
template <class T>
__device__ SortItem<T> exchange(const SortItem<T>& item, int lane, int offset, bool keep_earlier) {
  const SortItem<T> other = item.of_lane(lane ^ offset);
  return other.before(item) == keep_earlier ? other : item;
}

// Sorts the warp's items over its lanes: Batcher's bitonic network.
template <class T>
__device__ SortItem<T> sort_warp(SortItem<T> item, int lane) {
  MOLLIFY_UNROLL
  for (int size = 2; size <= kWarp; size *= 2) {
    MOLLIFY_UNROLL
    for (int offset = size / 2; offset > 0; offset /= 2)
      item = exchange(item, lane, offset, ((lane & offset) == 0) == ((lane & size) == 0));
  }
  return item;
}

// The first 32 of two sorted warps of items: the earlier of each and its mirror image are the first, and bitonic.
template <class T>
__device__ SortItem<T> merge_warps(SortItem<T> kept, const SortItem<T>& more, int lane) {
  const SortItem<T> mirrored = more.of_lane(kWarp - 1 - lane);
  if (mirrored.before(kept)) kept = mirrored;
  MOLLIFY_UNROLL
  for (int offset = kWarp / 2; offset > 0; offset /= 2) kept = exchange(kept, lane, offset, (lane & offset) == 0);
  return kept;
}

// A warp for each span of a row leaves the span's first 32 items in order; lanes that have none hold SortItem::last().
// `needed` of them are needed in the end: only what precedes the last of these is sorted in.
template <class T, class From, class To>
__global__ void __launch_bounds__(kThreads)
select_spans(From from, To to, int64_t rows, int64_t count, int64_t span, int64_t spans, int needed) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  for (int64_t item = global_thread() / kWarp; item < rows * spans; item += global_threads() / kWarp) {
    const int64_t row = item / spans, part = item - row * spans, first = part * span,
                  last = first + span < count ? first + span : count;
    SortItem<T> kept = SortItem<T>::last(), threshold = kept;
    for (int64_t base = first + lane; base - lane < last; base += kInFlight * kWarp) {
      SortItem<T> more[kInFlight];
      MOLLIFY_UNROLL
      for (int i = 0; i < kInFlight; ++i)
        more[i] = base + i * kWarp < last ? from(row, base + i * kWarp) : SortItem<T>::last();
      MOLLIFY_UNROLL
      for (int i = 0; i < kInFlight; ++i) {
        if (!__any_sync(kAllLanes, more[i].before(threshold))) continue;
        kept = merge_warps(kept, sort_warp(more[i], lane), lane);
        threshold = kept.of_lane(needed - 1);
      }
    }
    to(row, part * kWarp + lane, kept);
  }
}

template <class T, class From, class To>
void launch_selection(const From& from, const To& to, int64_t rows, int64_t count, int64_t span, int needed) {
  constexpr int warps = kThreads / kWarp;
  const int64_t spans = (count + span - 1) / span;
  const dim3 grid = block_for_each((rows * spans + warps - 1) / warps);
  launch("sort", select_spans<T, From, To>, grid, dim3(kThreads), 0, from, to, rows, count, span, spans, needed);
}

constexpr int64_t kOneWarp = 1024;  // what a warp alone selects from

// Selects among the 32 items of each of a row's spans until they are few.
template <class T>
void select_again(const SortItem<T>* items, int64_t rows, int64_t count, const ToResult<T>& result) {
  const FromItems<T> from{items, count};
  const int needed = static_cast<int>(result.kept);
  if (count <= kOneWarp) return launch_selection<T>(from, result, rows, count, kOneWarp, needed);
  const int64_t left = (count + kOneWarp - 1) / kOneWarp * kWarp;
  const Scratch<SortItem<T>> rest(rows * left);
  launch_selection<T>(from, ToItems<T>{rest.data(), left}, rows, count, kOneWarp, needed);
  select_again(rest.data(), rows, left, result);
}

}  // namespace

template <class T>
void top_k(const T* x, int64_t rows, int64_t count, bool descending, const ToResult<T>& result) {
  const FromNumbers<T> from{x, count, descending};
  const int needed = static_cast<int>(result.kept);
  const int64_t span = std::clamp(rows * count / 8192 / kOneWarp * kOneWarp, kOneWarp, 16 * kOneWarp);
  if (count <= span) return launch_selection<T>(from, result, rows, count, span, needed);
  const int64_t left = (count + span - 1) / span * kWarp;
  const Scratch<SortItem<T>> rest(rows * left);
  launch_selection<T>(from, ToItems<T>{rest.data(), left}, rows, count, span, needed);
  select_again(rest.data(), rows, left, result);
}

template void top_k(const float*, int64_t, int64_t, bool, const ToResult<float>&);
template void top_k(const double*, int64_t, int64_t, bool, const ToResult<double>&);

}  // namespace mollify::cuda
