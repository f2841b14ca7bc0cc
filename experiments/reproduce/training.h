// What experiments train with: images as tensors, prepared once, and networks as functions of weights and images.
#pragma once

#include <mollify/datasets/loader.h>
#include <mollify/engine/ops.h>
#include <mollify/experiments/training/metrics.h>

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

// The mean of `loss` over all images as a function of weights that holds the record of `rows` images at a time. Its
// value and its first gradient are right; it has no second one.
Tensor mean_over_batches(const Tensor& weights, const Images& images, int64_t rows,
                         const std::function<Tensor(const Tensor& weights, const Images& batch)>& loss);

}  // namespace mollify::experiments
