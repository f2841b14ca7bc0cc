// What objectives share that train a network for Gaussian noise N(0, σ²I) on pixels from 0 to 1, before normalisation:
// draws of it, new in every step, and the attacks on images that some of them make.
#pragma once

#include <mollify/engine/ops.h>
#include <mollify/experiments/robustness/pixel_ball.h>
#include <mollify/experiments/training/objectives/objective.h>
#include <mollify/smoothing/attacks/attack.h>
#include <mollify/smoothing/randomized/noise.h>

namespace mollify::experiments {

// The training that an objective's authors publish, where nothing else is asked for: SGD with momentum 0.9.
struct UsualTraining {
  int64_t epochs, batch;
  double learning_rate, weight_decay;
  std::vector<double> milestones;  // shares of the epochs after which the learning rate falls
  double factor;                   // of each fall
};

class NoisyObjective : public Objective {
 public:
  NoisyObjective(const char* name, int64_t draws, UsualTraining usual);

  const char* name() const override { return name_; }
  Options options() override;
  void resolve(RunOptions& run) override;
  std::string tag() const override { return format("{}-{}", name_, sigma_); }
  std::string about() const override;
  void prepare(const Setting& setting) override;

  std::optional<double> noise() const override { return sigma_; }
  Tensor under_noise(const Tensor& images, const Tensor& numbers) const override;

 protected:
  double sigma() const { return sigma_; }
  int64_t draws() const { return draws_; }
  // By what a way in pixels is longer in prepared images.
  Tensor unit_like(const Tensor& images) const { return cast(range_->unit, images.dtype()); }

  // All draws of a step, of prepared images [B, …]: [draws·B, …], the whole batch under one draw after the other.
  Tensor noisy(const Tensor& images, const Tensor& indices, const Tensor& number,
               smoothing::NoiseUse use = smoothing::NoiseUse::training) const;
  // `draws` copies of a batch, one after the other: images, labels or outputs.
  Tensor copies(const Tensor& batch) const;
  // Outputs of one draw after the other, [draws·B, classes], as [draws, B, classes].
  Tensor by_draw(const Tensor& outputs) const;
  // Outputs of the first draw, for the training accuracy, and the rest of a result.
  Result result(const Tensor& loss, const nn::Network::Result& of_draws, const Tensors& terms = {}) const;
  nn::Network::Result train_mode(const Tensor& weights, const Tensor& state, const Tensor& images,
                                 const Tensor& number) const;

  // Prepared images attacked in pixels: by PGD from themselves with steps of 2·epsilon/steps along the gradient, or by
  // DDN, on the network in evaluation mode, under the threat's draws if it has any.
  enum class Attacker { pgd, ddn };
  Options attack_options(double& epsilon, int64_t& steps) const;  // of those that attack
  Tensor attacked(const Tensor& weights, const Tensor& state, const Sample& sample, smoothing::Threat threat,
                  Attacker attacker, int64_t steps) const;
  // A number of the host in the arithmetic of steps and draws.
  static Tensor whole(int64_t value) { return Tensor::scalar(static_cast<double>(value), DType::i32); }
  // Of gradients by prepared images [B, H, W, C], the unit vectors in pixels along them, as ways of prepared images; 0
  // where there is none.
  Tensor unit_way(const Tensor& gradient) const;
  uint64_t seed_of(int64_t step) const { return (setting().seed << 32) + static_cast<uint64_t>(step); }

 private:
  const char* name_;
  const UsualTraining usual_;
  double sigma_ = 0;
  int64_t draws_;
  std::optional<PixelRange> range_;
};

// log of the mean over draws of softmax, [B, classes], of outputs [draws, B, classes].
Tensor log_mean_softmax(const Tensor& outputs);

}  // namespace mollify::experiments
