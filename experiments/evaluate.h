// How well weights do on a dataset.
#pragma once

#include <mollify/experiments/robustness/classifier.h>
#include <mollify/experiments/robustness/image_log.h>
#include <mollify/experiments/robustness/noise_request.h>
#include <mollify/experiments/training/task.h>

#include <functional>
#include <optional>

namespace mollify::experiments {

struct Evaluation {
  double loss = 0;                             // mean over the images
  std::vector<int64_t> class_images, correct;  // of each class

  int64_t images() const;
  double accuracy() const;
};

inline constexpr int64_t kEvaluationBatch = 500;

// That many images, or as many as hold no more numbers than that many RGB images of 64 by 64.
int64_t evaluation_batch(const datasets::Dataset& dataset);

// What is evaluated: the network in evaluation mode, or smoothed with the paper's sigma.
OutputsOf outputs_of(const nn::Network& network, const Tensor& weights, const Tensor& state);
OutputsOf smoothed_outputs_of(const nn::Network& network, const Tensor& weights, const Tensor& state, double sigma);

// Without gradients, in batches of the given size; 0: evaluation_batch. Asks `stop` (if there is one) before every
// batch and returns nothing once it is true.
std::optional<Evaluation> evaluate(const OutputsOf& outputs, Device device, const datasets::Dataset& dataset,
                                   const datasets::Preparation& preparation, LossFunction loss, int64_t batch = 0,
                                   const std::function<bool()>& stop = {});

struct EvaluateCommand {
  ClassifierRequest request;
  std::optional<double> sigma;  // of the network that is evaluated, 0: the plain one; empty: both of what was trained
  NoiseRequest votes;           // with noise: what most of the network's noisy answers are is evaluated
  ImageLogRequest log;          // of votes
  int64_t batch = 0, seed = 0, threads = 0;  // batch 0: evaluation_batch
  DeviceRequest device;
  bool json = false;
};
Options options_of(EvaluateCommand& command);
int evaluate_command(const EvaluateCommand& command);  // `mollify eval`

}  // namespace mollify::experiments
