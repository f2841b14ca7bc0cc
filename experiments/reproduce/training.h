// What experiments train with: images as tensors, prepared once, and networks as functions of weights and images.
#pragma once

#include <mollify/engine/ops.h>
#include <mollify/experiments/training/metrics.h>
#include <mollify/experiments/training/task.h>
#include <mollify/experiments/training/training_run.h>

#include <filesystem>
#include <functional>
#include <span>

namespace mollify::experiments {

struct Images {
  Tensor images, labels;  // f32 [N, H, W, C], i32 [N]

  int64_t count() const { return labels.size(); }
};

Images prepare(const datasets::Dataset& dataset, const datasets::Preparation& preparation,
               Device device = Device::cpu);  // all of them, on one thread
Images range(const Images& images, int64_t first, int64_t count);                            // views
Images chosen(const Images& images, std::span<const int32_t> indices);

using Model = std::function<Tensor(const Tensor& weights, const Tensor& images)>;  // the outputs [N, classes]

// Mean squared error on one-hot labels, and accuracy; asks stop_if_interrupted() now and then.
Score score_of(const Model& model, const Tensor& weights, const Images& images);

Tensor copy_of(const Tensor& values);

// Weights trained as `mollify train` does, in the cell's folder and from the checkpoint that is there; undefined where
// the loss was no number any more. The cell's folder is set here. Throws Interrupted.
Tensor trained_weights(TrainSettings settings, Task task, const std::filesystem::path& folder, RunEvents events = {});

}  // namespace mollify::experiments
