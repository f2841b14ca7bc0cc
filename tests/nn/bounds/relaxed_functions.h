// The operations that have a relaxation, with their values in long double.
#pragma once

#include <mollify/engine/ops.h>
#include <mollify/smoothing/ops.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

namespace mollify::nn::bounds {

using Real = long double;

inline Real cdf(Real a) { return erfcl(-a / sqrtl(2)) / 2; }
inline Real pdf(Real a) { return expl(-a * a / 2) / sqrtl(2 * acosl(-1)); }
inline Real sigmoid_of(Real x) { return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x)); }
// s(φ(a) + aΦ(a)), at the left by the continued fraction of Mills' ratio R: φ(a)(1 − |a|R(|a|)).
inline Real relu_smoothed_of(Real x, Real s) {
  if (s == 0) return std::max<Real>(x, 0);
  const Real a = x / s;
  if (a > -4) return x * cdf(a) + s * pdf(a);
  Real tail = -a;
  for (int k = 200; k >= 2; --k) tail = -a + k / tail;
  return s * pdf(a) / (1 - a * tail);
}

struct Rule {
  std::string name;
  std::function<Tensor(const Tensor&)> run;
  std::function<Real(Real)> reference;
  std::vector<double> special = {0};  // kinks, inflections, extremes
  bool positive = false;
  bool absolute = false;  // smoothing/ops.h: the operation's error is absolute, and it is NaN at infinity
};

inline std::vector<Rule> rules() {
  const auto scalar = [](double s) { return [s](const Tensor& x) { return Tensor::scalar(s, x.dtype()); }; };
  std::vector<Rule> all = {
      {"relu", [](const Tensor& x) { return relu(x); }, [](Real x) { return std::max<Real>(x, 0); }},
      {"abs", [](const Tensor& x) { return abs(x); }, [](Real x) { return fabsl(x); }},
      {"clip",
       [](const Tensor& x) { return clip(x, 0.5, 6); },
       [](Real x) { return std::min<Real>(std::max<Real>(x, 0.5), 6); },
       {0.5, 6}},
      {"clip_above",
       [](const Tensor& x) { return clip(x, -std::numeric_limits<double>::infinity(), 6); },
       [](Real x) { return std::min<Real>(x, 6); },
       {6}},
      {"sign", [](const Tensor& x) { return sign(x); }, [](Real x) { return Real((x > 0) - (x < 0)); }},
      {"exp", [](const Tensor& x) { return exp(x); }, [](Real x) { return expl(x); }},
      {"softplus", [](const Tensor& x) { return softplus(x); },
       [](Real x) { return std::max<Real>(x, 0) + log1pl(expl(-fabsl(x))); }},
      {"elu", [](const Tensor& x) { return elu(x); }, [](Real x) { return x > 0 ? x : expm1l(x); }},
      {"square", [](const Tensor& x) { return square(x); }, [](Real x) { return x * x; }},
      {"log", [](const Tensor& x) { return log(x); }, [](Real x) { return logl(x); }, {1}, true},
      {"sigmoid", [](const Tensor& x) { return sigmoid(x); }, sigmoid_of},
      {"tanh", [](const Tensor& x) { return tanh(x); }, [](Real x) { return tanhl(x); }},
      {"erf", [](const Tensor& x) { return erf(x); }, [](Real x) { return erfl(x); }},
      {"gelu",
       [](const Tensor& x) { return gelu(x); },
       [](Real x) { return x * cdf(x); },
       {0, -0.7517915, 1.4142135, -1.4142135}},
      {"silu",
       [](const Tensor& x) { return silu(x); },
       [](Real x) { return x * sigmoid_of(x); },
       {0, -1.2784645, 2.39935728, -2.39935728}},
  };
  for (const double slope : {double(0.01f), -0.3125, 3.0})
    all.push_back({"leaky_relu " + std::to_string(slope), [=](const Tensor& x) { return leaky_relu(x, slope); },
                   [=](Real x) { return x > 0 ? x : x * slope; }});
  for (const double s : {0.25, 2.0, 0.0})
    all.push_back({"relu_smoothed " + std::to_string(s),
                   [=](const Tensor& x) { return smoothing::relu_smoothed(x, scalar(s)(x)); },
                   [=](Real x) { return relu_smoothed_of(x, s); }});
  const auto relu_s = [](Real x, Real s) { return relu_smoothed_of(x, s); };
  for (const double s : {0.25, 2.0}) {
    const std::string at = " " + std::to_string(s);
    all.push_back({"abs_smoothed" + at, [=](const Tensor& x) { return smoothing::abs_smoothed(x, scalar(s)(x)); },
                   [=](Real x) { return fabsl(x) + 2 * relu_s(-fabsl(x), s); }});
    all.push_back({"sign_smoothed" + at, [=](const Tensor& x) { return smoothing::sign_smoothed(x, scalar(s)(x)); },
                   [=](Real x) { return erfl(x / s / sqrtl(2)); }});
    all.push_back({"clip_smoothed" + at,
                   [=](const Tensor& x) { return smoothing::clip_smoothed(x, scalar(s)(x), 0.5, 6); },
                   [=](Real x) {
                     return x > 3.25L ? 6 - relu_s(6 - x, s) + relu_s(0.5L - x, s)
                                      : 0.5L + relu_s(x - 0.5L, s) - relu_s(x - 6, s);
                   },
                   {3.25, 0.5, 6},
                   false,
                   true});
    all.push_back({"elu_smoothed" + at,
                   [=](const Tensor& x) { return smoothing::elu_smoothed(x, scalar(s)(x)); },
                   [=](Real x) {
                     const Real shift = (x + Real(s) * s) / s,
                                below = shift > 50 ? 0 : expl(x + Real(s) * s / 2) * cdf(-shift);
                     return relu_s(x, s) + below - cdf(-x / s);
                   },
                   {0},
                   false,
                   true});
    all.push_back({"gelu_smoothed" + at, [=](const Tensor& x) { return smoothing::gelu_smoothed(x, scalar(s)(x)); },
                   [=](Real x) {
                     const Real q = sqrtl(1 + Real(s) * s), r = x / q;
                     return relu_s(x, q) - pdf(r) / q;
                   }, {0, -1}, false, true});
  }
  return all;
}

inline void PrintTo(const Rule& rule, std::ostream* out) { *out << rule.name; }

// Where rules are compared: evenly, close to the ends and around the special points of a box.
inline std::vector<Real> points_of(const Rule& rule, Real l, Real u) {
  std::vector<Real> points = {l, u};
  for (int i = 1; i < 24; ++i) points.push_back(l + (u - l) * i / 24);
  for (int i = 1; i < 100; i += 4) {
    points.push_back(std::min(u, l + (u - l) * powl(10, -i / 3.L)));
    points.push_back(std::max(l, u - (u - l) * powl(10, -i / 3.L)));
  }
  for (const Real s : rule.special)
    for (const Real d : {0.L, 1e-9L, -1e-9L, 1e-4L, -1e-4L, .1L, -.1L, .7L, -.7L, 2.L, -2.L, 5.L, -5.L, 20.L, -20.L})
      if (s + d >= l && s + d <= u) points.push_back(s + d);
  return points;
}

}  // namespace mollify::nn::bounds
