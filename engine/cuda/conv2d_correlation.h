// What a forward convolution and an input gradient both are: destinations that sum over taps and channels of sources.
#pragma once

#include <mollify/engine/cpu/conv2d_geometry.h>
#include <mollify/engine/cuda/conv2d.h>

#include <algorithm>

namespace mollify::cuda {

inline constexpr int kMaxPhases = 4;

// One axis of one phase (see cpu::Phase), in 32 bits. Destination i stands at first + i·stride of its array and reads
// source origin + i·step + t·dilation at tap t of the phase, which is tap first_tap + t·tap_step of the kernel.
struct Line {
  int count, first, stride;
  int origin, step, dilation, taps;
  int first_tap, tap_step;
};

// destination[n, i, j, group, o] = bias + Σ source[n, source of (i, j) at the tap, group, c] · w[group, o, tap, c]. All
// phases of an input gradient at once: each vertical one with each horizontal one. Channels are counted within a group.
struct Correlation {
  Line vertical[kMaxPhases], horizontal[kMaxPhases];
  int vertical_phases, horizontal_phases;
  int batch, groups, in, out;
  int source_height, source_width, destination_height, destination_width;
  int w_vertical, w_horizontal, w_in, w_out;  // strides of the weights within a group: tap rows and columns, channels
  int64_t w_group, outputs;                   // elements of a group's weights, and of the destination

  int phases() const { return vertical_phases * horizontal_phases; }
  int max_rows() const;   // destinations of the largest phase
  int max_depth() const;  // products of the longest sum
};

inline Line line_of(const cpu::Axis& a, int64_t first_tap, int64_t tap_step) {
  const auto i = [](int64_t x) { return static_cast<int>(x); };
  return {i(a.count),    i(a.first), i(a.stride),  i(a.origin), i(a.step),
          i(a.dilation), i(a.taps),  i(first_tap), i(tap_step)};
}

// Extents that the kernels can count in 32 bits, and no more phases than a correlation holds.
inline bool correlates(Conv2dKind kind, const Conv2dShape& s) {
  constexpr int64_t limit = int64_t{1} << 30;
  const int64_t covered_height = s.kernel_height * s.dilation_height, covered_width = s.kernel_width * s.dilation_width;
  const int64_t extents[] = {s.height * s.width * s.channels,        s.out_height * s.out_width * s.filters,
                             s.batch * s.height * s.width,           s.batch * s.out_height * s.out_width,
                             covered_height * s.width * s.channels,  covered_height * s.out_width * s.filters,
                             covered_height + s.pad_top + s.stride_height, covered_width + s.pad_left + s.stride_width,
                             s.filters * s.kernel_height * s.kernel_width * s.channels};
  if (!std::all_of(std::begin(extents), std::end(extents), [](int64_t extent) { return extent < limit; })) return false;
  return s.groups < 4096 &&
         (kind != Conv2dKind::input_gradient || std::max(s.stride_height, s.stride_width) <= kMaxPhases);
}

// Needs a shape that correlates().
inline Correlation correlation_of(Conv2dKind kind, const Conv2dShape& s) {
  const auto i = [](int64_t x) { return static_cast<int>(x); };
  const int64_t in = s.channels / s.groups, out = s.filters / s.groups, filter = s.kernel_height * s.kernel_width * in;
  Correlation c{};
  c.batch = i(s.batch);
  c.groups = i(s.groups);
  c.w_group = out * filter;
  c.w_vertical = i(s.kernel_width * in);
  c.w_horizontal = i(in);
  if (kind == Conv2dKind::forward) {
    c.vertical_phases = c.horizontal_phases = 1;
    c.vertical[0] = line_of(vertical_axis(s), 0, 1);
    c.horizontal[0] = line_of(horizontal_axis(s), 0, 1);
    c.in = i(in);
    c.out = i(out);
    c.source_height = i(s.height);
    c.source_width = i(s.width);
    c.destination_height = i(s.out_height);
    c.destination_width = i(s.out_width);
    c.w_in = 1;
    c.w_out = i(filter);
    c.outputs = s.batch * s.out_height * s.out_width * s.filters;
    return c;
  }
  const auto line = [](const cpu::Phase& phase) { return line_of(phase.axis, phase.first_tap, -phase.tap_step); };
  for (const cpu::Phase& phase : cpu::phases(vertical_axis(s))) c.vertical[c.vertical_phases++] = line(phase);
  for (const cpu::Phase& phase : cpu::phases(horizontal_axis(s))) c.horizontal[c.horizontal_phases++] = line(phase);
  c.in = i(out);
  c.out = i(in);
  c.source_height = i(s.out_height);
  c.source_width = i(s.out_width);
  c.destination_height = i(s.height);
  c.destination_width = i(s.width);
  c.w_in = i(filter);
  c.w_out = 1;
  c.outputs = s.batch * s.height * s.width * s.channels;
  return c;
}

inline int Correlation::max_rows() const {
  int rows = 0;
  for (int v = 0; v < vertical_phases; ++v) {
    for (int h = 0; h < horizontal_phases; ++h) rows = std::max(rows, batch * vertical[v].count * horizontal[h].count);
  }
  return rows;
}

inline int Correlation::max_depth() const {
  int taps = 0;
  for (int v = 0; v < vertical_phases; ++v) {
    for (int h = 0; h < horizontal_phases; ++h) taps = std::max(taps, vertical[v].taps * horizontal[h].taps);
  }
  return taps * in;
}

}  // namespace mollify::cuda
