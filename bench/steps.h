// Steps of training as benchmarks: any loss, any optimiser, eager or captured, on any device.
#pragma once

#include <mollify/nn/network.h>
#include <mollify/optim/optimizer.h>
#include <mollify/smoothing/smooth.h>

#include <benchmark/benchmark.h>

#include <functional>

namespace mollify::bench {

// A network for ten classes where it starts, and a batch of standard normal images.
struct Problem {
  Problem(const char* model, const Shape& image, int64_t batch, Device device = Device::cpu);
  nn::Network network;
  Tensor weights, statistics, images, labels;
};

// Of a batch at some weights. A loss that moves the network's statistics writes the new ones to `statistics`.
using StepLoss =
    std::function<Tensor(const Tensor& weights, const Tensor& images, const Tensor& labels, Tensor& statistics)>;
StepLoss cross_entropy_of(const Problem& problem);  // mean cross-entropy of the network in training mode
StepLoss squared_error_of(const Problem& problem);  // of a network without statistics

// Squared error of the Table 3 network smoothed with σ = 0.1, penalties on: of the joint form, or of the split form
// with the λ of Starnes & Webster.
StepLoss smoothed_loss_of(const Problem& problem, smoothing::Form form);

enum class Execution { eager, captured };

// The gradient and the update, on the device of the problem. Counters: images a second, the device's peak memory, and
// what a plan holds.
void training_step(benchmark::State& state, const Problem& problem, optim::Optimizer& optimizer, const StepLoss& loss,
                   Execution execution);

// 200 dependent products of 16 numbers.
void chain_step(benchmark::State& state, Device device, Execution execution);

}  // namespace mollify::bench
