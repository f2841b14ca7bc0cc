// Steps of training on a GPU, eager and captured.
#include <bench/cuda.h>
#include <bench/steps.h>

#include <mollify/nn/bounds/certified_loss.h>

namespace mollify {
namespace {

using bench::Execution;
using bench::on_cuda;
using bench::sized;
using bench::StepLoss;

constexpr Device kDevice = Device::cuda;

// Both executions of a step, named as they are.
int steps(const std::string& name, Precision precision, const std::function<void(benchmark::State&, Execution)>& run) {
  int count = 0;
  for (const Execution execution : {Execution::captured, Execution::eager})
    count += on_cuda("step/" + name + (execution == Execution::captured ? "/captured" : "/eager"), precision,
                     [=](benchmark::State& state) { run(state, execution); });
  return count;
}

void classifier(benchmark::State& state, const char* model, int64_t batch, Execution execution) {
  const int64_t extent = sized(32, 8);
  const bench::Problem problem(model, {extent, extent, 3}, sized<int64_t>(batch, 2), kDevice);
  const auto optimizer = optim::sgd(optim::constant(0.01), {.momentum = 0.9});
  bench::training_step(state, problem, *optimizer, bench::cross_entropy_of(problem), execution);
}

// The Table 3 network: plain by SGD, smoothed by Adam.
void table3(benchmark::State& state, int64_t batch, bool smoothed, Execution execution) {
  const bench::Problem problem("cnn", {28, 28, 1}, sized<int64_t>(batch, 2), kDevice);
  const auto optimizer =
      smoothed ? optim::adam(optim::constant(1e-3)) : optim::sgd(optim::constant(0.01), {.momentum = 0.9});
  const StepLoss loss =
      smoothed ? bench::smoothed_loss_of(problem, smoothing::Form::split) : bench::cross_entropy_of(problem);
  bench::training_step(state, problem, *optimizer, loss, execution);
}

// Cross-entropy of the margins' lower bounds by CROWN over boxes of radius 0.1 in [0, 1].
void deeppoly(benchmark::State& state, int64_t batch, Execution execution) {
  using namespace nn::bounds;
  bench::Problem problem(sized("cnn3", "cnn3_tiny"), {28, 28, 1}, sized<int64_t>(batch, 2), kDevice);
  problem.images = uniform(problem.images.shape(), {1, 2}, Tensor::scalar(0, DType::i32), DType::f32, kDevice);
  const auto optimizer = optim::adam(optim::constant(1e-3));
  const StepLoss loss = [&](const Tensor& weights, const Tensor& images, const Tensor& labels, Tensor&) {
    const Graph graph(problem.network, weights);
    const Bounds bounds(graph, {.box = ball(images, 0.1, 0, 1)}, {.method = Method::crown});
    return worst_case_cross_entropy(bounds.lower(margin_rows(labels, 10)));
  };
  bench::training_step(state, problem, *optimizer, loss, execution);
}

[[maybe_unused]] const int registered = [] {
  int count = steps("chain", Precision::fp32,
                    [](benchmark::State& state, Execution execution) { bench::chain_step(state, kDevice, execution); });
  for (const int64_t batch : {16, 1024})
    for (const bool smoothed : {false, true})
      count += steps((smoothed ? "smoothed_" : "cnn_") + std::to_string(batch), Precision::fp32,
                     [=](benchmark::State& state, Execution execution) { table3(state, batch, smoothed, execution); });
  count += steps("cnn3_deeppoly_64", Precision::fp32,
                 [](benchmark::State& state, Execution execution) { deeppoly(state, 64, execution); });
  for (const auto& [name, model, batch] : {std::tuple{"resnet18_128", "resnet18", 128},
                                           {"resnet18_512", "resnet18", 512},
                                           {"wrn_28_10_128", "wrn_28_10", 128}})
    for (const Precision precision : bench::kPrecisions)
      count += steps(std::string(name) + "/" + to_string(precision), precision,
                     [model = model, batch = batch](benchmark::State& state, Execution execution) {
                       classifier(state, model, batch, execution);
                     });
  return count;
}();

}  // namespace
}  // namespace mollify
