#include <mollify/smoothing/function_profiles.h>

#include <mollify/engine/error.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numbers>
#include <utility>
#include <vector>

namespace mollify::smoothing {
namespace {

using std::numbers::e;
using std::numbers::pi;

constexpr double kBessel = 1.2660658777520084;  // I₀(1), the mean of e^(cos) over a wave

Jet sphere_jet(double x) { return {x * x, 2 * x, 2}; }

Jet rastrigin_jet(double x) {
  const double w = 2 * pi;
  return {x * x + 20 * std::pow(std::sin(pi * x), 2), 2 * x + 10 * w * std::sin(w * x),
          2 + 10 * w * w * std::cos(w * x)};
}

Jet drop_wave_jet(double x) {
  const double cosine = std::cos(12 * x);
  const Jet drop = quotient(1 + cosine, -12 * std::sin(12 * x), -144 * cosine, x * x / 2 + 2, x, 1.0);
  return {1 - drop.value, -drop.slope, -drop.curvature};
}

Jet ackley_jet(double x) {
  const double w = 2 * pi, cosine = std::cos(w * x), sine = std::sin(w * x), rise = std::exp(cosine);
  const double fall = std::exp(-std::abs(x) / 5), side = x > 0 ? 1 : x < 0 ? -1 : 0;
  return {20 * (1 - fall) + e - rise, 4 * side * fall + rise * w * sine,
          -0.8 * fall + rise * w * w * (cosine - sine * sine)};
}

constexpr size_t kNodes = 16;
struct GaussLegendre {  // on (−1, 1)
  std::array<double, kNodes> nodes, weights;
};

// Newton's steps from Tricomi's approximations to the roots of P_n.
const GaussLegendre& gauss_legendre() {
  static const GaussLegendre rule = [] {
    GaussLegendre out;
    constexpr double n = kNodes;
    for (size_t i = 0; i < kNodes; ++i) {
      double z = std::cos(pi * (static_cast<double>(i) + 0.75) / (n + 0.5)), slope = 0;
      for (int repeat = 0; repeat < 10; ++repeat) {
        double before = 1, value = z;
        for (double k = 2; k <= n; ++k) before = std::exchange(value, ((2 * k - 1) * z * value - (k - 1) * before) / k);
        slope = n * (z * value - before) / (z * z - 1);
        z -= value / slope;
      }
      out.nodes[i] = z;
      out.weights[i] = 2 / ((1 - z * z) * slope * slope);
    }
    return out;
  }();
  return rule;
}

// Over v from a to b, of a law in its standard form.
template <class F>
void add_panel(double a, double b, const F& add) {
  const GaussLegendre& rule = gauss_legendre();
  for (size_t i = 0; i < kNodes; ++i) add((a + b) / 2 + (b - a) / 2 * rule.nodes[i], (b - a) / 2 * rule.weights[i]);
}

}  // namespace

const Profile& profile_of(const std::string& name) {
  static const std::map<std::string, Profile> profiles = {
      {"sphere", {sphere_jet, nullptr, 0, 1, 1000, 0}},
      {"rastrigin", {rastrigin_jet, nullptr, 0, 1, 1000, 0}},
      {"drop_wave", {drop_wave_jet, [](double x) { return 1 - 1 / (x * x / 2 + 2); }, 1, pi / 6, 4000 * pi / 12, 0}},
      {"ackley", {ackley_jet, [](double) { return 20 + e - kBessel; }, 20 + e - kBessel, 0.35, 1000, 8}}};
  const auto found = profiles.find(name);
  require<ValueError>(found != profiles.end(), "smoothed {}: of one number; it has two at least", name);
  return found->second;
}

// With y = x − δ·shift − t·v. Up to |y| = f.even_at panels follow the waves of f as well as the law; beyond it, in
// heavy tails only, the mean over a wave stands for f: about a point where waves are even that is right but for terms
// of the density's second derivative. Beyond `kEnd` of those f is its limit.
Jet expectation(const Profile& f, const CoordinateNoise& noise, double x, double delta) {
  require<ValueError>(delta >= 1e-9 && delta <= 1000, "smoothed function: δ = {}; its quadrature needs 1e-9 to 1000",
                      delta);
  constexpr double kEnd = 1e4;
  const double t = delta * noise.scale(), y0 = x - delta * noise.shift();
  const double last = std::max(10.0, kEnd * f.even_at / t);
  auto [low, high] = noise.standard_range();
  const bool heavy = std::isinf(high);
  low = std::max(low, -last);
  high = std::min(high, last);
  std::vector<double> breaks{low, high, 0, y0 / t, (y0 - f.even_at) / t, (y0 + f.even_at) / t};
  std::sort(breaks.begin(), breaks.end());
  Jet sum{0, 0, 0};
  const auto near = [&](double v, double weight) {
    const double mass = weight * noise.standard_density(v);
    const Jet jet = f.jet(y0 - t * v);
    sum = {sum.value + mass * jet.value, sum.slope + mass * jet.slope, sum.curvature + mass * jet.curvature};
  };
  const auto far = [&](double v, double weight) {
    sum.value += weight * noise.standard_density(v) * f.far(y0 - t * v);
  };
  for (size_t i = 0; i + 1 < breaks.size(); ++i) {
    double a = std::max(breaks[i], low);
    const double end = std::min(breaks[i + 1], high);
    const bool waves = !heavy || std::abs(y0 - t * (a + end) / 2) < f.even_at;
    while (a < end) {
      double width = 0.02 + std::abs(a) / 8;  // the law's
      if (waves) width = std::min(width, f.panel / t);
      const double b = end - a < 1.5 * width ? end : a + width;
      waves ? add_panel(a, b, near) : add_panel(a, b, far);
      a = b;
    }
  }
  if (heavy) sum.value += noise.standard_tails(last) * f.limit;
  sum.curvature += f.slope_jump * noise.standard_density(y0 / t) / t;
  return sum;
}

}  // namespace mollify::smoothing
