// One step of a run: what moves on the host, then one captured function of the batch on the weights' device.
#pragma once

#include <mollify/engine/fetch.h>
#include <mollify/engine/plan.h>
#include <mollify/experiments/objective.h>
#include <mollify/smoothing/smooth.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace mollify::experiments {

struct StepResult {
  int64_t step, images, correct;  // step counts from 1
  double loss;                    // mean over the images, before the update
};

double sigma_of(const TrainOptions& options, int64_t epoch);  // of the smoothing in an epoch, which counts from 0

class TrainingStep {
 public:
  // Overwrites `weights` and `state`, which the task's optimizer belongs to. Options are resolved. Throws UsageError
  // where the network cannot be trained as they ask. The task must outlive this.
  TrainingStep(const TrainOptions& options, const Task& task, const Tensor& weights, const Tensor& state);

  // `epoch` counts from 0.
  void launch(const datasets::Batch& batch, int64_t epoch);

  // Of steps that were launched, in order and once each. Waiting for the last one would leave the device idle until the
  // next batch
  // arrives: it is left for the next time unless `all` are asked for.
  std::vector<StepResult> results(bool all);

  const std::optional<Objective>& objective() const { return objective_; }
  // What of the step runs as it is, in place of a capture; empty: nothing.
  std::string uncaptured() const;

 private:
  Tensors operations(const Tensors& in);
  bool captures() const;  // the step under way
  struct Launched {
    int64_t step, images;
    Fetch loss, correct;
  };

  const TrainOptions options_;
  const Task& task_;
  const Tensor weights_, state_;
  const Tensor number_, deviation_;  // 0-d, of the step under way: dropout's number and the smoothing noise's deviation
  std::optional<smoothing::SmoothedNetwork> smoothed_;
  std::optional<smoothing::Sigma> sigma_;  // deviation_
  std::optional<Objective> objective_;
  std::optional<Captured> captured_;
  Objective::Phase phase_;  // that captured_ is of
  std::deque<Launched> launched_;
};

}  // namespace mollify::experiments
