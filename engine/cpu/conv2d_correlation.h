// A correlation over patches of pixels: what the forward convolution and each phase of the input gradient both are.
#pragma once

#include <mollify/engine/cpu/conv2d_geometry.h>

namespace mollify::cpu {

// Where the pixels of an image stand in memory.
template <class T>
struct Image {
  T* data;
  int64_t image_stride, row_stride, pixel_stride;
};

// destination[n, i, j, group, :] = bias + Σ_taps source[n, source of (i, j) at the tap, group, :] · weights[group, tap,
// :, :]
template <class T>
struct Correlation {
  Axis vertical, horizontal;
  int64_t batch, groups;
  int64_t reduction, outputs;  // channels per group: of the source, of the destination
  Image<const T> source;
  Image<T> destination;
  const T* bias;
  const T* weights;            // packed: laid out as the kernel that reads them says

  int64_t depth() const { return vertical.taps * horizontal.taps * reduction; }
};

// Walks the pixels of a patch, image after image, and knows where each one reads and writes.
template <class T>
class PixelWalk {
 public:
  PixelWalk(const Correlation<T>& c, const Patch& patch, int64_t first, int64_t source_offset,
            int64_t destination_offset)
      : c_(c),
        patch_(patch),
        source_(c.source.data + source_offset),
        destination_(c.destination.data + destination_offset) {
    const int64_t rows = patch.vertical.destinations.size(), columns = patch.horizontal.destinations.size();
    n_ = first / (rows * columns);
    i_ = patch.vertical.destinations.begin + first / columns % rows;
    j_ = patch.horizontal.destinations.begin + first % columns;
    start_row();
  }

  const T* source() const { return source_row_ + j_ * c_.horizontal.step * c_.source.pixel_stride; }
  T* destination() const { return destination_row_ + j_ * c_.horizontal.stride * c_.destination.pixel_stride; }
  void advance() {
    if (++j_ < patch_.horizontal.destinations.end) return;
    j_ = patch_.horizontal.destinations.begin;
    if (++i_ == patch_.vertical.destinations.end) {
      i_ = patch_.vertical.destinations.begin;
      ++n_;
    }
    start_row();
  }

 private:
  void start_row() {
    source_row_ = source_ + n_ * c_.source.image_stride +
                  c_.vertical.source(i_, patch_.vertical.taps.begin) * c_.source.row_stride +
                  c_.horizontal.source(0, patch_.horizontal.taps.begin) * c_.source.pixel_stride;
    destination_row_ = destination_ + n_ * c_.destination.image_stride +
                       (c_.vertical.first + i_ * c_.vertical.stride) * c_.destination.row_stride +
                       c_.horizontal.first * c_.destination.pixel_stride;
  }

  const Correlation<T>& c_;
  const Patch& patch_;
  const T* source_;
  T* destination_;
  int64_t n_, i_, j_;
  const T* source_row_;
  T* destination_row_;
};

template <class T>
Correlation<T> forward_correlation(const Conv2dShape& s, const T* x, const T* bias, T* y) {
  return {vertical_axis(s), horizontal_axis(s), s.batch, s.groups, s.channels / s.groups, s.filters / s.groups,
          {x, s.height * s.width * s.channels, s.width * s.channels, s.channels},
          {y, s.out_height * s.out_width * s.filters, s.out_width * s.filters, s.filters}, bias, nullptr};
}

// One phase of the input gradient; its taps are those of the phase, in the phase's order.
template <class T>
Correlation<T> input_gradient_correlation(const Conv2dShape& s, const Phase& vertical, const Phase& horizontal,
                                          const T* g, T* dx) {
  return {vertical.axis, horizontal.axis, s.batch, s.groups, s.filters / s.groups, s.channels / s.groups,
          {g, s.out_height * s.out_width * s.filters, s.out_width * s.filters, s.filters},
          {dx, s.height * s.width * s.channels, s.width * s.channels, s.channels}, nullptr, nullptr};
}

// The tap of the whole kernel that tap (i, j) of two phases stands for.
inline int64_t tap_of(const Conv2dShape& s, const Phase& vertical, const Phase& horizontal, int64_t i, int64_t j) {
  return (vertical.first_tap - i * vertical.tap_step) * s.kernel_width + horizontal.first_tap - j * horizontal.tap_step;
}

}  // namespace mollify::cpu
