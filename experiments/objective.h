// What `mollify train --objective` minimises: the natural loss, that of attacked images, or an upper bound of the loss
// over a ball around every image. Balls are boxes: l-infinity, in pixels from 0 to 1 before normalisation.
#pragma once

#include <mollify/experiments/task.h>
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

// A step is advance, inputs and the call. The call computes on tensors alone and can be captured, once for each phase.
class Objective {
 public:
  // Options are resolved, and say neither natural nor a smoothed network. `batches` make an epoch. Throws UsageError
  // where bounds cannot train the network. The network must outlive this. Weights are f32.
  Objective(const TrainOptions& options, const nn::Network& network, const datasets::Preparation& preparation,
            int64_t batches, LossFunction loss, Device device = Device::cpu);

  double epsilon(int64_t step) const;  // the ball's radius in a step, counted from 0

  // Goes to a step, counted from 0: what follows is of that step.
  void advance(int64_t step);

  // Which operations the call consists of. Steps of one phase differ in numbers alone.
  struct Phase {
    bool natural = false, bounded = false;  // terms of the loss
    bool walked = false, boxed = false;  // margins of the bounded term: by the method, by interval arithmetic, or mixed
    bool regularized = false;
    friend bool operator==(const Phase&, const Phase&) = default;
  };
  const Phase& phase() const { return phase_; }

  // What the call takes: images and labels, attacked images as a third for sabr and mtl-ibp, and in place of the images
  // for pgd.
  // Attacks read values on the host: they are not for capture.
  Tensors inputs(const Tensor& weights, const Tensor& state, const Tensor& images, const Tensor& labels) const;
  static bool attacks(const std::string& objective);  // whether its inputs are attacked

  // Whether bounds ask which neurons can be on either side of their kink, and walk for those only: much less work on
  // the CPU, and not for capture, as the host reads it.
  bool finds_stable_neurons() const { return finds_stable_neurons_; }

  // What the loss is differentiated from; outputs and state are without history. Outputs are those of the images, or of
  // attacked ones for pgd.
  struct Result { Tensor loss, outputs, state; };
  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs) const;

 private:
  Tensor bounded_loss(const Tensor& weights, const Tensors& inputs) const;
  Tensor loss_of_margins(const nn::bounds::Bounds& bounds, const Tensor& rows) const;

  const TrainOptions options_;
  const nn::Network& network_;
  const PixelRange range_;
  const int64_t batches_;
  const LossFunction loss_;
  const bool finds_stable_neurons_;

  int64_t step_ = 0;
  std::optional<double> attack_radius_;  // empty: no attack
  Phase phase_;
  struct Numbers {                      // 0-d, of the step
    Tensor radius, tau, rest;           // of the bounded term; sabr's radius and what is left of it
    Tensor natural, bounded;            // shares of the terms
    Tensor walked, boxed, regularizer;  // shares of the margins, weight of the regulariser
  } numbers_;
};

// How the test images of an objective's run are certified.
nn::bounds::Method certifying_method(const std::string& objective);

// The share of the first `limit` images (0: all) whose label holds over the whole ball, as bounds show it in real
// arithmetic; on the weights' device. Asks `stop` before every batch and returns nothing once it is true. Needs a
// network without state.
std::optional<double> certified_share(const nn::Network& network, const Tensor& weights,
                                      const datasets::Dataset& dataset, const datasets::Preparation& preparation,
                                      double epsilon, nn::bounds::Method method, int64_t limit,
                                      const std::function<bool()>& stop);

}  // namespace mollify::experiments
