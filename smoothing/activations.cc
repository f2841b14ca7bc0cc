#include <mollify/smoothing/activations.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr double kRootHalf = 0.70710678118654752, kRootPiOverEight = 0.62665706865775013;

}  // namespace

Tensor step_smoothed(const Tensor& x, const Tensor& s) { return relu_smoothed(x, s, 1); }

Tensor relu_squared_smoothed(const Tensor& x, const Tensor& s) { return relu_smoothed(x, s, -1) * 2.0; }

// α x + (1 − α) relu_s(x) without its rounding at s = 0 and at the left.
Tensor leaky_relu_smoothed(const Tensor& x, const Tensor& s, double slope) {
  return relu_smoothed(x, s) - relu_smoothed(-x, s) * slope;
}

// erf(c x/√(1 + 2c²s²)) = erf(x/(√2 √(s² + 1/(2c²))))
Tensor erf_smoothed(const Tensor& x, const Tensor& s, double c) {
  if (c == 0) return erf(x * 0.0 + checked_scale(s) * 0.0);
  return erf(x * std::copysign(kRootHalf, c) / widened_scale(s, kRootHalf / std::abs(c)));
}

Tensor sin_smoothed(const Tensor& x, const Tensor& s, double omega) {
  return exp(square(checked_scale(s) * omega) * -0.5) * sin(x * omega);
}

Tensor cos_smoothed(const Tensor& x, const Tensor& s, double omega) {
  return exp(square(checked_scale(s) * omega) * -0.5) * cos(x * omega);
}

Tensor exp_smoothed(const Tensor& x, const Tensor& s) { return exp(x + square(checked_scale(s)) * 0.5); }

Tensor power_smoothed(const Tensor& x, const Tensor& s, int exponent) {
  require<ValueError>(exponent >= 2 && exponent <= 4, "power_smoothed: the exponent is {}; needs 2, 3 or 4", exponent);
  const Tensor scale = checked_scale(s), square_x = square(x);
  if (exponent == 2) return square_x + square(scale);
  if (exponent == 3) return x * square_x + x * scale * scale * 3.0;
  return square(square_x) + square(x * scale) * 6.0 + square(square(scale)) * 3.0;
}

Tensor gaussian_smoothed(const Tensor& x, const Tensor& s, double c) {
  require<ValueError>(c >= 0, "gaussian_smoothed: c is {}; needs at least 0", c);
  if (c == 0) return exp(x * 0.0 + checked_scale(s) * 0.0);
  const double h = kRootHalf / std::sqrt(c);  // exp(−c x²) is the density of deviation h, not scaled
  const Tensor width = widened_scale(s, h);
  return exp(square(x / width) * -0.5) * (h / width);
}

// f(t_1), the ray to its left, a ramp between neighbouring kinks, the ray to the right of the last.
Tensor piecewise_linear_smoothed(const Tensor& x, const Tensor& s, const std::vector<double>& kinks,
                                 const std::vector<double>& jumps, double slope, double intercept) {
  require<ValueError>(kinks.size() == jumps.size(),
                      "piecewise_linear_smoothed: {} kinks and {} jumps given; needs one jump for each kink",
                      kinks.size(), jumps.size());
  if (kinks.empty()) return (x + checked_scale(s) * 0.0) * slope + intercept;
  Tensor sum = relu_smoothed(kinks[0] - x, s) * -slope + (slope * kinks[0] + intercept);
  for (size_t i = 0; i < kinks.size(); ++i) {
    slope += jumps[i];
    const bool last = i + 1 == kinks.size();
    require<ValueError>(last || kinks[i] <= kinks[i + 1],
                        "piecewise_linear_smoothed: kink {} is {}, the next {}; needs rising kinks", i, kinks[i],
                        last ? kinks[i] : kinks[i + 1]);
    sum = sum + (last ? relu_smoothed(x - kinks[i], s) : ramp_smoothed(x, s, kinks[i], kinks[i + 1])) * slope;
  }
  return sum;
}

Tensor stein_smoothed(const Tensor& x, const Tensor& s, const Tensor& g, const Tensor& g_derivative) {
  return x * g + square(s) * g_derivative;
}

Tensor sigmoid_probit_smoothed(const Tensor& x, const Tensor& s) {
  return sigmoid(x / (widened_scale(s, 1 / kRootPiOverEight) * kRootPiOverEight));
}

Moments clark_max(const Moments& first, const Moments& second) {
  return clark_max(first, second, Tensor::scalar(0, first.mean.dtype()));
}

// With d the difference of the means, θ its standard deviation and R = relu_θ, the second moment is centred:
// variance = v₁Φ(d/θ) + v₂Φ(−d/θ) − R(d)R(−d). θ² is kept off 0, where the root has no derivative.
Moments clark_max(const Moments& first, const Moments& second, const Tensor& covariance) {
  const Tensor least = Tensor::scalar(first.mean.dtype() == DType::f32 ? 1e-36 : 1e-300, first.mean.dtype());
  const Tensor theta = sqrt(maximum(first.variance + second.variance - covariance * 2.0, least));
  const Tensor difference = first.mean - second.mean;
  const Tensor variance = first.variance * step_smoothed(difference, theta) +
                          second.variance * step_smoothed(-difference, theta) -
                          relu_smoothed(difference, theta) * relu_smoothed(-difference, theta);
  return {max_smoothed(first.mean, second.mean, theta), maximum(variance, Tensor::scalar(0, variance.dtype()))};
}

}  // namespace mollify::smoothing
