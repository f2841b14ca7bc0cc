// A training run as a function: of settings, of a folder that holds where it stands, and of what is told on the way.
#pragma once

#include <mollify/experiments/training/checkpoint.h>
#include <mollify/experiments/training/metrics.h>
#include <mollify/experiments/training/settings.h>
#include <mollify/experiments/training/task.h>

#include <filesystem>
#include <functional>

namespace mollify::experiments {

// The loss is no number any more.
struct Diverged : Error {
  using Error::Error;
};

// Any may be empty.
struct RunEvents {
  std::function<void(const std::string& lines)> started = {};  // what the run is, before its first step
  // After a step: epochs count from 0, images those of the epoch.
  std::function<void(int64_t epoch, int64_t images, double loss)> progress = {};
  std::function<void(int64_t epoch)> evaluating = {};
  std::function<void(const EpochMetrics& metrics, const EpochTimings& timings)> epoch = {};
  // After an epoch, which counts from 0, and before its checkpoint: a run that was killed in between repeats it.
  // active: null where all weights are trained.
  std::function<void(int64_t epoch, const Tensor& weights, const Tensor& state, const Positions* active)> trained = {};
  bool writes = true;               // files; not where another process of the run does
  std::function<bool()> stop = {};  // asked after every step and before every batch that is evaluated
};

struct RunOutcome {
  // complete: all epochs, or out of patience; interrupted: by `stop`; steps: after the options' number of steps.
  enum class End { complete, interrupted, steps } end;
  Tensor weights, state;  // weights to evaluate, which a schedule-free optimizer keeps apart from those it trains
  Position position;      // where it stands
  int64_t steps;
  bool out_of_patience;
  double last_loss;
};

// Trains until the end, or until it is told to stop, and keeps in the folder: config.json, metrics.jsonl,
// timings.jsonl, curves.svg, checkpoint.safetensors, model.safetensors, best.safetensors. With a checkpoint it goes on
// from there, to the same numbers as without a break. Settings are resolved, and the task is theirs. Throws Diverged,
// and UsageError where the network cannot be trained as they ask.
RunOutcome train(const TrainSettings& settings, Task task, const std::filesystem::path& folder,
                 const std::optional<Checkpoint>& checkpoint, const RunEvents& events);

const std::vector<const char*>& run_files();  // that a run may keep

}  // namespace mollify::experiments
