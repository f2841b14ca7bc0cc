#include <mollify/engine/cpu/conv2d_pixels.h>

#include <cstddef>

namespace mollify::cpu {
namespace {

Range append_stretches(PixelPlan& plan, Range vertical, Range horizontal) {
  const Conv2dShape& s = plan.shape;
  const int64_t first = static_cast<int64_t>(plan.stretches.size());
  const bool whole_rows = s.dilation_width == 1;
  for (int64_t i = vertical.begin; i < vertical.end; ++i) {
    const int64_t row = (i - vertical.begin) * s.dilation_height * s.width;
    for (int64_t j = horizontal.begin; j < horizontal.end; j = whole_rows ? horizontal.end : j + 1) {
      plan.stretches.push_back({(row + (j - horizontal.begin) * s.dilation_width) * s.channels,
                                (i * s.kernel_width + j) * s.channels,
                                (whole_rows ? horizontal.size() : 1) * s.channels});
    }
  }
  return {first, static_cast<int64_t>(plan.stretches.size())};
}

Range append_pixels(PixelPlan& plan, const Patch& patch) {
  const Conv2dShape& s = plan.shape;
  const Axis vertical = vertical_axis(s), horizontal = horizontal_axis(s);
  const int64_t first = static_cast<int64_t>(plan.pixels.size());
  for (int64_t i = patch.vertical.destinations.begin; i < patch.vertical.destinations.end; ++i) {
    const int64_t row = vertical.source(i, patch.vertical.taps.begin) * s.width;
    for (int64_t j = patch.horizontal.destinations.begin; j < patch.horizontal.destinations.end; ++j) {
      plan.pixels.push_back(
          {(row + horizontal.source(j, patch.horizontal.taps.begin)) * s.channels, (i * s.out_width + j) * s.filters});
    }
  }
  return {first, static_cast<int64_t>(plan.pixels.size())};
}

}  // namespace

PixelPlan pixel_plan(const Conv2dShape& shape, bool by_row) {
  PixelPlan plan{shape, {}, {}, {}};
  const PoolVector<Run> columns = runs(horizontal_axis(shape));
  for (const Run& vertical : runs(vertical_axis(shape))) {
    PoolVector<Range> stretches;
    for (const Run& horizontal : columns) stretches.push_back(append_stretches(plan, vertical.taps, horizontal.taps));
    const Range rows = vertical.destinations;
    const int64_t step = by_row && columns.size() > 1 ? 1 : rows.size();
    for (int64_t row = rows.begin; row < rows.end; row += step) {
      for (std::size_t i = 0; i < columns.size(); ++i) {
        const Range pixels = append_pixels(plan, {{{row, row + step}, vertical.taps}, columns[i]});
        plan.parts.push_back({pixels, stretches[i]});
      }
    }
  }
  return plan;
}

}  // namespace mollify::cpu
