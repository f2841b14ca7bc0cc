// Weight gradients as implicit matrix products by fused multiply-adds: rows are filters, columns are taps and channels,
// and the sum runs over pixels, in slices that a second stage adds up.
#include <mollify/engine/cuda/conv2d_algorithm.h>
#include <mollify/engine/cuda/conv2d_gradient.cuh>
#include <mollify/engine/cuda/conv2d_schedule.h>
#include <mollify/engine/cuda/conv2d_tile.cuh>

namespace mollify::cuda {
namespace {

// Reads the tiles of one step: kDepth pixels of g and of the gathered x. A chunk lies along the filters, or along the
// columns.
template <class Tile, bool kWide>
struct Loader {
  using T = typename Tile::T;
  static constexpr int kRowChunks = Tile::kRows / 4, kColumnChunks = Tile::kColumns / 4;
  static_assert(Tile::kDepth * kColumnChunks == Tile::kThreads, "one chunk of x per thread");

  Chunk<T> left[Tile::kLeftChunks], right;
  Column columns[kWide ? 1 : 4];

  __device__ static int left_depth(int i) { return (threadIdx.x + i * Tile::kThreads) / kRowChunks; }
  __device__ static int left_row(int i) { return (threadIdx.x + i * Tile::kThreads) % kRowChunks * 4; }
  __device__ static int right_depth() { return threadIdx.x / kColumnChunks; }
  __device__ static int right_column() { return threadIdx.x % kColumnChunks * 4; }

  __device__ Loader(const WeightGradient& p, int group, int first_column) {
#pragma unroll
    for (int j = 0; j < (kWide ? 1 : 4); ++j) {
      const int column = first_column + right_column() + j;
      columns[j] = Column(p, group,
                          min(column, p.depth - (kWide ? 4 : 1)));  // what lies past the end is computed and not stored
    }
  }

  // g and x are those of the group; pixel is that of right_depth().
  __device__ void read(const WeightGradient& p, int first_pixel, const PixelWalk& pixel, int first_row, const T* g,
                       const T* x) {
#pragma unroll
    for (int i = 0; i < Tile::kLeftChunks; ++i) {
      const int at = first_pixel + left_depth(i), row = first_row + left_row(i);
      const T* from = g + static_cast<int64_t>(at) * (p.out * p.groups) + row;
      if (kWide) {
        left[i] = at < p.pixels && row < p.out ? load_chunk(from) : Chunk<T>{};
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) left[i].v[j] = at < p.pixels && row + j < p.out ? from[j] : T(0);
      }
    }
    const Corner corner(p, pixel);
    const bool exists = first_pixel + right_depth() < p.pixels;
    if constexpr (kWide) {
      right = exists && corner.inside(p, columns[0]) ? load_chunk(x + corner.offset + columns[0].offset) : Chunk<T>{};
    } else {
#pragma unroll
      for (int j = 0; j < 4; ++j)
        right.v[j] = exists && corner.inside(p, columns[j]) ? x[corner.offset + columns[j].offset] : T(0);
    }
  }

  __device__ void store(typename Tile::Shared& shared, int buffer) const {
#pragma unroll
    for (int i = 0; i < Tile::kLeftChunks; ++i) store_chunk(&shared.left[buffer][left_depth(i)][left_row(i)], left[i]);
    store_chunk(&shared.right[buffer][right_depth()][right_column()], right);
  }
};

// Blocks: x for tiles, y for slices, z for groups.
template <class Tile, bool kWide>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    weight_gradient(WeightGradient p, const typename Tile::T* g, const typename Tile::T* x, bool wide_out,
                    typename Tile::T* dw) {
  using T = typename Tile::T;
  __shared__ typename Tile::Shared shared;
  const int column_tiles = (p.depth + Tile::kColumns - 1) / Tile::kColumns, group = blockIdx.z;
  const int first_row = blockIdx.x / column_tiles * Tile::kRows,
            first_column = blockIdx.x % column_tiles * Tile::kColumns;
  const int64_t steps = (p.pixels + Tile::kDepth - 1) / Tile::kDepth;
  const int begin = static_cast<int>(steps * blockIdx.y / gridDim.y),
            end = static_cast<int>(steps * (blockIdx.y + 1) / gridDim.y);
  g += group * p.out;

  T sum[Tile::kThreadRows][Tile::kThreadColumns] = {};
  if (begin < end) {
    Loader<Tile, kWide> load(p, group, first_column);
    PixelWalk pixel(p, begin * Tile::kDepth + load.right_depth());
    load.read(p, begin * Tile::kDepth, pixel, first_row, g, x);
    load.store(shared, 0);
    __syncthreads();
    int buffer = 0;
    for (int step = begin + 1; step < end; ++step) {
      pixel.jump(p);
      load.read(p, step * Tile::kDepth, pixel, first_row, g, x);
      Tile::multiply(shared, buffer, sum);
      buffer ^= 1;
      load.store(shared, buffer);
      __syncthreads();
    }
    Tile::multiply(shared, buffer, sum);
  }

  dw += (static_cast<int64_t>(blockIdx.y) * p.groups + group) * p.out * p.depth;
#pragma unroll
  for (int i = 0; i < Tile::kThreadRows; ++i) {
    const int row = first_row + Tile::row(i / 4) + i % 4;
    if (row >= p.out) continue;
#pragma unroll
    for (int j = 0; j < Tile::kThreadColumns / 4; ++j) {
      const int column = first_column + Tile::column(j);
      store_results<T>(&sum[i][4 * j], p.depth - column, wide_out, nullptr,
                       dw + static_cast<int64_t>(row) * p.depth + column);
    }
  }
}

template <class T>
struct Tiles;
template <>
struct Tiles<float> {
  static constexpr TileSize kSizes[] = {{128, 128, 115}, {128, 64, 108}, {64, 64, 95}, {64, 32, 85}};
  template <class Run>
  static void choose(int tile, Run run) {
    switch (tile) {
      case 0: return run(Tile<float, 128, 128, 8, 8, 8, 2>());
      case 1: return run(Tile<float, 128, 64, 16, 8, 4, 2>());
      case 2: return run(Tile<float, 64, 64, 16, 4, 4, 3>());
      default: return run(Tile<float, 64, 32, 16, 4, 4, 6>());
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

template <class T>
bool accepts(Conv2dKind kind, const Conv2dCall<T>& call) {
  return correlates(kind, call.shape) && call.shape.channels > 0 && call.shape.batch > 0;
}

template <class T>
void run_weight_gradient(Conv2dKind, const Conv2dCall<T>& call) {
  const Conv2dShape& s = call.shape;
  const int64_t in = s.channels / s.groups, out = s.filters / s.groups, depth = s.kernel_height * s.kernel_width * in;
  const int64_t pixels = s.batch * s.out_height * s.out_width, weights = s.filters * depth;
  const Schedule plan = schedule(Tiles<T>::kSizes, {s.groups, out, depth, pixels, weights, 256, 16384});
  const bool chunks = in % 4 == 0 && out % 4 == 0;
  const Slices<T> result(plan.slices, weights, call.out);
  Tiles<T>::choose(plan.tile, [&](auto tile) {
    using Size = decltype(tile);
    const int64_t tiles = ((out + Size::kRows - 1) / Size::kRows) * ((depth + Size::kColumns - 1) / Size::kColumns);
    const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(plan.slices), static_cast<unsigned>(s.groups));
    launch("conv2d_weight_gradient", chunks ? weight_gradient<Size, true> : weight_gradient<Size, false>, grid,
           Size::kThreads, 0, weight_gradient_of(s, Size::kDepth), call.left, call.right,
           depth % 4 == 0 && aligned16(result.data()), result.data());
  });
  result.finish();
}

}  // namespace

template <class T>
Conv2dAlgorithm<T> conv2d_tiled_weight_gradient() {
  return {"tiled", accepts<T>, always, run_weight_gradient<T>};
}

template Conv2dAlgorithm<float> conv2d_tiled_weight_gradient();
template Conv2dAlgorithm<double> conv2d_tiled_weight_gradient();

}  // namespace mollify::cuda
