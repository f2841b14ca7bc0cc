#include <mollify/experiments/robustness/pixel_ball.h>

#include <mollify/experiments/device.h>
#include <mollify/nn/bounds/certified_loss.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using nn::bounds::Bounds;
using nn::bounds::Box;
using nn::bounds::Graph;
using nn::bounds::Method;

constexpr int64_t kBoxBatch = 500, kWalkBatch = 50;  // images that are certified at once

Tensor per_channel(const std::vector<float>& values, double otherwise, Device device) {
  return values.empty() ? Tensor::scalar(otherwise)
                        : to(Tensor::from(values, {static_cast<int64_t>(values.size())}), device);
}

// Cut off where pixels end, but never so that `inside` leaves it.
Box within_pixels(const Box& box, const Tensor& inside, const PixelRange& range) {
  return {minimum(maximum(box.lower, range.low), inside), maximum(minimum(box.upper, range.high), inside)};
}

}  // namespace

PixelRange::PixelRange(const datasets::Preparation& preparation, Device device) {
  const Tensor mean = per_channel(preparation.mean, 0, device),
               deviation = per_channel(preparation.deviation, 1, device);
  unit = 1.0 / deviation;
  low = -mean / deviation;
  high = (1.0 - mean) / deviation;
}

Box pixel_ball(const Tensor& images, const Tensor& epsilon, const PixelRange& range, bool outward) {
  Tensor radius = range.unit * epsilon;
  if (outward)
    radius = radius + (abs(images) + radius + abs(range.low) + abs(range.high)) *
                          (4 * nn::bounds::unit_roundoff(images.dtype()));
  return within_pixels({images - radius, images + radius}, images, range);
}

Box small_box(const Tensor& images, const Tensor& adversarial, const Tensor& tau, const Tensor& rest,
              const PixelRange& range) {
  const Tensor small = range.unit * tau, way = range.unit * rest;
  const Tensor center = clip(adversarial, images - way, images + way);
  return within_pixels({center - small, center + small}, center, range);
}

std::optional<double> certified_share(const nn::Network& network, const Tensor& weights,
                                      const datasets::Dataset& dataset, const datasets::Preparation& preparation,
                                      double epsilon, Method method, int64_t limit, const std::function<bool()>& stop) {
  const NoGrad guard;
  const FullPrecision exact;
  const Device device = weights.device();
  const PixelRange range(preparation, device);
  const Graph graph(network, weights);
  const datasets::Dataset images = limit > 0 && limit < dataset.size() ? datasets::take(dataset, 0, limit) : dataset;
  const bool boxes = method == Method::ibp;
  datasets::Loader loader(images,
                          {.batch_size = boxes ? kBoxBatch : kWalkBatch, .shuffle = false, .preparation = preparation});
  loader.start_epoch(0);
  int64_t certain = 0;
  while (const auto batch = loader.next()) {
    if (stop && stop()) return std::nullopt;
    const Bounds bounds(graph,
                        {pixel_ball(to(batch->images, device), Tensor::scalar(epsilon), range, /*outward=*/true)},
                        {.method = method, .roundoff = nn::bounds::unit_roundoff(DType::f32)});
    const std::vector<float> least =
        min(bounds.lower(nn::bounds::margin_rows(to(batch->labels, device), images.classes)), {1}).to_vector<float>();
    certain +=
        std::count_if(least.begin(), least.end(), [](float margin) { return margin > 0 && std::isfinite(margin); });
  }
  return static_cast<double>(certain) / static_cast<double>(std::max<int64_t>(1, images.size()));
}

}  // namespace mollify::experiments
