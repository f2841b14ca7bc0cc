// Matrix products and convolutions on a GPU in every precision, as shares of the card's peak.
#include <bench/cuda.h>

#include <bench/convolution.h>
#include <bench/peak.h>

#include <mollify/engine/cuda/conv2d.h>

namespace mollify {
namespace {

using bench::on_cuda;
using bench::sized;
using cuda::Conv2dKind;

void product(benchmark::State& state, DType dtype) {
  const int64_t extent = sized<int64_t>(4096, 48);
  const Tensor a = bench::random_values({extent, extent}, dtype, Device::cuda);
  const Tensor b = bench::random_values({extent, extent}, dtype, Device::cuda);
  const bench::CardPeaks& peaks = bench::card_peaks();
  bench::measure(state, Device::cuda, [&] { benchmark::DoNotOptimize(matmul(a, b)); });
  const auto n = static_cast<double>(extent);
  bench::report(state, "FLOP/s", 2 * n * n * n, dtype == DType::f64 ? peaks.fp64 : bench::peak_of(peaks, precision()));
}

const char* algorithm_of(const bench::Convolution& c, Conv2dKind kind) {
  const cpu::Conv2dShape shape{
      c.x.dim(0),          c.x.dim(1),         c.x.dim(2),    c.x.dim(3),     c.w.dim(0), c.w.dim(1), c.w.dim(2),
      c.how.stride_height, c.how.stride_width, c.how.pad_top, c.how.pad_left, 1,          1,          1,
      c.y.dim(1),          c.y.dim(2)};
  const auto at = [](const Tensor& t) { return t.address<float>(); };
  switch (kind) {
    case Conv2dKind::forward: return cuda::chosen_conv2d<float>(kind, {shape, at(c.x), at(c.w), nullptr, at(c.y)});
    case Conv2dKind::input_gradient:
      return cuda::chosen_conv2d<float>(kind, {shape, at(c.y), at(c.w), nullptr, at(c.x)});
    default: return cuda::chosen_conv2d<float>(kind, {shape, at(c.y), at(c.x), nullptr, at(c.w)});
  }
}

void convolution(benchmark::State& state, const bench::ConvolutionSizes& sizes, Conv2dKind kind) {
  const bench::Convolution c(sizes, sized<int64_t>(128, 1), Device::cuda);
  const auto run = [&] {
    switch (kind) {
      case Conv2dKind::forward: return conv2d(c.x, c.w, {}, c.how);
      case Conv2dKind::input_gradient: return conv2d_input_gradient(c.y, c.w, c.x.dim(1), c.x.dim(2), c.how);
      default: return conv2d_weight_gradient(c.y, c.x, c.w.dim(1), c.w.dim(2), c.how);
    }
  };
  bench::measure(state, Device::cuda, [&] { benchmark::DoNotOptimize(run()); });
  bench::report(state, "FLOP/s", c.flops(), bench::peak_of(bench::card_peaks(), precision()));
  state.SetLabel(algorithm_of(c, kind));
}

[[maybe_unused]] const int registered = [] {
  int count = on_cuda("product/fp64", Precision::fp32, [](benchmark::State& state) { product(state, DType::f64); });
  for (const Precision precision : bench::kPrecisions) {
    const std::string suffix = std::string("/") + to_string(precision);
    count += on_cuda("product" + suffix, precision, [](benchmark::State& state) { product(state, DType::f32); });
    for (const bench::ConvolutionSizes& s : bench::kResnet18)
      for (const auto& [kind, name] : {std::pair{Conv2dKind::forward, "forward"},
                                       {Conv2dKind::input_gradient, "input_gradient"},
                                       {Conv2dKind::weight_gradient, "weight_gradient"}}) {
        std::string sizes;
        for (const int64_t size : {s.extent, s.channels, s.filters, s.kernel, s.stride})
          sizes += (sizes.empty() ? "" : "_") + std::to_string(size);
        count += on_cuda("convolution/" + sizes + "/" + name + suffix, precision,
                         [s, kind = kind](benchmark::State& state) { convolution(state, s, kind); });
      }
  }
  return count;
}();

}  // namespace
}  // namespace mollify
