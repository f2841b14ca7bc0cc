// What kernels share on the device: indices, warp and block sums in a fixed order, dynamic shared memory, faults.
#pragma once

#include <mollify/engine/cuda/runtime.h>

#include <cstdint>

namespace mollify::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline int64_t global_thread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ inline int64_t global_threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// The block's dynamic shared memory, 16-byte aligned.
template <class T>
__device__ inline T* dynamic_shared() {
#ifdef __CUDACC__
  extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];
#else
  unsigned char* dynamic_shared_memory = emulated_dynamic_shared();
#endif
  return reinterpret_cast<T*>(dynamic_shared_memory);
}

// Combines a value of every lane; all lanes get the same bits. `combine` must be commutative.
template <class T, class Combine>
__device__ inline T combine_warp(T value, Combine combine) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(kAllLanes, value, offset));
  return value;
}

// The same over a block of whole warps, at most 32; all threads get the result. Every thread of the block must call it.
template <class T, class Combine>
__device__ inline T combine_block(T value, T neutral, Combine combine) {
  __shared__ T partial[kWarp];
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  value = combine_warp(value, combine);
  __syncthreads();  // an earlier call's partial results have been read
  if (lane == 0) partial[warp] = value;
  __syncthreads();
  return combine_warp(lane < warps ? partial[lane] : neutral, combine);
}

// Keeps the first fault of all threads for the host.
__device__ inline void report(Fault* fault, FaultKind kind, double value, double limit) {
  if (atomicCAS(&fault->kind, 0, static_cast<int>(kind)) == 0) {
    fault->value = value;
    fault->limit = limit;
  }
}

}  // namespace mollify::cuda
