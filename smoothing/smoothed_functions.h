// Test functions smoothed with noise of any law: f_δ(x) = E f(x − δu), in closed form, by quadrature and by sampling.
#pragma once

#include <mollify/smoothing/functions.h>
#include <mollify/smoothing/gsmooth.h>
#include <mollify/smoothing/monte_carlo.h>
#include <mollify/smoothing/coordinate_noise.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// A function of one number with its first two derivatives.
struct Jet {
  double value, slope, curvature;
};

// One of test_functions() under one noise.
class SmoothedFunction {
 public:
  SmoothedFunction(const TestFunction& function, const CoordinateNoise& noise);

  const TestFunction& function() const { return function_; }
  const CoordinateNoise& noise() const { return noise_; }

  // form: sphere, Rosenbrock and Rastrigin with light tails, the drop wave of one number with published Cauchy noise.
  // infinite: f_δ is ∞ at every x and δ > 0, since f grows too fast for the noise's tails. quadrature: the others, as
  // functions of one number; of several they are sampled.
  enum class Way { form, quadrature, infinite };
  Way way() const;

  // f_δ of one number; value ∞ and derivatives NaN where it is infinite. δ = 0 is f itself, whose curvature at Ackley's
  // kink is that beside it. Throws ValueError for δ < 0 or not finite (by quadrature: not 0 or from 1e-9 to 1000), |x|
  // > 500, and for Rosenbrock's function, which has two numbers at least.
  Jet operator()(double x, double delta) const;
  // The same by quadrature whatever there is; throws ValueError where f_δ is infinite. Off by about 1e-10 of f's size,
  // 1e-9 with heavy tails.
  Jet by_quadrature(double x, double delta) const;

  // The form over the last axis of x, […, d] → […], each coordinate's noise independent; differentiable in x. Throws
  // ValueError where there is none of several numbers: for drop_wave, ackley and what is infinite.
  Tensor form(const Tensor& x, double delta) const;
  // Mean and standard error over independent draws at x [d]: functions of the key. Where f_δ is infinite they say
  // nothing.
  Estimate sampled(const Tensor& x, double delta, int64_t samples, RandomKey key) const;

 private:
  TestFunction function_;
  CoordinateNoise noise_;
};

// The form under Gaussian noise N(0, s²I) with s a 0-d tensor, for sphere, rosenbrock and rastrigin; throws ValueError
// for others. Differentiable in both; for GSmooth and gradient_from_form.
SmoothedLoss gaussian_form(const TestFunction& function);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
