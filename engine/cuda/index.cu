#include <mollify/engine/cuda/index.h>

#include <mollify/engine/cuda/strided.cuh>

namespace mollify::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int64_t kShortList = 16;  // indices that every place looks at
constexpr int32_t kLongChain = -2;

// Place `i` of [outer, extent, inner].
struct Place {
  int64_t outer, along, inner;

  __device__ Place(int64_t i, int64_t extent, int64_t inner_extent) {
    const int64_t row = quotient(i, inner_extent);
    inner = i - row * inner_extent;
    outer = quotient(row, extent);
    along = row - outer * extent;
  }
};

struct IndexList {
  const int32_t* data;
  IndexShape shape;

  __device__ int32_t at(int64_t outer, int64_t j, int64_t inner) const {
    int64_t offset = j * shape.axis_stride + inner * shape.inner_stride;
    for (int axis = shape.outer_rank - 1; axis > 0; --axis) {
      const int64_t rest = quotient(outer, shape.outer_extents[axis]);
      offset += (outer - rest * shape.outer_extents[axis]) * shape.outer_strides[axis];
      outer = rest;
    }
    return data[offset + outer * shape.outer_strides[0]];
  }
};

__device__ inline bool check_index(int32_t index, int64_t count, Fault* fault, FaultKind kind) {
  if (index >= 0 && index < count) return true;
  report(fault, kind, index, static_cast<double>(count));
  return false;
}

template <class T>
__global__ void gather_elements(const T* x, IndexList indices, int64_t size, int64_t count, int64_t selected,
                                int64_t inner, T* out, Fault* fault) {
  for (int64_t i = global_thread(); i < size; i += global_threads()) {
    const Place place(i, selected, inner);
    const int32_t index = indices.at(place.outer, place.along, place.inner);
    out[i] = check_index(index, count, fault, FaultKind::gather)
                 ? x[(place.outer * count + index) * inner + place.inner]
                 : T{};
  }
}

// The j that point to a place of the output: the first one, then next[first], …, −1. Instead of the first one of a
// chain that is too long to sort: kLongChain.
struct Chains {
  int32_t* first;  // [outer, count, columns]
  int32_t* next;   // [outer, selected, columns]
};

// Links in whatever order threads come.
__global__ void link_indices(IndexList indices, int64_t size, int64_t count, int64_t selected, int64_t columns,
                             Chains chains, Fault* fault) {
  for (int64_t i = global_thread(); i < size; i += global_threads()) {
    const Place place(i, selected, columns);
    const int32_t index = indices.at(place.outer, place.along, place.inner);
    if (!check_index(index, count, fault, FaultKind::scatter_add)) continue;
    chains.next[i] = atomicExch(chains.first + (place.outer * count + index) * columns + place.inner,
                                static_cast<int32_t>(place.along));
  }
}

// One column's links.
struct Links {
  int32_t* next;
  int64_t stride;

  __device__ int32_t& after(int32_t j) const { return next[j * stride]; }

  // Two sorted chains, not both empty, as one.
  __device__ int32_t merge(int32_t a, int32_t b) const {
    int32_t first = -1, last = -1;
    while (a >= 0 && b >= 0) {
      const int32_t j = a < b ? a : b;
      (a < b ? a : b) = after(j);
      if (last < 0) first = j;
      else after(last) = j;
      last = j;
    }
    const int32_t rest = a >= 0 ? a : b;
    if (last < 0) return rest;
    after(last) = rest;
    return first;
  }

  // Merge sort; sorted[k] holds a chain of 2^k or none.
  __device__ int32_t sort(int32_t first) const {
    constexpr int kLevels = 24;
    int32_t sorted[kLevels];
    for (int k = 0; k < kLevels; ++k) sorted[k] = -1;
    while (first >= 0) {
      int32_t chain = first;
      first = after(chain);
      after(chain) = -1;
      int k = 0;
      for (; sorted[k] >= 0; ++k) {
        chain = merge(sorted[k], chain);
        sorted[k] = -1;
      }
      sorted[k] = chain;
    }
    for (int k = 0; k < kLevels; ++k)
      if (sorted[k] >= 0) first = first < 0 ? sorted[k] : merge(sorted[k], first);
    return first;
  }
};

// A thread for each chain. Those of more than `most` links wait for the memory longer than it takes to look at the
// whole list.
__global__ void sort_chains(int64_t size, int64_t count, int64_t selected, int64_t columns, int64_t most,
                            Chains chains) {
  for (int64_t i = global_thread(); i < size; i += global_threads()) {
    const Place place(i, count, columns);
    const Links links = {chains.next + place.outer * selected * columns + place.inner, columns};
    int64_t length = 0;
    for (int32_t j = chains.first[i]; j >= 0 && length <= most; j = links.after(j)) ++length;
    if (length > most) chains.first[i] = kLongChain;
    else if (length > 1) chains.first[i] = links.sort(chains.first[i]);
  }
}

// A thread for each number of the output adds the values of its chain. Where that is long, or there are no chains
// because a list of indices is short, it looks at the whole list.
template <class T>
__global__ void add_selected(const T* x, IndexList indices, int64_t size, int64_t count, int64_t selected,
                             int64_t inner, int64_t columns, Chains chains, T* out, Fault* fault) {
  for (int64_t i = global_thread(); i < size; i += global_threads()) {
    const Place place(i, count, inner);
    const T* values = x + place.outer * selected * inner + place.inner;
    const int64_t column = columns == 1 ? 0 : place.inner;
    const Links links = {chains.next + place.outer * selected * columns + column, columns};
    int32_t link = chains.first ? chains.first[(place.outer * count + place.along) * columns + column] : kLongChain;
    double sum = 0;
    if (link == kLongChain) {
      for (int64_t j = 0; j < selected; ++j) {
        const int32_t index = indices.at(place.outer, j, column);
        if (index == place.along) sum += static_cast<double>(values[j * inner]);
        else if (!chains.first && place.along == 0) check_index(index, count, fault, FaultKind::scatter_add);
      }
    }
    for (; link >= 0; link = links.after(link)) sum += static_cast<double>(values[link * inner]);
    out[i] = static_cast<T>(sum);
  }
}

template <class T>
__global__ void mark_labels(const int32_t* labels, int64_t size, int64_t classes, T* out, Fault* fault) {
  for (int64_t i = global_thread(); i < size; i += global_threads()) {
    const int64_t row = quotient(i, classes), number = i - row * classes;
    const int32_t label = labels[row];
    if (number == 0) check_index(label, classes, fault, FaultKind::one_hot);
    out[i] = label == number ? T(1) : T(0);
  }
}

template <class T>
void launch_gather(const T* x, const IndexList& list, const IndexShape& s, int64_t inner, T* out) {
  const int64_t size = s.outer * s.selected * inner;
  launch("gather", gather_elements<T>, dim3(grid_for(size, kBlock)), dim3(kBlock), 0, x, list, size, s.count,
         s.selected, inner, out, fault());
}

// Numbers that one index selects together move in units of up to 16 bytes.
template <class Unit, class T>
bool gather_units(const T* x, const IndexList& list, const IndexShape& s, T* out) {
  const auto addresses = reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(out);
  const int64_t bytes = s.inner * int64_t{sizeof(T)};
  if (s.inner_stride != 0 || addresses % sizeof(Unit) != 0 || bytes % int64_t{sizeof(Unit)} != 0) return false;
  launch_gather(reinterpret_cast<const Unit*>(x), list, s, bytes / int64_t{sizeof(Unit)}, reinterpret_cast<Unit*>(out));
  return true;
}

}  // namespace

IndexShape index_shape(const Shape& values, const Tensor& indices, int axis) {
  IndexShape s{.outer = 1,
               .count = values[axis],
               .selected = indices.shape()[axis],
               .inner = 1,
               .outer_rank = 0,
               .outer_extents = {},
               .outer_strides = {},
               .axis_stride = indices.strides()[axis],
               .inner_stride = 0};
  for (int i = values.rank() - 1; i > axis; --i) {
    if (s.inner == 1 && values[i] > 1) s.inner_stride = indices.strides()[i];
    s.inner *= values[i];
  }
  for (int i = 0; i < axis; ++i) {
    s.outer *= values[i];
    const int64_t extent = values[i], stride = indices.strides()[i];
    if (extent == 1) continue;
    int64_t& before = s.outer_strides[std::max(0, s.outer_rank - 1)];
    if (s.outer_rank > 0 && before == stride * extent) {
      before = stride;
      s.outer_extents[s.outer_rank - 1] *= extent;
    } else {
      s.outer_strides[s.outer_rank] = stride;
      s.outer_extents[s.outer_rank++] = extent;
    }
  }
  return s;
}

template <class T>
void gather(const T* x, const int32_t* indices, const IndexShape& s, T* out) {
  if (s.outer * s.selected * s.inner == 0) return;
  const IndexList list = {indices, s};
  if (gather_units<uint4>(x, list, s, out) || gather_units<uint2>(x, list, s, out)) return;
  launch_gather(x, list, s, s.inner, out);
}

template <class T>
void scatter_add(const T* x, const int32_t* indices, const IndexShape& s, T* out) {
  const int64_t size = s.outer * s.count * s.inner;
  if (size == 0) return;
  const IndexList list = {indices, s};
  const int64_t columns = s.inner_stride == 0 ? 1 : s.inner;
  const bool links = s.selected > kShortList;
  const int64_t places = s.outer * s.count * columns, count = s.outer * s.selected * columns;
  const Scratch<int32_t> first(links ? places : 0), next(links ? count : 0);
  const Chains chains = {links ? first.data() : nullptr, next.data()};
  if (links) {
    const int64_t most = 64 + s.selected / 256;
    check(cudaMemsetAsync(chains.first, 0xff, static_cast<size_t>(places) * sizeof(int32_t), stream()),
          "scatter_add");  // −1
    launch("scatter_add", link_indices, dim3(grid_for(count, kBlock)), dim3(kBlock), 0, list, count, s.count,
           s.selected, columns, chains, fault());
    launch("scatter_add", sort_chains, dim3(grid_for(places, kBlock)), dim3(kBlock), 0, places, s.count, s.selected,
           columns, most, chains);
  }
  launch("scatter_add", add_selected<T>, dim3(grid_for(size, kBlock)), dim3(kBlock), 0, x, list, size, s.count,
         s.selected, s.inner, columns, chains, out, fault());
}

template <class T>
void one_hot(const int32_t* labels, int64_t n, int64_t classes, T* out) {
  if (n * classes == 0) return;
  launch("one_hot", mark_labels<T>, dim3(grid_for(n * classes, kBlock)), dim3(kBlock), 0, labels, n * classes, classes,
         out, fault());
}

template void gather(const float*, const int32_t*, const IndexShape&, float*);
template void gather(const double*, const int32_t*, const IndexShape&, double*);
template void gather(const int32_t*, const int32_t*, const IndexShape&, int32_t*);
template void gather(const uint8_t*, const int32_t*, const IndexShape&, uint8_t*);
template void scatter_add(const float*, const int32_t*, const IndexShape&, float*);
template void scatter_add(const double*, const int32_t*, const IndexShape&, double*);
template void one_hot(const int32_t*, int64_t, int64_t, float*);
template void one_hot(const int32_t*, int64_t, int64_t, double*);

}  // namespace mollify::cuda
