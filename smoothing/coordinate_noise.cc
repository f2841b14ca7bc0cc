#include <mollify/smoothing/coordinate_noise.h>

#include <mollify/engine/error.h>
#include <mollify/engine/ops.h>

#include <array>
#include <cmath>
#include <limits>
#include <numbers>

namespace mollify::smoothing {
namespace {

using std::numbers::pi;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::array kLaws = {Law::gaussian, Law::uniform, Law::exponential, Law::rayleigh,
                              Law::pareto,   Law::cauchy,  Law::levy};

// Dawson's integral e^(−x²)·∫₀ˣ e^(y²) dy by Rybicki's sum over odd n of e^(−(x − nh)²)/(n√π), whose error is
// e^(−(π/2h)²).
double dawson(double x) {
  constexpr double h = 0.2, kReach = 6.4;  // e^(−6.4²) is negligible
  const auto odd = [](double n) { return 2 * std::floor(n / 2) + 1; };
  double sum = 0;
  for (double n = odd((x - kReach) / h); n * h <= x + kReach; n += 2) sum += std::exp(-(x - n * h) * (x - n * h)) / n;
  return sum / std::sqrt(pi);
}

// Of the standard form: mean and central moments of order 2, 3, 4.
std::array<double, 4> standard_moments(Law law) {
  if (law == Law::gaussian) return {0, 1, 0, 3};
  if (law == Law::uniform) return {0, 1.0 / 3, 0, 0.2};
  if (law == Law::exponential) return {1, 1, 2, 9};
  const double mean = std::sqrt(pi / 2);  // Rayleigh's raw moments are mean, 2, 3·mean, 8
  return {mean, 2 - mean * mean, mean * (pi - 3), 8 - 3 * mean * mean * mean * mean};
}

}  // namespace

std::span<const Law> all_laws() { return kLaws; }

const char* to_string(Law law) {
  switch (law) {
    case Law::gaussian: return "gaussian";
    case Law::uniform: return "uniform";
    case Law::exponential: return "exponential";
    case Law::rayleigh: return "rayleigh";
    case Law::pareto: return "pareto";
    case Law::cauchy: return "cauchy";
    case Law::levy: return "levy";
  }
  return "";
}

Law law_named(const std::string& name) {
  std::string names;
  for (const Law law : kLaws) {
    if (name == to_string(law)) return law;
    names += (names.empty() ? "" : ", ") + std::string(to_string(law));
  }
  throw ValueError(format("law: {} given; there are {}", name, names));
}

CoordinateNoise CoordinateNoise::published(Law law) {
  if (law == Law::uniform) return {law, 0, 2};
  if (law == Law::exponential) return {law, 0, 1.5};
  if (law == Law::levy) return {law, 1, 1};
  return {law, 0, 1};
}

CoordinateNoise CoordinateNoise::centred(Law law, int64_t dimension) {
  require<ValueError>(dimension >= 1, "centred noise: {} coordinates; needs at least 1", dimension);
  const CoordinateNoise standard(law, 0, 1);
  standard.require_light("centred noise");
  const double scale = 1 / std::sqrt(standard.central_moment(2) * static_cast<double>(dimension));
  return {law, -scale * standard.mean(), scale};
}

void CoordinateNoise::require_light(const char* what) const {
  require<ValueError>(tail_index() == kInfinity,
                      "{}: {} given, whose E|u|^p is infinite from p = {}; needs light tails", what, to_string(law_),
                      tail_index());
}

double CoordinateNoise::tail_index() const {
  if (law_ == Law::levy) return 0.5;
  return law_ == Law::pareto || law_ == Law::cauchy ? 1 : kInfinity;
}

double CoordinateNoise::mean() const {
  require_light("noise's mean");
  return shift_ + scale_ * standard_moments(law_)[0];
}

double CoordinateNoise::central_moment(int order) const {
  require<ValueError>(order >= 2 && order <= 4, "noise's central moment: order {}; needs 2, 3 or 4", order);
  require_light("noise's central moment");
  return std::pow(scale_, order) * standard_moments(law_)[static_cast<size_t>(order) - 1];
}

std::complex<double> CoordinateNoise::characteristic(double t) const {
  require_light("noise's characteristic function");
  const double w = t * scale_;
  std::complex<double> standard;
  switch (law_) {
    case Law::gaussian: standard = std::exp(-w * w / 2); break;
    case Law::uniform: standard = w == 0 ? 1 : std::sin(w) / w; break;
    case Law::exponential: standard = 1.0 / std::complex<double>(1, -w); break;
    default:  // Rayleigh
      standard = {1 - std::numbers::sqrt2 * w * dawson(w / std::numbers::sqrt2),
                  std::sqrt(pi / 2) * w * std::exp(-w * w / 2)};
  }
  return std::polar(1.0, t * shift_) * standard;
}

double CoordinateNoise::standard_density(double v) const {
  switch (law_) {
    case Law::gaussian: return std::exp(-v * v / 2) / std::sqrt(2 * pi);
    case Law::uniform: return std::abs(v) <= 1 ? 0.5 : 0;
    case Law::exponential: return v >= 0 ? std::exp(-v) : 0;
    case Law::rayleigh: return v >= 0 ? v * std::exp(-v * v / 2) : 0;
    case Law::pareto: return v >= 1 ? 1 / (v * v) : 0;
    case Law::cauchy: return 1 / (pi * (1 + v * v));
    case Law::levy: return v > 0 ? std::exp(-0.5 / v) / (v * std::sqrt(2 * pi * v)) : 0;
  }
  return 0;
}

std::pair<double, double> CoordinateNoise::standard_range() const {
  switch (law_) {
    case Law::gaussian: return {-12, 12};
    case Law::uniform: return {-1, 1};
    case Law::exponential: return {0, 70};
    case Law::rayleigh: return {0, 12};
    case Law::pareto: return {1, kInfinity};
    case Law::cauchy: return {-kInfinity, kInfinity};
    case Law::levy: return {0, kInfinity};
  }
  return {};
}

double CoordinateNoise::standard_tails(double far) const {
  if (law_ == Law::pareto) return 1 / far;
  if (law_ == Law::cauchy) return 2 / pi * std::atan(1 / far);
  return law_ == Law::levy ? std::erf(1 / std::sqrt(2 * far)) : 0;
}

Tensor CoordinateNoise::draw(const Shape& shape, RandomKey key, const Tensor& step) const {
  const auto uniform_draw = [&] { return uniform(shape, key, step, DType::f64); };
  const auto normal_draw = [&] { return normal(shape, key, step, DType::f64); };
  const auto standard = [&]() -> Tensor {
    switch (law_) {
      case Law::gaussian: return normal_draw();
      case Law::uniform: return uniform_draw() * 2.0 - 1.0;
      case Law::exponential: return -log(uniform_draw());
      case Law::rayleigh: return sqrt(log(uniform_draw()) * -2.0);
      case Law::pareto: return 1.0 / uniform_draw();
      case Law::cauchy: {
        const Tensor angle = (uniform_draw() - 0.5) * pi;
        return sin(angle) / cos(angle);
      }
      case Law::levy: return 1.0 / square(normal_draw());
    }
    return {};
  };
  return standard() * scale_ + shift_;
}

}  // namespace mollify::smoothing
