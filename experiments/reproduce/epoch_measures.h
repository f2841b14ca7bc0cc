// How estimated gradients of a run compare with the true ones, epoch by epoch: a file in the cell's folder.
#pragma once

#include <mollify/experiments/training/task.h>
#include <mollify/smoothing/loss/population.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace mollify::experiments {

// A histogram of the magnitudes of the gradient's numbers: the share from 10^k to below 10^(k + 1), of the first decade
// all below its end, of the last one all from its start on.
struct Decade {
  int exponent;  // k
  std::string name;
};
const std::vector<Decade>& gradient_decades();

// On the first batch of the training images, in the mode that is trained in. The local measures follow the paper of
// sparse zeroth-order optimisation; distances are squared norms.
class EpochMeasures {
 public:
  // The estimate is that of a population with deviation `scale`; `rate` is the step to the next point.
  EpochMeasures(std::filesystem::path file, const Task& task, const smoothing::Population& population, double scale,
                double rate);

  // Measures at the weights after an epoch, which counts from 0. active: null where all weights are trained.
  void add(int64_t epoch, const Tensor& weights, const Tensor& state, const Positions* active);

  // By name, a number for each of the epochs: distance, masked_distance and predicted, what it is on average for a
  // quadratic loss; cosine, of the active weights; local, ‖Δ∇f‖/‖Δw‖ of a step; neighbor, the largest of 10 points
  // within ½ of each weight; small, the share of |∂f| below 1e-4; the
  // gradient's decades.
  std::map<std::string, std::vector<double>> series(int64_t epochs) const;

 private:
  std::filesystem::path file_;
  nn::Network network_;
  LossFunction loss_;
  smoothing::Population population_;
  double scale_, rate_;
  Tensor images_, labels_;
};

}  // namespace mollify::experiments
