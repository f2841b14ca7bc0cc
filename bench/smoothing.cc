// Smoothed activations, and the training step of the smoothed Table 3 network beside the plain one's.
#include <bench/steps.h>

#include <mollify/engine/grad.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/ops.h>
#include <mollify/smoothing/randomized/votes.h>

namespace mollify {

bench::StepLoss bench::smoothed_loss_of(const Problem& problem, smoothing::Form form) {
  smoothing::PenaltyWeights weights{{{"activation1", 1e-7}, {"dense1", 1e-7}, {"activation2", 1e-5}, {"dense2", 1e-5}}};
  weights.form = form;
  return [smoothed = smoothing::smooth(problem.network, smoothing::Sigma::paper(0.1), weights)](
             const Tensor& w, const Tensor& images, const Tensor& labels, Tensor&) {
    return smoothing::smoothed_squared_error(smoothed(w, images), labels);
  };
}

namespace {

using bench::Execution;

void adam_step_plain(benchmark::State& state) {
  const bench::Problem problem("cnn", {28, 28, 1}, state.range(0));
  const auto optimizer = optim::adam(optim::constant(1e-3));
  bench::training_step(state, problem, *optimizer, bench::squared_error_of(problem), Execution::eager);
}
BENCHMARK(adam_step_plain)->Arg(16)->Arg(128)->UseRealTime();

void adam_step_smoothed(benchmark::State& state, smoothing::Form form) {
  const bench::Problem problem("cnn", {28, 28, 1}, state.range(0));
  const auto optimizer = optim::adam(optim::constant(1e-3));
  bench::training_step(state, problem, *optimizer, bench::smoothed_loss_of(problem, form), Execution::eager);
}
BENCHMARK_CAPTURE(adam_step_smoothed, joint, smoothing::Form::joint)->Arg(16)->Arg(128)->UseRealTime();
BENCHMARK_CAPTURE(adam_step_smoothed, split, smoothing::Form::split)->Arg(16)->Arg(128)->UseRealTime();

void relu_smoothed_gradient(benchmark::State& state) {
  const Tensor x = normal({state.range(0)}, {1, 2}, Tensor::scalar(0, DType::i32)), s = Tensor::scalar(0.1),
               seed = ones_like(x);
  for (auto _ : state)
    benchmark::DoNotOptimize(vjp([&](const Tensor& t) { return smoothing::relu_smoothed(t, s); }, x, seed));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(relu_smoothed_gradient)->Arg(4'000'000)->UseRealTime();

void relu_moments_gradient(benchmark::State& state) {
  const Tensor x = normal({state.range(0)}, {1, 2}, Tensor::scalar(0, DType::i32)), s = Tensor::scalar(0.1),
               seed = ones_like(x);
  const Tensor from = variable(x);
  for (auto _ : state) {
    const auto [mean, variance] = smoothing::relu_moments(from, s);
    benchmark::DoNotOptimize(vjp_of({mean, variance}, {seed, seed}, from, false));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(relu_moments_gradient)->Arg(4'000'000)->UseRealTime();

// Votes on an image: noisy images/s.
void votes(benchmark::State& state, const char* model, const Shape& extents, Execution execution) {
  const nn::Network network = nn::make(model, extents, 10);
  const Tensor weights = network.initial_weights(nn::Initialization::kaiming_normal, 1),
               numbers = arange(1, DType::i32), statistics = network.initial_state();
  Shape shape = extents;
  shape.insert(0, 1);
  const Tensor image = uniform(shape, {7, 1}, numbers);
  const auto outputs = [&](const Tensor& x) { return network(weights, statistics, x, nn::Mode::evaluate).output; };
  smoothing::NoisyClassifier g{outputs, {0.25, 1}, 250};
  if (execution == Execution::captured) g = smoothing::captured(g);
  for (auto _ : state)
    benchmark::DoNotOptimize(smoothing::votes(g, {image, numbers}, smoothing::NoiseUse::estimation, 0, state.range(0)));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
const Shape kGrey{28, 28, 1}, kColour{32, 32, 3};
BENCHMARK_CAPTURE(votes, cnn3_tiny, "cnn3_tiny", kGrey, Execution::eager)->Arg(1000)->UseRealTime();
BENCHMARK_CAPTURE(votes, cnn3_tiny_captured, "cnn3_tiny", kGrey, Execution::captured)->Arg(1000)->UseRealTime();
BENCHMARK_CAPTURE(votes, cnn_captured, "cnn", kGrey, Execution::captured)->Arg(10000)->UseRealTime();
BENCHMARK_CAPTURE(votes, resnet18_captured, "resnet18", kColour, Execution::captured)->Arg(250)->UseRealTime();

}  // namespace
}  // namespace mollify
