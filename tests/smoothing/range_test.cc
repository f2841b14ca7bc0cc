// Closed forms over the whole range of the dtype: every binade of s, x from far below to far above it, and the
// variances for small s.
#include "../accuracy_table.h"

#include <mollify/engine/grad.h>
#include <mollify/smoothing/activations.h>

#include <gtest/gtest.h>
#if __has_include(<quadmath.h>)
#include <quadmath.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>

namespace mollify::smoothing {
namespace {

using Quad = __float128;
using Function = std::function<Tensor(const Tensor& x, const Tensor& s)>;
using Reference = std::function<Quad(Quad x, Quad s)>;

const Quad kRoot2 = sqrtq(2), kRoot2Pi = sqrtq(2 * acosq(-1));
constexpr double kInf = std::numeric_limits<double>::infinity();

Quad density(Quad a) { return fabsq(a) > 200 ? 0 : expq(-a * a / 2) / kRoot2Pi; }
Quad cdf(Quad a) { return erfcq(-a / kRoot2) / 2; }
// e^{a²/2}Φ(−a)√(2π), by Laplace's continued fraction at the right.
Quad mills(Quad a) {
  if (a < 8) return cdf(-a) / density(a);
  Quad c = a;
  for (int k = 100; k >= 1; --k) c = a + k / c;
  return 1 / c;
}
Quad root_of_one_and(Quad t) { return fabsq(t) > powq(10, 20) ? fabsq(t) : sqrtq(1 + t * t); }

// relu_s and its derivatives in x, of order 0 to 5.
Quad relu(Quad x, Quad s, int n = 0) {
  const Quad a = x / s, p = density(a);
  switch (n) {
    case 0: return a > 8 ? x + relu(-x, s) : a < -8 ? s * p * (1 + a * mills(-a)) : x * cdf(a) + s * p;
    case 1: return cdf(a);
    case 2: return p / s;
    case 3: return -a * p / s / s;
    case 4: return (a * a - 1) * p / s / s / s;
    default: return -(a * a - 3) * a * p / s / s / s / s;
  }
}
Quad below(Quad x, Quad s) {
  const Quad a = x / s, q = a + s;
  return q > 0 ? density(a) * mills(q) : expq(x + s * s / 2) * cdf(-q);
}

struct Rule { std::vector<Quad> nodes, weights; };
// Gauss–Legendre on [−1, 1] with 10 points, refined to 113 bits by Newton's method on P₁₀.
const Rule& legendre_rule() {
  static const Rule rule = [] {
    Rule made;
    for (const double start :
         {0.97390652851717172, 0.86506336668898451, 0.67940956829902441, 0.43339539412924719, 0.14887433898163122}) {
      Quad t = start, slope = 0;
      for (int i = 0; i < 3; ++i) {
        Quad before = 1, now = t;
        for (int k = 2; k <= 10; ++k) before = std::exchange(now, ((2 * k - 1) * t * now - (k - 1) * before) / k);
        slope = 10 * (t * now - before) / (t * t - 1);
        t -= now / slope;
      }
      for (const Quad node : {t, -t}) {
        made.nodes.push_back(node);
        made.weights.push_back(2 / ((1 - t * t) * slope * slope));
      }
    }
    return made;
  }();
  return rule;
}

// A function with what its bound needs: its value, ∂/∂x and ∂/∂s, and the scale of the error of each, in ε.
struct Subject {
  const char* name;
  Function f;
  Reference value, dx, ds;
  Reference value_scale, dx_scale, ds_scale;
};

// Relative with 16(1 + a²), as smoothing/ops.h says.
Reference relative(const Reference& f) {
  return [f](Quad x, Quad s) { return 16 * (1 + x / s * (x / s)) * fabsq(f(x, s)); };
}
// 8(1 + |f| + |x f_x| + |s f_s|); of a derivative in units of what bounds it, `unit`.
Reference absolute(const Reference& f, const Reference& of_x, const Reference& of_s, const Reference& unit) {
  return
      [=](Quad x, Quad s) { return 8 * (unit(x, s) + fabsq(f(x, s)) + fabsq(x * of_x(x, s)) + fabsq(s * of_s(x, s))); };
}
Quad one(Quad, Quad) { return 1; }

std::vector<Subject> subjects() {
  std::vector<Subject> all;
  const auto relative_one = [&](const char* name, Function f, Reference value, Reference dx, Reference ds) {
    all.push_back({name, std::move(f), value, dx, ds, relative(value), relative(dx), relative(ds)});
  };
  relative_one("relu", [](auto& x, auto& s) { return relu_smoothed(x, s); }, [](Quad x, Quad s) { return relu(x, s); },
               [](Quad x, Quad s) { return relu(x, s, 1); }, [](Quad x, Quad s) { return density(x / s); });
  relative_one("abs", abs_smoothed, [](Quad x, Quad s) { return fabsq(x) + 2 * relu(-fabsq(x), s); },
               [](Quad x, Quad s) { return erfq(x / s / kRoot2); }, [](Quad x, Quad s) { return 2 * density(x / s); });
  relative_one(
      "step", step_smoothed, [](Quad x, Quad s) { return cdf(x / s); },
      [](Quad x, Quad s) { return density(x / s) / s; }, [](Quad x, Quad s) { return -x / s * density(x / s) / s; });
  // Of order two in x and mixed, to the size of their largest term.
  all.push_back(
      {"density", [](auto& x, auto& s) { return relu_smoothed(x, s, 2); }, [](Quad x, Quad s) { return relu(x, s, 2); },
       [](Quad x, Quad s) { return relu(x, s, 3); }, [](Quad x, Quad s) { return s * relu(x, s, 4); },
       relative([](Quad x, Quad s) { return relu(x, s, 2); }), relative([](Quad x, Quad s) { return relu(x, s, 3); }),
       relative([](Quad x, Quad s) { return (1 + x / s * (x / s)) * density(x / s) / s / s; })});
  all.push_back({"φ(x/s)", [](auto& x, auto& s) { return vjp_of({relu_smoothed(x, s)}, {ones_like(x)}, {s}, true)[0]; },
                 [](Quad x, Quad s) { return density(x / s); },
                 [](Quad x, Quad s) { return -x / s * density(x / s) / s; },
                 [](Quad x, Quad s) { return x / s * (x / s) * density(x / s) / s; },
                 relative([](Quad x, Quad s) { return density(x / s); }),
                 relative([](Quad x, Quad s) { return x / s * density(x / s) / s; }),
                 relative([](Quad x, Quad s) { return (1 + x / s * (x / s)) * density(x / s) / s; })});
  const auto add = [&](const char* name, Function f, Reference value, Reference dx, Reference ds, Reference dxx,
                       Reference dxs, Reference dss, Reference unit = one, Reference slope_unit = one) {
    all.push_back({name, std::move(f), value, dx, ds, absolute(value, dx, ds, unit), absolute(dx, dxx, dxs, slope_unit),
                   absolute(ds, dxs, dss, slope_unit)});
  };
  const auto elu = [](int n) -> Reference {  // derivatives in x
    return [n](Quad x, Quad s) {
      const Quad b = below(x, s);
      return n == 0   ? relu(x, s) + b - cdf(-x / s)
             : n == 1 ? cdf(x / s) + b
             : n == 2 ? b
             : n == 3 ? b - relu(x, s, 2)
                      : b - relu(x, s, 2) - relu(x, s, 3);
    };
  };
  add(
      "elu", elu_smoothed, elu(0), elu(1), [=](Quad x, Quad s) { return s * elu(2)(x, s); }, elu(2),
      [=](Quad x, Quad s) { return s * elu(3)(x, s); },
      [=](Quad x, Quad s) { return elu(2)(x, s) + s * s * elu(4)(x, s); });
  const auto gelu = [](int n) -> Reference {
    return [n](Quad x, Quad s) {
      const Quad q = root_of_one_and(s), r = x / q, p = density(r);
      switch (n) {
        case 0: return relu(x, q) - p / q;
        case 1: return cdf(r) + r * p / q / q;
        case 2: return p / q * (1 + (1 - r * r) / q / q);
        case 3: return p / q / q * (-r + (r * r * r - 3 * r) / q / q);
        default: return p / q / q / q * (r * r - 1 + (-r * r * r * r + 6 * r * r - 3) / q / q);
      }
    };
  };
  add(
      "gelu", gelu_smoothed, gelu(0), gelu(1), [=](Quad x, Quad s) { return s * gelu(2)(x, s); }, gelu(2),
      [=](Quad x, Quad s) { return s * gelu(3)(x, s); },
      [=](Quad x, Quad s) { return gelu(2)(x, s) + s * s * gelu(4)(x, s); });
  const auto clip = [](double low, double high, int n) -> Reference {
    return [=](Quad x, Quad s) {
      const Quad a = x - low, b = x - high;
      if (n > 0) return relu(a, s, n) - relu(b, s, n);
      if (Quad(high) - low < s / 4) {  // the difference would lose its digits
        Quad mean = 0;
        for (size_t i = 0; i < legendre_rule().nodes.size(); ++i)
          mean += legendre_rule().weights[i] / 2 *
                  erfq(((a + b) / 2 + (Quad(high) - low) / 2 * legendre_rule().nodes[i]) / s / kRoot2);
        return (Quad(low) + high) / 2 + (Quad(high) - low) / 2 * mean;
      }
      const Quad clipped = x < low ? Quad(low) : x > high ? Quad(high) : x;
      return clipped + relu(-fabsq(a), s) - relu(-fabsq(b), s);
    };
  };
  for (const auto& [name, low, high] :
       {std::tuple{"clip [-1, 1]", -1.0, 1.0}, {"clip [-1e30, 1e30]", -0x1p100, 0x1p100}})
    add(
        name, [low = low, high = high](auto& x, auto& s) { return clip_smoothed(x, s, low, high); }, clip(low, high, 0),
        clip(low, high, 1), [=, low = low, high = high](Quad x, Quad s) { return s * clip(low, high, 2)(x, s); },
        clip(low, high, 2), [=, low = low, high = high](Quad x, Quad s) { return s * clip(low, high, 3)(x, s); },
        [=, low = low, high = high](Quad x, Quad s) {
          return clip(low, high, 2)(x, s) + s * s * clip(low, high, 4)(x, s);
        },
        [low = low, high = high](Quad, Quad s) {
          return 16 * s > Quad(high) - low ? 1 + fabsq(low) + fabsq(high) : 1;
        });
  const auto erf_of = [](int n) -> Reference {  // of 1.5 x: 2Φ(ux) − 1 with u = 1/√(s² + 2/9)
    return [n](Quad x, Quad s) {
      const Quad w = kRoot2 / 3 * root_of_one_and(s * 3 / kRoot2);
      return n == 0 ? erfq(x / w / kRoot2) : 2 * relu(x, w, n + 1);
    };
  };
  add(
      "erf", [](auto& x, auto& s) { return erf_smoothed(x, s, 1.5); }, erf_of(0), erf_of(1),
      [=](Quad x, Quad s) { return s * erf_of(2)(x, s); }, erf_of(2),
      [=](Quad x, Quad s) { return s * erf_of(3)(x, s); },
      [=](Quad x, Quad s) { return erf_of(2)(x, s) + s * s * erf_of(4)(x, s); });
  const auto gaussian = [](int n) -> Reference {  // of exp(−x²/2): √(2π)·N(0, 1 + s²)
    return [n](Quad x, Quad s) { return kRoot2Pi * relu(x, root_of_one_and(s), n + 2); };
  };
  add(
      "gaussian", [](auto& x, auto& s) { return gaussian_smoothed(x, s, 0.5); }, gaussian(0), gaussian(1),
      [=](Quad x, Quad s) { return s * gaussian(2)(x, s); }, gaussian(2),
      [=](Quad x, Quad s) { return s * gaussian(3)(x, s); }, [=](Quad x, Quad s) { return 12 * gaussian(2)(x, s); });
  const auto cube = [](Quad x, Quad s) { return x * x * x + 3 * x * s * s; };
  const auto cube_dx = [](Quad x, Quad s) { return 3 * x * x + 3 * s * s; };
  const auto cube_ds = [](Quad x, Quad s) { return 6 * x * s; };
  add(
      "cube", [](auto& x, auto& s) { return power_smoothed(x, s, 3); }, cube, cube_dx, cube_ds,
      [](Quad x, Quad) { return 6 * x; }, [](Quad, Quad s) { return 6 * s; }, [](Quad x, Quad) { return 6 * x; });
  return all;
}

template <class T>
class Points {
 public:
  Points() {
    std::mt19937_64 random(3);
    std::uniform_real_distribution<double> mantissa(1, 2), distance(-45, 45), near(-6, 6);
    const int binades = sizeof(T) == 4 ? 126 : 1021;
    for (int e = -binades; e <= binades; e += sizeof(T) == 4 ? 1 : 5)
      for (int i = 0; i < 12; ++i) {
        const double s = std::ldexp(mantissa(random), e);
        const int kind = i % 4;
        add(kind == 0   ? s * near(random)
            : kind == 1 ? s * distance(random)
            : kind == 2 ? near(random)
                        : std::ldexp(mantissa(random), static_cast<int>(random() % (2 * binades)) - binades),
            s);
      }
  }

  void check(const Subject& subject) const {
    const Shape shape{static_cast<int64_t>(x_.size())};
    const Tensor x = variable(Tensor::from(x_, shape)), s = variable(Tensor::from(s_, shape));
    const Tensor y = subject.f(x, s);
    const Tensors g = vjp_of({y}, {ones_like(y)}, {x, s}, false);
    compare(subject.name, "0", y.detach().template to_vector<T>(), subject.value, subject.value_scale);
    compare(subject.name, "x", g[0].template to_vector<T>(), subject.dx, subject.dx_scale);
    compare(subject.name, "s", g[1].template to_vector<T>(), subject.ds, subject.ds_scale);
  }

 private:
  void add(double x, double s) {
    const bool normal = s <= std::numeric_limits<T>::max() / 16 && std::abs(x) <= std::numeric_limits<T>::max() / 16 &&
                        (x == 0 || std::abs(x) >= std::numeric_limits<T>::min());
    if (!normal) return;
    x_.push_back(static_cast<T>(x));
    s_.push_back(static_cast<T>(s));
  }

  void compare(const char* name, const char* derivative, const std::vector<T>& got, const Reference& reference,
               const Reference& scale) const {
    using Limits = std::numeric_limits<T>;
    double worst = 0;
    size_t where = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const Quad want = reference(x_[i], s_[i]), most = Limits::max();
      double error;
      if (fabsq(want) > most / 16 && (std::isinf(got[i]) || fabsq(want) > most))
        error = (got[i] > 0) == (want > 0) && std::abs(got[i]) > Limits::max() / 32 ? 0 : kInf;
      else
        error = static_cast<double>(fabsq(Quad(got[i]) - want) /
                                    (scale(x_[i], s_[i]) * Quad(Limits::epsilon()) + 64 * Quad(Limits::min())));
      if (std::isnan(got[i])) error = kInf;
      if (error > worst) worst = error, where = i;
    }
    accuracy_table().add(std::string(name) + "_smoothed", derivative, dtype_of<T>, "all", worst,
                         static_cast<double>(s_[where]));
    EXPECT_LE(worst, 1) << name << ", derivative in " << derivative << ", " << to_string(dtype_of<T>)
                        << " at x = " << x_[where] << ", s = " << s_[where] << ": " << got[where] << " for "
                        << static_cast<double>(reference(x_[where], s_[where]));
  }

  std::vector<T> x_, s_;
};

TEST(Range, ClosedFormsHoldForEveryScale) {
  for (const Subject& subject : subjects()) {
    Points<float>().check(subject);
    Points<double>().check(subject);
  }
}

// What stands in the other lanes of a vector changes nothing.
TEST(Range, NumbersDoNotDependOnTheirNeighbours) {
  std::mt19937_64 random(5);
  std::uniform_real_distribution<double> exponent(-60, 60), distance(-20, 20);
  std::vector<float> x, s;
  for (int i = 0; i < 2000; ++i) {
    s.push_back(static_cast<float>(std::exp2(i % 3 == 0 ? exponent(random) : exponent(random) / 20)));
    x.push_back(s.back() * static_cast<float>(distance(random)));
  }
  const Shape all{2000};
  for (const Subject& subject : subjects()) {
    const std::vector<float> together =
        subject.f(variable(Tensor::from(x, all)), variable(Tensor::from(s, all))).detach().to_vector<float>();
    for (size_t i = 0; i < x.size(); i += 7) {
      const Tensor one = subject
                             .f(variable(Tensor::from(std::vector<float>{x[i]}, {1})),
                                variable(Tensor::from(std::vector<float>{s[i]}, {1})))
                             .detach();
      EXPECT_EQ(one.item(), together[i]) << subject.name << " at " << x[i] << ", " << s[i];
    }
  }
}

// ---- Variances

struct Varied {
  const char* name;
  std::function<Quad(Quad)> h;
  std::vector<double> kinks, numbers;
};

// Var h(x + s z) about h(x), by Gauss–Legendre in panels that end at the kinks.
Quad variance_of(const Varied& v, Quad x, Quad s) {
  const auto& [nodes, weights] = legendre_rule();
  std::vector<Quad> cuts;
  const int panels = std::max(2, static_cast<int>(s));  // of each deviation: one where h changes
  for (int i = -12 * panels; i <= 12 * panels; ++i) cuts.push_back(Quad(i) / panels);
  for (const double kink : v.kinks)
    if (fabsq((kink - x) / s) < 12) cuts.push_back((kink - x) / s);
  std::sort(cuts.begin(), cuts.end());
  const Quad centre = v.h(x);
  Quad mean = 0, square = 0;
  for (size_t i = 0; i + 1 < cuts.size(); ++i)
    for (size_t k = 0; k < nodes.size(); ++k) {
      const Quad z = (cuts[i] + cuts[i + 1]) / 2 + nodes[k] * (cuts[i + 1] - cuts[i]) / 2, d = v.h(x + s * z) - centre;
      const Quad weight = weights[k] * (cuts[i + 1] - cuts[i]) / 2 * density(z);
      mean += weight * d;
      square += weight * d * d;
    }
  return square - mean * mean;
}

TEST(Range, VariancesAreRightToTheSquareOfTheScale) {
  const std::vector<Varied> all = {
      {"relu", [](Quad x) { return x > 0 ? x : 0; }, {0}, {}},
      {"leaky_relu", [](Quad x) { return x > 0 ? x : x / 8; }, {0}, {0.125}},
      {"abs", [](Quad x) { return fabsq(x); }, {0}, {}},
      {"clip", [](Quad x) { return x < -1 ? Quad(-1) : x > 1.5 ? Quad(1.5) : x; }, {-1, 1.5}, {-1, 1.5}},
      {"elu", [](Quad x) { return x > 0 ? x : expm1q(x); }, {0}, {}},
      {"gelu", [](Quad x) { return x * cdf(x); }, {}, {}},
      {"erf", [](Quad x) { return erfq(x); }, {}, {}},
      {"sin", [](Quad x) { return sinq(x); }, {}, {}},
      {"cos", [](Quad x) { return cosq(x); }, {}, {}},
  };
  for (const Varied& v : all) {
    const Activation& row = *find_activation(v.name);
    for (const DType dtype : {DType::f32, DType::f64}) {
      double worst = 0, worst_s = 0, worst_x = 0;
      const auto number = [&](double value) { return Tensor::scalar(value, dtype); };
      for (const double given : {1e-6, 1e-4, 1e-3, 0.01, 0.1, 0.3, 0.7, 0.99, 1.0, 1.5, 3.0, 10.0, 100.0})
        for (const double a : {-9.0, -4.0, -1.5, -0.3, 0.0, 0.5, 2.0, 6.0, 30.0})
          for (const bool near : {true, false}) {
            const double s = number(given).item(), x = number(near ? a * given : a / 3).item();
            Tensors in(1 + v.numbers.size());
            in[0] = number(x);
            for (size_t i = 0; i < v.numbers.size(); ++i) in[i + 1] = number(v.numbers[i]);
            const double got = moments_of(row, in, {}, number(s)).variance.item();
            const Quad want = variance_of(v, x, s), unit = Quad(s) * s + fabsq(Quad(x) * s) +
                                                           want * (x / s * (x / s));  // and of the rounding of x/s
            const double error = std::isnan(got)
                                     ? kInf
                                     : static_cast<double>(fabsq(Quad(got) - want) /
                                                           (unit * Quad(dtype == DType::f32 ? 0x1p-23 : 0x1p-52)));
            if (error > worst) worst = error, worst_s = s, worst_x = x;
          }
      accuracy_table().add(std::string(v.name) + " variance", "0", dtype, "s from 1e-6 to 100", worst, worst_s);
      EXPECT_LE(worst, 64) << v.name << " " << to_string(dtype) << " at x = " << worst_x << ", s = " << worst_s;
    }
  }
}

}  // namespace
}  // namespace mollify::smoothing
#endif
