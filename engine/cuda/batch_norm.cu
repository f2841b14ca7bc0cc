#include <mollify/engine/cuda/batch_norm.h>
#include <mollify/engine/cuda/columns.cuh>

namespace mollify::cuda {
namespace {

// Mean and Σ(x − mean)² by runs of rows. A run's are computed in two passes over registers and corrected for the
// rounding of its mean (Chan, Golub & LeVeque 1983); runs are joined in f64, so that neither a large mean nor many rows
// cost accuracy.
template <class T>
struct Moments {
  using Number = T;
  struct State { double count, mean, squares; };

  const T* x;
  T *mean, *variance;
  bool aligned;

  __device__ State neutral() const { return {0, 0, 0}; }

  // share: of b's rows in both
  __device__ static State joined(const State& a, const State& b, double share) {
    const double delta = b.mean - a.mean;
    return {a.count + b.count, a.mean + delta * share, a.squares + b.squares + delta * delta * a.count * share};
  }

  __device__ State join(const State& a, const State& b) const {
    if (b.count == 0) return a;
    return joined(a, b, b.count / (a.count + b.count));
  }

  template <bool whole, int n>
  __device__ void add(State (&states)[n], int64_t at, int64_t stride, int rows, int64_t) const {
    Pack<T, n> run[kColumnRun];
    MOLLIFY_UNROLL
    for (int r = 0; r < kColumnRun; ++r)
      if (whole || r < rows) run[r] = load<n>(x + at + r * stride, aligned);
    const double count = rows, share = count / (states[0].count + count);  // all columns have as many rows
    MOLLIFY_UNROLL
    for (int i = 0; i < n; ++i) {
      T total = 0;
      MOLLIFY_UNROLL
      for (int r = 0; r < kColumnRun; ++r)
        if (whole || r < rows) total += run[r].at[i];
      const T centre = total / static_cast<T>(rows);
      T rest = 0, squares = 0;
      MOLLIFY_UNROLL
      for (int r = 0; r < kColumnRun; ++r) {
        if (!whole && r >= rows) continue;
        const T off = run[r].at[i] - centre;
        rest += off;
        squares = fma(off, off, squares);
      }
      const double correction = static_cast<double>(rest) / count;
      const double about_mean = static_cast<double>(squares) - static_cast<double>(rest) * correction;
      states[i] =
          joined(states[i], {count, static_cast<double>(centre) + correction, about_mean < 0 ? 0 : about_mean}, share);
    }
  }

  __device__ void finish(int64_t channel, const State& state) const {
    mean[channel] = static_cast<T>(state.mean);
    variance[channel] = static_cast<T>(state.squares / state.count);
  }
};

// Σ g and Σ g·(x − mean), in T over a run of rows and in f64 from there.
template <class T>
struct GradientSums {
  using Number = T;
  struct State { double g, gx; };

  const T *g, *x, *mean;
  T *sum_g, *sum_gx;
  bool aligned;  // all of g, x and mean

  __device__ State neutral() const { return {0, 0}; }
  __device__ State join(const State& a, const State& b) const { return {a.g + b.g, a.gx + b.gx}; }

  template <bool whole, int n>
  __device__ void add(State (&states)[n], int64_t at, int64_t stride, int rows, int64_t column) const {
    const Pack<T, n> centre = load<n>(mean + column, aligned);
    Pack<T, n> run[kColumnRun], inputs[kColumnRun];
    MOLLIFY_UNROLL
    for (int r = 0; r < kColumnRun; ++r) {
      if (!whole && r >= rows) continue;
      run[r] = load<n>(g + at + r * stride, aligned);
      inputs[r] = load<n>(x + at + r * stride, aligned);
    }
    MOLLIFY_UNROLL
    for (int i = 0; i < n; ++i) {
      T total = 0, total_x = 0;
      MOLLIFY_UNROLL
      for (int r = 0; r < kColumnRun; ++r) {
        if (!whole && r >= rows) continue;
        total += run[r].at[i];
        total_x = fma(run[r].at[i], inputs[r].at[i] - centre.at[i], total_x);
      }
      states[i] = join(states[i], {static_cast<double>(total), static_cast<double>(total_x)});
    }
  }

  __device__ void finish(int64_t channel, const State& state) const {
    sum_g[channel] = static_cast<T>(state.g);
    sum_gx[channel] = static_cast<T>(state.gx);
  }
};

// How a block of threads lies over rows of channels: a thread keeps its n channels and takes every height-th of its
// block's rows.
struct ChannelTiles {
  int64_t rows, channels;
  int width, height;
  int64_t tiles, span;
};

constexpr int kThreads = 256;
constexpr int kRowsEach = 16, kInFlight = 4;  // rows of a thread, and of them loaded before the first is stored

// A Map loads the coefficients<n>() of n channels and the inputs<n>() of their numbers at an offset; map_to() stores
// what they give there.
template <class Map, int n>
__global__ void __launch_bounds__(kThreads) map_channels(Map map, ChannelTiles t) {
  const int x = static_cast<int>(threadIdx.x) % t.width, y = static_cast<int>(threadIdx.x) / t.width;
  const int64_t chunks = (t.rows + t.span - 1) / t.span;
  for (int64_t item = blockIdx.x; item < t.tiles * chunks; item += gridDim.x) {
    const int64_t channel = (item % t.tiles * t.width + x) * n, first = item / t.tiles * t.span;
    const int64_t last = first + t.span < t.rows ? first + t.span : t.rows;
    if (y >= t.height || channel >= t.channels) continue;
    const auto coefficients = map.template coefficients<n>(channel);
    for (int64_t row = first + y; row < last; row += kInFlight * t.height) {
      typename Map::template Inputs<n> inputs[kInFlight];
      MOLLIFY_UNROLL
      for (int i = 0; i < kInFlight; ++i)
        if (row + i * t.height < last) inputs[i] = map.template inputs<n>((row + i * t.height) * t.channels + channel);
      MOLLIFY_UNROLL
      for (int i = 0; i < kInFlight; ++i)
        if (row + i * t.height < last) map.map_to((row + i * t.height) * t.channels + channel, coefficients, inputs[i]);
    }
  }
}

// y = (x − mean)·factor + shift
template <class T>
struct Normalize {
  template <int n> struct Coefficients { Pack<T, n> mean, factor, shift; };
  template <int n> struct Inputs { Pack<T, n> x; };

  const T *x, *mean, *factor, *shift;
  T* y;
  bool aligned, coefficients_aligned;

  template <int n> __device__ Coefficients<n> coefficients(int64_t c) const {
    return {load<n>(mean + c, coefficients_aligned), load<n>(factor + c, coefficients_aligned),
            load<n>(shift + c, coefficients_aligned)};
  }
  template <int n> __device__ Inputs<n> inputs(int64_t at) const { return {load<n>(x + at, aligned)}; }
  template <int n> __device__ void map_to(int64_t at, const Coefficients<n>& by, const Inputs<n>& in) const {
    Pack<T, n> out;
    MOLLIFY_UNROLL
    for (int i = 0; i < n; ++i) out.at[i] = fma(in.x.at[i] - by.mean.at[i], by.factor.at[i], by.shift.at[i]);
    store(out, y + at, aligned);
  }
};

// dx = factor·(g − offset − (x − mean)·slope)
template <class T>
struct NormalizeGradient {
  template <int n> struct Coefficients { Pack<T, n> mean, factor, offset, slope; };
  template <int n> struct Inputs { Pack<T, n> g, x; };

  const T *g, *x, *mean, *factor, *offset, *slope;
  T* dx;
  bool aligned, coefficients_aligned;

  template <int n> __device__ Coefficients<n> coefficients(int64_t c) const {
    return {load<n>(mean + c, coefficients_aligned), load<n>(factor + c, coefficients_aligned),
            load<n>(offset + c, coefficients_aligned), load<n>(slope + c, coefficients_aligned)};
  }
  template <int n>
  __device__ Inputs<n> inputs(int64_t at) const {
    return {load<n>(g + at, aligned), load<n>(x + at, aligned)};
  }
  template <int n> __device__ void map_to(int64_t at, const Coefficients<n>& by, const Inputs<n>& in) const {
    Pack<T, n> out;
    MOLLIFY_UNROLL
    for (int i = 0; i < n; ++i)
      out.at[i] = fma(-(in.x.at[i] - by.mean.at[i]), by.slope.at[i], in.g.at[i] - by.offset.at[i]) * by.factor.at[i];
    store(out, dx + at, aligned);
  }
};

template <class Map, int n>
void map_channels_by(const char* operation, const Map& map, int64_t rows, int64_t channels) {
  const int64_t packs = channels / n;
  const int width = static_cast<int>(packs <= 128 ? packs : 64), height = kThreads / width;
  const ChannelTiles t{rows, channels, width, height, (packs + width - 1) / width, int64_t{height} * kRowsEach};
  launch(operation, map_channels<Map, n>, block_for_each(t.tiles * ((rows + t.span - 1) / t.span)), dim3(kThreads), 0,
         map, t);
}

template <class T, class Map>
void map_all_channels(const char* operation, const Map& map, int64_t rows, int64_t channels) {
  if (rows * channels == 0) return;
  if (channels % kPack<T> == 0) map_channels_by<Map, kPack<T>>(operation, map, rows, channels);
  else map_channels_by<Map, 1>(operation, map, rows, channels);
}

template <class T, class... Pointers>
bool all_aligned(const Pointers*... pointers) { return (is_aligned<T, kPack<T>>(pointers) && ...); }

template <class T>
__global__ void factor_kernel(int64_t channels, const T* scale, const T* variance, double epsilon, T* factor) {
  const int64_t c = global_thread();
  if (c < channels)
    factor[c] = static_cast<T>(static_cast<double>(scale[c]) / sqrt(static_cast<double>(variance[c]) + epsilon));
}

template <class T>
__global__ void gradient_factors_kernel(int64_t channels, double share, const T* scale, const T* variance,
                                        double epsilon, T* d_scale, const T* d_shift, T* factor, T* offset, T* slope) {
  const int64_t c = global_thread();
  if (c >= channels) return;
  const double inverse = 1 / sqrt(static_cast<double>(variance[c]) + epsilon), sum_gx = static_cast<double>(d_scale[c]);
  factor[c] = static_cast<T>(static_cast<double>(scale[c]) * inverse);
  offset[c] = static_cast<T>(static_cast<double>(d_shift[c]) * share);
  slope[c] = static_cast<T>(inverse * inverse * sum_gx * share);
  d_scale[c] = static_cast<T>(sum_gx * inverse);
}

dim3 thread_for_each(int64_t channels) { return block_for_each((channels + kThreads - 1) / kThreads); }

}  // namespace

template <class T>
void channel_moments(const T* x, int64_t rows, int64_t channels, T* mean, T* variance) {
  fold_columns("channel_moments", Moments<T>{x, mean, variance, all_aligned<T>(x)}, 1, rows, channels);
}

template <class T>
void batch_norm_factor(int64_t channels, const T* scale, const T* variance, double epsilon, T* factor) {
  if (channels == 0) return;
  launch("batch_norm_factor", factor_kernel<T>, thread_for_each(channels), dim3(kThreads), 0, channels, scale, variance,
         epsilon, factor);
}

template <class T>
void normalize_channels(const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor, const T* shift,
                        T* y) {
  const Normalize<T> map{x, mean, factor, shift, y, all_aligned<T>(x, y), all_aligned<T>(mean, factor, shift)};
  map_all_channels<T>("normalize_channels", map, rows, channels);
}

template <class T>
void channel_gradient_sums(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, T* sum_g, T* sum_gx) {
  fold_columns("channel_gradient_sums", GradientSums<T>{g, x, mean, sum_g, sum_gx, all_aligned<T>(g, x, mean)}, 1, rows,
               channels);
}

template <class T>
void batch_norm_gradient_factors(int64_t channels, int64_t rows, const T* scale, const T* variance, double epsilon,
                                 T* d_scale, const T* d_shift, T* factor, T* offset, T* slope) {
  if (channels == 0) return;
  const double share = 1.0 / static_cast<double>(rows);
  launch("batch_norm_gradient_factors", gradient_factors_kernel<T>, thread_for_each(channels), dim3(kThreads), 0,
         channels, share, scale, variance, epsilon, d_scale, d_shift, factor, offset, slope);
}

template <class T>
void normalize_channels_gradient(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor,
                                 const T* offset, const T* slope, T* dx) {
  const bool coefficients_aligned = all_aligned<T>(mean, factor, offset, slope);
  const NormalizeGradient<T> map{g, x, mean, factor, offset, slope, dx, all_aligned<T>(g, x, dx), coefficients_aligned};
  map_all_channels<T>("normalize_channels_gradient", map, rows, channels);
}

#define MOLLIFY_INSTANTIATE(T)                                                                                       \
  template void channel_moments(const T*, int64_t, int64_t, T*, T*);                                                 \
  template void batch_norm_factor(int64_t, const T*, const T*, double, T*);                                          \
  template void normalize_channels(const T*, int64_t, int64_t, const T*, const T*, const T*, T*);                    \
  template void channel_gradient_sums(const T*, const T*, int64_t, int64_t, const T*, T*, T*);                       \
  template void batch_norm_gradient_factors(int64_t, int64_t, const T*, const T*, double, T*, const T*, T*, T*, T*); \
  template void normalize_channels_gradient(const T*, const T*, int64_t, int64_t, const T*, const T*, const T*,      \
                                            const T*, T*);
MOLLIFY_INSTANTIATE(float)
MOLLIFY_INSTANTIATE(double)
#undef MOLLIFY_INSTANTIATE

}  // namespace mollify::cuda
