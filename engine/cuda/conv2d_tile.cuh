// The inner part of implicit matrix products by fused multiply-adds: a block's tile, its shared memory and its
// registers.
#pragma once

#include <mollify/engine/cuda/device.cuh>

namespace mollify::cuda {

// Four neighbours, read and written at once: 16 bytes of f32.
template <class T>
struct alignas(16) Chunk {
  T v[4];
};

template <class T>
__device__ inline Chunk<T> load_chunk(const T* p) {
  return *reinterpret_cast<const Chunk<T>*>(p);
}

template <class T>
__device__ inline void store_chunk(T* p, const Chunk<T>& chunk) {
  *reinterpret_cast<Chunk<T>*>(p) = chunk;
}

// kRows × kColumns results, kDepth products at a time. A thread holds kThreadRows × kThreadColumns of them in groups of
// four; a warp is 4 × 8 threads, so that each fragment is read from shared memory without bank conflicts.
template <class Value, int kRowsOfTile, int kColumnsOfTile, int kDepthOfTile, int kRowsOfThread, int kColumnsOfThread,
          int kBlocksOfProcessor>
struct Tile {
  using T = Value;
  static constexpr int kRows = kRowsOfTile, kColumns = kColumnsOfTile, kDepth = kDepthOfTile;
  static constexpr int kThreadRows = kRowsOfThread, kThreadColumns = kColumnsOfThread, kBlocks = kBlocksOfProcessor;
  static constexpr int kThreads = (kRows / kThreadRows) * (kColumns / kThreadColumns);
  static constexpr int kLeftChunks = kRows * kDepth / 4 / kThreads,
                       kRightChunks = (kColumns * kDepth / 4 + kThreads - 1) / kThreads;
  static_assert(kRows * kDepth / 4 % kThreads == 0);

  // Two buffers: one is read while the other is filled. Rows are padded so that the transposing stores meet few bank
  // conflicts.
  struct alignas(16) Shared {
    T left[2][kDepth][kRows + 4];
    T right[2][kDepth][kColumns + 4];
  };

  // First row and column of the thread's group of four.
  __device__ static int row(int group) {
    return threadIdx.x / 32 / kWarpsAcross * (4 * kThreadRows) + group * 16 + threadIdx.x % 32 / 8 * 4;
  }
  __device__ static int column(int group) {
    return threadIdx.x / 32 % kWarpsAcross * (8 * kThreadColumns) + group * 32 + threadIdx.x % 8 * 4;
  }

  __device__ static void multiply(const Shared& shared, int buffer, T (&sum)[kThreadRows][kThreadColumns]) {
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      Chunk<T> left[kThreadRows / 4], right[kThreadColumns / 4];
#pragma unroll
      for (int i = 0; i < kThreadRows / 4; ++i) left[i] = load_chunk(&shared.left[buffer][k][row(i)]);
#pragma unroll
      for (int j = 0; j < kThreadColumns / 4; ++j) right[j] = load_chunk(&shared.right[buffer][k][column(j)]);
#pragma unroll
      for (int i = 0; i < kThreadRows; ++i) {
#pragma unroll
        for (int j = 0; j < kThreadColumns; ++j)
          sum[i][j] = fma(left[i / 4].v[i % 4], right[j / 4].v[j % 4], sum[i][j]);
      }
    }
  }

 private:
  static constexpr int kWarpsAcross = kColumns / (8 * kThreadColumns);
};

// Four results of one row, of which `count` exist.
template <class T>
__device__ inline void store_results(const T* sum, int count, bool wide, const T* bias, T* out) {
  Chunk<T> chunk;
#pragma unroll
  for (int j = 0; j < 4; ++j) chunk.v[j] = bias && j < count ? sum[j] + bias[j] : sum[j];
  if (wide) {
    if (count > 0) store_chunk(out, chunk);
    return;
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (j < count) out[j] = chunk.v[j];
  }
}

}  // namespace mollify::cuda
