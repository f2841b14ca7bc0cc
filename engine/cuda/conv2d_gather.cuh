// Device code shared by the algorithms that walk a correlation's destinations and taps.
#pragma once

#include <mollify/engine/cuda/conv2d_correlation.h>
#include <mollify/engine/cuda/device.cuh>

namespace mollify::cuda {

inline constexpr int kNowhere = -(1 << 30);  // a source row or column that no tap brings into the image

// The group and the phase that a block's z index stands for.
struct Part {
  const Line &vertical, &horizontal;
  int group;

  __device__ Part(const Correlation& c, int z)
      : vertical(c.vertical[z / c.groups / c.horizontal_phases]),
        horizontal(c.horizontal[z / c.groups % c.horizontal_phases]),
        group(z % c.groups) {}
  __device__ int rows(const Correlation& c) const { return c.batch * vertical.count * horizontal.count; }
  __device__ int taps() const { return vertical.taps * horizontal.taps; }
};

// What one destination reads: the source's element at tap (0, 0), channel 0 of the group. It may lie outside of the
// image.
template <class T>
struct Source {
  const T* data = nullptr;
  int row = kNowhere, column = kNowhere;

  Source() = default;
  __device__ Source(const Correlation& c, const Part& part, const T* x, int destination, int rows) : data(x) {
    if (destination >= rows) return;
    const Line &v = part.vertical, &h = part.horizontal;
    const int j = destination % h.count, i = destination / h.count % v.count, n = destination / h.count / v.count;
    row = v.origin + i * v.step;
    column = h.origin + j * h.step;
    data += ((static_cast<int64_t>(n) * c.source_height + row) * c.source_width + column) * (c.in * c.groups) +
            part.group * c.in;
  }

  // Whether the tap that lies (down, right) of the first one is inside the image.
  __device__ bool inside(const Correlation& c, int down, int right) const {
    return static_cast<unsigned>(row + down) < static_cast<unsigned>(c.source_height) &&
           static_cast<unsigned>(column + right) < static_cast<unsigned>(c.source_width);
  }
};

// Element of the destination array where a destination's outputs of the group begin.
__device__ inline int64_t destination_offset(const Correlation& c, const Part& part, int destination) {
  const Line &v = part.vertical, &h = part.horizontal;
  const int j = destination % h.count, i = destination / h.count % v.count, n = destination / h.count / v.count;
  const int64_t row = static_cast<int64_t>(n) * c.destination_height + v.first + i * v.stride;
  return (row * c.destination_width + h.first + j * h.stride) * (c.out * c.groups) + part.group * c.out;
}

// Walks the taps, and within each its channels in steps; the same for all threads of a block.
struct TapWalk {
  int down, right;  // of the tap, in source pixels
  int channel;      // first channel of the step
  int source;       // the element of the tap and channel relative to a Source,
  int weight;       // and within the group's weights
  int vertical_tap, horizontal_tap;

  __device__ TapWalk(const Correlation& c, const Part& part, int step, int step_channels) {
    const int steps_per_tap = (c.in + step_channels - 1) / step_channels, tap = step / steps_per_tap;
    vertical_tap = tap / max(1, part.horizontal.taps);  // a phase may have no taps
    horizontal_tap = tap % max(1, part.horizontal.taps);
    enter(c, part, step % steps_per_tap * step_channels);
  }

  __device__ void advance(const Correlation& c, const Part& part, int step_channels) {
    channel += step_channels;
    source += step_channels;
    weight += step_channels * c.w_in;
    if (channel < c.in) return;
    if (++horizontal_tap == part.horizontal.taps) {
      horizontal_tap = 0;
      ++vertical_tap;
    }
    enter(c, part, 0);
  }

 private:
  __device__ void enter(const Correlation& c, const Part& part, int first_channel) {
    const Line &v = part.vertical, &h = part.horizontal;
    down = vertical_tap * v.dilation;
    right = horizontal_tap * h.dilation;
    channel = first_channel;
    source = (down * c.source_width + right) * (c.in * c.groups) + channel;
    weight = (v.first_tap + vertical_tap * v.tap_step) * c.w_vertical +
             (h.first_tap + horizontal_tap * h.tap_step) * c.w_horizontal + channel * c.w_in;
  }
};

}  // namespace mollify::cuda
