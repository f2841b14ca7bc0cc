#include <mollify/smoothing/gradient_noise.h>

#include <mollify/engine/grad.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mollify::smoothing {
namespace {

constexpr int64_t kAtOnce = 256;                // samples of a part of the full gradient
constexpr int64_t kNumbers = int64_t{1} << 20;  // of single samples' gradients, at least one sample's
constexpr int64_t kSingles = 32;                // of them at most

// Mean and standard error of numbers (Welford).
class Numbers {
 public:
  void add(double x) {
    ++count_;
    const double before = x - mean_;
    mean_ += before / static_cast<double>(count_);
    squares_ += before * (x - mean_);
  }
  double mean() const { return mean_; }
  double error() const {
    const double n = static_cast<double>(count_);
    return count_ < 2 ? NAN : std::sqrt(squares_ / (n - 1) / n);
  }

 private:
  int64_t count_ = 0;
  double mean_ = 0, squares_ = 0;
};

// Mean and total variance of vectors (Welford). Vector n adds (n − 1)/n·‖x_n − mean of those before‖² to the sum of
// squares, whose expectation is the variance for each n, and which do not correlate where the vectors are normal: their
// spread is the error.
class Spread {
 public:
  void add(const Tensor& x) {
    ++count_;
    if (count_ == 1) {
      mean_ = x + 0.0;
      return;
    }
    const Tensor before = x - mean_;
    const double n = static_cast<double>(count_);
    increments_.add(sum_of_squares(before).item() * (n - 1) / n);
    mean_ += before / n;
  }
  double variance() const { return increments_.mean(); }  // divided by n − 1
  double error() const { return increments_.error(); }
  double squared_mean() const { return sum_of_squares(mean_).item(); }

 private:
  int64_t count_ = 0;
  Tensor mean_;
  Numbers increments_;
};

Tensor of_batch(const SampleLosses& losses, const Tensors& in) {
  const Tensors taken = without_first(in);
  return cast(grad([&](const Tensor& w) { return losses.mean(w, taken); })(in[0]), DType::f64);
}

}  // namespace

double NoiseEstimate::noise_scale() const { return squared_gradient > 0 ? c2 / squared_gradient : NAN; }

double degree_of_smoothing(double learning_rate, double c2, int64_t batch, int64_t samples) {
  require<ValueError>(learning_rate >= 0 && c2 >= 0 && 1 <= batch && batch <= samples,
                      "degree_of_smoothing: learning rate {}, C² {}, batch {} of {} samples; needs rate ≥ 0, C² ≥ 0, 1 "
                      "≤ batch ≤ samples",
                      learning_rate, c2, batch, samples);
  if (batch == samples) return 0;
  const double n = static_cast<double>(samples), b = static_cast<double>(batch);
  return learning_rate * std::sqrt(c2 * (n - b) / (b * (n - 1)));
}

GradientNoise::GradientNoise(SampleLosses losses, const Tensor& weights, uint64_t seed)
    : losses_((check("gradient noise", losses, weights), std::move(losses))),
      weights_(weights.detach()),
      seed_(seed),
      batches_([of = losses_](const Tensors& in) -> Tensors { return of_batch(of, in); }) {}

// Without replacement, in a random order: the first of a shuffle (Fisher & Yates). Orders of epochs draw from index 0
// of this purpose alone.
std::vector<int32_t> GradientNoise::drawn(int64_t size, int64_t number) const {
  std::vector<int32_t> which = samples_from(0, losses_.count, losses_.count);
  const uint64_t index = static_cast<uint64_t>(size) << 32 | static_cast<uint64_t>(number);
  RandomSequence random({seed_, stream_of(Purpose::order, index)});
  for (size_t i = 0; i < static_cast<size_t>(size); ++i) std::swap(which[i], which[i + random.below(which.size() - i)]);
  which.resize(static_cast<size_t>(size));
  return which;
}

Tensor GradientNoise::gradient(const Tensor& weights, std::span<const int32_t> which) {
  const NoGrad quiet;
  return batches_(with_first(weights, losses_.take(which)))[0];
}

Tensor GradientNoise::batch_gradient(int64_t batch, int64_t number) {
  return batch_gradient_at(weights_, batch, number);
}

Tensor GradientNoise::batch_gradient_at(const Tensor& weights, int64_t batch, int64_t number) {
  return gradient(weights, drawn(batch, number));
}

const Tensor& GradientNoise::full_gradient() {
  if (!full_.defined()) full_ = full_gradient_at(weights_);
  return full_;
}

Tensor GradientNoise::full_gradient_at(const Tensor& weights) {
  const NoGrad quiet;
  Tensor sum = zeros(weights.shape(), DType::f64, weights.device());
  for (int64_t first = 0; first < losses_.count; first += kAtOnce) {
    const std::vector<int32_t> which = samples_from(first, kAtOnce, losses_.count);
    sum += gradient(weights, which) * (static_cast<double>(which.size()) / static_cast<double>(losses_.count));
  }
  return sum;
}

NoiseEstimate GradientNoise::from_singles(int64_t count) {
  const int64_t all = losses_.count;
  if (count == 0) count = all;
  require<ValueError>(2 <= count && count <= all,
                      "gradient noise: {} single images of {} given; needs at least two, and at most all", count, all);
  const NoGrad quiet;
  const bool together = static_cast<bool>(losses_.gradients);
  const int64_t at_once = together ? std::clamp<int64_t>(kNumbers / weights_.size(), 1, kSingles) : 1;
  const std::vector<int32_t> order = drawn(count, 0);
  Spread spread;
  for (int64_t first = 0; first < count; first += at_once) {
    const auto which =
        std::span(order).subspan(static_cast<size_t>(first), static_cast<size_t>(std::min(at_once, count - first)));
    if (!together) {
      spread.add(gradient(weights_, which));
      continue;
    }
    const Tensor rows = losses_.gradients(weights_, losses_.take(which));
    for (const Tensor& row : rows) spread.add(cast(row, DType::f64));
  }
  // A part of N that was drawn without replacement varies less than one with, by 1 − count/N.
  const double n = static_cast<double>(all), left = 1 - static_cast<double>(count) / n;
  return {.c2 = spread.variance() * (n - 1) / n,
          .standard_error = count == all ? 0 : spread.error() * (n - 1) / n * std::sqrt(left),
          .squared_gradient = spread.squared_mean() - spread.variance() / static_cast<double>(count) * left,
          .images = count};
}

NoiseEstimate GradientNoise::from_batches(int64_t batch, int64_t count) {
  require<ValueError>(count >= 2, "gradient noise: {} batches given; needs at least two", count);
  require<ValueError>(1 <= batch && batch < losses_.count,
                      "gradient noise: batches of {} of {} samples given; needs 1 ≤ batch < samples", batch,
                      losses_.count);
  const NoGrad quiet;
  Spread spread;
  for (int64_t number = 0; number < count; ++number) spread.add(batch_gradient(batch, number));
  const double n = static_cast<double>(losses_.count), b = static_cast<double>(batch), factor = b * (n - 1) / (n - b);
  return {.c2 = spread.variance() * factor,
          .standard_error = spread.error() * factor,
          .squared_gradient = spread.squared_mean() - spread.variance() / static_cast<double>(count),
          .images = batch * count};
}

NoiseEstimate GradientNoise::from_two_batches(int64_t small, int64_t large, int64_t count) {
  require<ValueError>(count >= 2, "gradient noise: {} batches of each size given; needs at least two", count);
  require<ValueError>(1 <= small && small < large && large <= losses_.count,
                      "gradient noise: batches of {} and {} of {} samples given; needs 1 ≤ first < second ≤ samples",
                      small, large, losses_.count);
  const NoGrad quiet;
  const auto squares = [&](int64_t batch) {
    Numbers found;
    for (int64_t number = 0; number < count; ++number) found.add(sum_of_squares(batch_gradient(batch, number)).item());
    return found;
  };
  const Numbers first = squares(small), second = squares(large);
  const double n = static_cast<double>(losses_.count), b = static_cast<double>(large),
               factor = (n - 1) / n / (1 / static_cast<double>(small) - 1 / b);
  const double c2 = (first.mean() - second.mean()) * factor;
  return {.c2 = c2,
          .standard_error = std::hypot(first.error(), second.error()) * factor,
          .squared_gradient = second.mean() - (large == losses_.count ? 0 : c2 * (n - b) / (b * (n - 1))),
          .images = (small + large) * count};
}

}  // namespace mollify::smoothing
