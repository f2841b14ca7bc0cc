// Elementary functions, the normal distribution and the smooth activations.
#include "rows.h"

#include <cmath>
#include <limits>

namespace mollify::op_table {
namespace {

using In = const Tensor&;
using Long = long double;

constexpr Long kPi = 3.141592653589793238462643383279502884L;

Long erfcx_formula(Long x) {
  if (x < 20) return std::exp(x * x) * std::erfc(x);
  const Long t = 1 / (x * x);  // the asymptotic series: its next term is below 1e-17
  return (1 - t / 2 + 3 * t * t / 4 - 15 * t * t * t / 8 + 105 * t * t * t * t / 16 - 945 * t * t * t * t * t / 32) /
         (x * std::sqrt(kPi));
}
Long cdf_formula(Long x) { return std::erfc(-x / std::sqrt(Long{2})) / 2; }
Long pdf_formula(Long x) { return std::exp(-x * x / 2) / std::sqrt(2 * kPi); }

// Bisection.
double quantile_formula(double p) {
  if (std::isnan(p) || p < 0 || p > 1) return std::numeric_limits<double>::quiet_NaN();
  if (p == 0 || p == 1)
    return p == 0 ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  if (p >= 0.5) return p == 0.5 ? 0 : -quantile_formula(1 - p);  // 1 − p is exact
  Long low = -40, high = 0;
  for (int i = 0; i < 100; ++i) (cdf_formula((low + high) / 2) < p ? low : high) = (low + high) / 2;
  return static_cast<double>((low + high) / 2);
}

double sigmoid_formula(double x) { return x > 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
double below(double limit, double x, double value) { return x < limit ? -0.0 : value; }  // limits at −∞

}  // namespace

Rows elementary_rows() {
  Rows rows;
  rows.push_back(unary("exp", exp, [](double x) { return std::exp(x); }));
  rows.push_back(unary("expm1", expm1, [](double x) { return std::expm1(x); }));
  rows.push_back(unary("log", log, [](double x) { return std::log(x); }, {0.1, 5}));
  rows.push_back(unary("log1p", log1p, [](double x) { return std::log1p(x); }, {-0.9, 5}));
  rows.push_back(unary("sin", sin, [](double x) { return std::sin(x); }, {-7, 7}));
  rows.push_back(unary("cos", cos, [](double x) { return std::cos(x); }, {-7, 7}));
  rows.push_back(unary("tanh", tanh, [](double x) { return std::tanh(x); }, {-3, 3}));

  rows.push_back(unary("erf", erf, [](double x) { return std::erf(x); }, {-3, 3}));
  rows.push_back(unary("erfc", erfc, [](double x) { return std::erfc(x); }, {-3, 4}));
  rows.push_back(unary("erfcx", erfcx, [](double x) { return static_cast<double>(erfcx_formula(x)); }, {-1.5, 12}));
  rows.push_back(
      unary("normal_cdf", normal_cdf, [](double x) { return static_cast<double>(cdf_formula(x)); }, {-5, 4}));
  rows.push_back(
      unary("normal_pdf", normal_pdf, [](double x) { return static_cast<double>(pdf_formula(x)); }, {-5, 5}));
  rows.push_back(unary("normal_quantile", normal_quantile, quantile_formula, {0.1, 0.9}));

  rows.push_back(unary("sigmoid", sigmoid, sigmoid_formula, {-6, 6}));
  rows.push_back(
      unary("logistic_pdf", logistic_pdf, [](double x) { return sigmoid_formula(x) * sigmoid_formula(-x); }, {-6, 6}));
  rows.push_back(unary("softplus", softplus,
                       [](double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); },
                       {-6, 6}));
  rows.push_back(unary("log_sigmoid", log_sigmoid,
                       [](double x) { return x > 0 ? -std::log1p(std::exp(-x)) : x - std::log1p(std::exp(x)); },
                       {-6, 6}));
  rows.push_back(unary("silu", silu, [](double x) { return below(-1e4, x, x * sigmoid_formula(x)); }, {-6, 6}));
  rows.push_back(unary("elu", elu, [](double x) { return x > 0 ? x : std::expm1(x); }, {-3, 3, {0}}));
  rows.push_back(
      unary("gelu", gelu, [](double x) { return below(-1e4, x, static_cast<double>(x * cdf_formula(x))); }, {-4, 4}));
  return rows;
}

}  // namespace mollify::op_table
