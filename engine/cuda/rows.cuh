// Folding rows of packed memory, [rows, count] → [rows], in an order that the shape alone decides.
//
// A Fold is a struct, passed to kernels by value, with
//   Number, State                    what is read, and what a part of a row amounts to: plain numbers
//   const Number* x                  the rows
//   State neutral(), Number padding()
//   State join(State, State)         commutative
//   State other_lane(State, offset)  the State of lane ^ offset
//   void add(State&, const Number (&values)[n], int64_t first, int64_t stride)
//                                    value i is number first + i/kPack·stride + i%kPack of its row
//   void finish(int64_t row, State)  writes the result
#pragma once

#include <mollify/engine/cuda/pack.cuh>

#include <algorithm>
#include <bit>

namespace mollify::cuda {

inline constexpr int kRowThreads = 256;

inline constexpr int kRowLoads = 4;  // packs that a thread has in flight

// Adds to `state` the packs at at, at + stride, … of a span of `count` numbers, the span's first being number `first`
// of its row.
// whole: all of them lie in the span, at addresses that are multiples of 16.
template <bool whole, class Fold>
__device__ inline void fold_run(const Fold& fold, typename Fold::State& state, const typename Fold::Number* span,
                                int64_t first, int64_t count, int64_t at, int64_t stride, bool aligned) {
  using Number = typename Fold::Number;
  constexpr int n = kPack<Number>;
  Number values[kRowLoads * n];
  MOLLIFY_UNROLL
  for (int i = 0; i < kRowLoads; ++i) {
    const int64_t here = at + i * stride;
    if (whole || (aligned && here + n <= count)) {
      const Pack<Number, n> pack = load<n>(span + here, true);
      MOLLIFY_UNROLL
      for (int j = 0; j < n; ++j) values[i * n + j] = pack.at[j];
    } else {
      MOLLIFY_UNROLL
      for (int j = 0; j < n; ++j) values[i * n + j] = here + j < count ? span[here + j] : fold.padding();
    }
  }
  fold.add(state, values, first + at, stride);
}

// Adds to `state` every parts-th pack of a span, from pack `part` on. The address decides how numbers are loaded, but
// neither which nor in what order.
template <class Fold>
__device__ inline void fold_span(const Fold& fold, typename Fold::State& state, const typename Fold::Number* span,
                                 int64_t first, int64_t count, int part, int parts) {
  constexpr int n = kPack<typename Fold::Number>;
  const bool aligned = is_aligned<typename Fold::Number, n>(span);
  const int64_t stride = int64_t{parts} * n, run = kRowLoads * stride;
  int64_t at = int64_t{part} * n;
  if (aligned)
    for (; at + run - stride + n <= count; at += run) fold_run<true>(fold, state, span, first, count, at, stride, true);
  for (; at < count; at += run) fold_run<false>(fold, state, span, first, count, at, stride, aligned);
}

// `lanes`, a power of 2 up to a warp, share a row.
template <class Fold>
__global__ void fold_short_rows(Fold fold, int64_t rows, int64_t count, int lanes) {
  const int lane = static_cast<int>(threadIdx.x) & (lanes - 1);
  const int64_t groups = global_threads() / lanes, group = global_thread() / lanes;
  for (int64_t base = 0; base < rows; base += groups) {  // every thread makes all rounds: lanes meet in them
    const int64_t row = base + group;
    typename Fold::State state = fold.neutral();
    if (row < rows) fold_span(fold, state, fold.x + row * count, 0, count, lane, lanes);
    for (int offset = lanes / 2; offset > 0; offset /= 2) state = fold.join(state, fold.other_lane(state, offset));
    if (row < rows && lane == 0) fold.finish(row, state);
  }
}

// Thread 0 gets the whole block's State.
template <class Fold>
__device__ inline typename Fold::State join_block(const Fold& fold, typename Fold::State state) {
  __shared__ typename Fold::State parts[kRowThreads / kWarp];
  for (int offset = kWarp / 2; offset > 0; offset /= 2) state = fold.join(state, fold.other_lane(state, offset));
  __syncthreads();  // an earlier call's parts have been read
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = state;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int i = 1; i < kRowThreads / kWarp; ++i) state = fold.join(state, parts[i]);
  return state;
}

// A block for each span of a row; where rows have several spans, their States go to partial: [rows, spans].
template <class Fold>
__global__ void __launch_bounds__(kRowThreads)
fold_long_rows(Fold fold, int64_t rows, int64_t count, int64_t span, int64_t spans, typename Fold::State* partial) {
  for (int64_t item = blockIdx.x; item < rows * spans; item += gridDim.x) {
    const int64_t row = item / spans, first = item % spans * span, length = span < count - first ? span : count - first;
    typename Fold::State state = fold.neutral();
    fold_span(fold, state, fold.x + row * count + first, first, length, static_cast<int>(threadIdx.x), kRowThreads);
    state = join_block(fold, state);
    if (threadIdx.x == 0) {
      if (spans == 1) fold.finish(row, state);
      else partial[item] = state;
    }
  }
}

template <class Fold>
__global__ void __launch_bounds__(kRowThreads)
    join_spans(Fold fold, const typename Fold::State* partial, int64_t rows, int64_t spans) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    typename Fold::State state = fold.neutral();
    for (int64_t i = threadIdx.x; i < spans; i += kRowThreads) state = fold.join(state, partial[row * spans + i]);
    state = join_block(fold, state);
    if (threadIdx.x == 0) fold.finish(row, state);
  }
}

// Rows that are too few to fill a device are cut into spans: about a thousand in all, of a multiple of `least` numbers
// each.
inline int64_t span_of_rows(int64_t rows, int64_t count, int64_t least) {
  if (rows >= 1024) return count;
  return (std::max(least, rows * count / 1024) + least - 1) / least * least;
}

template <class Fold>
void fold_rows(const char* operation, const Fold& fold, int64_t rows, int64_t count) {
  if (rows == 0) return;
  if (count <= 1024) {
    const int64_t packs = (count + kPack<typename Fold::Number> - 1) / kPack<typename Fold::Number>;
    const int lanes =
        static_cast<int>(std::bit_ceil(static_cast<uint64_t>(std::clamp<int64_t>((packs + 1) / 2, 1, kWarp))));
    launch(operation, fold_short_rows<Fold>, dim3(grid_for(rows * lanes, kRowThreads)), dim3(kRowThreads), 0, fold,
           rows, count, lanes);
    return;
  }
  const int64_t span = span_of_rows(rows, count, 4096), spans = (count + span - 1) / span;
  const Scratch<typename Fold::State> partial(spans == 1 ? 0 : rows * spans);
  const dim3 grid = block_for_each(rows * spans);
  launch(operation, fold_long_rows<Fold>, grid, dim3(kRowThreads), 0, fold, rows, count, span, spans, partial.data());
  if (spans > 1)
    launch(operation, join_spans<Fold>, block_for_each(rows), dim3(kRowThreads), 0, fold, partial.data(), rows, spans);
}

}  // namespace mollify::cuda
