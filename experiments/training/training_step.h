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
  int64_t left_out;               // pairs of perturbed weights whose losses are not finite
  std::vector<double> terms = {};  // of the objective, as the loss
};

class TrainingStep {
 public:
  // Overwrites `weights` and `state`, which the task's optimizer belongs to. Settings are resolved. Throws UsageError
  // where the network cannot be trained as they ask. Settings and task must outlive this.
  TrainingStep(const TrainSettings& settings, const Task& task, const Tensor& weights, const Tensor& state);

  // Of the network: what to evaluate and to save, which the optimizer may keep apart from those it trains.
  Tensor evaluation_weights() const;

  // What a checkpoint keeps, by name: the optimizer's state and the mask's.
  std::map<std::string, Tensor> kept() const;
  void set_kept(const std::map<std::string, Tensor>& kept);

  // Before the first batch of an epoch, which counts from 0: the mask may grow.
  void start_epoch(int64_t epoch, const Mask::Accuracy& held_out_accuracy);
  const Positions* mask() const { return active_ ? &*active_ : nullptr; }          // null: there is none
  int64_t active() const { return active_ ? active_->count() : weights_.size(); }  // weights that are trained

  // Of a batch, without an update: for measuring how long it takes.
  double loss_of(const datasets::Batch& batch);
  void launch(const datasets::Batch& batch);

  // Of steps that were launched, in order and once each. Waiting for the last one would leave the device idle until the
  // next batch arrives: it is left for the next time unless `all` are asked for.
  std::vector<StepResult> results(bool all);

  // What of the step runs as it is, in place of a capture; empty: nothing.
  std::string uncaptured() const;

 private:
  Tensors inputs(const datasets::Batch& batch);
  Objective::Result loss(const Tensor& weights, const Tensors& in, const Tensor& number) const;
  void set_active(Positions active);
  Tensors operations(const Tensors& in);
  bool captures() const;  // the step under way
  struct Launched {
    int64_t step, images;
    Fetch loss, correct;
    std::vector<Fetch> terms;
    std::optional<Fetch> left_out;
  };

  const TrainSettings& settings_;
  const Task& task_;
  const Tensor weights_, state_;
  const Tensor number_;  // 0-d, of the step under way
  std::optional<Positions> active_;  // under a mask
  Tensor trained_;                   // what the optimizer moves: the weights, or under a mask the active ones
  Tensor round_start_;               // the weights when the round began, where the mask sets them back
  std::optional<Captured> captured_;
  int64_t phase_ = 0;  // that captured_ is of
  std::deque<Launched> launched_;
};

}  // namespace mollify::experiments
