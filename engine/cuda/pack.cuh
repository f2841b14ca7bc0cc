// Neighbouring numbers that are loaded and stored at once, 16 bytes where the address allows.
#pragma once

#include <mollify/engine/cuda/device.cuh>

#include <limits>
#include <type_traits>

// Unrolls the next loop: arrays that it indexes stay in registers.
#ifdef __CUDACC__
#define MOLLIFY_UNROLL _Pragma("unroll")
#else
#define MOLLIFY_UNROLL
#endif

namespace mollify::cuda {

template <class T>
inline constexpr T kInfinity = std::numeric_limits<T>::infinity();

template <class T>
inline constexpr int kPack = 16 / static_cast<int>(sizeof(T));

template <class T, int n>
struct alignas(sizeof(T) * n) Pack {
  T at[n];
};

template <class T, int n>
__host__ __device__ inline bool is_aligned(const T* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % (sizeof(T) * n) == 0;
}

template <int n, class T>
__device__ inline Pack<T, n> load(const T* from, bool aligned) {
  if (aligned) return *reinterpret_cast<const Pack<T, n>*>(from);
  Pack<T, n> pack;
  MOLLIFY_UNROLL
  for (int i = 0; i < n; ++i) pack.at[i] = from[i];
  return pack;
}

template <class T, int n>
__device__ inline void store(const Pack<T, n>& pack, T* to, bool aligned) {
  if (aligned) {
    *reinterpret_cast<Pack<T, n>*>(to) = pack;
    return;
  }
  MOLLIFY_UNROLL
  for (int i = 0; i < n; ++i) to[i] = pack.at[i];
}

// A grid with a block for each of `items`, which its blocks stride over where there are more than a grid can have.
inline dim3 block_for_each(int64_t items) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  return dim3(static_cast<unsigned>(items < most ? items : most));
}

}  // namespace mollify::cuda
