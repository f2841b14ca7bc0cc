// dw[f, tap, c] = Σ_pixels g[pixel, f] · x[input of the pixel at the tap, c], as a matrix product without copies of x.
//
// Rows of the product are (tap, channel), columns are filters, and the reduction runs over output pixels: row (tap, c)
// reads x[·, c] from the tap's first pixel on with steps of a pixel, and the rows of b are the pixels of g. A segment
// is a run of pixels in one output row. The product gives dw transposed ([tap, c, f]); each unit of work turns its
// part, or, where the batch is cut into chunks, a last pass adds the chunks up in their order and turns the sum.

#include <mollify/engine/cpu/conv2d.h>

#include <mollify/engine/cpu/conv2d_depthwise.h>
#include <mollify/engine/cpu/conv2d_few_channels.h>
#include <mollify/engine/cpu/conv2d_geometry.h>
#include <mollify/engine/cpu/long_sums.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/memory.h>

#include <optional>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/conv2d_weight_gradient.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <mollify/engine/cpu/register_tile-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kCacheBytes = 32 << 10;        // of x and g that many tiles use before the next pixels are read
constexpr int64_t kMinPixels = 128;  // but no fewer pixels: each tile reads and writes its sums once per block
constexpr int64_t kUnits = 32;                   // units of work wanted; the batch is cut into chunks to reach them,
constexpr int64_t kChunkProducts = 1 << 22;      // each of at least so many multiply-adds,
constexpr int64_t kChunkElements = 1 << 22;      // and all their private sums together at most so many elements
constexpr int64_t kMaxChunks = 16;
constexpr int64_t kUnitProducts = 1 << 16;       // multiply-adds that pay for handing a range to another thread
constexpr int64_t kFewChannels = 6;              // with fewer, tiles hold rows of several taps

template <class T>
struct WeightGradient {
  Conv2dShape shape;
  Axis vertical, horizontal;
  int64_t channels, filters;      // per group
  bool by_tap;                    // the patches are by tap; with few channels by pixel
  const T* x;
  const T* packed_g;              // for each group, for each panel, [pixels, panel's width]
  Panels<T> panels;
  PoolVector<Patch> patches;
  int64_t chunks, chunk_images;
  T* sums;  // [chunks, groups, taps · channels, filters]; not used when units finish their part of dw themselves

  int64_t pixels() const { return shape.batch * shape.out_height * shape.out_width; }
  int64_t rows() const { return shape.kernel_height * shape.kernel_width * channels; }
};

// Rows [first_row, last_row) of output rows, counted from the first image's patch on, as segments of the reduction.
template <class T>
void set_segments(const WeightGradient<T>& p, const Patch& patch, int64_t first_row, int64_t last_row,
                  PoolVector<Segment>& segments) {
  const Conv2dShape& s = p.shape;
  const int64_t height = patch.vertical.destinations.size(), j = patch.horizontal.destinations.begin;
  segments.clear();
  for (int64_t row = first_row; row < last_row; ++row) {
    const int64_t n = row / height, i = patch.vertical.destinations.begin + row % height;
    const int64_t source = (n * s.height + p.vertical.source(i, patch.vertical.taps.begin)) * s.width +
                           p.horizontal.source(j, patch.horizontal.taps.begin);
    const int64_t pixel = (n * s.out_height + i) * s.out_width + j;
    append_segment(segments, {source * p.shape.channels, pixel, patch.horizontal.destinations.size()},
                   s.stride_width * p.shape.channels);
  }
}

// Where the rows of the product that belong to a patch read x (relative to a segment) and write their sums.
struct Row {
  int64_t x_offset, row;
};

template <class T>
PoolVector<Row> rows_of_patch(const WeightGradient<T>& p, const Patch& patch) {
  PoolVector<Row> rows;
  const Range vertical = patch.vertical.taps, horizontal = patch.horizontal.taps;
  for (int64_t i = vertical.begin; i < vertical.end; ++i) {
    for (int64_t j = horizontal.begin; j < horizontal.end; ++j) {
      const int64_t offset = ((i - vertical.begin) * p.vertical.dilation * p.shape.width +
                              (j - horizontal.begin) * p.horizontal.dilation) *
                             p.shape.channels;
      for (int64_t c = 0; c < p.channels; ++c)
        rows.push_back({offset + c, (i * p.shape.kernel_width + j) * p.channels + c});
    }
  }
  return rows;
}

// A part of dw transposed: rows from first_row on.
template <class T>
struct Sums {
  T* data;
  int64_t first_row, stride;
};

// Adds (by tap: writes) the sums over one chunk of images, for one group's panel of filters, of the rows of one patch.
// Where the chunk has more than kSumBlock pixels, blocks of about as many are summed apart.
template <class T>
void accumulate_patch(const WeightGradient<T>& p, const Patch& patch, int64_t chunk, int64_t group, const Panel& panel,
                      Sums<T> sums) {
  const int64_t first_image = chunk * p.chunk_images, images = std::min(p.shape.batch - first_image, p.chunk_images);
  const int64_t height = patch.vertical.destinations.size(), width = patch.horizontal.destinations.size();
  const int64_t last_row = (first_image + images) * height;
  const PoolVector<Row> rows = rows_of_patch(p, patch);
  const TileRows tiles(static_cast<int64_t>(rows.size()), panel.vectors);
  const int64_t panel_width = panel.vectors * lanes<T>();
  const int64_t pixel_bytes = (p.channels + panel_width) * int64_t{sizeof(T)};
  const int64_t block_rows = 1 + std::max(kMinPixels, kCacheBytes / pixel_bytes) / width;
  const T* x = p.x + group * p.channels;

  Tile<T> tile;
  tile.a_step = p.shape.stride_width * p.shape.channels;
  tile.b = p.packed_g + p.pixels() * (group * padded_columns<T>(p.filters) + panel.column);
  tile.b_step = panel_width;
  tile.columns = panel.columns;
  PoolVector<Segment> segments;
  const int64_t first_row = first_image * height;
  const auto row_count = static_cast<int64_t>(rows.size());
  std::optional<Scratch<T>> apart;
  if (images * p.shape.out_height * p.shape.out_width > kSumBlock) apart.emplace(row_count * panel_width);
  const auto target = [&](int64_t i) {
    return sums.data + (rows[static_cast<size_t>(i)].row - sums.first_row) * sums.stride;
  };
  const auto add_block = [&](bool writes) {
    for (int64_t i = 0; i < row_count; ++i) {
      const T* from = apart->data() + i * panel_width;
      T* to = target(i);
      for (int64_t f = 0; f < panel.columns; ++f) to[f] = writes ? from[f] : to[f] + from[f];
    }
  };
  bool starts_block = true, first_block = true;
  for (int64_t row = first_row, block_start = row; row < last_row; row += block_rows) {
    tile.accumulate = apart ? !starts_block : !p.by_tap || row > first_row;
    set_segments(p, patch, row, std::min(last_row, row + block_rows), segments);
    tile.segments = segments.data();
    tile.segment_count = static_cast<int64_t>(segments.size());
    for (int64_t i = 0; i < tiles.count; ++i) {
      const int64_t begin = tiles.begin(i), count = tiles.begin(i + 1) - begin;
      for (int64_t r = 0; r < count; ++r) {
        const Row& at = rows[static_cast<size_t>(begin + r)];
        tile.a_rows[r] = x + at.x_offset;
        tile.c_rows[r] = apart ? apart->data() + (begin + r) * panel_width : target(begin + r);
      }
      compute_tile(count, panel.vectors, tile);
    }
    const int64_t next = row + block_rows;
    starts_block = (next - block_start) * width >= kSumBlock;
    if (!apart || (!starts_block && next < last_row)) continue;
    add_block(p.by_tap && first_block);
    block_start = next;
    first_block = false;
  }
}

// g by panels of filters: [pixels, filters of the panel], so that a tile reads contiguous memory.
template <class T>
void pack_gradient(const WeightGradient<T>& p, const T* g, T* packed) {
  constexpr int64_t kRows = 256;
  const int64_t blocks = (p.pixels() + kRows - 1) / kRows;
  parallel_for(blocks, 1 + 8192 / (kRows * p.shape.filters), [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kRows, rows = std::min(kRows, p.pixels() - first);
      for (int64_t group = 0; group < p.shape.groups; ++group) {
        for (int64_t i = 0; i < p.panels.size(); ++i) {
          const Panel panel = p.panels[i];
          const int64_t width = panel.vectors * lanes<T>();
          T* to = packed + p.pixels() * (group * padded_columns<T>(p.filters) + panel.column) + first * width;
          const T* from = g + first * p.shape.filters + group * p.filters + panel.column;
          pack_panel(rows, panel.columns, from, p.shape.filters, int64_t{1}, to, width);
        }
      }
    }
  });
}

// Adds up the chunks in their order and turns [tap, c, f] into [f, tap, c].
template <class T>
void finish(const WeightGradient<T>& p, T* dw) {
  constexpr int64_t kRows = 128;
  const hn::ScalableTag<T> d;
  const int64_t blocks = (p.rows() + kRows - 1) / kRows, chunk_elements = p.shape.groups * p.rows() * p.filters;
  parallel_for(p.shape.groups * blocks, 1 + 8192 / (kRows * p.filters), [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t group = unit / blocks, first = unit % blocks * kRows, rows = std::min(kRows, p.rows() - first);
      T* sum = p.sums + (group * p.rows() + first) * p.filters;
      for (int64_t chunk = 1; chunk < p.chunks; ++chunk) {
        const T* next = sum + chunk * chunk_elements;
        int64_t i = 0;
        for (; i + lanes<T>() <= rows * p.filters; i += lanes<T>()) {
          hn::StoreU(hn::Add(hn::LoadU(d, sum + i), hn::LoadU(d, next + i)), d, sum + i);
        }
        for (; i < rows * p.filters; ++i) sum[i] += next[i];
      }
      transpose(rows, p.filters, sum, p.filters, dw + group * p.filters * p.rows() + first, p.rows());
    }
  });
}

// One unit of work: a chunk of images, a group, a panel of filters, and one patch or, if patches share taps, all of
// them.
struct Unit {
  int64_t chunk, group, panel, first_patch, last_patch;
};

template <class T>
void compute_unit(const WeightGradient<T>& p, const Unit& unit, T* dw) {
  const Panel panel = p.panels[unit.panel];
  if (p.sums) {
    T* sums = p.sums + (unit.chunk * p.shape.groups + unit.group) * p.rows() * p.filters + panel.column;
    for (int64_t i = unit.first_patch; i < unit.last_patch; ++i) {
      accumulate_patch(p, p.patches[static_cast<size_t>(i)], unit.chunk, unit.group, panel, {sums, 0, p.filters});
    }
  } else {  // one tap, all images: its sums stay in the cache until they stand in dw
    const Patch& patch = p.patches[static_cast<size_t>(unit.first_patch)];
    const int64_t first_row =
        (patch.vertical.taps.begin * p.shape.kernel_width + patch.horizontal.taps.begin) * p.channels;
    const Scratch<T> sums(p.channels * panel.columns);
    accumulate_patch(p, patch, 0, unit.group, panel, {sums.data(), first_row, panel.columns});
    T* to = dw + (unit.group * p.filters + panel.column) * p.rows() + first_row;
    transpose(p.channels, panel.columns, sums.data(), panel.columns, to, p.rows());
  }
}

template <class T>
void weight_gradient(const Conv2dShape& s, const T* g, const T* x, T* dw) {
  const bool by_tap = s.channels / s.groups >= kFewChannels;
  WeightGradient<T> p{s,
                      vertical_axis(s),
                      horizontal_axis(s),
                      s.channels / s.groups,
                      s.filters / s.groups,
                      by_tap,
                      x,
                      nullptr,
                      Panels<T>(s.filters / s.groups),
                      {},
                      1,
                      s.batch,
                      nullptr};
  p.patches = by_tap ? patches_by_tap(p.vertical, p.horizontal) : patches_by_pixel(p.vertical, p.horizontal);
  const int64_t patches = static_cast<int64_t>(p.patches.size()), unit_patches = by_tap ? 1 : patches;
  const int64_t elements = s.groups * p.rows() * p.filters, units = s.groups * p.panels.size() * (by_tap ? patches : 1);
  if (elements == 0 || s.batch == 0 || patches == 0) {
    std::fill_n(dw, elements, T{0});
    return;
  }
  const int64_t wanted = std::min(kMaxChunks, (kUnits + units - 1) / units);
  const int64_t worth = std::min(p.pixels() * elements / kChunkProducts, kChunkElements / elements);
  const int64_t most = std::max<int64_t>(1, std::min(wanted, worth));
  p.chunk_images = (s.batch + most - 1) / most;
  p.chunks = (s.batch + p.chunk_images - 1) / p.chunk_images;

  const bool in_place =
      s.groups == 1 && p.panels.size() == 1 && s.filters % lanes<T>() == 0;  // g is the one panel already
  const Scratch<T> packed(in_place ? 0 : p.pixels() * s.groups * padded_columns<T>(p.filters));
  if (!in_place) pack_gradient(p, g, packed.data());
  p.packed_g = in_place ? g : packed.data();

  const bool through_sums = !by_tap || p.chunks > 1,
             some_taps_read_nothing = by_tap && patches < s.kernel_height * s.kernel_width;
  const Scratch<T> sums(through_sums ? p.chunks * elements : 0);
  if (through_sums) p.sums = sums.data();
  if (through_sums && (!by_tap || some_taps_read_nothing)) std::fill_n(p.sums, p.chunks * elements, T{0});
  if (!through_sums && some_taps_read_nothing) std::fill_n(dw, elements, T{0});
  const int64_t unit_products = p.pixels() * elements / (units * p.chunks);
  parallel_for(p.chunks * units, 1 + kUnitProducts / (unit_products + 1), [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t panel = i / (by_tap ? patches : 1), patch = by_tap ? i % patches : 0;
      compute_unit(
          p, {i / units, panel / p.panels.size() % s.groups, panel % p.panels.size(), patch, patch + unit_patches}, dw);
    }
  });
  if (through_sums) finish(p, dw);
}

}  // namespace

void weight_gradient_f32(const Conv2dShape& s, const float* g, const float* x, float* dw) {
  weight_gradient(s, g, x, dw);
}
void weight_gradient_f64(const Conv2dShape& s, const double* g, const double* x, double* dw) {
  weight_gradient(s, g, x, dw);
}

}  // namespace HWY_NAMESPACE
}  // namespace mollify::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mollify::cpu {

HWY_EXPORT(weight_gradient_f32);
HWY_EXPORT(weight_gradient_f64);

template <>
void conv2d_weight_gradient(const Conv2dShape& shape, const float* g, const float* x, float* dw) {
  if (is_depthwise(shape)) return depthwise_weight_gradient(shape, g, x, dw);
  const Conv2dShape s = flattened(shape);
  if (few_channels_weight_gradient(s, g, x, dw)) return;
  HWY_DYNAMIC_DISPATCH(weight_gradient_f32)(s, g, x, dw);
}
template <>
void conv2d_weight_gradient(const Conv2dShape& shape, const double* g, const double* x, double* dw) {
  if (is_depthwise(shape)) return depthwise_weight_gradient(shape, g, x, dw);
  const Conv2dShape s = flattened(shape);
  if (few_channels_weight_gradient(s, g, x, dw)) return;
  HWY_DYNAMIC_DISPATCH(weight_gradient_f64)(s, g, x, dw);
}

}  // namespace mollify::cpu
#endif
