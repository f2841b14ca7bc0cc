// Device code shared by the algorithms for weight gradients: which pixels a sum walks, and which tap a column is.
#pragma once

#include <mollify/engine/cuda/conv2d_correlation.h>
#include <mollify/engine/cuda/device.cuh>

namespace mollify::cuda {

// dw[group, o, tap, c] = Σ over pixels of g[pixel, group, o] · x[pixel at the tap, group, c], in 32 bits. Needs a shape
// that correlates().
struct WeightGradient {
  int groups, in, out;  // channels of a group
  int height, width, out_height, out_width, pixels;
  int kernel_width, depth;  // depth: taps · in, the columns of a group
  int stride_height, stride_width, pad_top, pad_left, dilation_height, dilation_width;
  int jump_images, jump_rows, jump_columns;  // what lies between one pixel and the one `jump` later
};

inline WeightGradient weight_gradient_of(const Conv2dShape& s, int jump) {
  const auto i = [](int64_t x) { return static_cast<int>(x); };
  const int64_t in = s.channels / s.groups, image = s.out_height * s.out_width;
  return {i(s.groups),
          i(in),
          i(s.filters / s.groups),
          i(s.height),
          i(s.width),
          i(s.out_height),
          i(s.out_width),
          i(s.batch * image),
          i(s.kernel_width),
          i(s.kernel_height * s.kernel_width * in),
          i(s.stride_height),
          i(s.stride_width),
          i(s.pad_top),
          i(s.pad_left),
          i(s.dilation_height),
          i(s.dilation_width),
          i(jump / image),
          i(jump % image / s.out_width),
          i(jump % s.out_width)};
}

// A pixel of g, and how it moves on by a fixed number of pixels without a division.
struct PixelWalk {
  int image, row, column;

  __device__ PixelWalk(const WeightGradient& p, int pixel)
      : image(pixel / p.out_width / p.out_height),
        row(pixel / p.out_width % p.out_height),
        column(pixel % p.out_width) {}

  __device__ void jump(const WeightGradient& p) {
    column += p.jump_columns;
    row += p.jump_rows;
    image += p.jump_images;
    if (column >= p.out_width) {
      column -= p.out_width;
      ++row;
    }
    if (row >= p.out_height) {
      row -= p.out_height;
      ++image;
    }
  }
};

// What one column of the product reads, relative to the first tap of a pixel.
struct Column {
  int down, right, offset;

  Column() = default;
  __device__ Column(const WeightGradient& p, int group, int column) {
    const int tap = column / p.in;
    down = tap / p.kernel_width * p.dilation_height;
    right = tap % p.kernel_width * p.dilation_width;
    offset = (down * p.width + right) * (p.in * p.groups) + group * p.in + column % p.in;
  }
};

// The first tap of a pixel in x.
struct Corner {
  int row, column;
  int64_t offset;

  __device__ Corner(const WeightGradient& p, const PixelWalk& pixel)
      : row(pixel.row * p.stride_height - p.pad_top),
        column(pixel.column * p.stride_width - p.pad_left),
        offset(((static_cast<int64_t>(pixel.image) * p.height + row) * p.width + column) * (p.in * p.groups)) {}

  __device__ bool inside(const WeightGradient& p, const Column& at) const {
    return static_cast<unsigned>(row + at.down) < static_cast<unsigned>(p.height) &&
           static_cast<unsigned>(column + at.right) < static_cast<unsigned>(p.width);
  }
};

}  // namespace mollify::cuda
