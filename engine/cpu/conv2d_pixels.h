// The products of a convolution as lists: pixels of the output, and the stretches of x and w that they read.
#pragma once

#include <mollify/engine/cpu/conv2d_geometry.h>

namespace mollify::cpu {

// Taps that are contiguous in x and in w: elements of x counted from the first one that the
// pixel reads, rows of w's [taps · channels].
struct Stretch {
  int64_t x, row, length;
};

// An output pixel: the first element that it reads in its image of x, and its first element in y's.
struct Pixel {
  int64_t x, y;
};

// Pixels that read the same stretches.
struct Part {
  Range pixels, stretches;
};

struct PixelPlan {
  Conv2dShape shape;
  PoolVector<Pixel> pixels;
  PoolVector<Stretch> stretches;
  PoolVector<Part> parts;

  // Elements of an image of x and of y; rows of w.
  int64_t x_elements() const { return shape.height * shape.width * shape.channels; }
  int64_t y_elements() const { return shape.out_height * shape.out_width * shape.filters; }
  int64_t rows() const { return shape.kernel_height * shape.kernel_width * shape.channels; }
};

// by_row: the parts take the pixels in the order of the output, row after row. For one group.
PixelPlan pixel_plan(const Conv2dShape& shape, bool by_row);

}  // namespace mollify::cpu
