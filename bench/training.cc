// Whole training steps: SGD with momentum on mean cross-entropy, the gradient and the update included.
#include <mollify/engine/plan.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/optim/optimizer.h>

#include <benchmark/benchmark.h>

namespace mollify {
namespace {

void training_step(benchmark::State& state, const char* model, const Shape& image, bool captured) {
  const int64_t batch = state.range(0);
  const nn::Network network = nn::make(model, image, 10);
  const Tensor weights = network.initial_weights(nn::Initialization::fan_in_uniform, 1);
  const Tensor statistics = network.initial_state();
  Shape shape = image;
  shape.insert(0, batch);
  const Tensor images = normal(shape, {1, 2}, Tensor::scalar(0, DType::i32));
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < batch; ++i) labels.push_back(static_cast<int32_t>(i % 10));
  const Tensor targets = Tensor::from(labels, {batch});
  const auto optimizer = optim::sgd(optim::constant(0.01), {.momentum = 0.9});
  const auto update = [&](const Tensors& in) -> Tensors {
    Tensor next;
    const Tensor loss = optimizer->update(weights, [&](const Tensor& w) {
      const nn::Network::Result result = network(w, statistics, in[0], nn::Mode::train);
      next = result.state.detach();
      return nn::mean_cross_entropy(result.output, in[1]);
    });
    assign(statistics, next);
    return loss;
  };
  Captured replay = capture(update);
  for (int i = 0; i < 2 && captured; ++i) {
    optimizer->advance(weights.dtype());
    replay(Tensors{images, targets});
  }
  for (auto _ : state) {
    optimizer->advance(weights.dtype());
    benchmark::DoNotOptimize(captured ? replay(Tensors{images, targets}) : update({images, targets}));
  }
  state.counters["images"] = benchmark::Counter(static_cast<double>(batch * state.iterations()), benchmark::Counter::kIsRate);
  state.counters["peak_MiB"] = static_cast<double>(memory_statistics().peak_bytes) / (1 << 20);
}
BENCHMARK_CAPTURE(training_step, cnn, "cnn", Shape{28, 28, 1}, false)->Arg(16)->Arg(128)->UseRealTime();
BENCHMARK_CAPTURE(training_step, cnn_captured, "cnn", Shape{28, 28, 1}, true)->Arg(16)->Arg(128)->UseRealTime();
BENCHMARK_CAPTURE(training_step, resnet18, "resnet18", Shape{32, 32, 3}, false)->Arg(32)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(training_step, resnet18_captured, "resnet18", Shape{32, 32, 3}, true)->Arg(32)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace mollify
