#include <mollify/engine/cuda/sort.h>

#include <mollify/engine/cuda/sort_items.cuh>

#include <algorithm>
#include <bit>

namespace mollify::cuda {
namespace {

constexpr int64_t kSharedBytes = 32768;
template <class T>
constexpr int64_t kTile = kSharedBytes /
                          static_cast<int64_t>(sizeof(SortItem<T>));  // items that a block sorts in shared memory

// A block sorts each tile of `size` items (a power of 2) of a row: Batcher's bitonic network in shared memory.
template <class T, class To>
__global__ void sort_tiles(const T* x, To to, int64_t rows, int64_t count, int size, bool descending) {
  SortItem<T>* items = dynamic_shared<SortItem<T>>();
  const int64_t tiles = (count + size - 1) / size;
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  for (int64_t item = blockIdx.x; item < rows * tiles; item += gridDim.x) {
    const int64_t row = item / tiles, first = item % tiles * size;
    for (int i = thread; i < size; i += threads)
      items[i] =
          first + i < count ? SortItem<T>::of(x[row * count + first + i], first + i, descending) : SortItem<T>::last();
    for (int sorted = 2; sorted <= size; sorted *= 2)
      for (int offset = sorted / 2; offset > 0; offset /= 2) {
        __syncthreads();
        for (int pair = thread; pair < size / 2; pair += threads) {
          const int i = 2 * pair - (pair & (offset - 1)), j = i + offset;
          const SortItem<T> a = items[i], b = items[j];
          if (b.before(a) == ((i & sorted) == 0)) {
            items[i] = b;
            items[j] = a;
          }
        }
      }
    __syncthreads();
    for (int i = thread; i < size && first + i < count; i += threads) to(row, first + i, items[i]);
    __syncthreads();  // the tile's memory is free for the next
  }
}

constexpr int kThreads = 256, kEach = 8;
constexpr int kMerged = kThreads * kEach;  // items that a block merges

// How many of the first d items of the merged a and b come from a.
template <class T>
__device__ int64_t split(const SortItem<T>* a, int64_t a_count, const SortItem<T>* b, int64_t b_count, int64_t d) {
  int64_t low = d > b_count ? d - b_count : 0, high = d < a_count ? d : a_count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (a[middle].before(b[d - 1 - middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Each thread merges its kEach items of those of shared a and b and passes them to `to`, from `place` on.
template <class T, class To>
__device__ void merge_shared(const SortItem<T>* a, int a_count, const SortItem<T>* b, int b_count, const To& to,
                             int64_t row, int64_t place) {
  const int first = static_cast<int>(threadIdx.x) * kEach, last = min(first + kEach, a_count + b_count);
  if (first >= last) return;
  int i = static_cast<int>(split(a, a_count, b, b_count, first)), j = first - i;
  for (int out = first; out < last; ++out) {
    const bool from_a = j == b_count || (i < a_count && a[i].before(b[j]));
    to(row, place + out, from_a ? a[i++] : b[j++]);
  }
}

// Merges neighbouring sorted runs of [rows, count] items, a block for kMerged items of a merged pair; of every run only
// the first `kept` are read and written.
template <class T, class To>
__global__ void __launch_bounds__(kThreads)
merge_runs(const SortItem<T>* from, To to, int64_t rows, int64_t count, int64_t run, int64_t kept) {
  __shared__ SortItem<T> items[kMerged];
  __shared__ int64_t bounds[2];
  const int64_t pairs = (count + 2 * run - 1) / (2 * run), tiles = (min(2 * run, kept) + kMerged - 1) / kMerged;
  for (int64_t item = blockIdx.x; item < rows * pairs * tiles; item += gridDim.x) {
    const int64_t start = item / tiles % pairs * 2 * run, row = item / tiles / pairs;
    const int64_t a_count = min(kept, min(run, count - start)),
                  b_count = min(kept, max(int64_t{0}, min(run, count - start - run)));
    const int64_t first = item % tiles * kMerged, last = min(first + kMerged, min(kept, a_count + b_count));
    if (first >= last) continue;  // all threads alike
    const SortItem<T>*a = from + row * count + start, *b = a + run;
    if (threadIdx.x < 2) bounds[threadIdx.x] = split(a, a_count, b, b_count, threadIdx.x == 0 ? first : last);
    __syncthreads();
    const int64_t a_first = bounds[0], b_first = first - a_first;
    const int here_a = static_cast<int>(bounds[1] - a_first), here = static_cast<int>(last - first);
    for (int i = static_cast<int>(threadIdx.x); i < here; i += kThreads)
      items[i] = i < here_a ? a[a_first + i] : b[b_first + i - here_a];
    __syncthreads();
    merge_shared(items, here_a, items + here_a, here - here_a, to, row, start + first);
    __syncthreads();  // shared memory is free for the next pair
  }
}

template <class T, class To>
void launch_tiles(const T* x, const To& to, int64_t rows, int64_t count, int64_t size, bool descending) {
  const int64_t threads = std::clamp<int64_t>(size / 2, kWarp, 512);
  launch("sort", sort_tiles<T, To>, block_for_each(rows * ((count + size - 1) / size)),
         dim3(static_cast<unsigned>(threads)), static_cast<size_t>(size) * sizeof(SortItem<T>), x, to, rows, count,
         static_cast<int>(size), descending);
}

template <class T, class To>
void launch_merge(const SortItem<T>* from, const To& to, int64_t rows, int64_t count, int64_t run, int64_t kept) {
  const int64_t pairs = (count + 2 * run - 1) / (2 * run), tiles = (std::min(2 * run, kept) + kMerged - 1) / kMerged;
  launch("sort", merge_runs<T, To>, block_for_each(rows * pairs * tiles), dim3(kThreads), 0, from, to, rows, count, run,
         kept);
}

template <class T>
void sort_long_rows(const T* x, int64_t rows, int64_t count, bool descending, const ToResult<T>& result) {
  const Scratch<SortItem<T>> items(rows * count), others(rows * count);
  SortItem<T>*from = items.data(), *into = others.data();
  launch_tiles(x, ToItems<T>{from, count}, rows, count, kTile<T>, descending);
  int64_t run = kTile<T>;
  for (; 2 * run < count; run *= 2) {
    launch_merge(from, ToItems<T>{into, count}, rows, count, run, result.kept);
    std::swap(from, into);
  }
  launch_merge(from, result, rows, count, run, result.kept);
}

}  // namespace

template <class T>
void sort(const T* x, int64_t rows, int64_t count, int64_t kept, bool descending, T* values, int32_t* indices) {
  if (rows == 0 || kept == 0) return;
  const ToResult<T> result{x, count, kept, values, indices};
  const auto size = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(count)));
  if (kept <= kWarp) top_k(x, rows, count, descending, result);
  else if (size <= kTile<T>) launch_tiles(x, result, rows, count, size, descending);
  else sort_long_rows(x, rows, count, descending, result);
}

template void sort(const float*, int64_t, int64_t, int64_t, bool, float*, int32_t*);
template void sort(const double*, int64_t, int64_t, int64_t, bool, double*, int32_t*);

}  // namespace mollify::cuda
