// One training of the experiment gsmooth-svrg: how much the update's length varies along it.
#pragma once

#include <mollify/experiments/reproduce/cell_checkpoint.h>
#include <mollify/experiments/reproduce/gsmooth_network.h>
#include <mollify/nn/network.h>

namespace mollify::experiments::gsmooth_svrg_training {

struct Method {
  const char* name;
  bool smoothed, variance_reduced;
};

// What all trainings share.
struct Setting {
  const nn::Network& network;
  const datasets::Dataset& images;
  Images test;
  datasets::Preparation preparation;    // of clean images
  int64_t steps, block, inner, anchor;  // steps between measurements and between full gradients; images of those
  double sigma, rate;
  Device device;
};

constexpr int64_t kProbes = 100;  // images over which the spread at fixed weights is taken

// Series, found at the start and after each block of steps.
inline constexpr const char *kStep = "step", *kTrainLoss = "train_loss", *kTestAccuracy = "test_accuracy";
// Of ‖w_{t+1} − w_t‖: over all steps, and over each block. Within blocks: the root mean square of the blocks'
// deviations, in which the mean's fall from block to block does not count.
inline constexpr const char *kMean = "update_mean", *kDeviation = "update_deviation",
                            *kWithin = "update_deviation_within_blocks";
// Of what ‖Δw‖ would be for each of the probes, at the weights after each block; over all steps the root mean square.
inline constexpr const char* kFixed = "update_deviation_at_fixed_weights";
inline constexpr const char *kTrainedAccuracy = "trained_test_accuracy", *kDiverged = "diverged";

// Goes on from the checkpoint, and keeps it.
Results train(const Method& method, const Noise& noise, uint64_t seed, const Setting& setting,
              CellCheckpoint checkpoint);

}  // namespace mollify::experiments::gsmooth_svrg_training
