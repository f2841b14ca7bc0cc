// Forward convolutions and input gradients as implicit matrix products by fused multiply-adds: rows are destinations,
// columns are outputs, and the tile of gathered sources exists in shared memory only.
#include <mollify/engine/cuda/conv2d_algorithm.h>
#include <mollify/engine/cuda/conv2d_gather.cuh>
#include <mollify/engine/cuda/conv2d_schedule.h>
#include <mollify/engine/cuda/conv2d_tile.cuh>

namespace mollify::cuda {
namespace {

constexpr int kMaxTable = 768;  // products of a sum that a table can list

// How one product of a sum finds its factors: for channels too few or too oddly placed to be read four at a time.
struct Entry {
  int down, right, source;  // as in TapWalk, with the channel
  int weight;               // −1 past the end of the sum
};

// Reads the tiles of one step into registers, and from there stores them to shared memory. kForward: weights lie
// channel by channel of the source (w_in = 1); else output by output (w_out = 1). kTable: products are found one by one
// in a table, wherever they lie.
template <class Tile, bool kForward, bool kTable>
struct Loader {
  using T = typename Tile::T;
  static constexpr bool kAlongDepth = kForward || kTable;  // whether a chunk of weights lies along the sum
  static constexpr int kLeftLine = Tile::kDepth / 4,
                       kRightLine = kAlongDepth ? kLeftLine : Tile::kColumns / 4;  // chunks along the contiguous axis
  static constexpr int kRightAll = Tile::kColumns * Tile::kDepth / 4;

  Source<T> sources[Tile::kLeftChunks];
  const T* weights[Tile::kRightChunks];
  int columns[Tile::kRightChunks];  // of each chunk of weights, from the first
  Chunk<T> left[Tile::kLeftChunks], right[Tile::kRightChunks];

  __device__ static int left_depth() { return threadIdx.x % kLeftLine * 4; }
  __device__ static int left_row(int i) { return (threadIdx.x + i * Tile::kThreads) / kLeftLine; }
  __device__ static int right_inner() { return threadIdx.x % kRightLine * 4; }
  __device__ static int right_outer(int i) { return (threadIdx.x + i * Tile::kThreads) / kRightLine; }
  __device__ static bool has_right(int i) {
    return kRightAll % Tile::kThreads == 0 || threadIdx.x + i * Tile::kThreads < kRightAll;
  }

  // w is that of the group.
  __device__ Loader(const Correlation& c, const Part& part, int first_row, int first_column, int rows, const T* x,
                    const T* w) {
#pragma unroll
    for (int i = 0; i < Tile::kLeftChunks; ++i) {
      sources[i] = Source<T>(c, part, x, first_row + left_row(i), rows);
      if (!kTable) sources[i].data += left_depth();
    }
#pragma unroll
    for (int i = 0; i < Tile::kRightChunks; ++i) {
      columns[i] = first_column + (kAlongDepth ? right_outer(i) : right_inner());
      weights[i] = w + static_cast<int64_t>(columns[i]) * c.w_out;
      if (!kTable) weights[i] += kForward ? right_inner() : right_outer(i) * c.w_in;
    }
  }

  __device__ void read(const Correlation& c, const TapWalk& tap) {
    const bool left_exists = tap.channel + left_depth() < c.in;
#pragma unroll
    for (int i = 0; i < Tile::kLeftChunks; ++i) {
      left[i] = left_exists && sources[i].inside(c, tap.down, tap.right) ? load_chunk(sources[i].data + tap.source)
                                                                         : Chunk<T>{};
    }
#pragma unroll
    for (int i = 0; i < Tile::kRightChunks; ++i) {
      const bool exists =
          has_right(i) && columns[i] < c.out && tap.channel + (kForward ? right_inner() : right_outer(i)) < c.in;
      right[i] = exists ? load_chunk(weights[i] + tap.weight) : Chunk<T>{};
    }
  }

  __device__ void read(const Correlation& c, const Entry* entries) {
#pragma unroll
    for (int i = 0; i < Tile::kLeftChunks; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const Entry entry = entries[left_depth() + j];
        left[i].v[j] =
            entry.weight >= 0 && sources[i].inside(c, entry.down, entry.right) ? sources[i].data[entry.source] : T(0);
      }
    }
#pragma unroll
    for (int i = 0; i < Tile::kRightChunks; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int weight = has_right(i) && columns[i] < c.out ? entries[right_inner() + j].weight : -1;
        right[i].v[j] = weight >= 0 ? weights[i][weight] : T(0);
      }
    }
  }

  __device__ void store(typename Tile::Shared& shared, int buffer) const {
#pragma unroll
    for (int i = 0; i < Tile::kLeftChunks; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) shared.left[buffer][left_depth() + j][left_row(i)] = left[i].v[j];
    }
#pragma unroll
    for (int i = 0; i < Tile::kRightChunks; ++i) {
      if (!has_right(i)) continue;
      if (kAlongDepth) {
#pragma unroll
        for (int j = 0; j < 4; ++j) shared.right[buffer][right_inner() + j][right_outer(i)] = right[i].v[j];
      } else {
        store_chunk(&shared.right[buffer][right_outer(i)][right_inner()], right[i]);
      }
    }
  }
};

__device__ inline void fill_table(const Correlation& c, const Part& part, Entry* table, int count) {
  for (int k = threadIdx.x; k < count; k += blockDim.x) {
    Entry entry{0, 0, 0, -1};
    if (k < part.taps() * c.in) {
      const TapWalk tap(c, part, k, 1);
      entry = {tap.down, tap.right, tap.source, tap.weight};
    }
    table[k] = entry;
  }
}

// Blocks: x for tiles (those of one row of tiles are neighbours, as they read the same sources), y for slices of the
// sum, z for phases and groups.
template <class Tile, bool kForward, bool kTable>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    correlate(Correlation c, const typename Tile::T* x, const typename Tile::T* w, const typename Tile::T* bias,
              bool wide_out, typename Tile::T* y) {
  using T = typename Tile::T;
  __shared__ typename Tile::Shared shared;
  __shared__ Entry table[kTable ? kMaxTable : 1];
  const Part part(c, blockIdx.z);
  const int column_tiles = (c.out + Tile::kColumns - 1) / Tile::kColumns, rows = part.rows(c);
  const int first_row = blockIdx.x / column_tiles * Tile::kRows,
            first_column = blockIdx.x % column_tiles * Tile::kColumns;
  if (first_row >= rows) return;  // other phases have more
  const int steps = kTable ? (part.taps() * c.in + Tile::kDepth - 1) / Tile::kDepth
                           : part.taps() * ((c.in + Tile::kDepth - 1) / Tile::kDepth);
  const int begin = static_cast<int>(static_cast<int64_t>(steps) * blockIdx.y / gridDim.y),
            end = static_cast<int>(static_cast<int64_t>(steps) * (blockIdx.y + 1) / gridDim.y);
  w += part.group * c.w_group;
  if (kTable) {
    fill_table(c, part, table, steps * Tile::kDepth);
    __syncthreads();
  }

  T sum[Tile::kThreadRows][Tile::kThreadColumns] = {};
  if (begin < end) {
    Loader<Tile, kForward, kTable> load(c, part, first_row, first_column, rows, x, w);
    TapWalk tap(c, part, kTable ? 0 : begin, Tile::kDepth);
    const auto read = [&](int step) {
      if constexpr (kTable) {
        load.read(c, table + step * Tile::kDepth);
      } else {
        load.read(c, tap);
        tap.advance(c, part, Tile::kDepth);
      }
    };
    read(begin);
    load.store(shared, 0);
    __syncthreads();
    int buffer = 0;
    for (int step = begin + 1; step < end; ++step) {
      read(step);
      Tile::multiply(shared, buffer, sum);
      buffer ^= 1;
      load.store(shared, buffer);
      __syncthreads();
    }
    Tile::multiply(shared, buffer, sum);
  }

  y += static_cast<int64_t>(blockIdx.y) * c.outputs;
#pragma unroll
  for (int i = 0; i < Tile::kThreadRows; ++i) {
    const int row = first_row + Tile::row(i / 4) + i % 4;
    if (row >= rows) continue;
    T* out = y + destination_offset(c, part, row);
#pragma unroll
    for (int j = 0; j < Tile::kThreadColumns / 4; ++j) {
      const int column = first_column + Tile::column(j);
      store_results(&sum[i][4 * j], c.out - column, wide_out, bias ? bias + part.group * c.out + column : nullptr,
                    out + column);
    }
  }
}

// ---- on the host

template <class T>
struct Tiles;
template <>
struct Tiles<float> {
  static constexpr TileSize kSizes[] = {{128, 128, 115}, {128, 64, 108}, {64, 64, 95}, {128, 32, 95}};
  template <class Run>
  static void choose(int tile, Run run) {
    switch (tile) {
      case 0: return run(Tile<float, 128, 128, 8, 8, 8, 2>());
      case 1: return run(Tile<float, 128, 64, 16, 8, 4, 2>());
      case 2: return run(Tile<float, 64, 64, 16, 4, 4, 3>());
      default: return run(Tile<float, 128, 32, 16, 4, 4, 3>());
    }
  }
};
template <>
struct Tiles<double> {
  static constexpr TileSize kSizes[] = {{64, 64, 55}, {64, 32, 50}};
  template <class Run>
  static void choose(int tile, Run run) {
    if (tile == 0) return run(Tile<double, 64, 64, 16, 4, 4, 2>());
    run(Tile<double, 64, 32, 16, 4, 4, 4>());
  }
};

// Whether sources and weights can be read four at a time.
bool reads_chunks(Conv2dKind kind, const Correlation& c) {
  return c.in % 4 == 0 && (kind == Conv2dKind::forward || c.out % 4 == 0);
}

template <class T>
bool accepts(Conv2dKind kind, const Conv2dCall<T>& call) {
  if (!correlates(kind, call.shape)) return false;
  const Correlation c = correlation_of(kind, call.shape);
  return reads_chunks(kind, c) || c.max_depth() <= kMaxTable - 16;
}

template <class T, bool kForward>
void run_correlation(const Conv2dCall<T>& call, const Correlation& c) {
  const int64_t parts = int64_t{c.groups} * c.phases();
  const Schedule plan =
      schedule(Tiles<T>::kSizes, {parts, c.max_rows(), c.out, std::max(1, c.max_depth()), c.outputs, 256, 1 << 24});
  // Four channels that fill little of a step are better found by the table.
  const bool chunks = reads_chunks(kForward ? Conv2dKind::forward : Conv2dKind::input_gradient, c) &&
                      (c.in >= 16 || c.max_depth() > kMaxTable - 16);
  const Slices<T> out(plan.slices, c.outputs, call.out);
  Tiles<T>::choose(plan.tile, [&](auto tile) {
    using Size = decltype(tile);
    const int64_t tiles =
        int64_t{(c.max_rows() + Size::kRows - 1) / Size::kRows} * ((c.out + Size::kColumns - 1) / Size::kColumns);
    const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(plan.slices), static_cast<unsigned>(parts));
    launch("conv2d", chunks ? correlate<Size, kForward, false> : correlate<Size, true, true>, grid, Size::kThreads, 0,
           c, call.left, call.right, out.bias(call.bias), c.out % 4 == 0 && aligned16(out.data()), out.data());
  });
  out.finish(call.bias, int64_t{c.groups} * c.out);
}

template <class T>
void run_tiled(Conv2dKind kind, const Conv2dCall<T>& call) {
  const Correlation c = correlation_of(kind, call.shape);
  if (kind == Conv2dKind::forward) return run_correlation<T, true>(call, c);
  run_correlation<T, false>(call, c);
}

}  // namespace

template <class T>
Conv2dAlgorithm<T> conv2d_tiled() {
  return {"tiled", accepts<T>, always, run_tiled<T>};
}

template Conv2dAlgorithm<float> conv2d_tiled();
template Conv2dAlgorithm<double> conv2d_tiled();

}  // namespace mollify::cuda
