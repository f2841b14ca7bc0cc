// Moment propagation: a deterministic estimate of a network's mean and variance under Gaussian noise, in one evaluation.
#pragma once

#include <mollify/nn/network.h>
#include <mollify/smoothing/ops.h>
#include <mollify/smoothing/sigma.h>

namespace mollify::smoothing {

// Noise of each input number, and of each weight of dense layers and convolutions, biases included.
struct NoiseScales { Sigma input = Sigma::stddev(0.0), weights = Sigma::stddev(0.0); };

// Mean and variance of each output, [N, …] as the network's. Numbers within a layer are taken as normal and independent, which the
// first weighted layer makes exact in the mean and in the variance; further on it is an approximation: compare smooth_by_sampling.
// Batch norm uses the statistics in `state`; dropout adds the variance of its mask. Differentiable in everything. Throws ValueError
// naming a layer that has no rule.
Moments propagate_moments(const nn::Network& network, const Tensor& weights, const Tensor& state, const Tensor& x, const NoiseScales& noise);

}  // namespace mollify::smoothing
