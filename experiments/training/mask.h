// Which weights a run trains, and when there are fewer of them (`--mask`).
#pragma once

#include <mollify/experiments/options.h>
#include <mollify/nn/network.h>
#include <mollify/optim/active_weights.h>

#include <functional>

namespace mollify::experiments {

struct RunOptions;

// Every few epochs a share of the weights that are active is masked: of Ohta et al. 2020, and others by name.
class Mask {
 public:
  Options options();
  void resolve(const RunOptions& run);  // throws UsageError
  bool exists() const { return kind_ != "none"; }
  std::string about(const nn::Network& network) const;

  // How many weights an epoch trains, epochs counting from 0. Throws UsageError where none would be left.
  int64_t active(const nn::Network& network, int64_t epoch) const;
  bool shrinks_at(int64_t epoch) const;

  Positions first(const nn::Network& network, Device device) const;
  // Those of an epoch at which the mask grows. accuracy: of the held-out images at given weights.
  using Accuracy = std::function<double(const Tensor& weights)>;
  Positions next(const Positions& before, const Tensor& weights, int64_t epoch, uint64_t seed,
                 const Accuracy& accuracy) const;

  // What masked weights become: 0, what they were when the round began, or what they are.
  bool prunes() const { return masked_ == "prune"; }
  bool rewinds() const { return masked_ == "rewind"; }

 private:
  std::vector<int64_t> named_layers(const nn::Network& network) const;  // places of their weights

  std::string kind_ = "none", masked_ = "freeze", from_ = "active", layers_;
  int64_t every_ = 5, candidates_ = 50;
  double share_ = 0.2;
};

}  // namespace mollify::experiments
