// From a formula to its CUDA kernels: one over vectors of 16 bytes, one over whatever strides. pointwise.cu chooses.
// Included by the .cu files that hold formulas, before their .inl, with --fmad=false.
#pragma once

#include <mollify/engine/cuda/math.cuh>
#include <mollify/engine/cuda/pack.cuh>
#include <mollify/engine/cuda/pointwise.h>
#include <mollify/engine/cuda/strided.cuh>

#include <limits>

namespace mollify::cuda {

inline constexpr int kPointwiseBlock = 256;
inline constexpr int kMostOutputs = 4;

// An operand of the vector kernel, of the formula's type or u8. Element i of the walk is number (i / repeat) mod
// period.
struct Source {
  enum How : uint8_t { single, linear, repeated };  // linear: number i

  const void* data;
  How how;
  bool bytes;  // of u8
  bool whole;  // of the formula's type, and the numbers of a vector lie side by side where they can be read at once
  Divider repeat, period;
};
struct Target {
  void* data;
  bool bytes, aligned;
};
struct VectorArguments {
  Source in[cpu::kMaxOperands];
  Target out[kMostOutputs];
  uint32_t size;
  double* sums;  // one for each block
};

struct StridedSource {
  const void* data;
  DType dtype;
  int64_t strides[kMaxRank];
};
struct StridedTarget {
  void* data;
  DType dtype;
};
struct StridedArguments {
  Axes axes;
  StridedSource in[cpu::kMaxOperands];
  StridedTarget out[kMostOutputs];
  uint32_t size;
  double* sums;
};

struct PointwiseKernels {
  void (*vector)(VectorArguments);
  void (*strided)(StridedArguments);
};
void run_pointwise(const KernelArguments& a, const PointwiseKernels& f32, const PointwiseKernels& f64, bool sums_last);

template <class Formula, int in_count, int out_count, class T>
MOLLIFY_FN void evaluate(const T* in, T* out) {
  const CudaMath<T> m;
  if constexpr (out_count > 1) Formula::f(m, in, out);
  else if constexpr (in_count == 1) out[0] = Formula::f(m, in[0]);
  else if constexpr (in_count == 2) out[0] = Formula::f(m, in[0], in[1]);
  else if constexpr (in_count == 3) out[0] = Formula::f(m, in[0], in[1], in[2]);
  else Formula::f(m, in, out);
}

struct Plus {
  __device__ double operator()(double a, double b) const { return a + b; }
};
// Must be reached by all threads.
__device__ inline void store_sum(double sum, double* sums) {
  sum = combine_block(sum, 0.0, Plus());
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

template <class T>
MOLLIFY_FN T load_element(const Source& source, uint32_t i) {
  if (source.how == Source::repeated) i = source.period.remainder(source.repeat.quotient(i));
  return source.bytes ? static_cast<T>(static_cast<const uint8_t*>(source.data)[i])
                      : static_cast<const T*>(source.data)[i];
}

// Elements i … of the walk; past its end, the last one.
template <class T>
MOLLIFY_FN void load_vector(const Source& source, uint32_t i, uint32_t size, T single, T* to) {
  constexpr int lanes = kPack<T>;
  if (source.how == Source::single) {
    MOLLIFY_UNROLL
    for (int lane = 0; lane < lanes; ++lane) to[lane] = single;
  } else if (source.whole && i + lanes <= size) {
    const uint32_t at = source.how == Source::linear ? i : source.period.remainder(i);
    const auto pack = load<lanes>(static_cast<const T*>(source.data) + at, true);
    MOLLIFY_UNROLL
    for (int lane = 0; lane < lanes; ++lane) to[lane] = pack.at[lane];
  } else {
    MOLLIFY_UNROLL
    for (int lane = 0; lane < lanes; ++lane) to[lane] = load_element<T>(source, min(i + lane, size - 1));
  }
}

template <class To, class T>
MOLLIFY_FN void store_vector(To* to, bool aligned, uint32_t rest, const T* from) {
  constexpr int lanes = kPack<T>;
  Pack<To, lanes> pack;
  MOLLIFY_UNROLL
  for (int lane = 0; lane < lanes; ++lane) pack.at[lane] = static_cast<To>(from[lane]);
  if (rest >= static_cast<uint32_t>(lanes)) return store(pack, to, aligned);
  MOLLIFY_UNROLL
  for (int lane = 0; lane < lanes; ++lane)
    if (static_cast<uint32_t>(lane) < rest) to[lane] = pack.at[lane];
}
template <class T>
MOLLIFY_FN void store_vector(const Target& target, uint32_t i, uint32_t size, const T* from) {
  if (target.bytes) store_vector(static_cast<uint8_t*>(target.data) + i, target.aligned, size - i, from);
  else store_vector(static_cast<T*>(target.data) + i, target.aligned, size - i, from);
}

// Where the sum of the last output is wanted, it is not stored.
template <class Formula, class T, int in_count, int out_count, bool sums_last>
__global__ void __launch_bounds__(kPointwiseBlock) vector_kernel(VectorArguments a) {
  constexpr int lanes = kPack<T>, stored = out_count - sums_last;
  T single[in_count];
  MOLLIFY_UNROLL
  for (int j = 0; j < in_count; ++j) single[j] = a.in[j].how == Source::single ? load_element<T>(a.in[j], 0) : T(0);
  double sum = 0;
  for (uint32_t i = (blockIdx.x * blockDim.x + threadIdx.x) * lanes; i < a.size; i += gridDim.x * blockDim.x * lanes) {
    T in[in_count][lanes];
    MOLLIFY_UNROLL
    for (int j = 0; j < in_count; ++j) load_vector(a.in[j], i, a.size, single[j], in[j]);
    T result[out_count][lanes];
    MOLLIFY_UNROLL
    for (int lane = 0; lane < lanes; ++lane) {
      T numbers[in_count], results[out_count];
      MOLLIFY_UNROLL
      for (int j = 0; j < in_count; ++j) numbers[j] = in[j][lane];
      evaluate<Formula, in_count, out_count>(numbers, results);
      MOLLIFY_UNROLL
      for (int k = 0; k < out_count; ++k) result[k][lane] = results[k];
    }
    MOLLIFY_UNROLL
    for (int k = 0; k < stored; ++k) store_vector(a.out[k], i, a.size, result[k]);
    if constexpr (sums_last) {
      MOLLIFY_UNROLL
      for (int lane = 0; lane < lanes; ++lane)
        if (i + lane < a.size) sum += static_cast<double>(result[stored][lane]);
    }
  }
  if constexpr (sums_last) store_sum(sum, a.sums);
}

// Element i of every operand.
template <class T, int in_count>
MOLLIFY_FN void load_strided(const StridedArguments& a, uint32_t i, T* to) {
  int64_t offset[in_count] = {};
  for (int axis = a.axes.rank - 1; axis >= 0; --axis) {
    const Divider& extent = a.axes.extents[axis];
    const uint32_t outer = extent.quotient(i), index = i - outer * extent.divisor;
    MOLLIFY_UNROLL
    for (int j = 0; j < in_count; ++j) offset[j] += index * a.in[j].strides[axis];
    i = outer;
  }
  MOLLIFY_UNROLL
  for (int j = 0; j < in_count; ++j) to[j] = load_as<T>(a.in[j].data, a.in[j].dtype, offset[j]);
}

// A thread takes as many elements as the vector kernel's, a block's width apart, so that several loads are on the way.
template <class Formula, class T, int in_count, int out_count, bool sums_last>
__global__ void __launch_bounds__(kPointwiseBlock) strided_kernel(StridedArguments a) {
  constexpr int lanes = kPack<T>, stored = out_count - sums_last;
  double sum = 0;
  for (uint32_t first = blockIdx.x * blockDim.x * lanes + threadIdx.x; first < a.size;
       first += gridDim.x * blockDim.x * lanes) {
    T in[lanes][in_count];
    MOLLIFY_UNROLL
    for (int lane = 0; lane < lanes; ++lane)
      load_strided<T, in_count>(a, min(first + lane * blockDim.x, a.size - 1), in[lane]);
    MOLLIFY_UNROLL
    for (int lane = 0; lane < lanes; ++lane) {
      const uint32_t i = first + lane * blockDim.x;
      if (i >= a.size) break;
      T results[out_count];
      evaluate<Formula, in_count, out_count>(in[lane], results);
      MOLLIFY_UNROLL
      for (int k = 0; k < stored; ++k) store_as(results[k], a.out[k].data, a.out[k].dtype, i);
      if constexpr (sums_last) sum += static_cast<double>(results[stored]);
    }
  }
  if constexpr (sums_last) store_sum(sum, a.sums);
}

template <class Formula, class T, int in_count, int out_count, bool sums_last>
inline constexpr PointwiseKernels kPointwiseKernels = {vector_kernel<Formula, T, in_count, out_count, sums_last>,
                                                       strided_kernel<Formula, T, in_count, out_count, sums_last>};

template <class Formula, int in_count, int out_count>
void Pointwise<Formula, in_count, out_count>::kernel(const KernelArguments& a) {
  run_pointwise(a, kPointwiseKernels<Formula, float, in_count, out_count, false>,
                kPointwiseKernels<Formula, double, in_count, out_count, false>, false);
}

template <class Formula, int in_count, int out_count>
void PointwiseSum<Formula, in_count, out_count>::kernel(const KernelArguments& a) {
  run_pointwise(a, kPointwiseKernels<Formula, float, in_count, out_count, true>,
                kPointwiseKernels<Formula, double, in_count, out_count, true>, true);
}

}  // namespace mollify::cuda
