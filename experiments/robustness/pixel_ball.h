// Balls around images, in pixels from 0 to 1 before normalisation, and the share of images whose label holds all over
// them. Balls are boxes: l-infinity.
#pragma once

#include <mollify/datasets/loader.h>
#include <mollify/nn/bounds/bounds.h>

#include <functional>
#include <optional>

namespace mollify::experiments {

// What pixels become that are prepared, [C] or 0-d: 0, 1, and the length of the way between them.
struct PixelRange {
  PixelRange(const datasets::Preparation& preparation, Device device = Device::cpu);  // NOLINT: implicit
  Tensor unit, low, high;
};

// The ball of radius ε, a 0-d tensor, around prepared images [B, H, W, C], within the range of pixels; the images are
// inside. `outward` rounds its ends so that it holds the exact one.
nn::bounds::Box pixel_ball(const Tensor& images, const Tensor& epsilon, const PixelRange& range, bool outward = false);

// SABR's small box (Müller et al. 2023): radius τ = λε around the point `adversarial` of the ball, moved to where it
// fits into the ball before pixels end, then cut off where they do. `rest` is ε − τ.
nn::bounds::Box small_box(const Tensor& images, const Tensor& adversarial, const Tensor& tau, const Tensor& rest,
                          const PixelRange& range);

// The share of the first `limit` images (0: all) whose label holds over the whole ball, as bounds show it in real
// arithmetic; on the weights' device. Asks `stop` before every batch and returns nothing once it is true. Needs a
// network without state.
std::optional<double> certified_share(const nn::Network& network, const Tensor& weights,
                                      const datasets::Dataset& dataset, const datasets::Preparation& preparation,
                                      double epsilon, nn::bounds::Method method, int64_t limit,
                                      const std::function<bool()>& stop);

}  // namespace mollify::experiments
