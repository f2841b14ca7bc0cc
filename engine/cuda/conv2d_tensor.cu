// Forward convolutions and input gradients as implicit matrix products on tensor cores: as conv2d_tiled.cu, for
// precisions tf32 and bf16.
#include <mollify/engine/cuda/conv2d_algorithm.h>
#include <mollify/engine/cuda/conv2d_gather.cuh>
#include <mollify/engine/cuda/conv2d_mma.cuh>
#include <mollify/engine/cuda/conv2d_schedule.h>
#include <mollify/engine/precision.h>

#include <type_traits>

namespace mollify::cuda {
namespace {

// Tiles of gathered sources lie along the sum; tiles of weights too for a forward convolution, across it for an input
// gradient.
template <int kRows, int kColumns, bool kForward, bool kBf16>
using Tile =
    TensorTile<AlongDepth<kRows>, std::conditional_t<kForward, AlongDepth<kColumns>, AcrossDepth<kColumns>>, kBf16>;

constexpr int kChunks = kStepDepth / 4;

// Starts the copies of one step of weights. w is that of the group.
template <class Tile, bool kForward>
__device__ inline void copy_weights(const Correlation& c, const TapWalk& tap, int first_column, const float* w,
                                    float* tile) {
  if constexpr (kForward) {
    const int chunk = threadIdx.x % kChunks, channel = tap.channel + chunk * 4;
#pragma unroll
    for (int line = 0; line < Tile::kColumns; line += Tile::kThreads / kChunks) {
      const int own = line + threadIdx.x / kChunks, column = first_column + own;
      const bool exists = column < c.out && channel < c.in;
      copy_async(tile + Tile::Right::place(own, chunk), exists ? w + tap.weight + column * c.w_out + chunk * 4 : w,
                 exists);
    }
  } else {
    constexpr int kLineChunks = Tile::kColumns / 4;
    const int line = threadIdx.x % kLineChunks * 4, column = first_column + line;
#pragma unroll
    for (int depth = 0; depth < kStepDepth; depth += Tile::kThreads / kLineChunks) {
      const int own = depth + threadIdx.x / kLineChunks, channel = tap.channel + own;
      const bool exists = column < c.out && channel < c.in;
      copy_async(tile + Tile::Right::place(own, line), exists ? w + tap.weight + own * c.w_in + column : w, exists);
    }
  }
}

// Blocks: x for tiles, y for slices of the sum, z for phases and groups.
template <class Tile, bool kForward>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    correlate(Correlation c, const float* x, const float* w, const float* bias, bool wide_out, float* y) {
  constexpr int kSources = Tile::kRows * kChunks / Tile::kThreads;
  float* shared = dynamic_shared<float>();
  const Part part(c, blockIdx.z);
  const int column_tiles = (c.out + Tile::kColumns - 1) / Tile::kColumns, rows = part.rows(c);
  const int first_row = blockIdx.x / column_tiles * Tile::kRows,
            first_column = blockIdx.x % column_tiles * Tile::kColumns;
  if (first_row >= rows) return;  // other phases have more
  const int64_t steps = static_cast<int64_t>(part.taps()) * ((c.in + kStepDepth - 1) / kStepDepth);
  const int begin = static_cast<int>(steps * blockIdx.y / gridDim.y),
            end = static_cast<int>(steps * (blockIdx.y + 1) / gridDim.y);
  w += part.group * c.w_group;

  const int chunk = threadIdx.x % kChunks, own = threadIdx.x / kChunks;
  Source<float> sources[kSources];
#pragma unroll
  for (int i = 0; i < kSources; ++i) {
    sources[i] = Source<float>(c, part, x, first_row + own + i * (Tile::kThreads / kChunks), rows);
    sources[i].data += chunk * 4;
  }
  TapWalk tap(c, part, begin, kStepDepth);
  typename Tile::Sums sum = {};
  Tile::run(shared, begin, end, sum, [&](int, float* left, float* right) {
    const bool chunk_exists = tap.channel + chunk * 4 < c.in;
#pragma unroll
    for (int i = 0; i < kSources; ++i) {
      const bool exists = chunk_exists && sources[i].inside(c, tap.down, tap.right);
      float* to = left + Tile::Left::place(own + i * (Tile::kThreads / kChunks), chunk);
      copy_async(to, exists ? sources[i].data + tap.source : x, exists);
    }
    copy_weights<Tile, kForward>(c, tap, first_column, w, right);
    tap.advance(c, part, kStepDepth);
  });

  y += static_cast<int64_t>(blockIdx.y) * c.outputs;
  const auto out_of = [&](int row) {
    return first_row + row < rows ? y + destination_offset(c, part, first_row + row) : nullptr;
  };
  Tile::for_results(sum, out_of, [&](float* out, int column, float first, float second) {
    if (!out) return;
    column += first_column;
    if (bias) {
      first += bias[part.group * c.out + min(column, c.out - 1)];
      second += bias[part.group * c.out + min(column + 1, c.out - 1)];
    }
    store_pair(out + column, first, second, c.out - column, wide_out);
  });
}

// ---- on the host

constexpr TileSize kSizes[] = {{128, 128, 450}, {128, 64, 400}, {64, 64, 300}};

bool accepts(Conv2dKind kind, const Conv2dCall<float>& call) {
  if (precision() == Precision::fp32 || !correlates(kind, call.shape)) return false;
  const Correlation c = correlation_of(kind, call.shape);
  return c.in % 4 == 0 && (kind == Conv2dKind::forward || c.out % 4 == 0);
}

bool suits(Conv2dKind, const Conv2dCall<float>& call) {
  return std::min(call.shape.channels, call.shape.filters) / call.shape.groups >= 16;
}

template <class Tile, bool kForward>
void launch_tile(const Correlation& c, const Schedule& plan, const float* x, const float* w, const float* bias,
                 float* y) {
  const auto kernel = correlate<Tile, kForward>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(Tile::kSharedBytes)),
        "conv2d");
  const int64_t tiles =
      int64_t{(c.max_rows() + Tile::kRows - 1) / Tile::kRows} * ((c.out + Tile::kColumns - 1) / Tile::kColumns);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(plan.slices),
                  static_cast<unsigned>(c.groups * c.phases()));
  launch("conv2d", kernel, grid, Tile::kThreads, Tile::kSharedBytes, c, x, w, bias,
         c.out % 2 == 0 && reinterpret_cast<uintptr_t>(y) % 8 == 0, y);
}

template <bool kForward, bool kBf16>
void run_correlation(const Conv2dCall<float>& call, const Correlation& c) {
  const int64_t parts = int64_t{c.groups} * c.phases();
  const Schedule plan =
      schedule(kSizes, {parts, c.max_rows(), c.out, std::max(1, c.max_depth()), c.outputs, 256, 1 << 24});
  const Slices<float> out(plan.slices, c.outputs, call.out);
  const float *w = call.right, *bias = out.bias(call.bias);
  switch (plan.tile) {
    case 0: launch_tile<Tile<128, 128, kForward, kBf16>, kForward>(c, plan, call.left, w, bias, out.data()); break;
    case 1: launch_tile<Tile<128, 64, kForward, kBf16>, kForward>(c, plan, call.left, w, bias, out.data()); break;
    default: launch_tile<Tile<64, 64, kForward, kBf16>, kForward>(c, plan, call.left, w, bias, out.data()); break;
  }
  out.finish(call.bias, int64_t{c.groups} * c.out);
}

void run_tensor(Conv2dKind kind, const Conv2dCall<float>& call) {
  const Correlation c = correlation_of(kind, call.shape);
  const bool bf16 = precision() == Precision::bf16;
  if (kind == Conv2dKind::forward)
    return bf16 ? run_correlation<true, true>(call, c) : run_correlation<true, false>(call, c);
  return bf16 ? run_correlation<false, true>(call, c) : run_correlation<false, false>(call, c);
}

}  // namespace

Conv2dAlgorithm<float> conv2d_tensor() {
  return {"tensor", accepts, suits, run_tensor};
}

}  // namespace mollify::cuda
