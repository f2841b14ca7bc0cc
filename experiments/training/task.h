// What a run trains and where: data, network, loss, timetable, optimizer and device, made from its options.
#pragma once

#include <mollify/datasets/loader.h>
#include <mollify/experiments/training/settings.h>
#include <mollify/nn/network.h>
#include <mollify/optim/optimizer.h>

#include <memory>
#include <string>

namespace mollify::experiments {

LossFunction loss_named(const std::string& name);  // throws ValueError

// Digits and MNIST stay on [0, 1]; the channels of CIFAR are brought to mean 0 and deviation 1, and those of folders as
// if they were ImageNet's.
datasets::Preparation plain_preparation(const std::string& data);

nn::Network network_for(const std::string& model, const datasets::Dataset& dataset);

// The first `train` training and `test` test images; 0: all. Those of a folder have `extent` by `extent` pixels; 0: as
// datasets::load chooses. Throws UsageError, which starts with `option`, where there are not as many.
datasets::Splits load_images(const std::string& data, const std::string& data_dir, int64_t train, int64_t test,
                             const std::string& option, int64_t extent = 0);

struct Task {
  datasets::Dataset train, validation, test;  // validation may hold no image
  datasets::Preparation training, plain;      // `plain` has neither noise nor augmentation: for evaluation
  nn::Network network;
  LossFunction loss;
  Timetable timetable;
  Device device;
  std::unique_ptr<optim::Optimizer> optimizer;
};
// Its optimizer's gradients come from the settings' estimator. Only a network that holds whole batches, whose loss does
// the same for all weights, is traced by it.
std::unique_ptr<optim::Gradient> make_gradient(const TrainSettings& settings, const optim::Schedule& learning_rate,
                                               std::shared_ptr<const smoothing::Exchange> exchange = {});
// The learning rate times the estimator's factor for the weights that the mask leaves active in each step.
optim::Schedule with_rate_factor(const optim::Schedule& rate, const TrainSettings& settings, const nn::Network& network,
                                 const Timetable& timetable);
// Of resolved settings, on the images that they name or on those given. Throws UsageError, datasets::MissingData,
// FormatError.
Task make_task(const TrainSettings& settings, std::shared_ptr<const smoothing::Exchange> exchange = {});
Task make_task(const TrainSettings& settings, datasets::Splits images,
               std::shared_ptr<const smoothing::Exchange> exchange = {});

}  // namespace mollify::experiments
