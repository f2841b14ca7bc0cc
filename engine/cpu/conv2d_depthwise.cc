#include <mollify/engine/cpu/conv2d_depthwise.h>

#include <mollify/engine/cpu/conv2d_correlation.h>
#include <mollify/engine/cpu/long_sums.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/memory.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/conv2d_depthwise.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <mollify/engine/cpu/register_tile-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kPixelBlock = 64;           // pixels of one unit of work
constexpr int64_t kUnitProducts = 1 << 15;    // multiply-adds that pay for handing a range to another thread
constexpr int kTilePixels = 4;                // pixels that share a loaded weight
constexpr int kSumVectors = 4;                // independent sums that hide the latency of the multiply-add
constexpr int64_t kMaxChunks = 16;            // of the batch, in the weight gradient

struct Tap {
  int64_t offset, index;  // in the source from the pixel's first tap on; in the kernel
};

template <class T>
struct DepthwiseTile {
  const T* sources[kTilePixels];
  T* destinations[kTilePixels];
  const T* weights;  // [taps, channels]
  const T* bias;
  int64_t channels;
  const PoolVector<Tap>* taps;
};

// Channels [channel, …) as long as whole vectors of D fit; returns where it stopped.
template <int kPixels, class D, class T = hn::TFromD<D>>
HWY_INLINE int64_t compute_channels(D d, const DepthwiseTile<T>& tile, int64_t channel) {
  const int64_t step = static_cast<int64_t>(hn::MaxLanes(d));
  for (; channel + step <= tile.channels; channel += step) {
    hn::Vec<D> sum[kPixels];
    MOLLIFY_UNROLL
    for (int i = 0; i < kPixels; ++i) sum[i] = tile.bias ? hn::LoadU(d, tile.bias + channel) : hn::Zero(d);
    for (const Tap& tap : *tile.taps) {
      const auto weight = hn::LoadU(d, tile.weights + tap.index * tile.channels + channel);
      MOLLIFY_UNROLL
      for (int i = 0; i < kPixels; ++i)
        sum[i] = hn::MulAdd(hn::LoadU(d, tile.sources[i] + tap.offset + channel), weight, sum[i]);
    }
    MOLLIFY_UNROLL
    for (int i = 0; i < kPixels; ++i) hn::StoreU(sum[i], d, tile.destinations[i] + channel);
  }
  return channel;
}

template <int kPixels, class T>
HWY_INLINE void compute_pixels(const DepthwiseTile<T>& tile) {
  const int64_t channel = compute_channels<kPixels>(hn::ScalableTag<T>(), tile, 0);
  compute_channels<kPixels>(hn::CappedTag<T, 1>(), tile, channel);
}

template <class T>
void correlate_pixels(const Correlation<T>& c, const Patch& patch, const PoolVector<Tap>& taps, int64_t first,
                      int64_t last) {
  DepthwiseTile<T> tile{{}, {}, c.weights, c.bias, c.groups, &taps};
  PixelWalk<T> pixel(c, patch, first, 0, 0);
  for (int64_t i = first; i < last;) {
    const int count = last - i >= kTilePixels ? kTilePixels : 1;
    for (int t = 0; t < count; ++t, ++i, pixel.advance()) {
      tile.sources[t] = pixel.source();
      tile.destinations[t] = pixel.destination();
    }
    if (count == kTilePixels) compute_pixels<kTilePixels>(tile);
    else compute_pixels<1>(tile);
  }
}

template <class T>
void correlate(const Correlation<T>& c) {
  for (const Patch& patch : patches_by_pixel(c.vertical, c.horizontal)) {
    PoolVector<Tap> taps;
    const Range rows = patch.vertical.taps, columns = patch.horizontal.taps;
    for (int64_t i = rows.begin; i < rows.end; ++i) {
      for (int64_t j = columns.begin; j < columns.end; ++j) {
        taps.push_back({(i - rows.begin) * c.vertical.dilation * c.source.row_stride +
                            (j - columns.begin) * c.horizontal.dilation * c.source.pixel_stride,
                        i * c.horizontal.taps + j});
      }
    }
    const int64_t pixels = c.batch * patch.pixels(), blocks = (pixels + kPixelBlock - 1) / kPixelBlock;
    const int64_t unit_products = kPixelBlock * c.groups * (rows.size() * columns.size() + 1);
    parallel_for(blocks, 1 + kUnitProducts / unit_products, [&](int64_t begin, int64_t end) HWY_ATTR {
      correlate_pixels(c, patch, taps, begin * kPixelBlock, std::min(pixels, end * kPixelBlock));
    });
  }
}

template <class T>
void forward(const Conv2dShape& s, const T* x, const T* w, const T* bias, T* y) {
  const int64_t taps = s.kernel_height * s.kernel_width;
  const Scratch<T> weights(taps * s.channels);
  transpose(s.channels, taps, w, taps, weights.data(), s.channels);
  Correlation<T> c = forward_correlation(s, x, bias, y);
  c.weights = weights.data();
  correlate(c);
}

template <class T>
void input_gradient(const Conv2dShape& s, const T* g, const T* w, T* dx) {
  const int64_t taps = s.kernel_height * s.kernel_width;
  const Scratch<T> weights(taps * s.channels), phase_weights(taps * s.channels);
  transpose(s.channels, taps, w, taps, weights.data(), s.channels);
  for (const Phase& vertical : phases(vertical_axis(s))) {
    for (const Phase& horizontal : phases(horizontal_axis(s))) {
      for (int64_t i = 0, tap = 0; i < vertical.axis.taps; ++i) {
        for (int64_t j = 0; j < horizontal.axis.taps; ++j, ++tap) {
          const T* from = weights.data() + tap_of(s, vertical, horizontal, i, j) * s.channels;
          std::copy_n(from, s.channels, phase_weights.data() + tap * s.channels);
        }
      }
      Correlation<T> c = input_gradient_correlation(s, vertical, horizontal, g, dx);
      c.weights = phase_weights.data();
      correlate(c);
    }
  }
}

// sum[c] += Σ_pixels g[pixel, c]·x[pixel, c] over a run of pixels, for kVectors vectors of channels.
template <int kVectors, class D, class T = hn::TFromD<D>>
HWY_INLINE void add_run(D d, int64_t pixels, const T* g, int64_t g_step, const T* x, int64_t x_step, T* to) {
  const int64_t step = static_cast<int64_t>(hn::MaxLanes(d));
  hn::Vec<D> sum[kVectors];
  MOLLIFY_UNROLL
  for (int v = 0; v < kVectors; ++v) sum[v] = hn::LoadU(d, to + v * step);
  for (int64_t i = 0; i < pixels; ++i, g += g_step, x += x_step) {
    MOLLIFY_UNROLL
    for (int v = 0; v < kVectors; ++v)
      sum[v] = hn::MulAdd(hn::LoadU(d, g + v * step), hn::LoadU(d, x + v * step), sum[v]);
  }
  MOLLIFY_UNROLL
  for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[v], d, to + v * step);
}

template <class T>
void add_run_of_all_channels(int64_t channels, int64_t pixels, const T* g, const T* x, int64_t x_step, T* to) {
  const hn::ScalableTag<T> d;
  const hn::CappedTag<T, 1> one;
  int64_t c = 0;
  for (; c + kSumVectors * lanes<T>() <= channels; c += kSumVectors * lanes<T>()) {
    add_run<kSumVectors>(d, pixels, g + c, channels, x + c, x_step, to + c);
  }
  for (; c + lanes<T>() <= channels; c += lanes<T>()) add_run<1>(d, pixels, g + c, channels, x + c, x_step, to + c);
  for (; c < channels; ++c) add_run<1>(one, pixels, g + c, channels, x + c, x_step, to + c);
}

// Row by row of g, all taps: a row of g and the rows of x that it meets stay in the cache.
template <class T>
void add_image(const Conv2dShape& s, const Axis& vertical, const Axis& horizontal, const T* g, const T* x, T* sums,
               LongSums<T>& blocks) {
  for (int64_t i = 0; i < s.out_height; ++i) {
    for (int64_t tap = 0; tap < s.kernel_height; ++tap) {
      const int64_t row = vertical.source(i, tap);
      if (row < 0 || row >= s.height) continue;
      for (int64_t t = 0; t < s.kernel_width; ++t) {
        const Range columns = destinations_of(horizontal, t).destinations;
        if (columns.size() == 0) continue;
        add_run_of_all_channels(s.channels, columns.size(), g + (i * s.out_width + columns.begin) * s.channels,
                                x + (row * s.width + horizontal.source(columns.begin, t)) * s.channels,
                                s.stride_width * s.channels, sums + (tap * s.kernel_width + t) * s.channels);
      }
    }
    blocks.added(s.out_width);
  }
}

template <class T>
void weight_gradient(const Conv2dShape& s, const T* g, const T* x, T* dw) {
  const Axis vertical = vertical_axis(s), horizontal = horizontal_axis(s);
  const int64_t taps = s.kernel_height * s.kernel_width, elements = taps * s.channels;
  const int64_t images = std::max<int64_t>(1, (s.batch + kMaxChunks - 1) / kMaxChunks),
                chunks = (s.batch + images - 1) / images;
  const Scratch<T> sums(std::max<int64_t>(1, chunks) * elements);
  std::fill_n(sums.data(), std::max<int64_t>(1, chunks) * elements, T{0});
  const int64_t chunk_products = images * s.out_height * s.out_width * elements;
  parallel_for(chunks, 1 + kUnitProducts / (chunk_products + 1), [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      LongSums<T> blocks(sums.data() + chunk * elements, elements, images * s.out_height * s.out_width);
      for (int64_t n = chunk * images; n < std::min(s.batch, (chunk + 1) * images); ++n) {
        add_image(s, vertical, horizontal, g + n * s.out_height * s.out_width * s.channels,
                  x + n * s.height * s.width * s.channels, sums.data() + chunk * elements, blocks);
      }
      blocks.finish();
    }
  });
  for (int64_t chunk = 1; chunk < chunks; ++chunk) {
    for (int64_t i = 0; i < elements; ++i) sums[i] += sums[chunk * elements + i];
  }
  transpose(taps, s.channels, sums.data(), s.channels, dw, taps);
}

}  // namespace

void depthwise_f32(const Conv2dShape& s, const float* x, const float* w, const float* bias, float* y) {
  forward(s, x, w, bias, y);
}
void depthwise_f64(const Conv2dShape& s, const double* x, const double* w, const double* bias, double* y) {
  forward(s, x, w, bias, y);
}
void depthwise_input_gradient_f32(const Conv2dShape& s, const float* g, const float* w, float* dx) {
  input_gradient(s, g, w, dx);
}
void depthwise_input_gradient_f64(const Conv2dShape& s, const double* g, const double* w, double* dx) {
  input_gradient(s, g, w, dx);
}
void depthwise_weight_gradient_f32(const Conv2dShape& s, const float* g, const float* x, float* dw) {
  weight_gradient(s, g, x, dw);
}
void depthwise_weight_gradient_f64(const Conv2dShape& s, const double* g, const double* x, double* dw) {
  weight_gradient(s, g, x, dw);
}

}  // namespace HWY_NAMESPACE
}  // namespace mollify::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mollify::cpu {

HWY_EXPORT(depthwise_f32);
HWY_EXPORT(depthwise_f64);
HWY_EXPORT(depthwise_input_gradient_f32);
HWY_EXPORT(depthwise_input_gradient_f64);
HWY_EXPORT(depthwise_weight_gradient_f32);
HWY_EXPORT(depthwise_weight_gradient_f64);

template <>
void depthwise(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y) {
  HWY_DYNAMIC_DISPATCH(depthwise_f32)(shape, x, w, bias, y);
}
template <>
void depthwise(const Conv2dShape& shape, const double* x, const double* w, const double* bias, double* y) {
  HWY_DYNAMIC_DISPATCH(depthwise_f64)(shape, x, w, bias, y);
}
template <>
void depthwise_input_gradient(const Conv2dShape& shape, const float* g, const float* w, float* dx) {
  HWY_DYNAMIC_DISPATCH(depthwise_input_gradient_f32)(shape, g, w, dx);
}
template <>
void depthwise_input_gradient(const Conv2dShape& shape, const double* g, const double* w, double* dx) {
  HWY_DYNAMIC_DISPATCH(depthwise_input_gradient_f64)(shape, g, w, dx);
}
template <>
void depthwise_weight_gradient(const Conv2dShape& shape, const float* g, const float* x, float* dw) {
  HWY_DYNAMIC_DISPATCH(depthwise_weight_gradient_f32)(shape, g, x, dw);
}
template <>
void depthwise_weight_gradient(const Conv2dShape& shape, const double* g, const double* x, double* dw) {
  HWY_DYNAMIC_DISPATCH(depthwise_weight_gradient_f64)(shape, g, x, dw);
}

}  // namespace mollify::cpu
#endif
