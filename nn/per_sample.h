// The gradient of each sample's own loss, for noise scales, influence and private training.
#pragma once

#include <mollify/nn/network.h>

#include <functional>

#pragma GCC visibility push(default)
namespace mollify::nn {

struct PerSample {
  Tensor losses;     // [N]
  Tensor gradients;  // [N, d]: row n is the gradient of losses[n] in the weights
};

// Of the network in evaluation mode, with batch norm's statistics from `state` and without dropout, at x [N, …]. `loss`
// takes the outputs [N, …] to N losses, each of its own row. One pass forward and one backward serve all samples, and
// the products with weights are taken apart by rows. Nothing is recorded. Throws ShapeError where losses are not N, and
// ValueError naming the layer where one with weights mixes rows or has several outputs.
PerSample per_sample_gradients(const Network& network, const Tensor& weights, const Tensor& state, const Tensor& x,
                               const std::function<Tensor(const Tensor& outputs)>& loss);

}  // namespace mollify::nn
#pragma GCC visibility pop
