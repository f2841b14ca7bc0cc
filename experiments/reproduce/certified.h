// Certified training and verification that experiments share: every method has the same data, initial weights,
// optimiser and schedule, and every network the same verifiers.
#pragma once

#include <mollify/experiments/reproduce/results.h>
#include <mollify/experiments/reproduce/training.h>

#include <filesystem>
#include <string>

namespace mollify::experiments {

struct CertifiedData {
  datasets::Dataset train, test_data;
  datasets::Preparation preparation;
  Images test;
};
// The first `train` and `test` images; throws as load_images.
CertifiedData load_certified(const std::string& data, const std::string& data_dir, int64_t train, int64_t test,
                             const std::string& option, Device device);

// One network.
struct CertifiedTraining {
  std::string data, model, objective;  // "natural" has no radius
  double epsilon;
  int64_t epochs, ramp_epochs;  // the radius grows over the first of them
  int64_t batch, rows;          // images that DeepPoly and α-CROWN hold at once
  double rate;                  // Adam's; a fifth and a 25th of it from 5/7 and 6/7 of the epochs on
  int64_t seed;
  TrainSettings::Texts more = {};  // options of the objective and of the gradient
};
// Undefined where the loss was no number any more. Throws Interrupted.
Tensor trained_weights(const CertifiedTraining& how, const CertifiedData& data, const std::filesystem::path& folder,
                       double checkpoint_minutes, Device device);

// The images whose margins, [images, rows], are all finite and above 0.
std::vector<bool> proven(const Tensor& margins);

// Verifiers, and "best": any of them.
const std::vector<std::string>& certified_stages();
std::string certified_name(const std::string& stage);  // of its share in results

// Shares of the test images that each stage certifies, in real arithmetic. Throws Interrupted.
void verify(const nn::Network& network, const Tensor& weights, const CertifiedData& data, double epsilon,
            Results& results);

}  // namespace mollify::experiments
