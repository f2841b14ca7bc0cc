// Greatest error, in units of the last place, of every elementary and special function of the CPU's arithmetic policy,
// on every target this machine runs, against references of higher precision: double for float; __float128, or long
// double where the compiler lacks that, for double.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>
#if __has_include(<quadmath.h>)
#include <quadmath.h>
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/engine/math_test.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <mollify/engine/cpu/pointwise-inl.h>

// X(name, call): name of the reference and of the row printed, call in terms of the policy m and the vectors x and y.
#ifndef MATH_TEST_FUNCTIONS
#define MATH_TEST_FUNCTIONS(X)                \
  X(exp, m.exp(x))                            \
  X(expm1, m.expm1(x))                        \
  X(log, m.log(x))                            \
  X(log1p, m.log1p(x))                        \
  X(sin, m.sin(x))                            \
  X(cos, m.cos(x))                            \
  X(tanh, m.tanh(x))                          \
  X(pow, m.pow(x, y))                         \
  X(erf, Erf::f(m, x))                        \
  X(erfc, Erfc::f(m, x))                      \
  X(erfcx, Erfcx::f(m, x))                    \
  X(normal_cdf, NormalCdf::f(m, x))           \
  X(normal_pdf, NormalPdf::f(m, x))           \
  X(normal_quantile, NormalQuantile::f(m, x)) \
  X(sigmoid, Sigmoid::f(m, x))                \
  X(logistic_pdf, LogisticPdf::f(m, x))       \
  X(softplus, Softplus::f(m, x))              \
  X(silu, Silu::f(m, x))                      \
  X(elu, Elu::f(m, x))                        \
  X(gelu, Gelu::f(m, x))                      \
  X(min, m.min(x, y))                         \
  X(max, m.max(x, y))                         \
  X(floor, m.floor(x))                        \
  X(round, m.round(x))
#endif

HWY_BEFORE_NAMESPACE();
namespace mollify::cpu::HWY_NAMESPACE {
#include <mollify/engine/ops/special.inl>

// Whole vectors, then single lanes, so that both kinds of tag are tested.
#define MATH_TEST_DEFINE(name, call)                                                \
  template <class D, class T>                                                       \
  HWY_INLINE void name##_at(D d, const T* xs, const T* ys, T* out) {                \
    const SimdMath<D> m{d};                                                         \
    const auto x = hn::LoadU(d, xs);                                                \
    [[maybe_unused]] const auto y = hn::LoadU(d, ys);                               \
    hn::StoreU(call, d, out);                                                       \
  }                                                                                 \
  template <class T>                                                                \
  void name##_all(const T* xs, const T* ys, T* out, size_t n) {                     \
    const hn::ScalableTag<T> d;                                                     \
    const hn::CappedTag<T, 1> one;                                                  \
    size_t i = 0;                                                                   \
    for (; i + hn::Lanes(d) <= n; i += hn::Lanes(d)) name##_at(d, xs + i, ys + i, out + i); \
    for (; i < n; i++) name##_at(one, xs + i, ys + i, out + i);                     \
  }                                                                                 \
  void name##_float(const float* x, const float* y, float* out, size_t n) { name##_all(x, y, out, n); } \
  void name##_double(const double* x, const double* y, double* out, size_t n) { name##_all(x, y, out, n); }
MATH_TEST_FUNCTIONS(MATH_TEST_DEFINE)

}  // namespace mollify::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mollify::cpu {
#define MATH_TEST_EXPORT(name, call) \
  HWY_EXPORT(name##_float);          \
  HWY_EXPORT(name##_double);
MATH_TEST_FUNCTIONS(MATH_TEST_EXPORT)

#define MATH_TEST_DISPATCH(name, call)                                       \
  void run_##name(const float* x, const float* y, float* out, size_t n) {    \
    HWY_DYNAMIC_DISPATCH(name##_float)(x, y, out, n);                        \
  }                                                                          \
  void run_##name(const double* x, const double* y, double* out, size_t n) { \
    HWY_DYNAMIC_DISPATCH(name##_double)(x, y, out, n);                       \
  }
MATH_TEST_FUNCTIONS(MATH_TEST_DISPATCH)
}  // namespace mollify::cpu

namespace mollify {
namespace {

// The references are written over R: double for float results, Quad for double results.
#if __has_include(<quadmath.h>)
using Quad = __float128;
#define QUAD(name) name##q
#else
using Quad = long double;
#define QUAD(name) std::name
#endif
#define MATH_TEST_REFERENCE(name)                    \
  double r_##name(double x) { return std::name(x); } \
  Quad r_##name(Quad x) { return QUAD(name)(x); }
MATH_TEST_REFERENCE(exp)
MATH_TEST_REFERENCE(expm1)
MATH_TEST_REFERENCE(log)
MATH_TEST_REFERENCE(log1p)
MATH_TEST_REFERENCE(sin)
MATH_TEST_REFERENCE(cos)
MATH_TEST_REFERENCE(tanh)
MATH_TEST_REFERENCE(erf)
MATH_TEST_REFERENCE(erfc)
MATH_TEST_REFERENCE(sqrt)
MATH_TEST_REFERENCE(floor)
double r_round(double x) { return std::nearbyint(x); }
Quad r_round(Quad x) { return QUAD(nearbyint)(x); }
double r_pow(double x, double y) { return x != x || y != y ? x + y : std::pow(x, y); }
Quad r_pow(Quad x, Quad y) { return x != x || y != y ? x + y : QUAD(pow)(x, y); }

const Quad kPi = 4 * QUAD(atan)(Quad(1));

template <class R>
R r_erfcx(R x) {
  if (x < 6) return r_exp(x * x) * r_erfc(x);
  // Laplace's continued fraction; 60 levels leave less than 1e-30 from 6 on.
  R c = x;
  for (int k = 60; k >= 1; k--) c = x + R(k) / 2 / c;
  return 1 / (c * r_sqrt(static_cast<R>(kPi)));
}
template <class R>
R r_normal_cdf(R x) {
  return r_erfc(-x / r_sqrt(R(2))) / 2;
}
template <class R>
R r_normal_pdf(R x) {
  return r_exp(-x * x / 2) / r_sqrt(static_cast<R>(2 * kPi));
}

// Newton on log Phi(-x) = log q in the tail and on erf in the middle.
template <class R>
R r_normal_quantile(R p) {
  const R infinity = std::numeric_limits<double>::infinity();
  if (!(p >= 0 && p <= 1)) return R(std::numeric_limits<double>::quiet_NaN());
  if (p == 0) return -infinity;
  if (p == 1) return infinity;
  const R root2 = r_sqrt(R(2)), root2pi = r_sqrt(static_cast<R>(2 * kPi));
  const R d = p - R(0.5);
  R x;
  if (d > R(-0.25) && d < R(0.25)) {
    x = d * root2pi;
    for (int i = 0; i < 8; i++) x -= (r_erf(x / root2) / 2 - d) * root2pi * r_exp(x * x / 2);
    return x;
  }
  const R q = d < 0 ? p : 1 - p;
  x = r_sqrt(-2 * r_log(2 * q));
  for (int i = 0; i < 9; i++) {
    const R mills = r_erfcx(x / root2) / 2 * root2pi;
    const R log_ratio = r_log(mills / root2pi) - x * x / 2 - r_log(q);
    x += log_ratio * mills;
  }
  return d < 0 ? -x : x;
}

template <class R>
R r_sigmoid(R x) {
  return x < 0 ? r_exp(x) / (1 + r_exp(x)) : 1 / (1 + r_exp(-x));
}
template <class R>
R r_logistic_pdf(R x) {
  return r_sigmoid(x) * r_sigmoid(-x);
}
template <class R>
R r_softplus(R x) {
  return x > 0 ? x + r_log1p(r_exp(-x)) : r_log1p(r_exp(x));
}
template <class R>
R r_silu(R x) {
  return x < -2000 ? -R(0) : x * r_sigmoid(x);
}
template <class R>
R r_elu(R x) {
  return x > 0 ? x : r_expm1(x);
}
template <class R>
R r_gelu(R x) {
  return x < -100 ? -R(0) : x * r_normal_cdf(x);
}
template <class R>
R r_min(R x, R y) {
  return x != x || y != y ? x + y : (x < y ? x : y);
}
template <class R>
R r_max(R x, R y) {
  return x != x || y != y ? x + y : (x > y ? x : y);
}
// |got - want| in units of the last place of want (of the smallest subnormal, below the normal range). A NaN, an
// infinity or an overflow must agree, except that within one unit of the overflow threshold either side will do.
template <class T, class R>
double ulp_error(T got, R want) {
  using L = std::numeric_limits<T>;
  const double wrong = std::numeric_limits<double>::infinity();
  if (want != want) return std::isnan(got) ? 0 : wrong;
  if (std::isnan(got)) return wrong;
  const T nearest = static_cast<T>(want);
  if (std::isinf(got) || std::isinf(nearest)) {
    if (got == nearest) return 0;
    const R magnitude = want < 0 ? -want : want;
    const R limit = L::max();
    const bool close = magnitude > limit * (1 - 4 * R(L::epsilon())) && magnitude < limit * (1 + 4 * R(L::epsilon()));
    return close && (std::isinf(got) || std::abs(got) == L::max()) && std::signbit(got) == std::signbit(nearest)
               ? 1
               : wrong;
  }
  int exponent = std::ilogb(std::max(std::abs(nearest), L::min()));
  // A value rounded up to a power of two has the smaller unit of the interval below.
  if (std::abs(nearest) > L::min() && R(std::abs(nearest)) > (want < 0 ? -want : want) &&
      std::abs(nearest) == std::ldexp(T(1), exponent)) {
    exponent--;
  }
  const T unit = std::ldexp(T(1), exponent - (L::digits - 1));
  const R difference = R(got) - want;
  return static_cast<double>((difference < 0 ? -difference : difference) / unit);
}

// One function: where to sample it, and the greatest error allowed for float and double.
struct Case {
  const char* name;
  double low, high;  // dense uniform sampling in here, besides the whole exponent range
  double bound_float, bound_double;
  bool binary = false;
};

template <class T>
std::vector<T> edges() {
  using L = std::numeric_limits<T>;
  std::vector<T> e;
  for (T v : {T(0),
              L::denorm_min(),
              L::min(),
              L::min() / 4,
              L::epsilon(),
              T(0.25),
              T(0.5),
              T(1),
              1 - L::epsilon() / 2,
              1 + L::epsilon(),
              T(1.5),
              T(2),
              T(2.5),
              T(3),
              T(4),
              T(5),
              T(10),
              T(88.72284),
              T(103.97208),
              T(708.3964),
              T(709.782712893384),
              T(745.13321910194),
              T(1e4),
              T(1e6),
              T(16777217),
              T(9007199254740993.0),
              T(1e22),
              L::max() / 2,
              L::max(),
              L::infinity(),
              L::quiet_NaN()}) {
    e.push_back(v);
    e.push_back(-v);
  }
  return e;
}

// Uniform on [low, high], uniform in the exponent with both signs, and close to p = 1/2 and 1 on both sides.
template <class T>
void sample(const Case& c, size_t count, std::vector<T>& xs, std::vector<T>& ys) {
  using L = std::numeric_limits<T>;
  std::mt19937_64 generator(std::hash<std::string>()(c.name));
  std::uniform_real_distribution<double> uniform(0, 1);
  const auto wide = [&](double low, double high) {
    const double exponent = low + (high - low) * uniform(generator);
    const T v = static_cast<T>(std::ldexp(1 + uniform(generator), static_cast<int>(std::floor(exponent))));
    return uniform(generator) < 0.5 ? -v : v;
  };
  const double lowest = L::min_exponent - L::digits, highest = L::max_exponent - 1;
  xs.clear();
  ys.clear();
  const std::vector<T> e = edges<T>();
  for (T x : e) {
    for (T y : c.binary ? e : std::vector<T>{T(0)}) {
      xs.push_back(x);
      ys.push_back(y);
    }
  }
  for (size_t i = 0; i < count; i++) {
    T x, y = 0;
    switch (i % 4) {
      case 0: x = wide(lowest, highest); break;
      case 1: x = wide(-12, 10); break;
      case 2: x = static_cast<T>(1 + wide(-25, -2)); break;
      default: x = static_cast<T>(c.low + (c.high - c.low) * uniform(generator));
    }
    if (i % 8 == 3 && c.low == 0) x = static_cast<T>(0.5 + wide(-20, -2));
    if (c.binary) {
      y = i % 3 == 0 ? wide(lowest, highest) : wide(-4, 8);
      if (i % 5 == 0) y = std::round(y);
      // Powers that fill the range of the result, for bases near 1 too.
      if (i % 4 >= 2 && i % 3 != 0) {
        const double logarithm = std::log(std::abs(static_cast<double>(x)));
        const double exponent = L::max_exponent * 0.6931 * (2.1 * uniform(generator) - 1.05);
        if (logarithm != 0) y = static_cast<T>(exponent / logarithm);
      }
    }
    xs.push_back(x);
    ys.push_back(y);
  }
}

template <class T, class R, class Run, class Reference>
void check(const Case& c, size_t count, Run run, Reference reference) {
  std::vector<T> xs, ys;
  sample(c, count, xs, ys);
  std::vector<R> want(xs.size());
  for (size_t i = 0; i < xs.size(); i++) want[i] = reference(R(xs[i]), R(ys[i]));
  const double bound = sizeof(T) == 4 ? c.bound_float : c.bound_double;
  for (int64_t rest = hwy::SupportedTargets() & HWY_TARGETS; rest != 0; rest &= rest - 1) {
    hwy::SetSupportedTargetsForTest(rest & -rest);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    std::vector<T> got(xs.size());
    run(xs.data(), ys.data(), got.data(), xs.size());
    double worst = 0;
    size_t where = 0;
    for (size_t i = 0; i < xs.size(); i++) {
      const double error = ulp_error(got[i], want[i]);
      if (error > worst) worst = error, where = i;
    }
    const char* type = sizeof(T) == 4 ? "f32" : "f64";
    std::printf("%-16s %s %-7s %7.3f ulp at %.9g", c.name, type, hwy::TargetName(rest & -rest), worst,
                double(xs[where]));
    if (c.binary) std::printf(", %.9g", double(ys[where]));
    std::printf("\n");
    EXPECT_LE(worst, bound) << c.name << " " << type << " " << hwy::TargetName(rest & -rest) << " at " << xs[where]
                            << ", " << ys[where] << ": " << got[where] << " against " << double(want[where]);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

constexpr size_t kFloatSamples = 200000, kDoubleSamples = 60000;

#define MATH_TEST(name, low, high, bound_float, bound_double)                                                      \
  TEST(Math, name) {                                                                                               \
    const Case c{#name, low, high, bound_float, bound_double};                                                     \
    check<float, double>(                                                                                          \
        c, kFloatSamples, [](auto... a) { cpu::run_##name(a...); }, [](double x, double) { return r_##name(x); }); \
    check<double, Quad>(                                                                                           \
        c, kDoubleSamples, [](auto... a) { cpu::run_##name(a...); }, [](Quad x, Quad) { return r_##name(x); });    \
  }
#define MATH_TEST_2(name, bound)                                                                                     \
  TEST(Math, name) {                                                                                                 \
    const Case c{#name, 0, 4, bound, bound, true};                                                                   \
    check<float, double>(                                                                                            \
        c, kFloatSamples, [](auto... a) { cpu::run_##name(a...); },                                                  \
        [](double x, double y) { return r_##name(x, y); });                                                          \
    check<double, Quad>(                                                                                             \
        c, kDoubleSamples, [](auto... a) { cpu::run_##name(a...); }, [](Quad x, Quad y) { return r_##name(x, y); }); \
  }

MATH_TEST(exp, -110, 90, 1, 1)
MATH_TEST(expm1, -2, 2, 4, 4)
MATH_TEST(log, 0, 4, 1, 1)
MATH_TEST(log1p, -1, 3, 4, 4)
MATH_TEST(sin, -13000, 13000, 4, 4)
MATH_TEST(cos, -13000, 13000, 4, 4)
MATH_TEST(tanh, -3, 3, 4, 4)
MATH_TEST_2(pow, 4)
MATH_TEST(erf, -4, 4, 2, 4)
MATH_TEST(erfc, -4, 28, 2, 4)
MATH_TEST(erfcx, -27, 30, 2, 4)
MATH_TEST(normal_cdf, -39, 9, 2, 4)
MATH_TEST(normal_pdf, -39, 39, 2, 4)
MATH_TEST(normal_quantile, 0, 1, 2, 4)
MATH_TEST(sigmoid, -110, 40, 4, 4)
MATH_TEST(logistic_pdf, -110, 110, 4, 4)
MATH_TEST(softplus, -110, 40, 4, 4)
MATH_TEST(silu, -110, 40, 4, 4)
MATH_TEST(elu, -40, 5, 4, 4)
MATH_TEST(gelu, -39, 9, 4, 4)
MATH_TEST(floor, -100, 100, 0, 0)
MATH_TEST(round, -100, 100, 0, 0)
MATH_TEST_2(min, 0)
MATH_TEST_2(max, 0)

}  // namespace
}  // namespace mollify
#endif
