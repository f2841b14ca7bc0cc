#include <mollify/engine/cuda/sparse.h>

#include <mollify/engine/cuda/strided.cuh>

namespace mollify::cuda {
namespace {

constexpr int kBlock = 256;

template <class T>
__global__ void copy_numbers(const T* x, int64_t size, T* out) {
  for (int64_t i = global_thread(); i < size; i += global_threads()) out[i] = x[i];
}

template <class T>
__global__ void put_numbers(const T* values, const int32_t* places, int64_t count, T* out) {
  for (int64_t i = global_thread(); i < count; i += global_threads()) out[places[i]] = values[i];
}

// The first of the places that is at least `place`.
__device__ inline int64_t first_from(const int32_t* places, int64_t count, int64_t place) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (places[middle] < place) low = middle + 1;
    else high = middle;
  }
  return low;
}

// A thread for each output; neighbours read neighbouring rows of a column.
template <class T>
__global__ void multiply_sparse(const T* columns, int64_t inputs, int64_t rows, const T* values, const int32_t* places,
                                int64_t count, int64_t outputs, T* out) {
  for (int64_t i = global_thread(); i < rows * outputs; i += global_threads()) {
    const int64_t o = quotient(i, rows), r = i - o * rows, first = o * inputs;
    T sum = 0;
    for (int64_t k = first_from(places, count, first); k < count && places[k] < first + inputs; ++k)
      sum = fma(values[k], columns[(places[k] - first) * rows + r], sum);
    out[r * outputs + o] = sum;
  }
}

}  // namespace

template <class T>
void put(const T* x, int64_t size, const T* values, const int32_t* places, int64_t count, T* out) {
  if (size == 0) return;
  launch("put", copy_numbers<T>, dim3(grid_for(size, kBlock)), dim3(kBlock), 0, x, size, out);
  if (count > 0)
    launch("put", put_numbers<T>, dim3(grid_for(count, kBlock)), dim3(kBlock), 0, values, places, count, out);
}

template <class T>
void sparse_dense(const T* columns, int64_t inputs, int64_t rows, const T* values, const int32_t* places, int64_t count,
                  int64_t outputs, T* out) {
  if (rows * outputs == 0) return;
  launch("sparse_dense", multiply_sparse<T>, dim3(grid_for(rows * outputs, kBlock)), dim3(kBlock), 0, columns, inputs,
         rows, values, places, count, outputs, out);
}

#define MOLLIFY_INSTANTIATE(T)                                                               \
  template void put(const T*, int64_t, const T*, const int32_t*, int64_t, T*);               \
  template void sparse_dense(const T*, int64_t, int64_t, const T*, const int32_t*, int64_t, int64_t, T*);
MOLLIFY_INSTANTIATE(float)
MOLLIFY_INSTANTIATE(double)
#undef MOLLIFY_INSTANTIATE

}  // namespace mollify::cuda
