// Training steps through bounds: margins' lower bounds over a box of radius 0.1 in [0, 1], their cross-entropy and its
// gradient.
#include <mollify/engine/grad.h>
#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/bounds/certified_loss.h>
#include <mollify/nn/models.h>

#include <benchmark/benchmark.h>

namespace mollify {
namespace {

using namespace nn::bounds;

void certified_step(benchmark::State& state, const char* model, Method method) {
  const int64_t batch = state.range(0);
  const nn::Network network = nn::make(model, {28, 28, 1}, 10);
  const Tensor weights = network.initial_weights(nn::Initialization::fan_in_uniform, 1);
  const Tensor images = uniform({batch, 28, 28, 1}, {1, 2}, Tensor::scalar(0, DType::i32));
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < batch; ++i) labels.push_back(static_cast<int32_t>(i % 10));
  const Tensor rows = margin_rows(Tensor::from(labels, {batch}), 10);
  const Box box = ball(images, 0.1, 0, 1);
  const auto loss = [&](const Tensor& w) {
    const Graph graph(network, w);
    return worst_case_cross_entropy(Bounds(graph, {.box = box}, {.method = method}).lower(rows));
  };
  for (auto _ : state) benchmark::DoNotOptimize(value_and_grad(loss)(weights));
  state.SetItemsProcessed(state.iterations() * batch);
}
BENCHMARK_CAPTURE(certified_step, cnn3_tiny/ibp, "cnn3_tiny", Method::ibp)->Arg(64)->UseRealTime();
BENCHMARK_CAPTURE(certified_step, cnn3_tiny/crown_ibp, "cnn3_tiny", Method::crown_ibp)->Arg(64)->UseRealTime();
BENCHMARK_CAPTURE(certified_step, cnn3_tiny/crown, "cnn3_tiny", Method::crown)->Arg(64)->UseRealTime();
BENCHMARK_CAPTURE(certified_step, cnn3/ibp, "cnn3", Method::ibp)->Arg(64)->UseRealTime();
BENCHMARK_CAPTURE(certified_step, cnn3/crown_ibp, "cnn3", Method::crown_ibp)->Arg(64)->UseRealTime();
BENCHMARK_CAPTURE(certified_step, cnn3/crown, "cnn3", Method::crown)->Arg(4)->UseRealTime();

}  // namespace
}  // namespace mollify
