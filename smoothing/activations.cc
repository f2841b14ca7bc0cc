#include <mollify/smoothing/activations.h>

namespace mollify::smoothing {

Tensor step_smoothed(const Tensor& x, const Tensor& s) { return relu_smoothed(x, s, 1); }

Tensor relu_squared_smoothed(const Tensor& x, const Tensor& s) { return relu_smoothed(x, s, -1) * 2.0; }

// α x + (1 − α) relu_s(x) without its rounding at s = 0 and at the left.
Tensor leaky_relu_smoothed(const Tensor& x, const Tensor& s, double slope) { return relu_smoothed(x, s) - relu_smoothed(-x, s) * slope; }

Tensor erf_smoothed(const Tensor& x, const Tensor& s, double c) { return erf(x * c / sqrt(square(s * c) * 2.0 + 1.0)); }

Tensor sin_smoothed(const Tensor& x, const Tensor& s, double omega) { return exp(square(s * omega) * -0.5) * sin(x * omega); }

Tensor cos_smoothed(const Tensor& x, const Tensor& s, double omega) { return exp(square(s * omega) * -0.5) * cos(x * omega); }

Tensor exp_smoothed(const Tensor& x, const Tensor& s) { return exp(x + square(s) * 0.5); }

Tensor power_smoothed(const Tensor& x, const Tensor& s, int exponent) {
  require<ValueError>(exponent >= 2 && exponent <= 4, "power_smoothed: the exponent is {}; needs 2, 3 or 4", exponent);
  const Tensor square_x = square(x), variance = square(s);
  if (exponent == 2) return square_x + variance;
  if (exponent == 3) return x * (square_x + variance * 3.0);
  return square(square_x) + variance * (square_x * 6.0 + variance * 3.0);
}

Tensor gaussian_smoothed(const Tensor& x, const Tensor& s, double c) {
  require<ValueError>(c >= 0, "gaussian_smoothed: c is {}; needs at least 0", c);
  const Tensor widening = square(s) * (2 * c) + 1.0;
  return exp(square(x) * -c / widening) / sqrt(widening);
}

// f(t_1), the ray to its left, a ramp between neighbouring kinks, the ray to the right of the last.
Tensor piecewise_linear_smoothed(const Tensor& x, const Tensor& s, const std::vector<double>& kinks, const std::vector<double>& jumps,
                                 double slope, double intercept) {
  require<ValueError>(kinks.size() == jumps.size(), "piecewise_linear_smoothed: {} kinks and {} jumps given; needs one jump for each kink",
                      kinks.size(), jumps.size());
  if (kinks.empty()) return (x + s * 0.0) * slope + intercept;
  Tensor sum = relu_smoothed(kinks[0] - x, s) * -slope + (slope * kinks[0] + intercept);
  for (size_t i = 0; i < kinks.size(); ++i) {
    slope += jumps[i];
    const bool last = i + 1 == kinks.size();
    require<ValueError>(last || kinks[i] <= kinks[i + 1], "piecewise_linear_smoothed: kink {} is {}, the next {}; needs rising kinks", i, kinks[i],
                        last ? kinks[i] : kinks[i + 1]);
    sum = sum + (last ? relu_smoothed(x - kinks[i], s) : ramp_smoothed(x, s, kinks[i], kinks[i + 1])) * slope;
  }
  return sum;
}

Tensor stein_smoothed(const Tensor& x, const Tensor& s, const Tensor& g, const Tensor& g_derivative) { return x * g + square(s) * g_derivative; }

Tensor sigmoid_probit_smoothed(const Tensor& x, const Tensor& s) { return sigmoid(x / sqrt(square(s) * (3.141592653589793 / 8) + 1.0)); }

Moments clark_max(const Moments& first, const Moments& second) {
  return clark_max(first, second, Tensor::scalar(0, first.mean.dtype()));
}

// With d the difference of the means, θ its standard deviation and R = relu_θ, the second moment is centred:
// variance = v₁Φ(d/θ) + v₂Φ(−d/θ) − R(d)R(−d). θ² is kept off 0, where the root has no derivative.
Moments clark_max(const Moments& first, const Moments& second, const Tensor& covariance) {
  const Tensor least = Tensor::scalar(first.mean.dtype() == DType::f32 ? 1e-36 : 1e-300, first.mean.dtype());
  const Tensor theta = sqrt(maximum(first.variance + second.variance - covariance * 2.0, least));
  const Tensor difference = first.mean - second.mean;
  const Tensor variance = first.variance * step_smoothed(difference, theta) + second.variance * step_smoothed(-difference, theta) -
                          relu_smoothed(difference, theta) * relu_smoothed(-difference, theta);
  return {max_smoothed(first.mean, second.mean, theta), maximum(variance, Tensor::scalar(0, variance.dtype()))};
}

}  // namespace mollify::smoothing
