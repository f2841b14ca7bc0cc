#include <mollify/engine/cpu/conv2d_geometry.h>

#include <algorithm>
#include <numeric>

namespace mollify::cpu {
namespace {

// Smallest i ≥ 0 with i·step ≥ distance.
int64_t steps_to(int64_t distance, int64_t step) { return distance <= 0 ? 0 : (distance + step - 1) / step; }

Range taps_of(const Axis& axis, int64_t i) {
  const int64_t start = axis.source(i, 0);
  const int64_t begin = steps_to(-start, axis.dilation),
                end = std::min(axis.taps, steps_to(axis.extent - start, axis.dilation));
  return begin < end ? Range{begin, end} : Range{0, 0};
}

}  // namespace

PoolVector<Run> runs(const Axis& axis) {
  PoolVector<Run> result;
  for (int64_t i = 0; i < axis.count; ++i) {
    const Range taps = taps_of(axis, i);
    if (!result.empty() && result.back().taps.begin == taps.begin && result.back().taps.end == taps.end) {
      ++result.back().destinations.end;
    } else {
      result.push_back({{i, i + 1}, taps});
    }
  }
  return result;
}

Run destinations_of(const Axis& axis, int64_t tap) {
  const int64_t start = axis.source(0, tap);
  const int64_t begin = steps_to(-start, axis.step),
                end = std::min(axis.count, steps_to(axis.extent - start, axis.step));
  return {{begin, std::max(begin, end)}, {tap, tap + 1}};
}

PoolVector<Patch> patches_by_pixel(const Axis& vertical, const Axis& horizontal) {
  PoolVector<Patch> result;
  const PoolVector<Run> columns = runs(horizontal);
  for (const Run& row : runs(vertical)) {
    for (const Run& column : columns) result.push_back({row, column});
  }
  return result;
}

PoolVector<Patch> patches_by_tap(const Axis& vertical, const Axis& horizontal) {
  PoolVector<Patch> result;
  for (int64_t i = 0; i < vertical.taps; ++i) {
    for (int64_t j = 0; j < horizontal.taps; ++j) {
      const Patch patch{destinations_of(vertical, i), destinations_of(horizontal, j)};
      if (patch.pixels() > 0) result.push_back(patch);
    }
  }
  return result;
}

Axis vertical_axis(const Conv2dShape& s) {
  return {s.out_height, 0, 1, -s.pad_top, s.stride_height, s.dilation_height, s.kernel_height, s.height};
}

Axis horizontal_axis(const Conv2dShape& s) {
  return {s.out_width, 0, 1, -s.pad_left, s.stride_width, s.dilation_width, s.kernel_width, s.width};
}

Conv2dShape flattened(const Conv2dShape& s) {
  const bool covers = s.out_height == 1 && s.out_width == 1 && s.kernel_height == s.height &&
                      s.kernel_width == s.width && s.dilation_height == 1 && s.dilation_width == 1 && s.pad_top == 0 &&
                      s.pad_left == 0 && s.groups == 1;
  return covers
             ? Conv2dShape{s.batch, 1, 1, s.height * s.width * s.channels, s.filters, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1}
             : s;
}

// Input p meets output o at tap t when p = origin + o·step + t·dilation. For the inputs p = phase + i·step this leaves
// the taps with t·dilation ≡ phase − origin (mod step), which are step / gcd(step, dilation) apart, and o grows by one
// with i.
PoolVector<Phase> phases(const Axis& forward) {
  PoolVector<Phase> result;
  const int64_t step = forward.step, common = std::gcd(step, forward.dilation), tap_step = step / common;
  for (int64_t phase = 0; phase < std::min(step, forward.extent); ++phase) {
    Axis axis{
        (forward.extent - phase + step - 1) / step, phase, step, 0, 1, forward.dilation / common, 0, forward.count};
    int64_t last = -1;
    for (int64_t tap = 0; tap < forward.taps; ++tap) {
      if ((phase - forward.origin - tap * forward.dilation) % step == 0) {
        ++axis.taps;
        last = tap;
      }
    }
    if (axis.taps > 0) axis.origin = (phase - forward.origin - last * forward.dilation) / step;
    result.push_back({axis, last, tap_step});
  }
  return result;
}

}  // namespace mollify::cpu
