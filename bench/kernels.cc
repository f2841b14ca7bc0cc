// Single operations, with their share of the machine's peak.
#include <bench/convolution.h>
#include <bench/peak.h>

namespace mollify {
namespace {

using bench::Convolution;
using bench::random_values;

void normal_draws(benchmark::State& state) {
  const int64_t count = state.range(0);
  const Tensor step = Tensor::scalar(0, DType::i32);
  for (auto _ : state) benchmark::DoNotOptimize(normal({count}, {1, 2}, step));
  state.SetItemsProcessed(state.iterations() * count);
}
BENCHMARK(normal_draws)->Arg(1'000'000)->UseRealTime();

template <Tensor (*function)(const Tensor&)>
void elementwise(benchmark::State& state) {
  const Tensor x = random_values({state.range(0)});
  for (auto _ : state) benchmark::DoNotOptimize(function(x));
  bench::report_bytes(state, 8.0 * static_cast<double>(state.range(0)));
}
BENCHMARK(elementwise<relu>)->Arg(1 << 22)->UseRealTime();
BENCHMARK(elementwise<exp>)->Arg(1 << 22)->UseRealTime();
BENCHMARK(elementwise<normal_cdf>)->Arg(1 << 22)->UseRealTime();
BENCHMARK(elementwise<gelu>)->Arg(1 << 22)->UseRealTime();

// Arguments: extent, channels, filters, kernel, stride.
Convolution convolution_of(const benchmark::State& state) {
  return {{state.range(0), state.range(1), state.range(2), state.range(3), state.range(4)}, 32};
}

void convolution(benchmark::State& state) {
  const Convolution c = convolution_of(state);
  for (auto _ : state) benchmark::DoNotOptimize(conv2d(c.x, c.w, {}, c.how));
  bench::report_flops(state, c.flops());
}
void convolution_input_gradient(benchmark::State& state) {
  const Convolution c = convolution_of(state);
  for (auto _ : state) benchmark::DoNotOptimize(conv2d_input_gradient(c.y, c.w, c.x.dim(1), c.x.dim(2), c.how));
  bench::report_flops(state, c.flops());
}
void convolution_weight_gradient(benchmark::State& state) {
  const Convolution c = convolution_of(state);
  for (auto _ : state) benchmark::DoNotOptimize(conv2d_weight_gradient(c.y, c.x, c.w.dim(1), c.w.dim(2), c.how));
  bench::report_flops(state, c.flops());
}
void resnet_shapes(benchmark::internal::Benchmark* b) {
  for (const bench::ConvolutionSizes& s : bench::kResnet18)
    b->Args({s.extent, s.channels, s.filters, s.kernel, s.stride});
  b->UseRealTime();
}
BENCHMARK(convolution)->Apply(resnet_shapes);
BENCHMARK(convolution_input_gradient)->Apply(resnet_shapes);
BENCHMARK(convolution_weight_gradient)->Apply(resnet_shapes);

}  // namespace
}  // namespace mollify
