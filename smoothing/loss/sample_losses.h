// The mean loss of samples as a function of the weights, for measures that ask for it batch by batch.
#pragma once

#include <mollify/nn/network.h>

#include <functional>
#include <span>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// f(w) = (1/N) Σ ℓ_i(w).
struct SampleLosses {
  int64_t count = 0;  // N
  // What the losses of these samples read, such as images and labels, on the weights' device and in their dtype.
  std::function<Tensors(std::span<const int32_t> which)> take;
  // Their mean loss, a scalar; it is captured.
  std::function<Tensor(const Tensor& weights, const Tensors& taken)> mean;
  // The gradient of each sample's own loss, [n, d]. Empty: the mean of one sample at a time is differentiated.
  std::function<Tensor(const Tensor& weights, const Tensors& taken)> gradients = {};
};

struct NetworkLosses {
  std::function<Tensor(const Tensor& outputs, const Tensor& labels)> losses = cross_entropy;  // of each row, [n]
  // Batch norm has its statistics of the batch, as in training; else those of the state. A single image has no
  // gradient of its own then.
  bool batch_statistics = false;
  // Each row's outputs are divided by their root mean square: sharpness no longer depends on the outputs' scale.
  bool normalised_outputs = false;
};

// Of a network's outputs; `take` gives {images, labels}. Without dropout, but with batch statistics. The network must
// outlive the losses.
SampleLosses losses_of(const nn::Network& network, const Tensor& state, int64_t count,
                       std::function<Tensors(std::span<const int32_t>)> take, const NetworkLosses& how = {});

// Throws ValueError, which starts with `operation`, for losses of no samples or without functions, and TypeError for
// weights that are no flat vector of f32 or f64.
void check(const char* operation, const SampleLosses& losses, const Tensor& weights);

// The inputs of captured evaluations: the weights, or a vector, in front of what is taken.
Tensors with_first(const Tensor& first, const Tensors& rest);
Tensors without_first(const Tensors& in);

// Samples first … first + size − 1, cut off at `count`.
std::vector<int32_t> samples_from(int64_t first, int64_t size, int64_t count);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
