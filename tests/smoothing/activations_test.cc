// Smoothed activations against quadrature of their definition in long double, and the identities that smoothing obeys.
#include <mollify/engine/grad.h>
#include <mollify/smoothing/activations.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace mollify::smoothing {
namespace {

using Long = long double;
using Scalar = std::function<Long(Long)>;
using Smoothed = std::function<Tensor(const Tensor&, const Tensor&)>;

constexpr Long kReach = 14;  // the density is 1e-43 beyond

Long density(Long z) { return std::exp(-z * z / 2) / std::sqrt(2 * std::acos(Long{-1})); }

Long hermite(int k, Long z) {
  Long before = 0, value = 1;
  for (int i = 0; i < k; ++i) before = std::exchange(value, z * value - i * before);
  return value;
}

// ∫ f over [low, high] by panels of five-point Gauss–Legendre, at most 1/32 wide: error about 1e-20 for what varies on
// the scale of 1.
Long integral(const Scalar& f, Long low, Long high) {
  const Long root = 2 * std::sqrt(Long{10} / 7), outer = std::sqrt(5 + root) / 3, inner = std::sqrt(5 - root) / 3;
  const Long w = 13 * std::sqrt(Long{70}), outer_weight = (322 - w) / 900, inner_weight = (322 + w) / 900;
  const int panels = std::max(1, static_cast<int>(std::ceil((high - low) * 32)));
  const Long half = (high - low) / panels / 2;
  Long sum = 0;
  for (int i = 0; i < panels; ++i) {
    const Long middle = low + (2 * i + 1) * half;
    sum += half * (Long{128} / 225 * f(middle) + outer_weight * (f(middle - outer * half) + f(middle + outer * half)) +
                   inner_weight * (f(middle - inner * half) + f(middle + inner * half)));
  }
  return sum;
}

// k-th derivative in x of E h(x + s z): E h(x + s z) He_k(z)/s^k.
Long smoothed(const Scalar& h, const std::vector<double>& kinks, Long x, Long s, int k = 0) {
  std::vector<Long> cuts = {-kReach, kReach};
  for (double kink : kinks) cuts.push_back(std::clamp((kink - x) / s, -kReach, kReach));
  std::sort(cuts.begin(), cuts.end());
  Long sum = 0;
  for (size_t i = 0; i + 1 < cuts.size(); ++i)
    if (cuts[i] < cuts[i + 1])
      sum += integral([&](Long z) { return h(x + s * z) * hermite(k, z) * density(z); }, cuts[i], cuts[i + 1]);
  return sum / std::pow(s, k);
}

struct Subject {
  const char* name;
  Smoothed f;
  Scalar h;
  std::vector<double> kinks = {};
};

Long relu_of(Long x) { return x > 0 ? x : 0; }
Long sign_of(Long x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
Long clip_of(Long x) { return std::clamp<Long>(x, -1, 1.5); }
Long elu_of(Long x) { return x > 0 ? x : std::expm1(x); }
Long cdf_of(Long x) { return std::erfc(-x / std::sqrt(Long{2})) / 2; }
Long gelu_of(Long x) { return x * cdf_of(x); }
Long sigmoid_of(Long x) { return 1 / (1 + std::exp(-x)); }
Long softplus_of(Long x) { return relu_of(x) + std::log1p(std::exp(-std::abs(x))); }

const std::vector<double> kBends = {-1, 0.25, 0.5, 2}, kJumps = {1, -2, 0.5, 3};
Long bent(Long x) {
  Long sum = 0.5L * x + 0.25L;
  for (size_t i = 0; i < kBends.size(); ++i) sum += kJumps[i] * relu_of(x - kBends[i]);
  return sum;
}

std::vector<Subject> named_functions() {
  return {
      {"relu", [](auto& x, auto& s) { return relu_smoothed(x, s); }, relu_of, {0}},
      {"step", step_smoothed, [](Long x) -> Long { return x > 0; }, {0}},
      {"sign", sign_smoothed, sign_of, {0}},
      {"abs", abs_smoothed, [](Long x) { return std::abs(x); }, {0}},
      {"relu_squared", relu_squared_smoothed, [](Long x) { return relu_of(x) * relu_of(x); }, {0}},
      {"leaky_relu",
       [](auto& x, auto& s) { return leaky_relu_smoothed(x, s, 0.25); },
       [](Long x) { return x > 0 ? x : x / 4; },
       {0}},
      {"clip", [](auto& x, auto& s) { return clip_smoothed(x, s, -1, 1.5); }, clip_of, {-1, 1.5}},
      {"elu", elu_smoothed, elu_of, {0}},
      {"exp_below", exp_below_smoothed, [](Long x) { return x <= 0 ? std::exp(x) : 0; }, {0}},
      {"gelu", gelu_smoothed, gelu_of},
      {"erf", [](auto& x, auto& s) { return erf_smoothed(x, s, 1.5); }, [](Long x) { return std::erf(1.5L * x); }},
      {"sin", [](auto& x, auto& s) { return sin_smoothed(x, s, 2); }, [](Long x) { return std::sin(2 * x); }},
      {"cos", [](auto& x, auto& s) { return cos_smoothed(x, s, 2); }, [](Long x) { return std::cos(2 * x); }},
      {"exp", exp_smoothed, [](Long x) { return std::exp(x); }},
      {"square", [](auto& x, auto& s) { return power_smoothed(x, s, 2); }, [](Long x) { return x * x; }},
      {"cube", [](auto& x, auto& s) { return power_smoothed(x, s, 3); }, [](Long x) { return x * x * x; }},
      {"fourth power", [](auto& x, auto& s) { return power_smoothed(x, s, 4); }, [](Long x) { return x * x * x * x; }},
      {"gaussian", [](auto& x, auto& s) { return gaussian_smoothed(x, s, 0.75); },
       [](Long x) { return std::exp(-0.75L * x * x); }},
      {"piecewise linear", [](auto& x, auto& s) { return piecewise_linear_smoothed(x, s, kBends, kJumps, 0.5, 0.25); },
       bent, kBends},
      {"x·sin x", [](auto& x, auto& s) { return stein_smoothed(x, s, sin_smoothed(x, s), cos_smoothed(x, s)); },
       [](Long x) { return x * std::sin(x); }},
  };
}

constexpr double kScales[] = {0.02, 0.3, 1, 2.5};
constexpr double kPoints[] = {-3.5, -1.25, -0.5, -0.0625, 0, 0.375, 1, 2.25, 4};

template <class T>
Tensor scalar(double value) { return Tensor::scalar(value, dtype_of<T>); }

// |got − want| in units of ε·(1 + |want| + |x·dx| + |s·ds|).
template <class T>
double units(double got, Long want, Long x, Long dx, Long s, Long ds) {
  const Long scale = 1 + std::abs(want) + std::abs(x * dx) + std::abs(s * ds);
  return static_cast<double>(std::abs(got - want) / scale) / std::numeric_limits<T>::epsilon();
}

template <class T>
void expect_value_and_gradients(const Subject& subject) {
  double worst = 0, worst_dx = 0, worst_ds = 0;
  for (const double scale : kScales)
    for (const double point : kPoints) {
      const Tensor x = variable(scalar<T>(point)), s = variable(scalar<T>(scale));
      const Long at = x.detach().item(), noise = s.detach().item();
      Long d[5];
      for (int k = 0; k < 5; ++k) d[k] = smoothed(subject.h, subject.kinks, at, noise, k);
      const Tensor y = subject.f(x, s);
      const Tensors g = vjp_of({y}, {ones_like(y)}, {x, s}, false);
      const Long ds = noise * d[2], dxs = noise * d[3], dss = d[2] + noise * noise * d[4];
      worst = std::max(worst, units<T>(y.detach().item(), d[0], at, d[1], noise, ds));
      worst_dx = std::max(worst_dx, units<T>(g[0].item(), d[1], at, d[2], noise, dxs));
      worst_ds = std::max(worst_ds, units<T>(g[1].item(), ds, at, dxs, noise, dss));
    }
  std::printf("%-18s %s value %.3f d/dx %.3f d/ds %.3f\n", subject.name, to_string(dtype_of<T>), worst, worst_dx,
              worst_ds);
  EXPECT_LE(worst, 8) << subject.name;
  EXPECT_LE(worst_dx, 8) << subject.name << " d/dx";
  EXPECT_LE(worst_ds, 8) << subject.name << " d/ds";
}

TEST(NamedFunctions, AreTheirDefinitions) {
  for (const Subject& subject : named_functions()) {
    expect_value_and_gradients<float>(subject);
    expect_value_and_gradients<double>(subject);
  }
}

// h_{√(s₁² + s₂²)} = (h_{s₁})_{s₂}, with the operation's own output integrated.
TEST(NamedFunctions, FormASemigroup) {
  const double first = 0.6, second = 0.8;
  for (const Subject& subject : named_functions())
    for (const double x : {-1.5, 0.125, 0.75}) {
      const Scalar inner = [&](Long y) {
        return subject.f(scalar<double>(static_cast<double>(y)), scalar<double>(first)).item();
      };
      const double twice = static_cast<double>(smoothed(inner, {}, x, second)),
                   once = subject.f(scalar<double>(x), scalar<double>(1)).item();
      EXPECT_NEAR(twice, once, 4e-15 * (1 + std::abs(once))) << subject.name << " at " << x;
    }
}

TEST(NamedFunctions, SatisfyTheHeatEquation) {
  for (const Subject& subject : named_functions())
    for (const double x : kPoints)
      for (const double s : {0.3, 1.0, 2.5}) {
        const auto of_x = [&](const Tensor& v) { return subject.f(v, scalar<double>(s)); };
        const auto of_s = [&](const Tensor& v) { return subject.f(scalar<double>(x), v); };
        const double curvature = grad(grad(of_x))(scalar<double>(x)).item(),
                     slope = grad(of_s)(scalar<double>(s)).item();
        EXPECT_NEAR(slope / s, curvature, 1e-13 * (1 + std::abs(curvature)))
            << subject.name << " at " << x << ", " << s;
      }
}

// What smoothing does to any function (Starnes & Webster 2023, Lemmas 2.1 to 2.3, with deviation s): it raises a convex
// one, moves a Lipschitz one by at most L·s·E|z| = L·s·√(2/π), keeps L, and makes it smooth: |f_s''| ≤ L·√(2/π)/s.
TEST(NamedFunctions, KeepTheLemmasOfSmoothing) {
  const std::map<std::string, bool> convex_of{{"relu", true},  {"abs", true},   {"leaky_relu", true}, {"elu", true},
                                              {"sign", false}, {"clip", false}, {"gelu", false},      {"erf", false},
                                              {"sin", false},  {"cos", false}};
  const double root = std::sqrt(2 / 3.141592653589793);
  for (const Subject& subject : named_functions()) {
    const auto known = convex_of.find(subject.name);
    if (known == convex_of.end() || subject.name == std::string("sign")) continue;
    const double lipschitz = subject.name == std::string("erf") ? 1.5 * 2 / std::sqrt(3.141592653589793)
                             : subject.name == std::string("sin") || subject.name == std::string("cos") ? 2
                             : subject.name == std::string("gelu") ? 1.129
                                                                   : 1;
    for (const double scale : {0.02, 0.3, 1.0, 2.5})
      for (double x = -4; x <= 4; x += 0.17) {
        const Tensor at = scalar<double>(x), s = scalar<double>(scale);
        const auto f = [&](const Tensor& t) { return subject.f(t, s); };
        const double value = f(at).item(), plain = static_cast<double>(subject.h(x)), slope = grad(f)(at).item(),
                     bend = grad(grad(f))(at).item();
        EXPECT_TRUE(!known->second || value >= plain - 1e-14) << subject.name << " " << x << " " << scale;
        EXPECT_LE(std::abs(value - plain), lipschitz * scale * root + 1e-14)
            << subject.name << " " << x << " " << scale;
        EXPECT_LE(std::abs(slope), lipschitz + 1e-14) << subject.name << " " << x << " " << scale;
        EXPECT_LE(std::abs(bend), lipschitz * root / scale + 1e-12) << subject.name << " " << x << " " << scale;
      }
  }
}

TEST(NamedFunctions, AreTheFunctionItselfWithoutNoise) {
  for (const Subject& subject : named_functions())
    for (const double x : kPoints) {
      const double want = static_cast<double>(subject.h(x));
      EXPECT_NEAR(subject.f(scalar<double>(x), scalar<double>(0)).item(), want, 1e-15 * (1 + std::abs(want)))
          << subject.name << " at " << x;
    }
}

TEST(ReluSmoothed, HasDerivativesOfAnyOrderAndLimits) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (int n = 0; n < 8; ++n) {
    const double value = relu_smoothed(scalar<double>(0.7), scalar<double>(0.5), n).item();
    const double want = static_cast<double>(smoothed(relu_of, {0}, 0.7L, 0.5L, n));
    EXPECT_NEAR(value, want, 1e-13 * (1 + std::abs(want))) << n;
    EXPECT_EQ(relu_smoothed(scalar<double>(-infinity), scalar<double>(0.5), n).item(), 0) << n;
    EXPECT_EQ(relu_smoothed(scalar<double>(infinity), scalar<double>(0.5), n).item(), n == 0 ? infinity : n == 1) << n;
    for (const double x : {-1.0, 0.0, 2.0})
      EXPECT_EQ(relu_smoothed(scalar<double>(x), scalar<double>(0), n).item(), n == 0 ? relu_of(x) : n == 1 && x > 0);
  }
  EXPECT_THROW(relu_smoothed(scalar<double>(1), scalar<double>(1), -2), ValueError);
  EXPECT_THROW(ramp_smoothed(scalar<double>(1), scalar<double>(1), 2, 1), ValueError);
  EXPECT_THROW(clip_smoothed(scalar<double>(1), scalar<double>(1), 0, infinity), ValueError);
}

// ---- The table

struct RowSubject {
  const char* name;
  Scalar h;
  std::vector<double> kinks = {};
  std::vector<double> numbers = {};  // the operation's further inputs
  Tensor (*plain)(const Tensor&) = nullptr;
};

std::vector<RowSubject> row_subjects() {
  return {
      {"relu", relu_of, {0}, {}, relu},
      {"leaky_relu",
       [](Long x) { return x > 0 ? x : x / 8; },
       {0},
       {0.125},
       [](const Tensor& x) { return leaky_relu(x, 0.125); }},
      {"abs", [](Long x) { return std::abs(x); }, {0}, {}, abs},
      {"sign", sign_of, {0}, {}, sign},
      {"clip", clip_of, {-1, 1.5}, {-1, 1.5}, [](const Tensor& x) { return clip(x, -1, 1.5); }},
      {"elu", elu_of, {0}, {}, elu},
      {"gelu", gelu_of, {}, {}, gelu},
      {"erf", [](Long x) { return std::erf(x); }, {}, {}, erf},
      {"sin", [](Long x) { return std::sin(x); }, {}, {}, sin},
      {"cos", [](Long x) { return std::cos(x); }, {}, {}, cos},
      {"exp", [](Long x) { return std::exp(x); }, {}, {}, exp},
      {"square", [](Long x) { return x * x; }, {}, {}, square},
      {"sigmoid", sigmoid_of, {}, {}, sigmoid},
      {"tanh", [](Long x) { return std::tanh(x); }, {}, {}, tanh},
      {"softplus", softplus_of, {}, {}, softplus},
      {"silu", [](Long x) { return x * sigmoid_of(x); }, {}, {}, silu},
  };
}

template <class T>
Tensors inputs_of(const RowSubject& subject, double x) {
  Tensors in(1 + subject.numbers.size());
  in[0] = scalar<T>(x);
  for (size_t i = 0; i < subject.numbers.size(); ++i) in[i + 1] = scalar<T>(subject.numbers[i]);
  return in;
}

TEST(NamedFunctions, KeepNaNAndRefuseScalesThatAreNone) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (const Subject& subject : named_functions())
    for (const double s : {0.0, 1.0}) {
      EXPECT_TRUE(std::isnan(subject.f(scalar<double>(nan), scalar<double>(s)).item())) << subject.name;
      EXPECT_TRUE(std::isnan(subject.f(scalar<float>(nan), scalar<float>(s)).item())) << subject.name;
    }
  for (const double s : {-1.0, infinity, nan}) {
    for (int n = -1; n < 6; ++n)
      EXPECT_TRUE(std::isnan(relu_smoothed(scalar<double>(1), scalar<double>(s), n).item())) << n << " " << s;
    for (const Subject& subject : named_functions()) {
      if (std::string(subject.name) == "x·sin x") continue;  // made of two by hand
      EXPECT_TRUE(std::isnan(subject.f(scalar<double>(1), scalar<double>(s)).item())) << subject.name << " " << s;
      EXPECT_TRUE(std::isnan(subject.f(scalar<float>(1), scalar<float>(s)).item())) << subject.name << " " << s;
    }
    EXPECT_TRUE(std::isnan(sigmoid_probit_smoothed(scalar<double>(1), scalar<double>(s)).item())) << s;
    for (const RowSubject& subject : row_subjects()) {
      if (!find_activation(subject.name)->closed_form) continue;
      const Moments moments =
          moments_of(*find_activation(subject.name), inputs_of<double>(subject, 1), {}, scalar<double>(s));
      EXPECT_TRUE(std::isnan(moments.mean.item()) && std::isnan(moments.variance.item())) << subject.name << " " << s;
    }
  }
}

TEST(Table, HasARowForEachActivation) {
  std::vector<std::string> names;
  for (const RowSubject& subject : row_subjects()) names.push_back(subject.name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(activation_names(), names);
  EXPECT_EQ(find_activation("gate"), nullptr);
  for (const char* name : {"sigmoid", "tanh", "softplus", "silu"})
    EXPECT_FALSE(find_activation(name)->closed_form) << name;
}

template <class T>
void expect_moments(const RowSubject& subject) {
  const Activation& row = *find_activation(subject.name);
  const Scalar square_h = [&](Long x) { return subject.h(x) * subject.h(x); };
  double worst = 0, worst_square = 0, worst_variance = 0;
  for (const double scale : {0.02, 0.3, 1.0})
    for (const double point : kPoints) {
      const Tensors in = inputs_of<T>(subject, point);
      const Tensor s = scalar<T>(scale);
      const Long x = in[0].item(), noise = s.item();
      const auto want = [&](const Scalar& h, int k) { return smoothed(h, subject.kinks, x, noise, k); };
      const Long mean = want(subject.h, 0), dx = want(square_h, 1), ds = noise * want(square_h, 2),
                 square_mean = want(square_h, 0);
      const Moments moments = moments_of(row, in, {}, s);
      const Tensor own_mean = row.mean(in, {}, s), own_square = row.square_mean(in, {}, s);
      EXPECT_GE(moments.variance.item(), 0) << subject.name;
      for (const Tensor& m : {own_mean, moments.mean})
        worst = std::max(worst, units<T>(m.item(), mean, x, want(subject.h, 1), noise, noise * want(subject.h, 2)));
      worst_square = std::max(worst_square, units<T>(own_square.item(), square_mean, x, dx, noise, ds));
      worst_variance =
          std::max(worst_variance, units<T>(moments.variance.item(), square_mean - mean * mean, x, dx, noise, ds));
    }
  std::printf("%-12s %s mean %.3f square %.3f variance %.3f\n", subject.name, to_string(dtype_of<T>), worst,
              worst_square, worst_variance);
  EXPECT_LE(worst, 8) << subject.name;
  EXPECT_LE(worst_square, 16) << subject.name;
  EXPECT_LE(worst_variance, 16) << subject.name;
}

TEST(Table, HasTheMomentsOfItsActivations) {
  for (const RowSubject& subject : row_subjects()) {
    if (!find_activation(subject.name)->closed_form) continue;
    expect_moments<float>(subject);
    expect_moments<double>(subject);
  }
}

TEST(Table, IsTheActivationItselfWithoutNoise) {
  const auto check = [](auto zero) {
    using T = decltype(zero);
    for (const RowSubject& subject : row_subjects())
      for (const double point : kPoints) {
        const Activation& row = *find_activation(subject.name);
        const Tensors in = inputs_of<T>(subject, point);
        const double want = subject.plain(in[0]).item();
        EXPECT_EQ(row.mean(in, {}, scalar<T>(0)).item(), want) << subject.name << " at " << point;
        const Moments moments = moments_of(row, in, {}, scalar<T>(0));
        EXPECT_EQ(moments.mean.item(), want) << subject.name << " at " << point;
        EXPECT_LE(moments.variance.item(), 8 * std::numeric_limits<T>::epsilon() * (1 + want * want))
            << subject.name << " at " << point;
      }
  };
  check(float());
  check(double());
}

// For small noise V = s²h'² to first order, however large x is.
TEST(Table, HasVariancesWithoutCancellation) {
  const Tensor s = scalar<float>(1e-3);
  for (const char* name : {"relu", "leaky_relu", "abs", "elu"}) {
    const Tensors in{scalar<float>(10), scalar<float>(0.25)};
    EXPECT_NEAR(moments_of(*find_activation(name), in, {}, s).variance.item(), 1e-6, 1e-12) << name;
  }
  const Tensors in{scalar<float>(5), scalar<float>(0), scalar<float>(6)};
  EXPECT_NEAR(moments_of(*find_activation("clip"), in, {}, s).variance.item(), 1e-6, 1e-12);
  EXPECT_NEAR(moments_of(*find_activation("softplus"), Tensors{scalar<float>(20)}, {}, s).variance.item(), 1e-6, 1e-8);
}

TEST(Table, TakesRowsOfItsUsers) {
  const Activation cube{
      "cube", true, [](Inputs in, const Attributes&, const Tensor& s) { return power_smoothed(in[0], s, 3); },
      [](Inputs in, const Attributes&, const Tensor& s) { return power_smoothed(in[0], s, 2) * 0.0 + 16.0; }, nullptr};
  add_activation(cube);
  const Tensors in{scalar<double>(1)};
  EXPECT_EQ(moments_of(*find_activation("cube"), in, {}, scalar<double>(0)).variance.item(), 15);
  EXPECT_THROW(add_activation({"nothing", true, nullptr, nullptr, nullptr}), ValueError);
}

// ---- Approximations

TEST(GaussHermite, IntegratesPolynomialsExactly) {
  for (const int nodes : {2, 8, 64, 256}) {
    const GaussHermite& rule = gauss_hermite(nodes);
    ASSERT_EQ(static_cast<int>(rule.nodes.size()), nodes / 2);
    Long moment = 1;  // E z^k = 1·3·5…(k − 1)
    for (int k = 0; k < std::min(2 * nodes, 12); k += 2) {
      if (k > 0) moment *= k - 1;
      Long sum = 0;
      for (size_t i = 0; i < rule.nodes.size(); ++i)
        sum += 2 * rule.weights[i] * std::pow(static_cast<Long>(rule.nodes[i]), k);
      EXPECT_NEAR(static_cast<double>(sum / moment), 1, 1e-14) << nodes << " nodes, z^" << k;
    }
  }
  EXPECT_THROW(gauss_hermite(7), ValueError);
}

// The errors that activations.h states, s = 0.1, 1, 3.
TEST(GaussHermite, HasTheStatedErrors) {
  const std::map<std::string, std::vector<double>> bounds = {{"sigmoid", {1e-16, 1e-16, 2e-7}},
                                                             {"tanh", {1e-16, 2e-10, 4e-4}},
                                                             {"softplus", {4e-16, 1e-15, 3e-8}},
                                                             {"silu", {5e-16, 1e-15, 5e-7}}};
  for (const RowSubject& subject : row_subjects()) {
    const Activation& row = *find_activation(subject.name);
    if (row.closed_form) continue;
    size_t number = 0;
    for (const double s : {0.1, 1.0, 3.0}) {
      double worst = 0;
      for (double x = -8; x <= 8; x += 0.5)
        worst = std::max(
            worst, std::abs(static_cast<double>(row.mean(inputs_of<double>(subject, x), {}, scalar<double>(s)).item() -
                                                smoothed(subject.h, {}, x, s))));
      std::printf("%-10s s = %g: %.2g\n", subject.name, s, worst);
      EXPECT_LE(worst, bounds.at(subject.name)[number++]) << subject.name << " s = " << s;
    }
  }
}

TEST(Approximations, ProbitIsWithinItsBound) {
  for (double s = 0; s < 12; s += 0.5)
    for (double x = -12; x <= 12; x += 0.5) {
      const double want =
          s == 0 ? static_cast<double>(sigmoid_of(x)) : static_cast<double>(smoothed(sigmoid_of, {}, x, s));
      EXPECT_NEAR(sigmoid_probit_smoothed(scalar<double>(x), scalar<double>(s)).item(), want, 0.02) << x << ", " << s;
    }
}

TEST(Clark, MatchesTheMomentsOfTheMaximum) {
  const auto check = [](double m1, double v1, double m2, double v2, double c) {
    const Moments got = clark_max({scalar<double>(m1), scalar<double>(v1)}, {scalar<double>(m2), scalar<double>(v2)},
                                  scalar<double>(c));
    const Long theta = std::sqrt(static_cast<Long>(v1) + v2 - 2 * c), alpha = (m1 - m2) / theta;
    const Long upper = cdf_of(alpha), lower = cdf_of(-alpha), mean = m1 * upper + m2 * lower + theta * density(alpha);
    const Long second = (m1 * static_cast<Long>(m1) + v1) * upper + (m2 * static_cast<Long>(m2) + v2) * lower +
                        (m1 + m2) * theta * density(alpha);
    EXPECT_NEAR(got.mean.item(), static_cast<double>(mean), 4e-15 * (1 + std::abs(m1) + std::abs(m2)));
    EXPECT_NEAR(got.variance.item(), static_cast<double>(second - mean * mean), 4e-15 * (1 + v1 + v2));
  };
  check(0, 1, 0, 1, 0);
  check(1, 0.5, -0.3, 2, 0.25);
  check(-4, 1, 3, 0.1, -0.2);
  check(5, 0.3, 5.1, 0.7, 0);
  const Tensor v = variable(scalar<double>(0));
  const Moments none = clark_max({scalar<double>(2), v}, {scalar<double>(1), v});
  EXPECT_EQ(none.mean.detach().item(), 2);
  EXPECT_EQ(none.variance.detach().item(), 0);
  EXPECT_TRUE(std::isfinite(vjp_of({none.mean}, {scalar<double>(1)}, {v}, false)[0].item()));
}

}  // namespace
}  // namespace mollify::smoothing
