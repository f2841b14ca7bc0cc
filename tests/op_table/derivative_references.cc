#include "derivative_references.h"

#ifdef MOLLIFY_HAS_QUAD

namespace mollify::op_table {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
const Quad kPi = acosq(-1), kRoot2 = sqrtq(2), kTwoOverSqrtPi = 2 / sqrtq(kPi);

Quad tanh_derivative(int k, Quad x) {
  const Quad t = tanhq(x), c = coshq(x), s = 1 / c / c;
  switch (k) {
    case 0: return t;
    case 1: return s;
    case 2: return -2 * t * s;
    case 3: return s * (4 * t * t - 2 * s);
    default: return 8 * t * s * (2 * s - t * t);
  }
}

Quad sigmoid_value(Quad x) { return x < 0 ? expq(x) / (1 + expq(x)) : 1 / (1 + expq(-x)); }
Quad sigmoid_derivative(int k, Quad x) {
  return k == 0 ? sigmoid_value(x) : tanh_derivative(k, x / 2) / (Quad(1 << k) * 2);
}
Quad softplus_derivative(int k, Quad x) {
  if (k > 0) return sigmoid_derivative(k - 1, x);
  return (x > 0 ? x : 0) + log1pq(expq(-fabsq(x)));
}
Quad silu_derivative(int k, Quad x) {
  return x * sigmoid_derivative(k, x) + (k > 0 ? k * sigmoid_derivative(k - 1, x) : 0);
}

Quad pdf_derivative(int k, Quad x) {
  if (fabsq(x) > 300) return 0;
  const Quad p = expq(-x * x / 2) / sqrtq(2 * kPi), x2 = x * x;
  switch (k) {
    case 0: return p;
    case 1: return -x * p;
    case 2: return (x2 - 1) * p;
    case 3: return x * (3 - x2) * p;
    default: return (x2 * x2 - 6 * x2 + 3) * p;
  }
}
Quad cdf_derivative(int k, Quad x) { return k == 0 ? erfcq(-x / kRoot2) / 2 : pdf_derivative(k - 1, x); }
Quad gelu_derivative(int k, Quad x) {
  if (x < -300) return 0;
  const Quad p = pdf_derivative(0, x), x2 = p == 0 ? 0 : x * x;
  switch (k) {
    case 0: return x * cdf_derivative(0, x);
    case 1: return cdf_derivative(0, x) + x * p;
    case 2: return (2 - x2) * p;
    case 3: return x * (x2 - 4) * p;
    default: return (-x2 * x2 + 7 * x2 - 4) * p;
  }
}
Quad erf_derivative(int k, Quad x) {
  if (k == 0) return erfq(x);
  Quad scale = 2 * kRoot2;  // of φ(√2 x)
  for (int i = 1; i < k; ++i) scale *= kRoot2;
  return scale * pdf_derivative(k - 1, kRoot2 * x);
}

// (−2)^k k! e^{x²} i^k erfc(x), where i^k erfc is the repeated integral: by its series at infinity far right, else from
// left to right.
Quad erfcx_derivative(int k, Quad x) {
  if (x > 16) {
    const Quad y = 1 / (4 * x * x);
    Quad term = 1, sum = 1;
    for (int m = 1; m < 60; ++m) {
      term *= -y * (2 * m + k) * (2 * m + k - 1) / m;
      sum += term;
      if (fabsq(term) < 1e-36) break;
    }
    Quad scale = kTwoOverSqrtPi / (2 * x);
    for (int i = 1; i <= k; ++i) scale *= -i / x;
    return scale * sum;
  }
  if (x < -120) return k % 2 == 0 ? Quad(kInf) : -Quad(kInf);
  Quad before = expq(x * x) * erfcq(x), now = 2 * x * before - kTwoOverSqrtPi;
  if (k == 0) return before;
  for (int i = 1; i < k; ++i) before = std::exchange(now, 2 * i * before + 2 * x * now);
  return now;
}

Quad quantile(Quad p) {
  if (p > 0.5) return -quantile(1 - p);
  Quad low = -40, high = 0;
  for (int i = 0; i < 60; ++i) {
    const Quad middle = (low + high) / 2;
    (cdf_derivative(0, middle) < p ? low : high) = middle;
  }
  for (int i = 0; i < 4; ++i) low -= (cdf_derivative(0, low) - p) / pdf_derivative(0, low);
  return low;
}
Quad quantile_derivative(int k, Quad p) {
  const Quad q = quantile(p), r = 1 / pdf_derivative(0, q);
  switch (k) {
    case 0: return q;
    case 1: return r;
    case 2: return q * r * r;
    case 3: return (1 + 2 * q * q) * r * r * r;
    default: return q * (7 + 6 * q * q) * r * r * r * r;
  }
}

// c·x^p differentiated k times.
Quad monomial(int k, Quad x, Quad p) {
  Quad c = 1;
  for (int i = 0; i < k; ++i) c *= p - i;
  return c == 0 ? 0 : c * powq(x, p - k);
}
Quad log_derivative(int k, Quad x) { return k == 0 ? logq(x) : monomial(k - 1, x, -1); }
Quad sin_derivative(int k, Quad x) {
  return k % 4 == 0 ? sinq(x) : k % 4 == 1 ? cosq(x) : k % 4 == 2 ? -sinq(x) : -cosq(x);
}

}  // namespace

Quad power_derivative(int k, int j, Quad x, Quad y) {
  // Falling factorial y(y − 1)…(y − k + 1) and its first two derivatives in y.
  Quad c = 1, c1 = 0, c2 = 0;
  for (int i = 0; i < k; ++i) {
    c2 = c2 * (y - i) + 2 * c1;
    c1 = c1 * (y - i) + c;
    c *= y - i;
  }
  const Quad l = logq(x), p = powq(x, y - k);
  return p * (j == 0 ? c : j == 1 ? c1 + c * l : c2 + 2 * c1 * l + c * l * l);
}

std::vector<ScannedFunction> scanned_functions() {
  const double inf = kInf;
  return {
      {"exp", exp, [](int, Quad x) { return expq(x); }},
      {"expm1", expm1, [](int k, Quad x) { return k == 0 ? expm1q(x) : expq(x); }},
      {"log", log, log_derivative, 0, inf},
      {"log1p", log1p, [](int k, Quad x) { return k == 0 ? log1pq(x) : log_derivative(k, 1 + x); }, -1, inf},
      {"sin", sin, sin_derivative, -1e15, 1e15},
      {"cos", cos, [](int k, Quad x) { return sin_derivative(k + 1, x); }, -1e15, 1e15},
      {"tanh", tanh, tanh_derivative},
      {"sqrt", sqrt, [](int k, Quad x) { return monomial(k, x, 0.5); }, 0, inf},
      {"square", square, [](int k, Quad x) { return monomial(k, x, 2); }},
      {"reciprocal",
       [](const Tensor& x) { return 1.0 / x; },
       [](int k, Quad x) { return monomial(k, x, -1); },
       -inf,
       inf,
       {0}},
      {"x^3", [](const Tensor& x) { return pow(x, 3.0); }, [](int k, Quad x) { return monomial(k, x, 3); }},
      {"x^2.5", [](const Tensor& x) { return pow(x, 2.5); }, [](int k, Quad x) { return monomial(k, x, 2.5); }, 0, inf},
      {"x^-1.5", [](const Tensor& x) { return pow(x, -1.5); }, [](int k, Quad x) { return monomial(k, x, -1.5); }, 0,
       inf},
      {"erf", erf, erf_derivative},
      {"erfc", erfc, [](int k, Quad x) { return k == 0 ? erfcq(x) : -erf_derivative(k, x); }},
      {"erfcx", erfcx, erfcx_derivative},
      {"normal_cdf", normal_cdf, cdf_derivative},
      {"normal_pdf", normal_pdf, pdf_derivative},
      {"normal_quantile",
       normal_quantile,
       quantile_derivative,
       0,
       1,
       {},
       [](double p) { return 1 + static_cast<double>(quantile(p) * quantile(p)); }},
      {"sigmoid", sigmoid, sigmoid_derivative},
      {"logistic_pdf", logistic_pdf,
       [](int k, Quad x) { return k < 4 ? sigmoid_derivative(k + 1, x) : fabsq(sigmoid_derivative(1, x)); }},
      {"softplus", softplus, softplus_derivative},
      {"log_sigmoid", log_sigmoid, [](int k, Quad x) { return (k % 2 == 0 ? -1 : 1) * softplus_derivative(k, -x); }},
      {"silu", silu, silu_derivative},
      {"elu",
       elu,
       [](int k, Quad x) { return x > 0    ? Quad(k == 0 ? x : k == 1)
                                  : k == 0 ? expm1q(x)
                                           : expq(x); },
       -inf,
       inf,
       {0}},
      {"gelu", gelu, gelu_derivative},
      {"relu", relu, [](int k, Quad x) { return x > 0 ? Quad(k == 0 ? x : k == 1) : 0; }, -inf, inf, {0}},
      {"leaky_relu",
       [](const Tensor& x) { return leaky_relu(x, 0.25); },
       [](int k, Quad x) { return (k == 0 ? x : k == 1) * (x > 0 ? 1 : 0.25); },
       -inf,
       inf,
       {0}},
      {"abs", abs, [](int k, Quad x) { return k == 0   ? fabsq(x)
                                              : k == 1 ? (x > 0 ? 1 : -1)
                                                       : 0; }, -inf, inf, {0}},
  };
}

}  // namespace mollify::op_table

#endif
