// Convolutions with too few channels or outputs for tiles: grouped and depthwise ones, and sums of many channels into
// up to four outputs.
#include <mollify/engine/cuda/conv2d_algorithm.h>
#include <mollify/engine/cuda/conv2d_gather.cuh>
#include <mollify/engine/cuda/conv2d_gradient.cuh>

namespace mollify::cuda {
namespace {

constexpr size_t kSharedBytes = 48 << 10;
constexpr int kBlockRows = 8, kThreads = kWarp * kBlockRows;

// ---- grouped: a lane per output channel, whatever its group; each thread computes neighbouring destinations with the
// same weights

constexpr int kDestinations = 4;  // of a thread

// Blocks: x for destinations, y for 32 output channels, z for phases. Shared memory holds the channels' weights:
// [depth][32].
template <class T>
__global__ void __launch_bounds__(kThreads)
    correlate_grouped(Correlation c, const T* x, const T* w, const T* bias, T* y) {
  T* weights = dynamic_shared<T>();
  const int lane = threadIdx.x % kWarp, channel = blockIdx.y * kWarp + lane, group = min(channel / c.out, c.groups - 1),
            o = channel - group * c.out;
  const bool exists = channel < c.groups * c.out;
  const Part part(c, blockIdx.z * c.groups + group);
  const int rows = part.rows(c), depth = part.taps() * c.in;
  for (int k = threadIdx.x / kWarp; k < depth; k += kBlockRows) {
    const TapWalk tap(c, part, k, 1);
    weights[k * kWarp + lane] = exists ? w[group * c.w_group + tap.weight + o * c.w_out] : T(0);
  }
  __syncthreads();
  const int first = (blockIdx.x * kBlockRows + threadIdx.x / kWarp) * kDestinations;
  if (!exists || first >= rows) return;
  Source<T> sources[kDestinations];
#pragma unroll
  for (int i = 0; i < kDestinations; ++i) sources[i] = Source<T>(c, part, x, first + i, rows);
  T sum[kDestinations] = {};
  TapWalk tap(c, part, 0, 1);
  for (int k = 0; k < depth; k += c.in, tap.advance(c, part, c.in)) {
    bool inside[kDestinations];
#pragma unroll
    for (int i = 0; i < kDestinations; ++i) inside[i] = sources[i].inside(c, tap.down, tap.right);
    for (int in = 0; in < c.in; ++in) {
      const T weight = weights[(k + in) * kWarp + lane];
#pragma unroll
      for (int i = 0; i < kDestinations; ++i)
        sum[i] = fma(inside[i] ? sources[i].data[tap.source + in] : T(0), weight, sum[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kDestinations; ++i) {
    if (first + i < rows) y[destination_offset(c, part, first + i) + o] = bias ? sum[i] + bias[channel] : sum[i];
  }
}

// ---- grouped weight gradient: a lane per filter, kColumns of its weights per thread, and rows of a block that take
// turns with the pixels

constexpr int kColumns = 8;

// Blocks: x for 32 filters, y for slices of the pixels, z for kColumns weights.
template <class T>
__global__ void __launch_bounds__(kThreads) grouped_weight_gradient(WeightGradient p, const T* g, const T* x, T* dw) {
  __shared__ T partial[kBlockRows][kColumns][kWarp];
  const int lane = threadIdx.x % kWarp, row = threadIdx.x / kWarp, filters = p.groups * p.out;
  const int filter = min(static_cast<int>(blockIdx.x) * kWarp + lane, filters - 1), group = filter / p.out,
            first = blockIdx.z * kColumns;
  Column columns[kColumns];
#pragma unroll
  for (int j = 0; j < kColumns; ++j) columns[j] = Column(p, group, min(first + j, p.depth - 1));
  const int64_t steps = (p.pixels + kBlockRows - 1) / kBlockRows;
  const int begin = static_cast<int>(steps * blockIdx.y / gridDim.y),
            end = static_cast<int>(steps * (blockIdx.y + 1) / gridDim.y);
  PixelWalk pixel(p, begin * kBlockRows + row);
  T sum[kColumns] = {};
  for (int step = begin; step < end; ++step) {
    const int at = step * kBlockRows + row;
    if (at >= p.pixels) break;
    const T value = g[static_cast<int64_t>(at) * filters + filter];
    const Corner corner(p, pixel);
#pragma unroll
    for (int j = 0; j < kColumns; ++j)
      sum[j] = fma(value, corner.inside(p, columns[j]) ? x[corner.offset + columns[j].offset] : T(0), sum[j]);
    pixel.jump(p);
  }
#pragma unroll
  for (int j = 0; j < kColumns; ++j) partial[row][j][lane] = sum[j];
  __syncthreads();
  static_assert(kColumns == kBlockRows, "one weight of a filter per row of threads");
  T total = 0;
  for (int i = 0; i < kBlockRows; ++i) total += partial[i][row][lane];
  const bool exists = static_cast<int>(blockIdx.x) * kWarp + lane < filters && first + row < p.depth;
  if (exists) dw[(static_cast<int64_t>(blockIdx.y) * filters + filter) * p.depth + first + row] = total;
}

// ---- few outputs: the lanes of a warp share the channels of a source

// Blocks: x walks the destinations, z for phases. Shared memory holds all weights: [tap][kOut][in].
template <class T, int kOut>
__global__ void __launch_bounds__(kThreads) correlate_few(Correlation c, const T* x, const T* w, const T* bias, T* y) {
  T* weights = dynamic_shared<T>();
  const Part part(c, blockIdx.z);
  const int rows = part.rows(c), taps = part.taps(), lane = threadIdx.x % kWarp;
  for (int k = threadIdx.x; k < taps * c.in; k += kThreads) {
    const TapWalk tap(c, part, k, 1);
    for (int o = 0; o < c.out; ++o) weights[(k / c.in * c.out + o) * c.in + tap.channel] = w[tap.weight + o * c.w_out];
  }
  __syncthreads();
  for (int first = (blockIdx.x * kBlockRows + threadIdx.x / kWarp) * kDestinations; first < rows;
       first += gridDim.x * kBlockRows * kDestinations) {
    Source<T> sources[kDestinations];
#pragma unroll
    for (int i = 0; i < kDestinations; ++i) sources[i] = Source<T>(c, part, x, first + i, rows);
    T sum[kDestinations][kOut] = {};
    TapWalk tap(c, part, 0, 1);
    for (int t = 0; t < taps; ++t, tap.advance(c, part, c.in)) {
      bool inside[kDestinations];
#pragma unroll
      for (int i = 0; i < kDestinations; ++i) inside[i] = sources[i].inside(c, tap.down, tap.right);
      for (int in = lane; in < c.in; in += kWarp) {
        T value[kDestinations];
#pragma unroll
        for (int i = 0; i < kDestinations; ++i) value[i] = inside[i] ? sources[i].data[tap.source + in] : T(0);
#pragma unroll
        for (int o = 0; o < kOut; ++o) {
          if (o >= c.out) break;
          const T weight = weights[(t * c.out + o) * c.in + in];
#pragma unroll
          for (int i = 0; i < kDestinations; ++i) sum[i][o] = fma(value[i], weight, sum[i][o]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kDestinations; ++i) {
#pragma unroll
      for (int o = 0; o < kOut; ++o) {
        const T total = combine_warp(sum[i][o], [](T a, T b) { return a + b; });
        if (lane == i * kOut + o && o < c.out && first + i < rows)
          y[destination_offset(c, part, first + i) + o] = bias ? total + bias[o] : total;
      }
    }
  }
}

// ---- on the host

template <class T>
bool accepts_grouped(Conv2dKind kind, const Conv2dCall<T>& call) {
  const Conv2dShape& s = call.shape;
  if (!correlates(kind, s)) return false;
  if (kind == Conv2dKind::weight_gradient)
    return s.batch > 0 && s.channels > 0 &&
           s.kernel_height * s.kernel_width * (s.channels / s.groups) < 65536 * kColumns;
  const Correlation c = correlation_of(kind, s);
  return c.max_depth() * kWarp * sizeof(T) <= kSharedBytes && c.groups * c.out < 65536 * kWarp;
}

template <class T>
bool suits_grouped(Conv2dKind, const Conv2dCall<T>& call) {
  return call.shape.groups > 1 && std::min(call.shape.channels, call.shape.filters) / call.shape.groups < 16;
}

template <class T>
void run_grouped_weight_gradient(const Conv2dCall<T>& call) {
  const Conv2dShape& s = call.shape;
  const int64_t depth = s.kernel_height * s.kernel_width * (s.channels / s.groups), weights = s.filters * depth;
  const int64_t pixels = s.batch * s.out_height * s.out_width,
                blocks = ((s.filters + kWarp - 1) / kWarp) * ((depth + kColumns - 1) / kColumns);
  // Enough blocks for a device of 132 multiprocessors, and no longer sums than keep their accuracy.
  const int64_t slices = std::max(std::clamp<int64_t>(1056 / blocks, 1, std::max<int64_t>(1, pixels / 256)),
                                  pixels / (kBlockRows * 16384));
  const Slices<T> result(slices, weights, call.out);
  const dim3 grid(static_cast<unsigned>((s.filters + kWarp - 1) / kWarp), static_cast<unsigned>(slices),
                  static_cast<unsigned>((depth + kColumns - 1) / kColumns));
  launch("conv2d_weight_gradient", grouped_weight_gradient<T>, grid, kThreads, 0, weight_gradient_of(s, kBlockRows),
         call.left, call.right, result.data());
  result.finish();
}

template <class T>
void run_grouped(Conv2dKind kind, const Conv2dCall<T>& call) {
  if (kind == Conv2dKind::weight_gradient) return run_grouped_weight_gradient(call);
  const Correlation c = correlation_of(kind, call.shape);
  const int per_block = kBlockRows * kDestinations;
  const dim3 grid((c.max_rows() + per_block - 1) / per_block, (c.groups * c.out + kWarp - 1) / kWarp, c.phases());
  launch("conv2d", correlate_grouped<T>, grid, kThreads, c.max_depth() * kWarp * sizeof(T), c, call.left, call.right,
         call.bias, call.out);
}

template <class T>
bool accepts_few(Conv2dKind kind, const Conv2dCall<T>& call) {
  if (!correlates(kind, call.shape) || call.shape.groups > 1) return false;
  const Correlation c = correlation_of(kind, call.shape);
  return c.out <= 4 && c.max_depth() * c.out * sizeof(T) <= kSharedBytes;
}

template <class T>
bool suits_few(Conv2dKind kind, const Conv2dCall<T>& call) {
  return (kind == Conv2dKind::forward ? call.shape.channels : call.shape.filters) >= 16;
}

template <class T>
void run_few(Conv2dKind kind, const Conv2dCall<T>& call) {
  const Correlation c = correlation_of(kind, call.shape);
  const int per_block = kBlockRows * kDestinations,
            blocks = std::min((c.max_rows() + per_block - 1) / per_block, 132 * 16);
  launch("conv2d", c.out == 1 ? correlate_few<T, 1> : correlate_few<T, 4>, dim3(blocks, 1, c.phases()), kThreads,
         c.max_depth() * c.out * sizeof(T), c, call.left, call.right, call.bias, call.out);
}

}  // namespace

template <class T>
Conv2dAlgorithm<T> conv2d_grouped() {
  return {"grouped", accepts_grouped<T>, suits_grouped<T>, run_grouped<T>};
}

template <class T>
Conv2dAlgorithm<T> conv2d_few_outputs() {
  return {"few_outputs", accepts_few<T>, suits_few<T>, run_few<T>};
}

template Conv2dAlgorithm<float> conv2d_grouped();
template Conv2dAlgorithm<double> conv2d_grouped();
template Conv2dAlgorithm<float> conv2d_few_outputs();
template Conv2dAlgorithm<double> conv2d_few_outputs();

}  // namespace mollify::cuda
