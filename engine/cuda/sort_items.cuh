// What the sorts move: a number's place in the order, as unsigned bits, with its index; so that no two items of a row
// are equal and every sort is stable.
#pragma once

#include <mollify/engine/cuda/pack.cuh>

namespace mollify::cuda {

// Bits whose unsigned order is that of the numbers, with NaN above all and −0 equal to 0.
__device__ inline uint32_t ordered_bits(float x) {
  if (x != x) return ~uint32_t{0};
  const uint32_t bits = __float_as_uint(x + 0.0f);
  return bits >> 31 ? ~bits : bits | uint32_t{1} << 31;
}

__device__ inline uint64_t ordered_bits(double x) {
  if (x != x) return ~uint64_t{0};
  const auto bits = static_cast<uint64_t>(__double_as_longlong(x + 0.0));
  return bits >> 63 ? ~bits : bits | uint64_t{1} << 63;
}

template <class T>
struct SortItem;

template <>
struct SortItem<float> {
  unsigned long long bits;  // the number's order above, its index below

  __device__ static SortItem of(float x, int64_t index, bool descending) {
    const uint32_t order = descending ? ~ordered_bits(x) : ordered_bits(x);
    return {static_cast<unsigned long long>(order) << 32 | static_cast<uint32_t>(index)};
  }
  __device__ static SortItem last() { return {~0ull}; }  // after all of a row's
  __device__ bool before(const SortItem& other) const { return bits < other.bits; }
  __device__ uint32_t index() const { return static_cast<uint32_t>(bits); }
  __device__ SortItem of_lane(int lane) const { return {__shfl_sync(kAllLanes, bits, lane)}; }
};

template <>
struct SortItem<double> {
  unsigned long long order;
  unsigned int place;

  __device__ static SortItem of(double x, int64_t index, bool descending) {
    return {descending ? ~ordered_bits(x) : ordered_bits(x), static_cast<unsigned int>(index)};
  }
  __device__ static SortItem last() { return {~0ull, ~0u}; }
  __device__ bool before(const SortItem& other) const {
    return order < other.order || (order == other.order && place < other.place);
  }
  __device__ uint32_t index() const { return place; }
  __device__ SortItem of_lane(int lane) const {
    return {__shfl_sync(kAllLanes, order, lane), __shfl_sync(kAllLanes, place, lane)};
  }
};

// Where sorted items go: back to memory, [rows, stride], …
template <class T>
struct ToItems {
  SortItem<T>* items;
  int64_t stride;
  __device__ void operator()(int64_t row, int64_t place, const SortItem<T>& item) const {
    items[row * stride + place] = item;
  }
};

// … or, the first `kept` of each row, to values and indices.
template <class T>
struct ToResult {
  const T* x;
  int64_t count, kept;
  T* values;
  int32_t* indices;
  __device__ void operator()(int64_t row, int64_t place, const SortItem<T>& item) const {
    if (place >= kept) return;
    values[row * kept + place] = x[row * count + item.index()];
    indices[row * kept + place] = static_cast<int32_t>(item.index());
  }
};

// The first `kept` ≤ 32 of every row: defined in top_k.cu.
template <class T>
void top_k(const T* x, int64_t rows, int64_t count, bool descending, const ToResult<T>& result);

}  // namespace mollify::cuda
