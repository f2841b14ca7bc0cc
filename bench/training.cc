// Whole training steps: SGD with momentum on mean cross-entropy, the gradient and the update included.
#include <bench/measure.h>
#include <bench/steps.h>

#include <mollify/engine/plan.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>

namespace mollify {
namespace bench {
namespace {

std::vector<int32_t> repeated_labels(int64_t batch) {
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < batch; ++i) labels.push_back(static_cast<int32_t>(i % 10));
  return labels;
}

Shape batch_of(int64_t batch, Shape image) {
  image.insert(0, batch);
  return image;
}

}  // namespace

Problem::Problem(const char* model, const Shape& image, int64_t batch, Device device)
    : network(nn::make(model, image, 10)),
      weights(to(network.initial_weights(nn::Initialization::fan_in_uniform, 1), device)),
      statistics(to(network.initial_state(), device)),
      images(normal(batch_of(batch, image), {1, 2}, Tensor::scalar(0, DType::i32), DType::f32, device)),
      labels(to(Tensor::from(repeated_labels(batch), {batch}), device)) {}

StepLoss cross_entropy_of(const Problem& problem) {
  return [&problem](const Tensor& weights, const Tensor& images, const Tensor& labels, Tensor& statistics) {
    const nn::Network::Result result = problem.network(weights, problem.statistics, images, nn::Mode::train);
    statistics = result.state.detach();
    return nn::mean_cross_entropy(result.output, labels);
  };
}

StepLoss squared_error_of(const Problem& problem) {
  return [&problem](const Tensor& weights, const Tensor& images, const Tensor& labels, Tensor&) {
    return nn::mean_squared_error(problem.network(weights, images), labels);
  };
}

void training_step(benchmark::State& state, const Problem& problem, optim::Optimizer& optimizer, const StepLoss& loss,
                   Execution execution) {
  const Device device = problem.weights.device();
  const auto update = [&](const Tensors& in) -> Tensors {
    Tensor statistics, unused;  // those of the first evaluation count, which is at the weights themselves
    const Tensor value = optimizer.update(problem.weights, [&](const Tensor& w) {
      return loss(w, in[0], in[1], statistics.defined() ? unused : statistics);
    });
    if (statistics.defined()) assign(problem.statistics, statistics);
    return value;
  };
  Captured replay = capture(update);
  const Tensors batch{problem.images, problem.labels};
  const auto step = [&] {
    optimizer.advance(problem.weights.dtype());
    benchmark::DoNotOptimize(execution == Execution::captured ? replay(batch) : update(batch));
  };
  for (int i = 0; i < 4; ++i) step();  // the second is what a capture records; on a GPU the third becomes a graph
  reset_peak_memory(device);
  measure(state, device, step);
  const auto images = static_cast<double>(problem.images.dim(0) * state.iterations());
  state.counters["images"] = benchmark::Counter(images, benchmark::Counter::kIsRate);
  state.counters["peak_MiB"] = static_cast<double>(memory_statistics(device).peak_bytes) / (1 << 20);
  for (const PlanSummary& plan : replay.plans()) {
    state.counters["launches"] = static_cast<double>(plan.kernels);
    state.counters["arena_MiB"] = static_cast<double>(plan.arena_bytes) / (1 << 20);
  }
}

}  // namespace bench

namespace {

using bench::Execution;

void training_step(benchmark::State& state, const char* model, const Shape& image, Execution execution) {
  const bench::Problem problem(model, image, state.range(0));
  const auto optimizer = optim::sgd(optim::constant(0.01), {.momentum = 0.9});
  bench::training_step(state, problem, *optimizer, bench::cross_entropy_of(problem), execution);
}
BENCHMARK_CAPTURE(training_step, cnn, "cnn", Shape{28, 28, 1}, Execution::eager)->Arg(16)->Arg(128)->UseRealTime();
BENCHMARK_CAPTURE(training_step, cnn_captured, "cnn", Shape{28, 28, 1}, Execution::captured)
    ->Arg(16)
    ->Arg(128)
    ->UseRealTime();
BENCHMARK_CAPTURE(training_step, resnet18, "resnet18", Shape{32, 32, 3}, Execution::eager)
    ->Arg(32)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(training_step, resnet18_captured, "resnet18", Shape{32, 32, 3}, Execution::captured)
    ->Arg(32)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mollify
