// What an operation costs beyond its kernel.
#include <bench/measure.h>
#include <bench/steps.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/plan.h>

namespace mollify {
namespace {

constexpr int kChain = 200;

Tensor chain(const Tensor& x) {
  Tensor y = x;
  for (int i = 0; i < kChain; ++i) y = y * x;
  return y;
}

Tensor small(Device device = Device::cpu) { return full({16}, 0.99, DType::f32, device); }

// Time per operation on 16 numbers, recorded, with the record's destruction.
void recorded_operation(benchmark::State& state) {
  const Tensor x = variable(small());
  for (auto _ : state) benchmark::DoNotOptimize(chain(x));
  state.counters["per_operation"] = benchmark::Counter(kChain * static_cast<double>(state.iterations()),
                                                       benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(recorded_operation);

// 200 dependent operations, forward and backward.
void chain_gradient(benchmark::State& state) {
  const Tensor x = small();
  const auto gradient = value_and_grad([](const Tensor& v) { return sum(chain(v)); });
  for (auto _ : state) benchmark::DoNotOptimize(gradient(x));
}
BENCHMARK(chain_gradient)->UseRealTime();

}  // namespace

void bench::chain_step(benchmark::State& state, Device device, Execution execution) {
  const Tensor x = small(device);
  if (execution == Execution::eager) return measure(state, device, [&] { benchmark::DoNotOptimize(chain(x)); });
  Captured captured = capture([](const Tensors& in) -> Tensors { return chain(in[0]); });
  for (int i = 0; i < 4; ++i) captured(x);
  measure(state, device, [&] { benchmark::DoNotOptimize(captured(x)); });
  state.counters["launches"] = static_cast<double>(captured.plans().front().kernels);
}

namespace {

// The same 200 operations, not recorded and replayed.
void eager_chain(benchmark::State& state) { bench::chain_step(state, Device::cpu, bench::Execution::eager); }
BENCHMARK(eager_chain)->UseRealTime();

void captured_chain(benchmark::State& state) { bench::chain_step(state, Device::cpu, bench::Execution::captured); }
BENCHMARK(captured_chain)->UseRealTime();

}  // namespace
}  // namespace mollify
