// One training of the experiment gsmooth-heatmap: GSmoothSGD or GSmoothAdam, stopped early.
#pragma once

#include <mollify/experiments/reproduce/cell_checkpoint.h>
#include <mollify/experiments/reproduce/gsmooth_network.h>
#include <mollify/nn/network.h>

#include <string>

namespace mollify::experiments::gsmooth_heat_map_training {

struct Method {
  std::string optimizer;  // sgd, adam
  double sigma;           // as in the paper; 0: the plain network
};

struct Training {
  Method method;
  double rate;
  Noise noise;
  int64_t seed, epochs;
  bool tuning;  // of the learning rates' search: not tested

  std::string key() const;
};

// What all trainings share.
struct Setting {
  const nn::Network& network;
  const datasets::Dataset& images;  // those for training, then those for validation
  Images test;
  datasets::Preparation preparation;  // of clean images
  int64_t train, batch, patience;     // images for training; epochs without a lower validation loss
  bool published;                     // the settings of the authors' code
  Device device;
};

// Results' numbers.
inline constexpr const char *kAccuracy = "test_accuracy", *kPlainAccuracy = "plain_test_accuracy",
                            *kValidationLoss = "validation_loss", *kValidationAccuracy = "validation_accuracy",
                            *kBestEpoch = "best_epoch", *kEpochs = "epochs", *kDiverged = "diverged";

// Goes on from the checkpoint, and keeps it.
Results train(const Training& how, const Setting& setting, CellCheckpoint checkpoint);

}  // namespace mollify::experiments::gsmooth_heat_map_training
