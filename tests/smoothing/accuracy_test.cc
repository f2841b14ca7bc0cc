// Errors of the smoothed operations in units of the bounds that smoothing/ops.h states, in both dtypes and on every
// SIMD target, against their formulas in __float128 (long double where the compiler lacks that).
#include <mollify/engine/grad.h>
#include <mollify/smoothing/ops.h>

#include <gtest/gtest.h>
#include <hwy/targets.h>
#if __has_include(<quadmath.h>)
#include <quadmath.h>
#endif

#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>

namespace mollify::smoothing {
namespace {

#if __has_include(<quadmath.h>)
using Real = __float128;
Real r_exp(Real x) { return expq(x); }
Real r_erfc(Real x) { return erfcq(x); }
Real r_sqrt(Real x) { return sqrtq(x); }
#else
using Real = long double;
Real r_exp(Real x) { return std::exp(x); }
Real r_erfc(Real x) { return std::erfc(x); }
Real r_sqrt(Real x) { return std::sqrt(x); }
#endif
Real r_abs(Real x) { return x < 0 ? -x : x; }

const Real kRoot2 = r_sqrt(2), kRoot2Pi = r_sqrt(2 * Real(3.14159265358979323846264338327950288L));

Real density(Real a) { return r_exp(-a * a / 2) / kRoot2Pi; }
Real cdf(Real a) { return r_erfc(-a / kRoot2) / 2; }
Real relu_reference(Real x, Real s) { return x * cdf(x / s) + s * density(x / s); }
// Φ(−q)/φ(q): the continued fraction of Laplace for large q.
Real mills(Real q) {
  if (q < 8) return cdf(-q) / density(q);
  Real c = q;
  for (int k = 80; k >= 1; --k) c = q + k / c;
  return 1 / c;
}
Real below_reference(Real x, Real s) {
  const Real a = x / s, q = a + s;
  return q > 0 ? density(a) * mills(q) : r_exp(x + s * s / 2) * cdf(-q);
}
Real ramp_reference(Real x, Real s, Real low, Real high) {
  return relu_reference(x - low, s) - relu_reference(x - high, s);
}
Real gelu_reference(Real x, Real s) {
  const Real q = r_sqrt(1 + s * s);
  return relu_reference(x, q) - density(x / q) / q;
}

using Reference = std::function<Real(Real, Real)>;
using Function = std::function<Tensor(const Tensor&, const Tensor&)>;

// Central differences in `Real`, exact to about 1e-16.
Reference x_derivative(const Reference& f) {
  return [f](Real x, Real s) {
    const Real h = s * Real(1e-7);
    return (8 * (f(x + h, s) - f(x - h, s)) - (f(x + 2 * h, s) - f(x - 2 * h, s))) / (12 * h);
  };
}
Reference s_derivative(const Reference& f) {
  return [f](Real x, Real s) {
    const Real h = s * Real(1e-7);
    return (8 * (f(x, s + h) - f(x, s - h)) - (f(x, s + 2 * h) - f(x, s - 2 * h))) / (12 * h);
  };
}

// The allowed error at (x, s) of the value `want`, in units of ε.
using Bound = std::function<Real(Real x, Real s, Real want)>;
Real relative(Real x, Real s, Real want) { return 16 * (1 + x * x / (s * s)) * r_abs(want); }
Bound absolute(const Reference& f) {
  return [dx = x_derivative(f), ds = s_derivative(f)](Real x, Real s, Real want) {
    return 8 * (1 + r_abs(want) + r_abs(x * dx(x, s)) + r_abs(s * ds(x, s)));
  };
}

template <class T>
class Grid {
 public:
  explicit Grid(double kink) {
    for (double s : {1e-4, 3e-3, 0.02, 0.3, 1.0, 2.0, 7.0, 100.0, 1e3}) {
      for (double a = -30; a <= 30; a += 0.31) add(static_cast<T>(kink + a * s), static_cast<T>(s));
      for (double a : {0.0, 1e-3, -1e-3, 1e-9, -1e-9}) add(static_cast<T>(kink + a * s), static_cast<T>(s));
    }
  }

  void check(const char* name, const Function& f, const Reference& reference, const Bound& bound) const {
    using Limits = std::numeric_limits<T>;
    const Shape shape{static_cast<int64_t>(xs_.size())};
    const Tensor x = variable(Tensor::from(xs_, shape)), s = variable(Tensor::from(ss_, shape));
    std::vector<Real> want(xs_.size()), allowed(xs_.size());
    for (size_t i = 0; i < xs_.size(); ++i) {
      want[i] = reference(xs_[i], ss_[i]);
      allowed[i] = bound(xs_[i], ss_[i], want[i]) * Limits::epsilon();
    }
    for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
      hwy::SetSupportedTargetsForTest(target);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      const std::vector<T> got = f(x, s).detach().template to_vector<T>();
      double worst = 0;
      size_t where = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        const Real least =
            r_abs(want[i]) < Limits::min() ? Limits::min() : 0;  // only normal numbers have a relative accuracy
        if (r_abs(want[i]) > Limits::max()) {
          EXPECT_TRUE(std::isinf(got[i])) << name << " at " << xs_[i] << ", " << ss_[i];
          continue;
        }
        if (Real(got[i]) == want[i]) continue;
        double error = static_cast<double>(r_abs(got[i] - want[i]) / (allowed[i] + least));
        if (std::isnan(got[i])) error = std::numeric_limits<double>::infinity();
        if (error > worst) worst = error, where = i;
      }
      const char* dtype = sizeof(T) == 4 ? "f32" : "f64";
      std::printf("%-22s %s %-7s %7.3f of the bound at x = %.9g, s = %g\n", name, dtype, hwy::TargetName(target), worst,
                  static_cast<double>(xs_[where]), static_cast<double>(ss_[where]));
      EXPECT_LE(worst, 1) << name << " " << dtype << " at " << xs_[where] << ", " << ss_[where] << ": " << got[where]
                          << " against " << static_cast<double>(want[where]);
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }

 private:
  void add(T x, T s) {
    xs_.push_back(x);
    ss_.push_back(s);
  }
  std::vector<T> xs_, ss_;
};

Function x_gradient(const Function& f) {
  return [f](const Tensor& x, const Tensor& s) {
    const Tensor y = f(x, s);
    return vjp_of({y}, {ones_like(y)}, {x}, false)[0];
  };
}
Function s_gradient(const Function& f) {
  return [f](const Tensor& x, const Tensor& s) {
    const Tensor y = f(x, s);
    return vjp_of({y}, {ones_like(y)}, {s}, false)[0];
  };
}

void check_relative(const char* name, const Function& f, const Reference& reference) {
  Grid<float>(0).check(name, f, reference, relative);
  Grid<double>(0).check(name, f, reference, relative);
}

// The value and both first derivatives.
void check_absolute(const char* name, const Function& f, const Reference& reference, double kink = 0) {
  const Reference dx = x_derivative(reference), ds = s_derivative(reference);
  const auto on = [&](const auto& grid) {
    grid.check(name, f, reference, absolute(reference));
    grid.check((std::string(name) + " d/dx").c_str(), x_gradient(f), dx, absolute(dx));
    grid.check((std::string(name) + " d/ds").c_str(), s_gradient(f), ds, absolute(ds));
  };
  on(Grid<float>(kink));
  on(Grid<double>(kink));
}

Function derivative_of_relu(int n) {
  return [n](const Tensor& x, const Tensor& s) { return relu_smoothed(x, s, n); };
}

TEST(Accuracy, Relu) {
  check_relative("relu", derivative_of_relu(0), relu_reference);
  check_relative("relu d/dx", x_gradient(derivative_of_relu(0)), [](Real x, Real s) { return cdf(x / s); });
  check_relative("relu d/ds", s_gradient(derivative_of_relu(0)), [](Real x, Real s) { return density(x / s); });
}

TEST(Accuracy, ReluAntiderivative) {
  const Reference reference = [](Real x, Real s) {
    return ((x * x + s * s) * cdf(x / s) + x * s * density(x / s)) / 2;
  };
  check_relative("antiderivative", derivative_of_relu(-1), reference);
  check_relative("antiderivative d/dx", x_gradient(derivative_of_relu(-1)), relu_reference);
  check_relative("antiderivative d/ds", s_gradient(derivative_of_relu(-1)),
                 [](Real x, Real s) { return s * cdf(x / s); });
}

TEST(Accuracy, ReluDerivatives) {
  check_relative("step", derivative_of_relu(1), [](Real x, Real s) { return cdf(x / s); });
  check_relative("density", derivative_of_relu(2), [](Real x, Real s) { return density(x / s) / s; });
  check_relative("third derivative", derivative_of_relu(3),
                 [](Real x, Real s) { return -x / s * density(x / s) / (s * s); });
  const Reference largest_term = [](Real x, Real s) {
    return (r_abs(x * x * x / (s * s * s)) + r_abs(3 * x / s)) * density(x / s) / (s * s * s * s);
  };
  const Bound bound = [&](Real x, Real s, Real) { return relative(x, s, largest_term(x, s)); };
  const Reference fifth = [](Real x, Real s) {
    return -(x / s * x / s - 3) * (x / s) * density(x / s) / (s * s * s * s);
  };
  Grid<float>(0).check("fifth derivative", derivative_of_relu(5), fifth, bound);
  Grid<double>(0).check("fifth derivative", derivative_of_relu(5), fifth, bound);
}

TEST(Accuracy, SignAndAbs) {
  check_relative("sign", sign_smoothed, [](Real x, Real s) {
    const Real a = x / s;
    if (r_abs(a) > Real(0.01)) return 1 - 2 * cdf(-a);
    return 2 * a / kRoot2Pi *
           (1 - a * a / 6 + a * a * a * a / 40 - a * a * a * a * a * a / 336 + a * a * a * a * a * a * a * a / 3456);
  });
  check_relative("abs", abs_smoothed,
                 [](Real x, Real s) { return x * (1 - 2 * cdf(-x / s)) + 2 * s * density(x / s); });
  check_relative("abs d/ds", s_gradient(abs_smoothed), [](Real x, Real s) { return 2 * density(x / s); });
}

TEST(Accuracy, ReluMoments) {
  check_relative("moments: mean", [](auto& x, auto& s) { return relu_moments(x, s).mean; }, relu_reference);
  const auto variance = [](const Tensor& x, const Tensor& s) { return relu_moments(x, s).variance; };
  check_relative("variance", variance, [](Real x, Real s) {
    const Real b = r_abs(x / s), r = relu_reference(-b, 1), left = (1 + b * b) * cdf(-b) - b * density(b);
    return s * s * (x < 0 ? left - r * r : 1 - left - 2 * b * r - r * r);
  });
  check_relative("variance d/dx", x_gradient(variance),
                 [](Real x, Real s) { return 2 * relu_reference(x, s) * cdf(-x / s); });
  check_relative("variance d/ds", s_gradient(variance),
                 [](Real x, Real s) { return 2 * (s * cdf(x / s) - relu_reference(x, s) * density(x / s)); });
}

void check_interval(double low, double high) {
  const Reference ramp = [=](Real x, Real s) { return ramp_reference(x, s, low, high); };
  const Reference clip = [=](Real x, Real s) { return low + ramp(x, s); };
  for (double kink : {low, high}) {
    check_absolute("ramp", [=](auto& x, auto& s) { return ramp_smoothed(x, s, low, high); }, ramp, kink);
    check_absolute("clip", [=](auto& x, auto& s) { return clip_smoothed(x, s, low, high); }, clip, kink);
  }
}

TEST(Accuracy, RampAndClip) {
  check_interval(0, 6);
  check_interval(-1, 1);
  check_interval(-0.125, 0.0625);
}

TEST(Accuracy, Elu) {
  check_absolute("elu", elu_smoothed,
                 [](Real x, Real s) { return relu_reference(x, s) + below_reference(x, s) - cdf(-x / s); });
  check_absolute("exp_below", exp_below_smoothed, below_reference);
}

TEST(Accuracy, Gelu) { check_absolute("gelu", gelu_smoothed, gelu_reference); }

TEST(Accuracy, Max) {
  const double y = 0.75;
  const Function f = [=](const Tensor& x, const Tensor& theta) {
    return max_smoothed(x, Tensor::scalar(y, x.dtype()), theta);
  };
  const Reference reference = [=](Real x, Real theta) { return y + relu_reference(x - y, theta); };
  check_absolute("max", f, reference, y);
}

TEST(Accuracy, OwensT) {
  // By Boole's rule, error about (a/400)⁶.
  const Reference reference = [](Real h, Real a) {
    const int panels = 400;
    const Real width = a / panels;
    const auto f = [&](Real t) { return r_exp(-h * h * (1 + t * t) / 2) / (1 + t * t); };
    Real sum = 0;
    for (int i = 0; i < panels; ++i) {
      const Real t = i * width;
      sum += (7 * f(t) + 32 * f(t + width / 4) + 12 * f(t + width / 2) + 32 * f(t + 3 * width / 4) + 7 * f(t + width)) *
             width / 90;
    }
    return sum / (kRoot2Pi * kRoot2Pi);
  };
  const auto check = [&](auto zero) {
    using T = decltype(zero);
    double worst = 0;
    for (double h : {0.0, 0.1, 0.7, 1.5, 3.0, 6.0, -2.0, 10.0})
      for (double a : {0.0, 0.03, 0.25, 0.5, 0.9, 1.0, -0.6}) {
        const Real want = reference(static_cast<T>(h), static_cast<T>(a));
        const double got = owens_t(Tensor::scalar(h, dtype_of<T>), Tensor::scalar(a, dtype_of<T>)).item();
        if (Real(got) == want) continue;
        worst =
            std::max(worst, static_cast<double>(r_abs(got - want) /
                                                (8 * (1 + h * h) * std::numeric_limits<T>::epsilon() * r_abs(want))));
      }
    std::printf("owens_t %s %.3f of the bound\n", to_string(dtype_of<T>), worst);
    EXPECT_LE(worst, 1);
  };
  check(float());
  check(double());
}

}  // namespace
}  // namespace mollify::smoothing
