#include <mollify/datasets/augment.h>
#include <mollify/datasets/resize.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace mollify::datasets {
namespace {

constexpr int64_t kChannels = 3;

// The pixels of the image that have a weight in one pixel of the view; weights sum to 1.
struct Taps {
  int64_t first;
  std::vector<float> weights;

  int64_t end() const { return first + static_cast<int64_t>(weights.size()); }
};

// Pixel j's centre is j + ½: a distance below the filter's half width is one of j from ⌊centre − width + ½⌋ on.
Taps taps_around(double centre, double half_width, int64_t extent) {
  const auto from = static_cast<int64_t>(std::floor(centre - half_width + 0.5)),
             to = static_cast<int64_t>(std::floor(centre + half_width + 0.5));
  const int64_t first = std::clamp<int64_t>(from, 0, extent - 1), end = std::clamp<int64_t>(to, first + 1, extent);
  std::vector<double> weights;
  double sum = 0;
  for (int64_t j = first; j < end; ++j) {
    weights.push_back(std::max(0.0, 1 - std::abs(static_cast<double>(j) + 0.5 - centre) / half_width));
    sum += weights.back();
  }
  Taps taps{first, {}};
  for (const double weight : weights) taps.weights.push_back(static_cast<float>(weight / sum));
  return taps;
}

std::vector<Taps> taps_of(const Axis& axis, int64_t extent, int64_t size) {
  std::vector<Taps> all;
  for (int64_t i = 0; i < size; ++i)
    all.push_back(
        taps_around(axis.begin + (static_cast<double>(i) + 0.5) * axis.step, std::max(axis.step, 1.0), extent));
  return all;
}

// Where an axis of `extent` pixels, brought to `resized`, has its middle `size`. Halves go to the even place, as
// Python rounds.
Axis centre_axis(int64_t extent, int64_t resized, int64_t size) {
  const double step = static_cast<double>(extent) / static_cast<double>(resized);
  return {std::nearbyint(static_cast<double>(resized - size) / 2) * step, step};
}

Axis span_axis(int64_t first, int64_t extent, int64_t size) {
  return {static_cast<double>(first), static_cast<double>(extent) / static_cast<double>(size)};
}

}  // namespace

View centre_view(int64_t height, int64_t width, int64_t size) {
  if (height == size && width == size) return {};
  const int64_t shorter = std::min(height, width), resized = (16 * size + 7) / 14;  // round(8/7 · size)
  return {centre_axis(height, resized * height / shorter, size), centre_axis(width, resized * width / shorter, size)};
}

View region_view(const Region& region, int64_t size) {
  return {span_axis(region.row, region.height, size), span_axis(region.column, region.width, size)};
}

void resize(const View& view, int64_t height, int64_t width, std::span<const uint8_t> image, int64_t size,
            std::span<uint8_t> output) {
  const std::vector<Taps> rows = taps_of(view.rows, height, size), columns = taps_of(view.columns, width, size);
  const int64_t begin = columns.front().first * kChannels, end = columns.back().end() * kChannels;
  std::vector<float> mean(static_cast<size_t>(end));  // of the image's rows
  uint8_t* to = output.data();
  for (const Taps& row : rows) {
    std::fill(mean.begin(), mean.end(), 0.0f);
    for (int64_t j = row.first; j < row.end(); ++j) {
      const float weight = row.weights[static_cast<size_t>(j - row.first)];
      const uint8_t* from = image.data() + j * width * kChannels;
      for (int64_t i = begin; i < end; ++i) mean[i] += weight * static_cast<float>(from[i]);
    }
    for (const Taps& column : columns) {
      float sum[kChannels] = {};
      const float* from = mean.data() + column.first * kChannels;
      for (const float weight : column.weights)
        for (int64_t channel = 0; channel < kChannels; ++channel) sum[channel] += weight * *from++;
      for (const float value : sum) *to++ = static_cast<uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f));
    }
  }
}

}  // namespace mollify::datasets
