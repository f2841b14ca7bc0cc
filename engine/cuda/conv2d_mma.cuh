// The inner part of implicit matrix products on tensor cores: a block's tiles in shared memory, its warps' fragments
// and its pipeline.
#pragma once

#include <mollify/engine/cuda/mma.cuh>

namespace mollify::cuda {

inline constexpr int kStepDepth = 32;  // products per step

// Fragments are read for 8 products at a time: `depth` is the first of them within the step, a multiple of 8. With
// group = lane / 4 and member = lane % 4, of 16 rows of the left tile values[i] is at row group + 8·(i % 2), product
// member + 4·(i / 2), and of 16 columns of the right tile at column group + 8·(i / 2), product member + 4·(i % 2).

// A tile of kLines rows or columns whose memory runs along the sum. The places of each line's eight 16-byte chunks are
// exchanged by the line's number, so that neither copies nor fragments meet a bank twice.
template <int kLineCount>
struct AlongDepth {
  static constexpr int kLines = kLineCount, kFloats = kLines * kStepDepth;

  __device__ static int place(int line, int chunk) { return line * kStepDepth + (chunk ^ (line & 7)) * 4; }
  __device__ static void read_left(const float* tile, int line, int depth, float (&values)[4]) {
    const int lane = threadIdx.x % 32;
    load_matrices(tile + place(line + lane % 16, depth / 4 + lane / 16), values);
  }
  __device__ static void read_right(const float* tile, int line, int depth, float (&values)[4]) {
    const int lane = threadIdx.x % 32;
    load_matrices(tile + place(line + lane % 8 + lane / 16 * 8, depth / 4 + lane / 8 % 2), values);
  }
};

// A tile whose memory runs along the lines: [depth][kLines], padded so that the four rows of a fragment lie in
// different banks.
template <int kLineCount>
struct AcrossDepth {
  static constexpr int kLines = kLineCount, kPitch = kLines + 8, kFloats = kStepDepth * kPitch;

  __device__ static int place(int depth, int line) { return depth * kPitch + line; }
  __device__ static void read_left(const float* tile, int line, int depth, float (&values)[4]) {
    const float* first = tile + place(depth + threadIdx.x % 4, line + threadIdx.x % 32 / 4);
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = first[place(i / 2 * 4, i % 2 * 8)];
  }
  __device__ static void read_right(const float* tile, int line, int depth, float (&values)[4]) {
    const float* first = tile + place(depth + threadIdx.x % 4, line + threadIdx.x % 32 / 4);
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = first[place(i % 2 * 4, i / 2 * 8)];
  }
};

// kRows × kColumns results of four warps, in 2 × 2. kBf16: bf16 products, else tf32.
template <class LeftTile, class RightTile, bool kBf16>
struct TensorTile {
  using Left = LeftTile;
  using Right = RightTile;
  static constexpr int kRows = Left::kLines, kColumns = Right::kLines, kThreads = 128, kStages = 3;
  static constexpr int kWarpRows = kRows / 2, kWarpColumns = kColumns / 2, kRowTiles = kWarpRows / 16,
                       kColumnTiles = kWarpColumns / 8;
  static constexpr int kStageFloats = Left::kFloats + Right::kFloats;
  static constexpr size_t kSharedBytes = kStages * kStageFloats * sizeof(float);
  using Sums = float[kRowTiles][kColumnTiles][4];

  __device__ static int warp_row() { return threadIdx.x / 64 * kWarpRows; }
  __device__ static int warp_column() { return threadIdx.x / 32 % 2 * kWarpColumns; }

  // Keeps kStages − 1 steps under way: load(step, left, right) starts the copies of a step.
  template <class Load>
  __device__ static void run(float* shared, int begin, int end, Sums& sum, Load load) {
    const auto start = [&](int step) {
      float* stage = shared + step % kStages * kStageFloats;
      if (step < end) load(step, stage, stage + Left::kFloats);
      commit_copies();
    };
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) start(begin + i);
    for (int step = begin; step < end; ++step) {
      wait_copies<kStages - 2>();
      __syncthreads();  // the step has arrived for all threads, and all have read the stage that is filled next
      start(step + kStages - 1);
      multiply(shared + step % kStages * kStageFloats, sum);
    }
  }

  __device__ static void multiply(const float* stage, Sums& sum) {
    const float* right_tile = stage + Left::kFloats;
#pragma unroll
    for (int depth = 0; depth < kStepDepth; depth += kDepth) {
      unsigned right[kColumnTiles][2];
#pragma unroll
      for (int j = 0; j < kColumnTiles; j += 2) {
        float values[kDepth / 8][4];
#pragma unroll
        for (int part = 0; part < kDepth / 8; ++part)
          Right::read_right(right_tile, warp_column() + j * 8, depth + part * 8, values[part]);
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          right[j][k] = operand(values, k, 0, 1);
          right[j + 1][k] = operand(values, k, 2, 3);
        }
      }
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        float values[kDepth / 8][4];
        unsigned left[4];
#pragma unroll
        for (int part = 0; part < kDepth / 8; ++part)
          Left::read_left(stage, warp_row() + i * 16, depth + part * 8, values[part]);
#pragma unroll
        for (int k = 0; k < 4; ++k) left[k] = operand(values, k / 2, k % 2, k % 2 + 2);
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
          if constexpr (kBf16) {
            mma_bf16(sum[i][j], left, right[j]);
          } else {
            mma_tf32(sum[i][j], left, right[j]);
          }
        }
      }
    }
  }

  // Calls store(out_of(row), column, first, second) for all pairs of neighbouring results of this thread, counted
  // within the tile.
  template <class OutOf, class Store>
  __device__ static void for_results(const Sums& sum, OutOf out_of, Store store) {
    const int group = threadIdx.x % 32 / 4, member = threadIdx.x % 4;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
      for (int lower = 0; lower < 2; ++lower) {
        float* out = out_of(warp_row() + i * 16 + lower * 8 + group);
#pragma unroll
        for (int j = 0; j < kColumnTiles; ++j) {
          store(out, warp_column() + j * 8 + member * 2, sum[i][j][lower * 2], sum[i][j][lower * 2 + 1]);
        }
      }
    }
  }

 private:
  static constexpr int kDepth = kBf16 ? 16 : 8;  // products of one instruction

  // Operand number k of a line whose values are numbers `first` and `second` of each part: with tf32 the one or the
  // other, with bf16 both of part k. So bf16 takes the products in another order than they have in memory, left and
  // right the same.
  __device__ static unsigned operand(const float (&values)[kDepth / 8][4], int k, int first, int second) {
    if constexpr (kBf16) return to_bf16_pair(values[k][first], values[k][second]);
    return to_tf32(values[0][k == 0 ? first : second]);
  }
};

// Two neighbouring results, of which `count` exist; `wide`: both or none do, at a whole 8 bytes.
__device__ inline void store_pair(float* out, float first, float second, int count, bool wide) {
  if (wide) {
    if (count > 0) *reinterpret_cast<float2*>(out) = make_float2(first, second);
    return;
  }
  if (count > 0) out[0] = first;
  if (count > 1) out[1] = second;
}

}  // namespace mollify::cuda
