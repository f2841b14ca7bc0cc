// Smoothed activations, and the training step of the smoothed Table 3 network beside the plain one's.
#include <mollify/engine/grad.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/optim/optimizer.h>
#include <mollify/smoothing/ops.h>
#include <mollify/smoothing/smooth.h>

#include <benchmark/benchmark.h>

namespace mollify {
namespace {

struct Problem {
  explicit Problem(int64_t batch)
      : network(nn::make("cnn", {28, 28, 1}, 10)), weights(network.initial_weights(nn::Initialization::fan_in_uniform, 1)),
        images(normal({batch, 28, 28, 1}, {1, 2}, Tensor::scalar(0, DType::i32))) {
    std::vector<int32_t> values;
    for (int64_t i = 0; i < batch; ++i) values.push_back(static_cast<int32_t>(i % 10));
    labels = Tensor::from(values, {batch});
  }
  nn::Network network;
  Tensor weights, images, labels;
};

void adam_step_plain(benchmark::State& state) {
  const Problem p(state.range(0));
  const auto optimizer = optim::adam(optim::constant(1e-3));
  for (auto _ : state) optimizer->step(p.weights, [&](const Tensor& w) { return nn::mean_squared_error(p.network(w, p.images), p.labels); });
}
BENCHMARK(adam_step_plain)->Arg(16)->Arg(128)->UseRealTime();

// σ = 0.1, penalties on: of the joint form, or of the split form with the λ of Starnes & Webster.
void adam_step_smoothed(benchmark::State& state, smoothing::Form form) {
  const Problem p(state.range(0));
  smoothing::PenaltyWeights weights{{{"activation1", 1e-7}, {"dense1", 1e-7}, {"activation2", 1e-5}, {"dense2", 1e-5}}};
  weights.form = form;
  const auto smoothed = smoothing::smooth(p.network, smoothing::Sigma::paper(0.1), weights);
  const auto optimizer = optim::adam(optim::constant(1e-3));
  for (auto _ : state) optimizer->step(p.weights, [&](const Tensor& w) { return smoothing::smoothed_squared_error(smoothed(w, p.images), p.labels); });
}
BENCHMARK_CAPTURE(adam_step_smoothed, joint, smoothing::Form::joint)->Arg(16)->Arg(128)->UseRealTime();
BENCHMARK_CAPTURE(adam_step_smoothed, split, smoothing::Form::split)->Arg(16)->Arg(128)->UseRealTime();

void relu_smoothed_gradient(benchmark::State& state) {
  const Tensor x = normal({state.range(0)}, {1, 2}, Tensor::scalar(0, DType::i32)), s = Tensor::scalar(0.1), seed = ones_like(x);
  for (auto _ : state)
    benchmark::DoNotOptimize(vjp([&](const Tensor& t) { return smoothing::relu_smoothed(t, s); }, x, seed));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(relu_smoothed_gradient)->Arg(4'000'000)->UseRealTime();

void relu_moments_gradient(benchmark::State& state) {
  const Tensor x = normal({state.range(0)}, {1, 2}, Tensor::scalar(0, DType::i32)), s = Tensor::scalar(0.1), seed = ones_like(x);
  const Tensor from = variable(x);
  for (auto _ : state) {
    const auto [mean, variance] = smoothing::relu_moments(from, s);
    benchmark::DoNotOptimize(vjp_of({mean, variance}, {seed, seed}, from, false));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(relu_moments_gradient)->Arg(4'000'000)->UseRealTime();

}  // namespace
}  // namespace mollify
