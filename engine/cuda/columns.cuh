// Folding columns of packed memory, [outer, count, inner] → [outer, inner], in an order that the shape alone decides.
//
// A Fold is a struct, passed to kernels by value, with
//   Number, State                what is read, and what a part of a column amounts to: plain numbers
//   State neutral()
//   State join(State, State)
//   template <bool whole, int n> void add(State (&states)[n], int64_t at, int64_t stride, int rows, int64_t column)
//                                n neighbouring columns, from `column` on, get the numbers at offsets at, at + stride,
//                                … of kColumnRun rows if `whole`, else of the first `rows` of them
//   void finish(int64_t i, State)  writes result i of outer·inner
#pragma once

#include <mollify/engine/cuda/pack.cuh>

#include <algorithm>

namespace mollify::cuda {

inline constexpr int kColumnThreads = 256;
inline constexpr int kColumnRun = 8;  // rows that a thread has in flight
inline constexpr int kJoinRun = 4;    // chunks' States, likewise

// Adds `count` rows to n columns: whole runs without a test for each row, so that all of a run's loads are under way
// together.
template <class Fold, int n>
__device__ inline void fold_column_rows(const Fold& fold, typename Fold::State (&states)[n], int64_t at, int64_t stride,
                                        int64_t count, int64_t column) {
  for (; count >= kColumnRun; count -= kColumnRun, at += kColumnRun * stride)
    fold.template add<true>(states, at, stride, kColumnRun, column);
  if (count > 0) fold.template add<false>(states, at, stride, static_cast<int>(count), column);
}

// A block works on `height` rows of `width` packs at a time; a chunk of `span` rows is its whole work.
struct ColumnTiles {
  int64_t outer, count, inner;
  int width, height;
  int64_t tiles, span, chunks;
};

// Joins the States of a block's rows of threads into the first row's, as a tree.
template <class Fold, int n>
__device__ inline void join_tile(const Fold& fold, typename Fold::State (&states)[n], int width, int height, int x,
                                 int y) {
  __shared__ typename Fold::State joined[kColumnThreads * n];
  const auto exchange = [&](int from) { return joined + (from * width + x) * n; };
  __syncthreads();  // an earlier call's States have been read
  if (y < height)
    for (int i = 0; i < n; ++i) exchange(y)[i] = states[i];
  for (int remaining = height; remaining > 1;) {
    const int half = (remaining + 1) / 2;
    __syncthreads();
    if (y < remaining - half) {
      MOLLIFY_UNROLL
      for (int i = 0; i < n; ++i) {
        states[i] = fold.join(states[i], exchange(y + half)[i]);
        exchange(y)[i] = states[i];
      }
    }
    remaining = half;
  }
}

// Where there are several chunks, their States go to partial: [outer, chunks, inner].
template <class Fold, int n>
__global__ void __launch_bounds__(kColumnThreads)
    fold_column_tiles(Fold fold, ColumnTiles t, typename Fold::State* partial) {
  const int x = static_cast<int>(threadIdx.x) % t.width, y = static_cast<int>(threadIdx.x) / t.width;
  for (int64_t item = blockIdx.x; item < t.outer * t.chunks * t.tiles; item += gridDim.x) {
    const int64_t slice = item / t.tiles, column = (item % t.tiles * t.width + x) * n;
    const int64_t o = slice / t.chunks, first = slice % t.chunks * t.span;
    const int rows = static_cast<int>(t.span < t.count - first ? t.span : t.count - first);
    const bool active = y < t.height && column < t.inner;
    const int mine = active ? (rows - y + t.height - 1) / t.height : 0;
    typename Fold::State states[n];
    MOLLIFY_UNROLL
    for (int i = 0; i < n; ++i) states[i] = fold.neutral();
    fold_column_rows(fold, states, (o * t.count + first + y) * t.inner + column, t.height * t.inner, mine, column);
    join_tile(fold, states, t.width, t.height, x, y);
    if (active && y == 0) {
      MOLLIFY_UNROLL
      for (int i = 0; i < n; ++i) {
        if (t.chunks == 1) fold.finish(o * t.inner + column + i, states[i]);
        else partial[slice * t.inner + column + i] = states[i];
      }
    }
  }
}

template <class Fold>
__global__ void __launch_bounds__(kColumnThreads)
    join_chunks(Fold fold, const typename Fold::State* partial, ColumnTiles t) {
  const int x = static_cast<int>(threadIdx.x) % t.width, y = static_cast<int>(threadIdx.x) / t.width;
  for (int64_t item = blockIdx.x; item < t.outer * t.tiles; item += gridDim.x) {
    const int64_t o = item / t.tiles, column = item % t.tiles * t.width + x;
    const bool active = y < t.height && column < t.inner;
    typename Fold::State states[1] = {fold.neutral()};
    for (int64_t chunk = active ? y : t.count; chunk < t.count; chunk += kJoinRun * t.height) {
      typename Fold::State more[kJoinRun];
      MOLLIFY_UNROLL
      for (int i = 0; i < kJoinRun; ++i) {
        const int64_t here = chunk + i * t.height;
        more[i] = here < t.count ? partial[(o * t.count + here) * t.inner + column] : fold.neutral();
      }
      MOLLIFY_UNROLL
      for (int i = 0; i < kJoinRun; ++i) states[0] = fold.join(states[0], more[i]);
    }
    join_tile(fold, states, t.width, t.height, x, y);
    if (active && y == 0) fold.finish(o * t.inner + column, states[0]);
  }
}

// One thread for n columns of a slice.
template <class Fold, int n>
__global__ void fold_each_column(Fold fold, int64_t outer, int64_t count, int64_t inner) {
  const int64_t packs = inner / n;
  for (int64_t i = global_thread(); i < outer * packs; i += global_threads()) {
    const int64_t o = i / packs, column = (i - o * packs) * n;
    typename Fold::State states[n];
    MOLLIFY_UNROLL
    for (int j = 0; j < n; ++j) states[j] = fold.neutral();
    fold_column_rows(fold, states, o * count * inner + column, inner, count, column);
    MOLLIFY_UNROLL
    for (int j = 0; j < n; ++j) fold.finish(o * inner + column + j, states[j]);
  }
}

// Tiles that cover `packs` columns of packs by at most `widest` at a time, with one chunk.
inline ColumnTiles column_tiles(int64_t outer, int64_t count, int64_t inner, int64_t packs, int64_t widest,
                                int64_t tile) {
  const int width = static_cast<int>(packs <= widest ? packs : tile);
  return {outer, count, inner, width, kColumnThreads / width, (packs + width - 1) / width, count, 1};
}

template <class Fold, int n>
void fold_columns_by(const char* operation, const Fold& fold, int64_t outer, int64_t count, int64_t inner) {
  const int64_t packs = inner / n, outputs = outer * packs;
  const bool small = count * inner <= 1024 && outputs >= 16384;  // a warp's slices lie in a few cache lines
  const bool wide = inner * int64_t{sizeof(typename Fold::Number)} >= 64 && outputs >= 65536;
  if (count <= 4 * kColumnRun || small || wide) {
    const dim3 grid(grid_for(outputs, kColumnThreads));
    launch(operation, fold_each_column<Fold, n>, grid, dim3(kColumnThreads), 0, fold, outer, count, inner);
    return;
  }
  ColumnTiles t = column_tiles(outer, count, inner, packs, 128, 64);
  const int64_t blocks = outer * t.tiles, wanted = std::max<int64_t>(1, 1024 / blocks);
  const int64_t chunks = std::min((count + 4 * kColumnRun * t.height - 1) / (4 * kColumnRun * t.height), wanted);
  t.span = (count + chunks - 1) / chunks;
  t.chunks = (count + t.span - 1) / t.span;
  const Scratch<typename Fold::State> partial(t.chunks == 1 ? 0 : outer * t.chunks * inner);
  launch(operation, fold_column_tiles<Fold, n>, block_for_each(blocks * t.chunks), dim3(kColumnThreads), 0, fold, t,
         partial.data());
  if (t.chunks == 1) return;
  const ColumnTiles last =
      column_tiles(outer, t.chunks, inner, inner, 4, 4);  // narrow: many rows of threads share the chunks
  launch(operation, join_chunks<Fold>, block_for_each(outer * last.tiles), dim3(kColumnThreads), 0, fold,
         partial.data(), last);
}

template <class Fold>
void fold_columns(const char* operation, const Fold& fold, int64_t outer, int64_t count, int64_t inner) {
  constexpr int n = kPack<typename Fold::Number>;
  if (outer * inner == 0) return;
  if (inner % n == 0) fold_columns_by<Fold, n>(operation, fold, outer, count, inner);
  else fold_columns_by<Fold, 1>(operation, fold, outer, count, inner);
}

}  // namespace mollify::cuda
