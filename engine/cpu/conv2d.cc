// Convolution and its input gradient as implicit matrix products.
//
// Rows of the product are output pixels, columns are filters, and the reduction runs over (tap, channel). Channels are
// contiguous in memory, so each (pixel, tap) is a ready-made row of `channels` numbers: the micro-kernel reads it
// through a pointer, and the matrix that im2col would build never exists. Where neighbouring taps of a kernel row are
// neighbours in memory too (no dilation, one group) the whole kernel row is one stretch of the reduction.
// The input gradient is the same sum with the roles of input and output exchanged and the taps reversed; with strides,
// the input pixels fall into phases that each see a dense subset of the taps. Every pixel is written by one place.

#include <mollify/engine/cpu/conv2d.h>

#include <mollify/engine/cpu/conv2d_correlation.h>
#include <mollify/engine/cpu/conv2d_depthwise.h>
#include <mollify/engine/cpu/conv2d_few_channels.h>
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/memory.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mollify/engine/cpu/conv2d.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <mollify/engine/cpu/register_tile-inl.h>

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kCacheBytes = 256 << 10;    // of packed weights that many tiles use before the next ones are read
constexpr int64_t kPixelBlock = 192;          // pixels of one unit of work
constexpr int64_t kProductsBytes = 16 << 10;  // of products that wait to be added to an input gradient
constexpr int64_t kUnitProducts = 1 << 16;    // multiply-adds that pay for handing a range to another thread

template <class T>
PoolVector<Segment> segments_of(const Correlation<T>& c, const Patch& patch) {
  PoolVector<Segment> segments;
  const Range rows = patch.vertical.taps, columns = patch.horizontal.taps;
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    for (int64_t j = columns.begin; j < columns.end; ++j) {
      const int64_t offset = (i - rows.begin) * c.vertical.dilation * c.source.row_stride +
                             (j - columns.begin) * c.horizontal.dilation * c.source.pixel_stride;
      append_segment(segments, {offset, (i * c.horizontal.taps + j) * c.reduction, c.reduction}, 1);
    }
  }
  return segments;
}

// The segments cut so that consecutive slices of them take up to `depth` rows of weights each; at least one slice.
PoolVector<PoolVector<Segment>> slices_of(const PoolVector<Segment>& segments, int64_t depth) {
  PoolVector<PoolVector<Segment>> slices(1);
  int64_t left = depth;
  for (const Segment& segment : segments) {
    for (int64_t done = 0; done < segment.length;) {
      if (left == 0) {
        slices.emplace_back();
        left = depth;
      }
      const int64_t length = std::min(left, segment.length - done);
      slices.back().push_back({segment.a_offset + done, segment.b_row + done, length});
      done += length;
      left -= length;
    }
  }
  return slices;
}

// One group and one panel of its outputs.
struct Columns {
  int64_t group;
  Panel panel;
};

template <class T>
PoolVector<Columns> columns_of(const Correlation<T>& c) {
  PoolVector<Columns> result;
  const Panels<T> panels(c.outputs);
  for (int64_t group = 0; group < c.groups; ++group) {
    for (int64_t i = 0; i < panels.size(); ++i) result.push_back({group, panels[i]});
  }
  return result;
}

// Pixels [first, last) of a patch (counted over the whole batch) for one panel of outputs.
template <class T>
void correlate_pixels(const Correlation<T>& c, const Patch& patch, const PoolVector<PoolVector<Segment>>& slices,
                      int64_t first, int64_t last, const Columns& columns, bool accumulate) {
  const Panel& panel = columns.panel;
  const int64_t channel = columns.group * c.outputs + panel.column;
  const TileRows tiles(last - first, panel.vectors);
  Tile<T> tile;
  tile.b_step = panel.vectors * lanes<T>();
  tile.b = c.weights + c.depth() * (columns.group * padded_columns<T>(c.outputs) + panel.column);
  tile.columns = panel.columns;
  tile.bias = c.bias ? c.bias + channel : nullptr;
  for (size_t s = 0; s < slices.size(); ++s) {
    tile.segments = slices[s].data();
    tile.segment_count = static_cast<int64_t>(slices[s].size());
    tile.accumulate = accumulate || s > 0;
    PixelWalk<T> pixel(c, patch, first, columns.group * c.reduction, channel);
    for (int64_t i = 0; i < tiles.count; ++i) {
      const int64_t rows = tiles.begin(i + 1) - tiles.begin(i);
      for (int64_t r = 0; r < rows; ++r, pixel.advance()) {
        tile.a_rows[r] = pixel.source();
        tile.c_rows[r] = pixel.destination();
      }
      compute_tile(rows, panel.vectors, tile);
    }
  }
}

// Pixels with the same taps together: each output is summed over all its taps before the next tile starts.
template <class T>
void correlate_by_pixel(const Correlation<T>& c, int64_t depth_limit) {
  struct Block {
    size_t patch;
    int64_t first, last;
  };
  const PoolVector<Columns> columns = columns_of(c);
  const PoolVector<Patch> patches = patches_by_pixel(c.vertical, c.horizontal);
  PoolVector<PoolVector<PoolVector<Segment>>> slices;
  PoolVector<Block> blocks;
  for (const Patch& patch : patches) {
    const int64_t pixels = c.batch * patch.pixels();
    for (int64_t first = 0; first < pixels; first += kPixelBlock) {
      blocks.push_back({slices.size(), first, std::min(pixels, first + kPixelBlock)});
    }
    slices.push_back(slices_of(segments_of(c, patch), depth_limit));
  }
  const int64_t panel_count = static_cast<int64_t>(columns.size()),
                units = static_cast<int64_t>(blocks.size()) * panel_count;
  const int64_t products = c.batch * c.vertical.count * c.horizontal.count * (c.depth() + 1) * c.outputs * c.groups;
  parallel_for(units, 1 + kUnitProducts / (products / std::max<int64_t>(1, units) + 1),
               [&](int64_t begin, int64_t end) HWY_ATTR {
                 for (int64_t unit = begin; unit < end; ++unit) {
                   const Block& block = blocks[static_cast<size_t>(unit / panel_count)];
                   const Columns& unit_columns = columns[static_cast<size_t>(unit % panel_count)];
                   correlate_pixels(c, patches[block.patch], slices[block.patch], block.first, block.last, unit_columns,
                                    false);
                 }
               });
}

template <class T>
void start_outputs(const Correlation<T>& c, int64_t first_image, int64_t last_image, const Columns& columns) {
  const Patch all{{{0, c.vertical.count}, {0, 0}}, {{0, c.horizontal.count}, {0, 0}}};
  const int64_t channel = columns.group * c.outputs + columns.panel.column;
  PixelWalk<T> pixel(c, all, first_image * all.pixels(), 0, channel);
  for (int64_t i = first_image * all.pixels(); i < last_image * all.pixels(); ++i, pixel.advance()) {
    if (c.bias) {
      std::copy_n(c.bias + channel, columns.panel.columns, pixel.destination());
    } else {
      std::fill_n(pixel.destination(), columns.panel.columns, T{0});
    }
  }
}

// Tap after tap, each over all pixels that it reaches. For many channels: a tap's weights are then read once for all of
// them.
template <class T>
void correlate_by_tap(const Correlation<T>& c, int64_t depth_limit) {
  const PoolVector<Columns> columns = columns_of(c);
  const PoolVector<Patch> patches = patches_by_tap(c.vertical, c.horizontal);
  PoolVector<PoolVector<PoolVector<Segment>>> slices;
  for (const Patch& patch : patches) slices.push_back(slices_of(segments_of(c, patch), depth_limit));
  const int64_t images = std::max<int64_t>(1, 4 * kPixelBlock / (c.vertical.count * c.horizontal.count));
  const int64_t panel_count = static_cast<int64_t>(columns.size()), blocks = (c.batch + images - 1) / images;
  parallel_for(blocks * panel_count, 1, [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t first = unit / panel_count * images, last = std::min(c.batch, first + images);
      const Columns& unit_columns = columns[static_cast<size_t>(unit % panel_count)];
      start_outputs(c, first, last, unit_columns);
      for (size_t p = 0; p < patches.size(); ++p) {
        correlate_pixels(c, patches[p], slices[p], first * patches[p].pixels(), last * patches[p].pixels(),
                         unit_columns, true);
      }
    }
  });
}

template <class T>
void correlate(const Correlation<T>& c) {
  const int64_t row_bytes = kPanelVectors * lanes<T>() * int64_t{sizeof(T)};
  const int64_t depth_limit = kCacheBytes / row_bytes;
  if (c.depth() > depth_limit && c.reduction >= 64 && c.vertical.taps * c.horizontal.taps > 1) {
    correlate_by_tap(c, depth_limit);
  } else {
    correlate_by_pixel(c, depth_limit);
  }
}

// w[outputs, reduction] of one run of taps at `from`, into rows [row, row + rows) of every panel of a group.
template <class T>
struct WeightBlock {
  const T* from;
  int64_t row, rows, row_stride, column_stride;
};

// Into c.weights: for each group, for each panel, [taps · reduction, panel's width].
template <class T>
void pack_weights(const Correlation<T>& c, const PoolVector<WeightBlock<T>>& blocks, int64_t group_stride, T* packed) {
  const PoolVector<Columns> columns = columns_of(c);
  const int64_t block_count = static_cast<int64_t>(blocks.size()),
                units = static_cast<int64_t>(columns.size()) * block_count;
  const int64_t unit_elements = c.depth() * c.outputs * c.groups / std::max<int64_t>(1, units);
  parallel_for(units, 1 + (kUnitProducts >> 3) / (unit_elements + 1), [&](int64_t begin, int64_t end) HWY_ATTR {
    for (int64_t unit = begin; unit < end; ++unit) {
      const auto& [group, panel] = columns[static_cast<size_t>(unit / block_count)];
      const WeightBlock<T>& block = blocks[static_cast<size_t>(unit % block_count)];
      const int64_t width = panel.vectors * lanes<T>();
      T* to = packed + c.depth() * (group * padded_columns<T>(c.outputs) + panel.column) + block.row * width;
      pack_panel(block.rows, panel.columns, block.from + group * group_stride + panel.column * block.column_stride,
                 block.row_stride, block.column_stride, to, width);
    }
  });
}

template <class T>
void forward(const Conv2dShape& s, const T* x, const T* w, const T* bias, T* y) {
  if (s.batch == 0) return;
  const int64_t filters = s.filters / s.groups;
  Correlation<T> c = forward_correlation(s, x, bias, y);
  const Scratch<T> packed(c.depth() * s.groups * padded_columns<T>(filters));
  PoolVector<WeightBlock<T>> blocks;
  constexpr int64_t kRows = 512;
  for (int64_t row = 0; row < c.depth(); row += kRows)
    blocks.push_back({w + row, row, std::min(kRows, c.depth() - row), 1, c.depth()});
  pack_weights(c, blocks, filters * c.depth(), packed.data());
  c.weights = packed.data();
  correlate(c);
}

// Adds the products of output rows [first_row, last_row) of one image to the inputs that they belong to, tap after tap.
// From the last tap to the first: an input then gets its products in the order of the output pixels, however rows are
// cut into bands.
// kChannels: how many there are, or 0 for any number; grey and coloured images deserve loops of known length.
template <int kChannels, class T>
void add_products(const Conv2dShape& s, int64_t first_row, int64_t last_row, const T* products, int64_t products_width,
                  T* dx) {
  const Axis vertical = vertical_axis(s), horizontal = horizontal_axis(s);
  const int64_t channels = kChannels == 0 ? s.channels : kChannels, step = s.stride_width * channels;
  for (int64_t tap = s.kernel_height * s.kernel_width - 1; tap >= 0; --tap) {
    const Range columns = destinations_of(horizontal, tap % s.kernel_width).destinations;
    for (int64_t i = first_row; i < last_row; ++i) {
      const int64_t row = vertical.source(i, tap / s.kernel_width);
      if (row < 0 || row >= s.height) continue;
      const T* from = products + ((i - first_row) * s.out_width + columns.begin) * products_width + tap * channels;
      T* to = dx + (row * s.width + horizontal.source(columns.begin, tap % s.kernel_width)) * channels;
      for (int64_t j = 0; j < columns.size(); ++j, from += products_width, to += step) {
        MOLLIFY_UNROLL
        for (int64_t c = 0; c < channels; ++c) to[c] += from[c];
      }
    }
  }
}

// With few channels, one vector of them would be mostly empty. Here vectors run along (tap, channel): each output
// pixel's products g[pixel, :]·w[:, tap, c] for all taps at once, then added to the inputs. Images are independent of
// each other.
template <class T>
void input_gradient_of_few_channels(const Conv2dShape& s, const T* g, const T* w, T* dx) {
  const int64_t columns = s.kernel_height * s.kernel_width * s.channels, width = padded_columns<T>(columns);
  const int64_t band = std::max<int64_t>(1, kProductsBytes / (s.out_width * width * int64_t{sizeof(T)} + 1));
  const Panels<T> panels(columns);
  const Scratch<T> packed(s.filters * width);
  for (int64_t p = 0; p < panels.size(); ++p) {
    const Panel panel = panels[p];
    pack_panel(s.filters, panel.columns, w + panel.column, columns, int64_t{1},
               packed.data() + s.filters * panel.column, panel.vectors * lanes<T>());
  }
  const Segment segment{0, 0, s.filters};
  parallel_for(s.batch, 1 + kUnitProducts / (s.out_height * s.out_width * width * s.filters + 1),
               [&](int64_t begin, int64_t end) HWY_ATTR {
                 const Scratch<T> products(band * s.out_width * width);
                 std::fill(dx + begin * s.height * s.width * s.channels, dx + end * s.height * s.width * s.channels,
                           T{0});
                 for (int64_t unit = begin * s.out_height; unit < end * s.out_height;) {
                   const int64_t n = unit / s.out_height, row = unit % s.out_height,
                                 last_row = std::min(s.out_height, row + band);
                   for (int64_t p = 0; p < panels.size(); ++p) {
                     const Panel panel = panels[p];
                     const TileRows tiles((last_row - row) * s.out_width, panel.vectors);
                     Tile<T> tile{{},
                                  {},
                                  1,
                                  &segment,
                                  1,
                                  packed.data() + s.filters * panel.column,
                                  panel.vectors * lanes<T>(),
                                  panel.vectors * lanes<T>(),
                                  nullptr,
                                  false};
                     for (int64_t i = 0; i < tiles.count; ++i) {
                       const int64_t first = tiles.begin(i), count = tiles.begin(i + 1) - first;
                       for (int64_t r = 0; r < count; ++r) {
                         tile.a_rows[r] = g + (unit * s.out_width + first + r) * s.filters;
                         tile.c_rows[r] = products.data() + (first + r) * width + panel.column;
                       }
                       compute_tile(count, panel.vectors, tile);
                     }
                   }
                   const auto add = s.channels == 1   ? add_products<1, T>
                                    : s.channels == 3 ? add_products<3, T>
                                                      : add_products<0, T>;
                   add(s, row, last_row, products.data(), width, dx + n * s.height * s.width * s.channels);
                   unit += last_row - row;
                 }
               });
}

template <class T>
void input_gradient(const Conv2dShape& s, const T* g, const T* w, T* dx) {
  if (s.batch == 0) return;
  if (s.groups == 1 && 2 * s.channels <= lanes<T>()) return input_gradient_of_few_channels(s, g, w, dx);
  const int64_t channels = s.channels / s.groups, filters = s.filters / s.groups,
                taps = s.kernel_height * s.kernel_width;
  const Scratch<T> packed(taps * filters * s.groups * padded_columns<T>(channels));
  for (const Phase& vertical : phases(vertical_axis(s))) {
    for (const Phase& horizontal : phases(horizontal_axis(s))) {
      Correlation<T> c = input_gradient_correlation(s, vertical, horizontal, g, dx);
      c.weights = packed.data();
      PoolVector<WeightBlock<T>> blocks;
      for (int64_t i = 0; i < vertical.axis.taps; ++i) {
        for (int64_t j = 0; j < horizontal.axis.taps; ++j) {
          const int64_t row = (i * horizontal.axis.taps + j) * filters;
          blocks.push_back({w + tap_of(s, vertical, horizontal, i, j) * channels, row, filters, taps * channels, 1});
        }
      }
      pack_weights(c, blocks, filters * taps * channels, packed.data());
      correlate(c);
    }
  }
}

}  // namespace

void conv2d_f32(const Conv2dShape& s, const float* x, const float* w, const float* bias, float* y) {
  forward(s, x, w, bias, y);
}
void conv2d_f64(const Conv2dShape& s, const double* x, const double* w, const double* bias, double* y) {
  forward(s, x, w, bias, y);
}
void input_gradient_f32(const Conv2dShape& s, const float* g, const float* w, float* dx) {
  input_gradient(s, g, w, dx);
}
void input_gradient_f64(const Conv2dShape& s, const double* g, const double* w, double* dx) {
  input_gradient(s, g, w, dx);
}

}  // namespace HWY_NAMESPACE
}  // namespace mollify::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mollify::cpu {

HWY_EXPORT(conv2d_f32);
HWY_EXPORT(conv2d_f64);
HWY_EXPORT(input_gradient_f32);
HWY_EXPORT(input_gradient_f64);

// The images from `first` on, and where they begin in x and in y.
struct Rest {
  Rest(const Conv2dShape& s, int64_t first)
      : shape(s), x(first * s.height * s.width * s.channels), y(first * s.out_height * s.out_width * s.filters) {
    shape.batch -= first;
  }
  Conv2dShape shape;
  int64_t x, y;
};

template <>
void conv2d(const Conv2dShape& shape, const float* x, const float* w, const float* bias, float* y) {
  if (is_depthwise(shape)) return depthwise(shape, x, w, bias, y);
  const Conv2dShape s = flattened(shape);
  const Rest rest(s, few_channels(s, x, w, bias, y));
  HWY_DYNAMIC_DISPATCH(conv2d_f32)(rest.shape, x + rest.x, w, bias, y + rest.y);
}
template <>
void conv2d(const Conv2dShape& shape, const double* x, const double* w, const double* bias, double* y) {
  if (is_depthwise(shape)) return depthwise(shape, x, w, bias, y);
  const Conv2dShape s = flattened(shape);
  const Rest rest(s, few_channels(s, x, w, bias, y));
  HWY_DYNAMIC_DISPATCH(conv2d_f64)(rest.shape, x + rest.x, w, bias, y + rest.y);
}
template <>
void conv2d_input_gradient(const Conv2dShape& shape, const float* g, const float* w, float* dx) {
  if (is_depthwise(shape)) return depthwise_input_gradient(shape, g, w, dx);
  const Conv2dShape s = flattened(shape);
  const Rest rest(s, few_channels_input_gradient(s, g, w, dx));
  HWY_DYNAMIC_DISPATCH(input_gradient_f32)(rest.shape, g + rest.y, w, dx + rest.x);
}
template <>
void conv2d_input_gradient(const Conv2dShape& shape, const double* g, const double* w, double* dx) {
  if (is_depthwise(shape)) return depthwise_input_gradient(shape, g, w, dx);
  const Conv2dShape s = flattened(shape);
  const Rest rest(s, few_channels_input_gradient(s, g, w, dx));
  HWY_DYNAMIC_DISPATCH(input_gradient_f64)(rest.shape, g + rest.y, w, dx + rest.x);
}

}  // namespace mollify::cpu
#endif
