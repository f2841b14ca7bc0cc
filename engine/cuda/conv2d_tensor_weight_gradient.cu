// Weight gradients as implicit matrix products on tensor cores: as conv2d_tiled_weight_gradient.cu, for precisions tf32
// and bf16.
#include <mollify/engine/cuda/conv2d_algorithm.h>
#include <mollify/engine/cuda/conv2d_gradient.cuh>
#include <mollify/engine/cuda/conv2d_mma.cuh>
#include <mollify/engine/cuda/conv2d_schedule.h>
#include <mollify/engine/precision.h>

namespace mollify::cuda {
namespace {

template <int kRows, int kColumns, bool kBf16>
using Tile = TensorTile<AcrossDepth<kRows>, AcrossDepth<kColumns>, kBf16>;

// Pixels between two chunks of x that a thread copies in turn.
template <int kColumns>
constexpr int kJump = 128 * 4 / kColumns;

// Blocks: x for tiles, y for slices, z for groups.
template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    weight_gradient(WeightGradient p, const float* g, const float* x, bool wide_out, float* dw) {
  constexpr int kRowChunks = Tile::kRows / 4, kColumnChunks = Tile::kColumns / 4;
  float* shared = dynamic_shared<float>();
  const int column_tiles = (p.depth + Tile::kColumns - 1) / Tile::kColumns, group = blockIdx.z;
  const int first_row = blockIdx.x / column_tiles * Tile::kRows,
            first_column = blockIdx.x % column_tiles * Tile::kColumns;
  const int64_t steps = (static_cast<int64_t>(p.pixels) + kStepDepth - 1) / kStepDepth;
  const int begin = static_cast<int>(steps * blockIdx.y / gridDim.y),
            end = static_cast<int>(steps * (blockIdx.y + 1) / gridDim.y);

  const int row = threadIdx.x % kRowChunks * 4, row_depth = threadIdx.x / kRowChunks;
  const int column = threadIdx.x % kColumnChunks * 4, column_depth = threadIdx.x / kColumnChunks;
  const bool row_exists = first_row + row < p.out;
  const Column at(p, group,
                  min(first_column + column, p.depth - 4));  // what lies past the end is computed and not stored
  const float* rows = g + group * p.out + (row_exists ? first_row + row : 0);
  PixelWalk pixel(p, begin * kStepDepth + column_depth);
  typename Tile::Sums sum = {};
  Tile::run(shared, begin, end, sum, [&](int step, float* left, float* right) {
#pragma unroll
    for (int depth = 0; depth < kStepDepth; depth += Tile::kThreads / kRowChunks) {
      const int own = depth + row_depth, from = step * kStepDepth + own;
      const bool exists = row_exists && from < p.pixels;
      copy_async(left + Tile::Left::place(own, row),
                 exists ? rows + static_cast<int64_t>(from) * (p.out * p.groups) : g, exists);
    }
#pragma unroll
    for (int depth = 0; depth < kStepDepth; depth += kJump<Tile::kColumns>) {
      const int own = depth + column_depth;
      const Corner corner(p, pixel);
      const bool exists = step * kStepDepth + own < p.pixels && corner.inside(p, at);
      copy_async(right + Tile::Right::place(own, column), exists ? x + corner.offset + at.offset : x, exists);
      pixel.jump(p);
    }
  });

  dw += (static_cast<int64_t>(blockIdx.y) * p.groups + group) * p.out * p.depth;
  const auto out_of = [&](int row) {
    return first_row + row < p.out ? dw + static_cast<int64_t>(first_row + row) * p.depth : nullptr;
  };
  Tile::for_results(sum, out_of, [&](float* out, int column, float first, float second) {
    column += first_column;
    if (out) store_pair(out + column, first, second, p.depth - column, wide_out);
  });
}

// ---- on the host

constexpr TileSize kSizes[] = {{128, 128, 400}, {128, 64, 350}, {64, 64, 280}};

bool accepts(Conv2dKind kind, const Conv2dCall<float>& call) {
  const Conv2dShape& s = call.shape;
  return precision() != Precision::fp32 && correlates(kind, s) && s.batch > 0 && s.channels > 0 &&
         s.channels / s.groups % 4 == 0 && s.filters / s.groups % 4 == 0;
}

bool suits(Conv2dKind, const Conv2dCall<float>& call) {
  return std::min(call.shape.channels, call.shape.filters) / call.shape.groups >= 16;
}

template <class Tile>
void launch_tile(const Conv2dCall<float>& call, const Schedule& plan, float* dw) {
  const auto kernel = weight_gradient<Tile>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(Tile::kSharedBytes)),
        "conv2d_weight_gradient");
  const WeightGradient p = weight_gradient_of(call.shape, kJump<Tile::kColumns>);
  const int tiles = ((p.out + Tile::kRows - 1) / Tile::kRows) * ((p.depth + Tile::kColumns - 1) / Tile::kColumns);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(plan.slices), static_cast<unsigned>(p.groups));
  launch("conv2d_weight_gradient", kernel, grid, Tile::kThreads, Tile::kSharedBytes, p, call.left, call.right,
         p.depth % 2 == 0 && reinterpret_cast<uintptr_t>(dw) % 8 == 0, dw);
}

template <bool kBf16>
void run_weight_gradient(const Conv2dCall<float>& call) {
  const Conv2dShape& s = call.shape;
  const int64_t rows = s.filters / s.groups, depth = s.kernel_height * s.kernel_width * (s.channels / s.groups),
                weights = s.filters * depth;
  const Schedule plan =
      schedule(kSizes, {s.groups, rows, depth, s.batch * s.out_height * s.out_width, weights, 512, 16384});
  const Slices<float> result(plan.slices, weights, call.out);
  switch (plan.tile) {
    case 0: launch_tile<Tile<128, 128, kBf16>>(call, plan, result.data()); break;
    case 1: launch_tile<Tile<128, 64, kBf16>>(call, plan, result.data()); break;
    default: launch_tile<Tile<64, 64, kBf16>>(call, plan, result.data()); break;
  }
  result.finish();
}

void run_tensor(Conv2dKind, const Conv2dCall<float>& call) {
  if (precision() == Precision::bf16) return run_weight_gradient<true>(call);
  run_weight_gradient<false>(call);
}

}  // namespace

Conv2dAlgorithm<float> conv2d_tensor_weight_gradient() {
  return {"tensor", accepts, suits, run_tensor};
}

}  // namespace mollify::cuda
