// The network smoothed in closed form, which the natural objective trains in place of the network itself (`--sigma`).
#pragma once

#include <mollify/experiments/training/objectives/objective.h>
#include <mollify/smoothing/smooth.h>

#include <optional>

namespace mollify::experiments {

class ClosedFormSmoothing {
 public:
  Options options();
  void resolve(const RunOptions& run);  // throws UsageError
  bool active() const { return sigma_ > 0; }
  double sigma(int64_t epoch) const;  // the paper's; epochs count from 0

  // As an objective's; of an epoch.
  void prepare(const Setting& setting);
  void advance(int64_t epoch);
  Objective::Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs) const;

 private:
  double sigma_ = 0, decay_ = 1, penalty_ = 1e-6;
  std::string form_ = "joint";
  std::optional<smoothing::SmoothedNetwork> smoothed_;
  std::optional<smoothing::Sigma> scale_;
  Tensor deviation_;  // 0-d, of the step under way: what scale_ is made from
};

}  // namespace mollify::experiments
