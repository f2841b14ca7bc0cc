#include <mollify/smoothing/smoothed_functions.h>

#include <mollify/engine/error.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/function_profiles.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace mollify::smoothing {
namespace {

using std::numbers::pi;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What the forms read of the noise δu = mean + e: moments of e, and E cos 2πδu, E sin 2πδu. Numbers, or 0-d tensors.
template <class C>
struct NoiseTerms {
  C mean, variance, third, fourth, cosine, sine;
};

NoiseTerms<double> terms_of(const CoordinateNoise& noise, double delta) {
  const std::complex<double> wave = noise.characteristic(2 * pi * delta);
  return {delta * noise.mean(),
          delta * delta * noise.central_moment(2),
          std::pow(delta, 3) * noise.central_moment(3),
          std::pow(delta, 4) * noise.central_moment(4),
          wave.real(),
          wave.imag()};
}

NoiseTerms<Tensor> gaussian_terms(const Tensor& s) {
  const Tensor variance = square(s), none = s * 0.0;
  return {none, variance, none, square(variance) * 3.0, exp(variance * (-2 * pi * pi)), none};
}

template <class C>
Tensor sphere_form(const Tensor& x, const NoiseTerms<C>& noise) {
  return sum(square(x - noise.mean) + noise.variance, {-1});
}

// x² + 10 − 10·cos 2πx, of which the noise leaves cos 2πx·E cos 2πδu + sin 2πx·E sin 2πδu.
template <class C>
Tensor rastrigin_form(const Tensor& x, const NoiseTerms<C>& noise) {
  const Tensor angle = x * (2 * pi), left = cos(angle) * noise.cosine + sin(angle) * noise.sine;
  return sum(square(x - noise.mean) + noise.variance + (1.0 - left) * 10.0, {-1});
}

// 100·(Y − X²)² + (1 − X)² for X = a − e and Y = b − e′: E(Y − X²)² = (b − a²)² + v − 2bv + 6a²v − 4aκ₃ + κ₄.
template <class C>
Tensor rosenbrock_form(const Tensor& x, const NoiseTerms<C>& noise) {
  const Tensor moved = x - noise.mean, a = slice(moved, -1, 0, x.dim(-1) - 1), b = slice(moved, -1, 1, x.dim(-1));
  const Tensor spread = (1.0 - b * 2.0 + square(a) * 6.0) * noise.variance - a * noise.third * 4.0 + noise.fourth;
  return sum((square(b - square(a)) + spread) * 100.0 + square(1.0 - a) + noise.variance, {-1});
}

template <class C>
Tensor form_of(const std::string& name, const Tensor& x, const NoiseTerms<C>& noise) {
  const int64_t least = test_function(name).dimension;
  require<ShapeError>(x.rank() >= 1 && x.dim(-1) >= least, "smoothed {}: x is {}; needs a last axis of at least {}",
                      name, x.shape(), least);
  if (name == "sphere") return sphere_form(x, noise);
  if (name == "rosenbrock") return rosenbrock_form(x, noise);
  return rastrigin_form(x, noise);
}

bool has_form_of_several(const std::string& name) {
  return name == "sphere" || name == "rosenbrock" || name == "rastrigin";
}

Jet separable_form(const std::string& name, double x, const NoiseTerms<double>& noise) {
  const double a = x - noise.mean, waves = name == "rastrigin" ? 10 : 0, w = 2 * pi;
  const double cosine = std::cos(w * x) * noise.cosine + std::sin(w * x) * noise.sine;
  const double sine = std::sin(w * x) * noise.cosine - std::cos(w * x) * noise.sine;
  return {a * a + noise.variance + waves * (1 - cosine), 2 * a + waves * w * sine, 2 + waves * w * w * cosine};
}

// Smoothing with Cauchy noise is the harmonic extension from the real line to height δ. Of the drop wave
// 1 − (1 + cos 12x)·2/(x² + 4) the rational part goes to (2 + δ)/(x² + (2 + δ)²); the wave is the real part of
// 2(e^(12iz) − e^(−24))/(z² + 4), analytic above the line, and e^(−24) times the rational part.
Jet drop_wave_under_cauchy(double x, double delta) {
  using Complex = std::complex<double>;
  const double width = 2 + delta, pole = std::exp(-24.0);
  const Jet rational = quotient(width, 0.0, 0.0, x * x + width * width, 2 * x, 2.0);
  const Complex z(x, delta), wave = std::exp(Complex(0, 12) * z);
  Jet left{0, 0, 0};  // at the removable singularity itself, where all is of the size of e^(−24)
  if (std::abs(z - Complex(0, 2)) > 1e-6) {
    const auto above =
        quotient<Complex>(2.0 * (wave - pole), Complex(0, 24) * wave, -288.0 * wave, z * z + 4.0, 2.0 * z, Complex(2));
    left = {above.value.real(), above.slope.real(), above.curvature.real()};
  }
  const double share = 1 + pole;
  return {1 - share * rational.value - left.value, -share * rational.slope - left.slope,
          -share * rational.curvature - left.curvature};
}

bool is_published_cauchy(const CoordinateNoise& noise) {
  return noise.law() == Law::cauchy && noise.shift() == 0 && noise.scale() == 1;
}

void require_point(const char* name, double x, double delta) {
  require<ValueError>(delta >= 0 && delta < kInfinity && std::abs(x) <= 500,
                      "smoothed {}: x = {}, δ = {}; needs |x| ≤ 500 and a finite δ ≥ 0", name, x, delta);
}

}  // namespace

SmoothedFunction::SmoothedFunction(const TestFunction& function, const CoordinateNoise& noise)
    : function_(test_function(function.name)), noise_(noise) {}

SmoothedFunction::Way SmoothedFunction::way() const {
  const std::string name = function_.name;
  const double degree = name == "rosenbrock" ? 4 : name == "sphere" || name == "rastrigin" ? 2 : 0;
  if (degree >= noise_.tail_index()) return Way::infinite;
  const bool has_form = has_form_of_several(name) || (name == "drop_wave" && is_published_cauchy(noise_));
  return has_form ? Way::form : Way::quadrature;
}

Jet SmoothedFunction::operator()(double x, double delta) const {
  const Profile& profile = profile_of(function_.name);
  require_point(function_.name, x, delta);
  if (delta == 0) return profile.jet(x);
  switch (way()) {
    case Way::infinite: return {kInfinity, std::nan(""), std::nan("")};
    case Way::quadrature: return expectation(profile, noise_, x, delta);
    case Way::form: break;
  }
  const std::string name = function_.name;
  return name == "drop_wave" ? drop_wave_under_cauchy(x, delta) : separable_form(name, x, terms_of(noise_, delta));
}

Jet SmoothedFunction::by_quadrature(double x, double delta) const {
  const Profile& profile = profile_of(function_.name);
  require_point(function_.name, x, delta);
  require<ValueError>(way() != Way::infinite || delta == 0, "smoothed {}: infinite under {} noise; needs lighter tails",
                      function_.name, to_string(noise_.law()));
  return delta == 0 ? profile.jet(x) : expectation(profile, noise_, x, delta);
}

Tensor SmoothedFunction::form(const Tensor& x, double delta) const {
  require<ValueError>(has_form_of_several(function_.name) && way() == Way::form,
                      "smoothed {}: no closed form of several numbers under {} noise; there are those of sphere, "
                      "rosenbrock and rastrigin under light tails",
                      function_.name, to_string(noise_.law()));
  require_point(function_.name, 0, delta);
  return form_of(function_.name, x, terms_of(noise_, delta));
}

Estimate SmoothedFunction::sampled(const Tensor& x, double delta, int64_t samples, RandomKey key) const {
  require<ValueError>(samples >= 2, "smoothed {}: {} samples; needs at least 2", function_.name, samples);
  require_point(function_.name, 0, delta);
  const NoGrad quiet;
  constexpr int64_t kBlock = 4096;  // rows at a time
  double mean = 0, squares = 0;     // of all values so far, and of their deviations (Chan et al. 1979)
  for (int64_t done = 0, step = 0; done < samples; ++step) {
    const int64_t rows = std::min(kBlock, samples - done);
    const Tensor at = Tensor::scalar(static_cast<double>(step), DType::i32);
    const Tensor values = function_.function(x - noise_.draw({rows, x.dim(-1)}, key, at) * delta);
    const double block = mollify::mean(values).item(), apart = block - mean;
    const double before = static_cast<double>(done), more = static_cast<double>(rows);
    squares += variance(values).item() * more + apart * apart * before * more / (before + more);
    mean += apart * more / (before + more);
    done += rows;
  }
  const double count = static_cast<double>(samples);
  return {Tensor::scalar(mean, DType::f64), Tensor::scalar(std::sqrt(squares / (count - 1) / count), DType::f64)};
}

SmoothedLoss gaussian_form(const TestFunction& function) {
  const std::string name = function.name;
  require<ValueError>(has_form_of_several(name), "gaussian_form: {} given; there are sphere, rosenbrock and rastrigin",
                      name);
  return
      [name](const Tensor& x, const Sigma& sigma) { return form_of(name, x, gaussian_terms(sigma.tensor(x.dtype()))); };
}

}  // namespace mollify::smoothing
