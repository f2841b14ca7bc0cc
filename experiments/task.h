// What a run trains: data, network, loss and optimizer, made from its options.
#pragma once

#include <mollify/datasets/loader.h>
#include <mollify/experiments/options.h>
#include <mollify/nn/network.h>
#include <mollify/optim/optimizer.h>

#include <memory>
#include <string>

namespace mollify::experiments {

// Mean over a batch, of outputs [B, classes] and labels i32 [B].
using LossFunction = Tensor (*)(const Tensor& outputs, const Tensor& labels);
LossFunction loss_named(const std::string& name);  // throws ValueError

// Digits and MNIST stay on [0, 1]; the channels of CIFAR are brought to mean 0 and deviation 1.
datasets::Preparation plain_preparation(const std::string& data);

nn::Network network_for(const std::string& model, const datasets::Dataset& dataset);

// The first `train` training and `test` test images; 0: all. Throws UsageError, which starts with `option`, where there
// are not as many.
datasets::Splits load_images(const std::string& data, const std::string& data_dir, int64_t train, int64_t test,
                             const std::string& option);

struct Task {
  datasets::Dataset train, validation, test;  // validation may hold no image
  datasets::Preparation training, plain;      // `plain` has neither noise nor augmentation: for evaluation
  nn::Network network;
  LossFunction loss;
  int64_t batches;  // of an epoch
  optim::Schedule learning_rate;
  std::unique_ptr<optim::Optimizer> optimizer;
};
Task make_task(const TrainOptions& options);  // resolved; throws UsageError, datasets::MissingData, FormatError

}  // namespace mollify::experiments
