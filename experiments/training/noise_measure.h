// `mollify train --noise-batches`: after each epoch, the noise of the gradients that SGD trains by, and how much it
// smooths.
#pragma once

#include <mollify/experiments/training/metrics.h>
#include <mollify/experiments/training/task.h>

#include <functional>
#include <optional>

namespace mollify::experiments {

struct RunOptions;

// At the weights, of the training images without augmentation and in evaluation mode, by the options' number of batches
// of the epoch's size, of at most half the images, which are drawn by the seed and the epoch. The bound under momentum
// takes the full gradient's norm at these weights for its largest. None where `stop` said so.
std::optional<EpochMetrics::GradientNoise> gradient_noise(const RunOptions& options, const Task& task,
                                                          const Tensor& weights, const Tensor& state, int64_t epoch,
                                                          const std::function<bool()>& stop);

}  // namespace mollify::experiments
