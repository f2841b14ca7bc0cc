// What `mollify train --objective` minimises: the natural loss, that of attacked images, or an upper bound of the loss over a ball around
// every image. Balls are boxes: l-infinity, in pixels from 0 to 1 before normalisation.
#pragma once

#include <mollify/experiments/task.h>
#include <mollify/nn/bounds/bounds.h>

#include <functional>
#include <optional>

namespace mollify::experiments {

// The ball of radius ε around prepared images [B, H, W, C], within what pixels from 0 to 1 become; the images are inside. `outward` rounds
// its ends so that it holds the exact one.
nn::bounds::Box pixel_ball(const Tensor& images, double epsilon, const datasets::Preparation& preparation, bool outward = false);

// SABR's small box (Müller et al. 2023): radius τ = λε around the point `adversarial` of the ball, moved to where it fits into the ball
// before pixels end, then cut off where they do.
nn::bounds::Box small_box(const Tensor& images, const Tensor& adversarial, double epsilon, double lambda,
                          const datasets::Preparation& preparation);

class Objective {
 public:
  // Options are resolved, and say neither natural nor a smoothed network. `batches` make an epoch. Throws UsageError where bounds cannot train
  // the network. The network must outlive this.
  Objective(const TrainOptions& options, const nn::Network& network, const datasets::Preparation& preparation, int64_t batches,
            LossFunction loss);

  double epsilon(int64_t step) const;  // the ball's radius in a step, counted from 0

  // What the loss is differentiated from; outputs and state are without history. Outputs are those of the images, or of attacked ones for pgd.
  struct Result { Tensor loss, outputs, state; };
  Result operator()(const Tensor& weights, const Tensor& state, const datasets::Batch& batch, int64_t step) const;

 private:
  Tensor bounded_loss(const Tensor& weights, const datasets::Batch& batch, double epsilon, int64_t step) const;
  Tensor loss_of_margins(const nn::bounds::Bounds& bounds, const Tensor& rows, double grown) const;
  Tensor attacked(const Tensor& weights, const Tensor& state, const datasets::Batch& batch, double radius, int64_t step) const;

  const TrainOptions options_;
  const nn::Network& network_;
  const datasets::Preparation preparation_;
  const int64_t batches_;
  const LossFunction loss_;
};

// How the test images of an objective's run are certified.
nn::bounds::Method certifying_method(const std::string& objective);

// The share of the first `limit` images (0: all) whose label holds over the whole ball, as bounds show it in real arithmetic. Asks
// `stop` before every batch and returns nothing once it is true. Needs a network without state.
std::optional<double> certified_share(const nn::Network& network, const Tensor& weights, const datasets::Dataset& dataset,
                                      const datasets::Preparation& preparation, double epsilon, nn::bounds::Method method, int64_t limit,
                                      const std::function<bool()>& stop);

}  // namespace mollify::experiments
