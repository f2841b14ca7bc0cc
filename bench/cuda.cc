// Operations that only move memory, on 64M numbers: rates of the bytes that cannot be avoided, and their share of the
// card's bandwidth.
#include <bench/cuda.h>

#include <bench/convolution.h>
#include <bench/peak.h>

#include <mollify/engine/cuda/gpu.h>
#include <mollify/engine/grad.h>
#include <mollify/nn/losses.h>
#include <mollify/smoothing/ops.h>

#include <cstdlib>

namespace mollify {
namespace bench {

const CardPeaks& card_peaks() {
  static const CardPeaks known[] = {{"H200", 4.8e12, 67e12, 494e12, 989e12, 67e12},
                                    {"H100 80GB HBM3", 3.35e12, 67e12, 494e12, 989e12, 67e12},
                                    {"H100 NVL", 3.9e12, 60e12, 417e12, 835e12, 60e12},
                                    {"H100 PCIe", 2.0e12, 51e12, 378e12, 756e12, 51e12}};
  static const CardPeaks& found = []() -> const CardPeaks& {
    static const CardPeaks unknown{};
    for (const CardPeaks& card : known)
      if (cuda::description().find(card.name) != std::string::npos) return card;
    return unknown;
  }();
  return found;
}

double peak_of(const CardPeaks& peaks, Precision precision) {
  return precision == Precision::fp32 ? peaks.fp32 : precision == Precision::tf32 ? peaks.tf32 : peaks.bf16;
}

bool tiny() {
  static const bool set = std::getenv("MOLLIFY_BENCH_TINY") != nullptr;
  return set;
}

int on_cuda(const std::string& name, Precision precision, std::function<void(benchmark::State&)> body) {
  if (!cuda::available()) return 0;
  const auto guarded = [precision, body = std::move(body)](benchmark::State& state) {
    set_precision(precision);
    try {
      body(state);
      release_cached_memory(Device::cuda);
    } catch (const std::exception& error) {
      state.SkipWithError(error.what());
    }
    set_precision(Precision::fp32);
  };
  benchmark::RegisterBenchmark(("cuda/" + name).c_str(), guarded)
      ->Iterations(1)
      ->UseManualTime()
      ->Unit(benchmark::kMicrosecond);
  return 1;
}

}  // namespace bench

namespace {

using bench::on_cuda;

constexpr Device kDevice = Device::cuda;

Tensor values(const Shape& shape) { return bench::random_values(shape, DType::f32, kDevice); }

// `make` prepares the operation on the tensor that it is given; `bytes` are read or written for each of the tensor's
// numbers.
int operation(const char* name, const Shape& shape, const Shape& small, double bytes,
              std::function<std::function<void()>(const Tensor&)> make) {
  return on_cuda(std::string("operation/") + name, Precision::fp32, [=](benchmark::State& state) {
    const Tensor x = values(bench::sized(shape, small));
    const std::function<void()> work = make(x);
    work();
    bench::measure(state, kDevice, work);
    bench::report(state, "B/s", bytes * static_cast<double>(x.size()), bench::card_peaks().bandwidth);
  });
}

template <class F>
std::function<void()> keep(F f) {
  return [f] { benchmark::DoNotOptimize(f()); };
}

const Shape kFlat{1 << 26}, kSmallFlat{1 << 10}, kSquare{8192, 8192}, kSmallSquare{32, 48}, kRows{1 << 16, 1024},
    kSmallRows{8, 1000};
const Shape kImages{128, 32, 32, 512}, kSmallImages{2, 4, 4, 8};

[[maybe_unused]] const int registered[] = {
    operation("add", kFlat, kSmallFlat, 12,
              [](const Tensor& x) { return keep([x, y = values(x.shape())] { return x + y; }); }),
    operation("copy", kFlat, kSmallFlat, 8, [](const Tensor& x) { return [x, y = zeros_like(x)] { assign(y, x); }; }),
    operation("transpose", kSquare, kSmallSquare, 8,
              [](const Tensor& x) { return keep([x] { return packed(transpose(x)); }); }),
    operation("sum", kFlat, kSmallFlat, 4, [](const Tensor& x) { return keep([x] { return sum(x); }); }),
    operation("softmax", kRows, kSmallRows, 8, [](const Tensor& x) { return keep([x] { return softmax(x); }); }),
    // Reads the logits twice, writes their gradient.
    operation("cross_entropy_gradient", kRows, kSmallRows, 12,
              [](const Tensor& x) {
                const Tensor labels = argmax(values(x.shape()));
                const auto gradient =
                    value_and_grad([labels](const Tensor& t) { return nn::mean_cross_entropy(t, labels); });
                return keep([x, gradient] { return gradient(x); });
              }),
    // Forward the numbers are read twice and written; back they and the gradient are read twice, and one is written.
    operation("batch_norm_gradient", kImages, kSmallImages, 32,
              [](const Tensor& x) {
                const Tensor scale = values({x.dim(-1)}), shift = values({x.dim(-1)}), seed = values(x.shape());
                return keep(
                    [=] { return vjp([&](const Tensor& t) { return batch_norm(t, scale, shift).output; }, x, seed); });
              }),
    operation("average_pool", kImages, kSmallImages, 5,
              [](const Tensor& x) { return keep([x] { return average_pool2d(x); }); }),
    operation(
        "relu_smoothed", kFlat, kSmallFlat, 8,
        [](const Tensor& x) { return keep([x, s = Tensor::scalar(0.1)] { return smoothing::relu_smoothed(x, s); }); }),
    operation("relu_smoothed_gradient", kFlat, kSmallFlat, 20,
              [](const Tensor& x) {
                return keep([x, s = Tensor::scalar(0.1), seed = values(x.shape())] {
                  return vjp([&](const Tensor& t) { return smoothing::relu_smoothed(t, s); }, x, seed);
                });
              }),
};

}  // namespace
}  // namespace mollify
