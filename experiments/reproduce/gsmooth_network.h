// What the experiments of Starnes & Webster train: the plain network or the smoothed one, on noisy images.
#pragma once

#include <mollify/experiments/reproduce/training.h>
#include <mollify/smoothing/smooth.h>

#include <map>
#include <string>

namespace mollify::experiments {

struct Noise {
  double inputs, labels;  // standard deviation, share
};

// The images with noise, fixed by the seed.
Images noisy(const datasets::Dataset& images, datasets::Preparation preparation, const Noise& noise, uint64_t seed,
             Device device);

class GSmoothNetwork {
 public:
  // `sigma` as in the paper, 0 for the plain network; penalties in the split form, by layer. The loss is `share` times
  // the squared error on one-hot labels. The network must outlive this.
  GSmoothNetwork(const nn::Network& network, double sigma, const std::map<std::string, double>& penalties,
                 double share);

  bool smooths() const { return smooths_; }
  Model plain() const;  // these must not outlive this
  Model trained() const;
  Tensor loss(const Tensor& weights, const smoothing::Sigma& sigma, const Images& batch) const;

 private:
  const nn::Network& network_;
  const bool smooths_;
  const smoothing::SmoothedNetwork smoothed_;
  const double share_;
};

}  // namespace mollify::experiments
