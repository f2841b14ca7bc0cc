// Blocks of as many images as a vector has lanes are turned into planes: plane e is the vector of element e = (row,
// column, channel) of each image. On planes a convolution needs no shuffles and wastes no lanes, whatever its channels,
// strides and paddings are. Forward multiplies planes of x by numbers, the input gradient planes of g, the weight
// gradient planes of both by each other: each time for all pixels of the output and all taps that they read, in tiles
// that share their operands.
// Lanes never mix; only the weight gradient adds them up at its end. Sums over taps and filters have the order that
// they have in conv2d.cc: an output is one chain of fused multiply-adds over (tap, channel) in w's order; an input
// starts at zero and adds, in the order of the pixels that read it, chains over the filters.

#include <mollify/engine/cpu/conv2d_few_channels.h>

#include <mollify/engine/cpu/conv2d_pixels.h>
#include <mollify/engine/cpu/long_sums.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/memory.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/conv2d_few_channels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <mollify/engine/cpu/conv2d_planes-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kBlockBytes = 8 << 20;       // of a block's planes, at most
constexpr int64_t kSmallBlockBytes = 1 << 20;  // the same where little is to be gained
constexpr int64_t kPixelBytes = 16 << 10;  // of g's planes that all tiles of a weight gradient use before the next ones
constexpr int64_t kUnitProducts = 1 << 16;     // multiply-adds that pay for handing a range to another thread
constexpr int64_t kMaxChunks = 16;             // of the batch, in the weight gradient
constexpr int64_t kMaxSums = 200;  // of a weight gradient for each pixel: parts of few pixels read and write them all

// sum[r][c] += Σ_k plane k from a[r] on · b[k·b_step + c].
template <int kRows, int kColumns, class T, class V>
HWY_INLINE void add_products(const T* const (&a)[kRows], const T* b, int64_t b_step, int64_t length,
                             V (&sum)[kRows][kColumns]) {
  const hn::ScalableTag<T> d;
  for (int64_t k = 0; k < length; ++k, b += b_step) {
    V left[kRows];
    MOLLIFY_UNROLL
    for (int r = 0; r < kRows; ++r) left[r] = hn::LoadU(d, a[r] + k * lanes<T>());
    MOLLIFY_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      const V right = hn::Set(d, b[c]);
      MOLLIFY_UNROLL
      for (int r = 0; r < kRows; ++r) sum[r][c] = hn::MulAdd(left[r], right, sum[r][c]);
    }
  }
}

// Pixels × filters of y.
template <class T>
struct OutputTile {
  const Pixel* pixels;
  const Stretch *stretches, *stretches_end;
  const T* x;     // planes
  const T* w;     // [taps · channels, w_step], from the tile's first filter on
  int64_t w_step;
  const T* bias;  // from the tile's first filter on, or null
  T* y;           // planes, from the tile's first filter on

  template <int kRows, int kColumns>
  HWY_NOINLINE void compute() const {
    const hn::ScalableTag<T> d;
    hn::Vec<decltype(d)> sum[kRows][kColumns];
    MOLLIFY_UNROLL
    for (int c = 0; c < kColumns; ++c) {
      MOLLIFY_UNROLL
      for (int r = 0; r < kRows; ++r) sum[r][c] = bias ? hn::Set(d, bias[c]) : hn::Zero(d);
    }
    for (const Stretch* stretch = stretches; stretch != stretches_end; ++stretch) {
      const T* a[kRows];
      MOLLIFY_UNROLL
      for (int r = 0; r < kRows; ++r) a[r] = x + (pixels[r].x + stretch->x) * lanes<T>();
      add_products(a, w + stretch->row * w_step, w_step, stretch->length, sum);
    }
    MOLLIFY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      T* to = y + pixels[r].y * lanes<T>();
      MOLLIFY_UNROLL
      for (int c = 0; c < kColumns; ++c) hn::StoreU(sum[r][c], d, to + c * lanes<T>());
    }
  }
};

// What pixels of g add to the inputs that they read at some of the stretch's taps: pixels × (tap, channel). Pixels may
// share inputs.
template <class T>
struct InputTile {
  const Pixel* pixels;
  const T* g;      // planes
  const T* w;      // [filters, w_step], from the tile's first tap and channel on
  int64_t filters, w_step;
  T* x;            // planes, from the tile's first tap and channel on

  template <int kRows, int kColumns>
  HWY_NOINLINE void compute() const {
    const hn::ScalableTag<T> d;
    hn::Vec<decltype(d)> sum[kRows][kColumns];
    const T* a[kRows];
    MOLLIFY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      a[r] = g + pixels[r].y * lanes<T>();
      MOLLIFY_UNROLL
      for (int c = 0; c < kColumns; ++c) sum[r][c] = hn::Zero(d);
    }
    add_products(a, w, w_step, filters, sum);
    MOLLIFY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      T* to = x + pixels[r].x * lanes<T>();
      MOLLIFY_UNROLL
      for (int c = 0; c < kColumns; ++c, to += lanes<T>()) hn::StoreU(hn::Add(hn::LoadU(d, to), sum[r][c]), d, to);
    }
  }
};

// Filters × (tap, channel) of the weight gradient, lane by lane: adds the products of some pixels.
template <class T>
struct WeightTile {
  const Pixel *pixels, *pixels_end;
  const T* g;         // planes, from the tile's first filter on
  const T* x;         // planes, from the tile's first tap and channel on
  T* sums;            // vectors [filters, sums_step], from the tile's first on
  int64_t sums_step;

  template <int kRows, int kColumns>
  HWY_NOINLINE void compute() const {
    const hn::ScalableTag<T> d;
    using V = hn::Vec<decltype(d)>;
    V sum[kRows][kColumns];
    MOLLIFY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      MOLLIFY_UNROLL
      for (int c = 0; c < kColumns; ++c) sum[r][c] = hn::LoadU(d, sums + (r * sums_step + c) * lanes<T>());
    }
    for (const Pixel* pixel = pixels; pixel != pixels_end; ++pixel) {
      const T *a = g + pixel->y * lanes<T>(), *b = x + pixel->x * lanes<T>();
      V left[kRows];
      MOLLIFY_UNROLL
      for (int r = 0; r < kRows; ++r) left[r] = hn::LoadU(d, a + r * lanes<T>());
      MOLLIFY_UNROLL
      for (int c = 0; c < kColumns; ++c) {
        const V right = hn::LoadU(d, b + c * lanes<T>());
        MOLLIFY_UNROLL
        for (int r = 0; r < kRows; ++r) sum[r][c] = hn::MulAdd(left[r], right, sum[r][c]);
      }
    }
    MOLLIFY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      MOLLIFY_UNROLL
      for (int c = 0; c < kColumns; ++c) hn::StoreU(sum[r][c], d, sums + (r * sums_step + c) * lanes<T>());
    }
  }
};

// block(first image, images, planes for x, planes for y) for each block of images [begin, end).
template <class T, class Block>
void for_each_block(const PixelPlan& plan, int64_t begin, int64_t end, const Block& block) {
  const Scratch<T> x(plan.x_elements() * lanes<T>()), y(plan.y_elements() * lanes<T>());
  for (int64_t n = begin; n < end; n += lanes<T>()) block(n, std::min(lanes<T>(), end - n), x.data(), y.data());
}

template <class T, class Block>
void for_each_block_in_parallel(const PixelPlan& plan, int64_t images, const Block& block) {
  const int64_t blocks = (images + lanes<T>() - 1) / lanes<T>(),
                products = plan.y_elements() * plan.rows() * lanes<T>();
  parallel_for(blocks, 1 + kUnitProducts / (products + 1), [&](int64_t begin, int64_t end) HWY_ATTR {
    for_each_block<T>(plan, begin * lanes<T>(), std::min(images, end * lanes<T>()), block);
  });
}

template <class T>
void compute_outputs(const PixelPlan& plan, const T* x, const T* w, const T* bias, T* y) {
  const ColumnTiles tiles(plan.shape.filters);
  for (const Part& part : plan.parts) {
    OutputTile<T> tile;
    tile.x = x;
    tile.w_step = plan.shape.filters;
    tile.stretches = plan.stretches.data() + part.stretches.begin;
    tile.stretches_end = plan.stretches.data() + part.stretches.end;
    for (int64_t pixel = part.pixels.begin, count; pixel < part.pixels.end; pixel += count) {
      count = rows_of_tile(part.pixels.end - pixel, tiles.widest());
      tile.pixels = plan.pixels.data() + pixel;
      for (int64_t i = 0; i < tiles.count; ++i) {
        const int64_t filter = tiles.begin(i);
        tile.w = w + filter;
        tile.bias = bias ? bias + filter : nullptr;
        tile.y = y + filter * lanes<T>();
        compute(count, tiles.size(i), tile);
      }
    }
  }
}

// Taps come in falling order, so that each input meets the pixels that read it in rising order.
template <class T>
void add_inputs(const PixelPlan& plan, const T* g, const T* w, T* x) {
  InputTile<T> tile;
  tile.g = g;
  tile.filters = plan.shape.filters;
  tile.w_step = plan.rows();
  for (const Part& part : plan.parts) {
    if (part.stretches.size() == 0) continue;
    const ColumnTiles tiles(plan.stretches[static_cast<size_t>(part.stretches.begin)].length);
    for (int64_t pixel = part.pixels.begin, count; pixel < part.pixels.end; pixel += count) {
      count = rows_of_tile(part.pixels.end - pixel, tiles.widest());
      tile.pixels = plan.pixels.data() + pixel;
      for (int64_t s = part.stretches.end - 1; s >= part.stretches.begin; --s) {
        const Stretch& stretch = plan.stretches[static_cast<size_t>(s)];
        for (int64_t i = tiles.count - 1; i >= 0; --i) {
          tile.w = w + stretch.row + tiles.begin(i);
          tile.x = x + (stretch.x + tiles.begin(i)) * lanes<T>();
          compute(count, tiles.size(i), tile);
        }
      }
    }
  }
}

template <class T>
void add_weights(const PixelPlan& plan, const T* g, const T* x, T* sums) {
  const int64_t filters = plan.shape.filters,
                pixels = std::max<int64_t>(1, kPixelBytes / (filters * lanes<T>() * int64_t{sizeof(T)}));
  WeightTile<T> tile;
  tile.sums_step = plan.rows();
  for (const Part& part : plan.parts) {
    for (int64_t pixel = part.pixels.begin; pixel < part.pixels.end; pixel += pixels) {
      tile.pixels = plan.pixels.data() + pixel;
      tile.pixels_end = plan.pixels.data() + std::min(part.pixels.end, pixel + pixels);
      for (int64_t s = part.stretches.begin; s < part.stretches.end; ++s) {
        const Stretch& stretch = plan.stretches[static_cast<size_t>(s)];
        const ColumnTiles tiles(stretch.length);
        for (int64_t i = 0; i < tiles.count; ++i) {
          tile.x = x + (stretch.x + tiles.begin(i)) * lanes<T>();
          for (int64_t filter = 0, count; filter < filters; filter += count) {
            count = rows_of_tile(filters - filter, tiles.size(i));
            tile.g = g + filter * lanes<T>();
            tile.sums = sums + (filter * plan.rows() + stretch.row + tiles.begin(i)) * lanes<T>();
            compute(count, tiles.size(i), tile);
          }
        }
      }
    }
  }
}

template <class T>
int64_t block_bytes(const Conv2dShape& s) {
  return (s.height * s.width * s.channels + s.out_height * s.out_width * s.filters) * lanes<T>() * int64_t{sizeof(T)};
}

template <class T>
bool fits(const Conv2dShape& s) {
  return lanes<T>() > 1 && s.groups == 1 && s.batch > 0 && s.channels > 0 && s.filters > 0 &&
         block_bytes<T>(s) <= kBlockBytes;
}

// Filters in the lanes would leave a quarter of them empty, and there are pixels to fill the tiles.
template <class T>
bool has_few_filters(const Conv2dShape& s) {
  return 4 * s.filters <= 3 * lanes<T>() && s.out_height * s.out_width >= 8;
}

// The images of whole blocks, and the rest too if it has at least `least` and a quarter of a block.
template <class T>
int64_t images_of(const Conv2dShape& s, int64_t least) {
  const int64_t rest = s.batch % lanes<T>();
  return rest >= std::max(least, lanes<T>() / 4) ? s.batch : s.batch - rest;
}

// A block is one thread's work, where conv2d.cc cuts images too. With `gain` times as many threads as blocks that is as
// fast.
template <class T>
bool occupies_threads(int64_t images, int64_t gain) {
  return (images + lanes<T>() - 1) / lanes<T>() * gain >= num_threads();
}

template <class T>
int64_t forward(const Conv2dShape& s, const T* x, const T* w, const T* bias, T* y) {
  const bool few = has_few_filters<T>(s),
             full = s.filters == lanes<T>() && s.channels <= 2 && block_bytes<T>(s) <= kSmallBlockBytes;
  const int64_t images = fits<T>(s) && (few || full) ? images_of<T>(s, s.filters) : 0;
  if (images == 0 || !occupies_threads<T>(images, few ? 2 : 1)) return 0;
  const PixelPlan plan = pixel_plan(s, false);
  const Scratch<T> turned(plan.rows() * s.filters);
  transpose(s.filters, plan.rows(), w, plan.rows(), turned.data(), s.filters);
  for_each_block_in_parallel<T>(plan, images, [&](int64_t n, int64_t count, T* x_planes, T* y_planes) HWY_ATTR {
    to_planes(count, plan.x_elements(), x + n * plan.x_elements(), x_planes);
    compute_outputs(plan, x_planes, turned.data(), bias, y_planes);
    from_planes(count, plan.y_elements(), y_planes, y + n * plan.y_elements());
  });
  return images;
}

// Its condition on channels is that of the kernel in conv2d.cc that sums in the same order.
template <class T>
int64_t input_gradient(const Conv2dShape& s, const T* g, const T* w, T* dx) {
  const int64_t images = fits<T>(s) && 2 * s.channels <= lanes<T>() ? images_of<T>(s, lanes<T>() / 2) : 0;
  if (images == 0 || !occupies_threads<T>(images, 2)) return 0;
  const PixelPlan plan = pixel_plan(s, true);
  for_each_block_in_parallel<T>(plan, images, [&](int64_t n, int64_t count, T* x_planes, T* g_planes) HWY_ATTR {
    to_planes(count, plan.y_elements(), g + n * plan.y_elements(), g_planes);
    std::fill_n(x_planes, plan.x_elements() * lanes<T>(), T{0});
    add_inputs(plan, g_planes, w, x_planes);
    from_planes(count, plan.x_elements(), x_planes, dx + n * plan.x_elements());
  });
  return images;
}

template <class T>
bool weight_gradient(const Conv2dShape& s, const T* g, const T* x, T* dw) {
  const int64_t elements = s.filters * s.kernel_height * s.kernel_width * s.channels;
  if (!fits<T>(s) || !has_few_filters<T>(s) || elements > kMaxSums * s.out_height * s.out_width) return false;
  if (s.batch < 4 * lanes<T>() && images_of<T>(s, s.filters) < s.batch) return false;
  const PixelPlan plan = pixel_plan(s, false);
  const hn::ScalableTag<T> d;
  const int64_t blocks = (s.batch + lanes<T>() - 1) / lanes<T>();
  const int64_t chunk_images = (blocks + kMaxChunks - 1) / kMaxChunks * lanes<T>(),
                chunks = (s.batch + chunk_images - 1) / chunk_images;
  const Scratch<T> sums(chunks * elements * lanes<T>());
  const int64_t chunk_products = chunk_images * plan.y_elements() * plan.rows();
  parallel_for(chunks, 1 + kUnitProducts / (chunk_products + 1), [&](int64_t begin, int64_t end) HWY_ATTR {
    std::fill(sums.data() + begin * elements * lanes<T>(), sums.data() + end * elements * lanes<T>(), T{0});
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * chunk_images, pixels = s.out_height * s.out_width;
      T* chunk_sums = sums.data() + chunk * elements * lanes<T>();
      LongSums<T> long_sums(chunk_sums, elements * lanes<T>(), chunk_images / lanes<T>() * pixels);
      for_each_block<T>(plan, first, std::min(s.batch, first + chunk_images),
                        [&](int64_t n, int64_t count, T* x_planes, T* g_planes) HWY_ATTR {
        to_planes(count, plan.x_elements(), x + n * plan.x_elements(), x_planes);
        to_planes(count, plan.y_elements(), g + n * plan.y_elements(), g_planes);
        add_weights(plan, g_planes, x_planes, chunk_sums);
        long_sums.added(pixels);
      });
      long_sums.finish();
    }
  });
  for (int64_t i = 0; i < elements; ++i) {
    auto sum = hn::LoadU(d, sums.data() + i * lanes<T>());
    for (int64_t chunk = 1; chunk < chunks; ++chunk)
      sum = hn::Add(sum, hn::LoadU(d, sums.data() + (chunk * elements + i) * lanes<T>()));
    dw[i] = hn::GetLane(hn::SumOfLanes(d, sum));
  }
  return true;
}

}  // namespace

int64_t few_forward_f32(const Conv2dShape& s, const float* x, const float* w, const float* bias, float* y) {
  return forward(s, x, w, bias, y);
}
int64_t few_forward_f64(const Conv2dShape& s, const double* x, const double* w, const double* bias, double* y) {
  return forward(s, x, w, bias, y);
}
int64_t few_input_gradient_f32(const Conv2dShape& s, const float* g, const float* w, float* dx) {
  return input_gradient(s, g, w, dx);
}
int64_t few_input_gradient_f64(const Conv2dShape& s, const double* g, const double* w, double* dx) {
  return input_gradient(s, g, w, dx);
}
bool few_weight_gradient_f32(const Conv2dShape& s, const float* g, const float* x, float* dw) {
  return weight_gradient(s, g, x, dw);
}
bool few_weight_gradient_f64(const Conv2dShape& s, const double* g, const double* x, double* dw) {
  return weight_gradient(s, g, x, dw);
}

}  // namespace HWY_NAMESPACE
}  // namespace mollify::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mollify::cpu {

HWY_EXPORT(few_forward_f32);
HWY_EXPORT(few_forward_f64);
HWY_EXPORT(few_input_gradient_f32);
HWY_EXPORT(few_input_gradient_f64);
HWY_EXPORT(few_weight_gradient_f32);
HWY_EXPORT(few_weight_gradient_f64);

template <>
int64_t few_channels(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y) {
  return HWY_DYNAMIC_DISPATCH(few_forward_f32)(shape, x, w, bias, y);
}
template <>
int64_t few_channels(const Conv2dShape& shape, const double* x, const double* w, const double* bias, double* y) {
  return HWY_DYNAMIC_DISPATCH(few_forward_f64)(shape, x, w, bias, y);
}
template <>
int64_t few_channels_input_gradient(const Conv2dShape& shape, const float* g, const float* w, float* dx) {
  return HWY_DYNAMIC_DISPATCH(few_input_gradient_f32)(shape, g, w, dx);
}
template <>
int64_t few_channels_input_gradient(const Conv2dShape& shape, const double* g, const double* w, double* dx) {
  return HWY_DYNAMIC_DISPATCH(few_input_gradient_f64)(shape, g, w, dx);
}
template <>
bool few_channels_weight_gradient(const Conv2dShape& shape, const float* g, const float* x, float* dw) {
  return HWY_DYNAMIC_DISPATCH(few_weight_gradient_f32)(shape, g, x, dw);
}
template <>
bool few_channels_weight_gradient(const Conv2dShape& shape, const double* g, const double* x, double* dw) {
  return HWY_DYNAMIC_DISPATCH(few_weight_gradient_f64)(shape, g, x, dw);
}

}  // namespace mollify::cpu
#endif
