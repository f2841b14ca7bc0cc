#include <mollify/smoothing/monte_carlo.h>

#include <mollify/smoothing/sobol.h>

#include <algorithm>
#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr int64_t kScramblings = 16;
constexpr uint64_t kStream =
    stream_of(Purpose::monte_carlo);  // below it the row, then the sample, or scrambling and step

// The standard normal numbers of one point: sample i is a function of (seed, step, row, i).
class Noise {
 public:
  Noise(const char* operation, const MonteCarlo& how, int64_t dimensions, DType dtype, Device device)
      : how_(how), dimensions_(dimensions), dtype_(dtype), device_(device) {
    require<ValueError>(how.samples >= 1 && how.samples < int64_t{1} << 31 && how.batch >= 1 && how.step >= 0 &&
                            how.step < int64_t{1} << 31,
                        "{}: samples {}, batch {}, step {}; need 1 ≤ samples < 2^31, batch ≥ 1, 0 ≤ step < 2^31",
                        operation, how.samples, how.batch, how.step);
    const int64_t groups = how.draws == Draws::sobol        ? kScramblings
                           : how.draws == Draws::antithetic ? (how.samples + 1) / 2
                                                            : how.samples;
    group_ = how.draws == Draws::sobol ? (how.samples + groups - 1) / groups : how.draws == Draws::antithetic ? 2 : 1;
    samples_ = groups * group_;
  }

  int64_t samples() const { return samples_; }
  int64_t group() const { return group_; }  // samples whose mean is independent of other groups' means

  // [count, dimensions]: samples first … of a row, count at most `most` (from 2 on) and never across two scramblings.
  Tensor draw(int64_t row, int64_t first, int64_t most) const {
    if (how_.draws == Draws::sobol) {
      const int64_t scrambling = first / group_, point = first % group_;
      const RandomKey key{how_.seed, kStream | static_cast<uint64_t>(row) << 36 |
                                         static_cast<uint64_t>(scrambling) << 32 | static_cast<uint64_t>(how_.step)};
      return normal_quantile(
          to(sobol_points(point, std::min(most, group_ - point), dimensions_, key, dtype_), device_));
    }
    const int64_t pair = how_.draws == Draws::antithetic ? 2 : 1,
                  count = std::min(most / pair * pair, samples_ - first);
    const RandomKey key{how_.seed, kStream | static_cast<uint64_t>(row) << 32};
    const Tensor streams =
        cast(arange(count / pair, DType::f64, device_) + static_cast<double>(first / pair), DType::i32);
    const Tensor z = normal_rows({count / pair, dimensions_}, key, streams,
                                 Tensor::scalar(static_cast<double>(how_.step), DType::i32), dtype_);
    return pair == 1 ? z : reshape(stack(Tensors{z, -z}, 1), {count, dimensions_});
  }

 private:
  MonteCarlo how_;
  int64_t dimensions_, samples_, group_;
  DType dtype_;
  Device device_;
};

// Mean and standard error of values that come in groups (Welford, over the groups' means).
class Accumulator {
 public:
  Accumulator(const char* operation, int64_t group) : operation_(operation), group_(group) {}

  // `count` samples, [count·shape].
  void add(const Tensor& values, int64_t count, const Shape& shape) {
    if (groups_ == 0 && filled_ == 0) {
      shape_ = shape;
      dtype_ = values.dtype();
      device_ = values.device();
      for (auto* numbers : {&sum_, &mean_, &squares_}) numbers->assign(static_cast<size_t>(shape.size()), 0);
    }
    require(shape == shape_, "{}: f gives {} after {}; needs one shape", operation_, shape, shape_);
    const std::vector<double> numbers = cast(values, DType::f64).to_vector<double>();
    for (int64_t i = 0; i < count; ++i) {
      for (size_t j = 0; j < sum_.size(); ++j) sum_[j] += numbers[static_cast<size_t>(i) * sum_.size() + j];
      if (++filled_ == group_) end_group();
    }
  }

  Estimate result() const {
    std::vector<double> error(mean_.size());
    const double groups = static_cast<double>(groups_);
    for (size_t j = 0; j < error.size(); ++j) error[j] = std::sqrt(squares_[j] / (groups - 1) / groups);
    const auto values = [&](const std::vector<double>& numbers) {
      return cast(to(Tensor::from(numbers, shape_), device_), dtype_);
    };
    return {values(mean_), values(error)};
  }

 private:
  void end_group() {
    ++groups_;
    for (size_t j = 0; j < sum_.size(); ++j) {
      const double value = sum_[j] / static_cast<double>(group_), before = value - mean_[j];
      mean_[j] += before / static_cast<double>(groups_);
      squares_[j] += before * (value - mean_[j]);
      sum_[j] = 0;
    }
    filled_ = 0;
  }

  const char* operation_;
  int64_t group_, filled_ = 0, groups_ = 0;
  Shape shape_;
  DType dtype_ = DType::f32;
  Device device_ = Device::cpu;
  std::vector<double> sum_, mean_, squares_;
};

void require_estimable(const char* operation, const Noise& noise, const Tensor& x) {
  require<TypeError>(is_floating(x.dtype()), "{}: x is {}; needs f32 or f64", operation, x.dtype());
  require<ValueError>(noise.samples() > noise.group(),
                      "{}: samples {} are one independent group; a standard error needs two", operation,
                      noise.samples());
}

Tensor checked(const char* operation, Tensor value) {
  require<GraphError>(value.defined(), "{}: f gives an empty tensor; needs values", operation);
  require<TypeError>(is_floating(value.dtype()), "{}: f gives {}; needs f32 or f64", operation, value.dtype());
  return value;
}

}  // namespace

Estimate smooth_by_sampling(const Function& f, const Tensor& x, const Sigma& sigma, const MonteCarlo& how) {
  constexpr const char* kName = "smooth_by_sampling";
  const Noise noise(kName, how, x.size(), x.dtype(), x.device());
  require_estimable(kName, noise, x);
  const NoGrad guard;
  const Tensor center = x.detach();
  const double s = sigma.stddev();
  Accumulator estimate(kName, noise.group());
  for (int64_t first = 0; first < noise.samples();) {
    const Tensor z = noise.draw(0, first, 2);
    for (int64_t i = 0; i < z.dim(0); ++i) {
      const Tensor value = checked(kName, f(center + reshape(slice(z, 0, i, i + 1), x.shape()) * s));
      estimate.add(value, 1, value.shape());
    }
    first += z.dim(0);
  }
  return estimate.result();
}

Estimate smooth_rows_by_sampling(const Function& f, const Tensor& x, const Sigma& sigma, const MonteCarlo& how) {
  constexpr const char* kName = "smooth_rows_by_sampling";
  require(x.rank() >= 1 && x.shape()[0] >= 1 && x.shape()[0] < int64_t{1} << 20,
          "{}: x is {}; needs [N, …] of 1 to 2^20 − 1 rows", kName, x.shape());
  const int64_t rows = x.shape()[0];
  const Noise noise(kName, how, x.size() / rows, x.dtype(), x.device());
  require_estimable(kName, noise, x);
  const NoGrad guard;
  const Tensor center = x.detach();
  const double s = sigma.stddev();
  std::vector<Tensor> means, errors;
  for (int64_t row = 0; row < rows; ++row) {
    Accumulator estimate(kName, noise.group());
    const Tensor here = slice(center, 0, row, row + 1);
    for (int64_t first = 0; first < noise.samples();) {
      const Tensor z = noise.draw(row, first, std::max<int64_t>(2, how.batch));
      Shape shape = x.shape();
      shape[0] = z.dim(0);
      const Tensor value = checked(kName, f(here + reshape(z, shape) * s));
      require(value.rank() >= 1 && value.shape()[0] == shape[0], "{}: f gives {} for {}; needs a row for each", kName,
              value.shape(), shape);
      Shape result = value.shape();
      result.erase(0);
      estimate.add(value, shape[0], result);
      first += shape[0];
    }
    const Estimate of_row = estimate.result();
    means.push_back(of_row.mean);
    errors.push_back(of_row.standard_error);
  }
  return {stack(means), stack(errors)};
}

ValueAndGradient smoothed_value_and_grad(const optim::Loss& loss, const Tensor& weights, const Sigma& sigma,
                                         const MonteCarlo& how) {
  const Estimate both = smooth_by_sampling([&](const Tensor& w) {
    const auto [value, gradient] = value_and_grad(loss)(w);
    return concat(Tensors{reshape(value, {1}), flatten(gradient)});
  }, weights, sigma, how);
  const auto value = [](const Tensor& t) { return reshape(slice(t, 0, 0, 1), {}); };
  const auto gradient = [&](const Tensor& t) { return reshape(slice(t, 0, 1, t.size()), weights.shape()); };
  return {{value(both.mean), value(both.standard_error)}, {gradient(both.mean), gradient(both.standard_error)}};
}

SmoothedLoss sampled(optim::Loss loss, const MonteCarlo& how) {
  require<ValueError>(static_cast<bool>(loss), "sampled: an empty loss given; needs a function of the weights");
  Noise("sampled", how, 0, DType::f32, Device::cpu);
  return [loss = std::move(loss), how](const Tensor& weights, const Sigma& sigma) {
    const Noise noise("sampled", how, weights.size(), weights.dtype(), weights.device());
    const Tensor s = sigma.tensor(weights.dtype());
    Tensor sum;
    for (int64_t first = 0; first < noise.samples();) {
      const Tensor z = noise.draw(0, first, 2);
      for (int64_t i = 0; i < z.dim(0); ++i) {
        const Tensor value = loss(weights + reshape(slice(z, 0, i, i + 1), weights.shape()) * s);
        sum = sum.defined() ? sum + value : value;
      }
      first += z.dim(0);
    }
    return sum / static_cast<double>(noise.samples());
  };
}

}  // namespace mollify::smoothing
