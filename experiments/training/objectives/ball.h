// What objectives with a ball around every image share: its radius, which grows, and attacks within it. Balls are
// boxes (l-infinity) in pixels from 0 to 1 before normalisation.
#pragma once

#include <mollify/experiments/robustness/pixel_ball.h>
#include <mollify/experiments/training/objectives/objective.h>

namespace mollify::experiments {

class BallObjective : public Objective {
 public:
  Options options() override;
  void resolve(RunOptions& run) override;
  std::string tag() const override { return format("{}-{}", name(), epsilon_); }
  std::string about() const override;
  void prepare(const Setting& setting) override;
  std::optional<double> radius(int64_t step) const override;

 protected:
  // Of those that attack: images attacked by PGD within the radius, whose draws depend on the seed, the step and the
  // row; the option for its steps; and what uncaptured() says of it.
  Tensor attacked(const Tensor& weights, const Tensor& state, const Sample& sample, double radius, int64_t step) const;
  Option attack_steps_option();
  static constexpr const char* kAttacksUncaptured = "attacks run as they are, without capture";

  Tensor with_weight_norm(const Tensor& loss, const Tensor& weights) const;  // plus --l1's term
  const PixelRange& range() const { return *range_; }

  double epsilon_ = 0;
  int64_t start_ = 0, growing_ = 0;  // epochs

 private:
  double l1_ = 0;
  int64_t attack_steps_ = 8;
  std::optional<PixelRange> range_;
};

}  // namespace mollify::experiments
