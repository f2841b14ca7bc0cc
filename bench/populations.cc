// Steps of optimisation from loss values: a population's directions, losses and update.
#include <bench/peak.h>
#include <bench/steps.h>

#include <mollify/engine/plan.h>
#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/bounds/certified_loss.h>
#include <mollify/optim/active_weights.h>
#include <mollify/smoothing/loss/loss_gradients.h>

namespace mollify {
namespace {

using bench::Execution;
using bench::Problem;

// LeNet-300-100 in training mode, 10 pairs; `active` of its weights, the others being masked; 0: all.
void szo_step(benchmark::State& state, int64_t active) {
  const Problem problem("lenet_300_100", {28, 28, 1}, 64);
  smoothing::FromValues how{{.pairs = 10}};
  how.share_linear_parts = true;
  const auto optimizer =
      optim::sgd(optim::constant(1e-4), {}, gradient_from_values(smoothing::Sigma::stddev(0.05), how));
  const bench::StepLoss loss = bench::cross_entropy_of(problem);
  if (active == 0) return bench::training_step(state, problem, *optimizer, loss, Execution::captured);

  const int64_t all = problem.weights.size();
  const Positions trained = optim::drawn_weights(optim::all_weights(all), active, {1, stream_of(Purpose::caller)});
  const Tensor values = take(problem.weights, trained.indices());
  Captured step = capture([&](const Tensors& in) -> Tensors {
    Tensor statistics, unused;
    const Tensor value = optimizer->update(values, [&](const Tensor& v) {
      return loss(put(problem.weights, trained, v), in[0], in[1], statistics.defined() ? unused : statistics);
    });
    assign(problem.weights, put(problem.weights, trained, values));
    assign(problem.statistics, statistics);
    return value;
  });
  for (auto _ : state) {
    optimizer->advance(DType::f32);
    benchmark::DoNotOptimize(step(Tensors{problem.images, problem.labels}));
  }
}
BENCHMARK_CAPTURE(szo_step, dense, 0)->UseRealTime();
BENCHMARK_CAPTURE(szo_step, active3844, 3844)->UseRealTime();

// Where the dense step's time goes: the draw of its ten directions, of which the step makes each once for the losses
// and once for the update; its twenty-one losses without draws, a first layer each; and the update from given losses.
enum class Part { directions, losses, update };
void szo_part(benchmark::State& state, Part part) {
  const Problem problem("lenet_300_100", {28, 28, 1}, 64);
  const int64_t pairs = 10, weights = problem.weights.size();
  const bench::StepLoss loss = bench::cross_entropy_of(problem);
  const Tensor losses = uniform({pairs}, {1, 3}, Tensor::scalar(0, DType::i32));
  Captured work = capture([&](const Tensors& in) -> Tensors {
    const smoothing::PopulationEstimate estimate({.pairs = pairs}, in[0], weights, Tensor::scalar(0.05));
    if (part == Part::directions) {
      Tensor sum = estimate.direction(0);
      for (int64_t j = 1; j < pairs; ++j) sum = sum + estimate.direction(j);
      return sum;
    }
    if (part == Part::update) return problem.weights - estimate.gradient({losses, losses * 0.9, {}}) * 1e-4;
    Tensor sum = Tensor::scalar(0);
    for (int64_t j = 0; j < 2 * pairs + 1; ++j) {
      Tensor statistics;
      sum = sum + loss(problem.weights, problem.images, problem.labels, statistics);
    }
    return sum;
  });
  for (auto _ : state) benchmark::DoNotOptimize(work({Tensor::scalar(0, DType::i32)}));
  const double numbers = static_cast<double>(pairs * weights);
  if (part == Part::losses)
    bench::report_flops(state, 2.0 * 64 * 266200 * static_cast<double>(2 * pairs + 1));
  else
    bench::report(state, "draws/s", numbers, 0);
}
BENCHMARK_CAPTURE(szo_part, directions, Part::directions)->UseRealTime();
BENCHMARK_CAPTURE(szo_part, losses, Part::losses)->UseRealTime();
BENCHMARK_CAPTURE(szo_part, update, Part::update)->UseRealTime();

// PGPE with 64 members on IBP's certified loss of CNN3.
void pgpe_step(benchmark::State& state) {
  using namespace nn::bounds;
  const Problem problem("cnn3", {28, 28, 1}, 64);
  const auto optimizer =
      optim::adam(optim::constant(1e-3), {}, gradient_from_values(smoothing::Sigma::stddev(0.01), {{.pairs = 32}}));
  const Tensor images = uniform({64, 28, 28, 1}, {1, 2}, Tensor::scalar(0, DType::i32));
  const Tensor rows = margin_rows(problem.labels, 10);
  const Box box = ball(images, 0.1, 0, 1);
  Captured step = capture([&](const Tensors&) -> Tensors {
    return {optimizer->update(problem.weights, [&](const Tensor& w) {
      const Graph graph(problem.network, w);
      return worst_case_cross_entropy(Bounds(graph, {.box = box}, {.method = Method::ibp}).lower(rows));
    })};
  });
  for (auto _ : state) {
    optimizer->advance(DType::f32);
    benchmark::DoNotOptimize(step(Tensors{zeros({1})}));
  }
}
BENCHMARK(pgpe_step)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mollify
