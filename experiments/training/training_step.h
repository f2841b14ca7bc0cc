// One step of a run: what moves on the host, then one captured function of the batch on the weights' device.
#pragma once

#include <mollify/engine/fetch.h>
#include <mollify/engine/plan.h>
#include <mollify/experiments/training/task.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace mollify::experiments {

struct StepResult {
  int64_t step, images, correct;  // step counts from 1
  double loss;                    // mean over the images, before the update
};

class TrainingStep {
 public:
  // Overwrites `weights` and `state`, which the task's optimizer belongs to. Settings are resolved. Throws UsageError
  // where the network cannot be trained as they ask. Settings and task must outlive this.
  TrainingStep(const TrainSettings& settings, const Task& task, const Tensor& weights, const Tensor& state);

  // `epoch` counts from 0.
  void launch(const datasets::Batch& batch, int64_t epoch);

  // Of steps that were launched, in order and once each. Waiting for the last one would leave the device idle until the
  // next batch arrives: it is left for the next time unless `all` are asked for.
  std::vector<StepResult> results(bool all);

  // What of the step runs as it is, in place of a capture; empty: nothing.
  std::string uncaptured() const;

 private:
  Objective::Result loss(const Tensor& weights, const Tensors& in, const Tensor& number) const;
  Tensors operations(const Tensors& in);
  bool captures() const;  // the step under way
  struct Launched {
    int64_t step, images;
    Fetch loss, correct;
  };

  const TrainSettings& settings_;
  const Task& task_;
  const Tensor weights_, state_;
  const Tensor number_;  // 0-d, of the step under way
  std::optional<Captured> captured_;
  int64_t phase_ = 0;  // that captured_ is of
  std::deque<Launched> launched_;
};

}  // namespace mollify::experiments
