// Lines and intervals of every rule: valid without tolerance when widened, tight, differentiable, and whole on degenerate boxes.
#include <mollify/nn/bounds/relaxations.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/smoothing/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

namespace mollify::nn::bounds {
namespace {

using Real = long double;
const double kInf = std::numeric_limits<double>::infinity();
const double kNaN = std::numeric_limits<double>::quiet_NaN();

double roundoff_of(DType dtype) { return dtype == DType::f32 ? 0x1p-24 : 0x1p-53; }
Tensor tensor_of(const std::vector<double>& v, DType dtype) { return cast(Tensor::from(v, {static_cast<int64_t>(v.size())}), dtype); }
std::vector<double> numbers(const Tensor& t, int64_t count) {
  if (!t.defined()) return std::vector<double>(count, 0);
  return cast(expand(t, {count}), DType::f64).to_vector<double>();
}

Real cdf(Real a) { return erfcl(-a / sqrtl(2)) / 2; }
Real pdf(Real a) { return expl(-a * a / 2) / sqrtl(2 * acosl(-1)); }
Real sigmoid_of(Real x) { return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x)); }
// s(φ(a) + aΦ(a)), at the left by the continued fraction of Mills' ratio R: φ(a)(1 − |a|R(|a|)).
Real relu_smoothed_of(Real x, Real s) {
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
};

std::vector<Rule> rules() {
  const auto scalar = [](double s) { return [s](const Tensor& x) { return Tensor::scalar(s, x.dtype()); }; };
  std::vector<Rule> all = {
      {"relu", [](const Tensor& x) { return relu(x); }, [](Real x) { return std::max<Real>(x, 0); }},
      {"abs", [](const Tensor& x) { return abs(x); }, [](Real x) { return fabsl(x); }},
      {"clip", [](const Tensor& x) { return clip(x, 0.5, 6); }, [](Real x) { return std::min<Real>(std::max<Real>(x, 0.5), 6); }, {0.5, 6}},
      {"clip_above", [](const Tensor& x) { return clip(x, -kInf, 6); }, [](Real x) { return std::min<Real>(x, 6); }, {6}},
      {"sign", [](const Tensor& x) { return sign(x); }, [](Real x) { return Real((x > 0) - (x < 0)); }},
      {"exp", [](const Tensor& x) { return exp(x); }, [](Real x) { return expl(x); }},
      {"softplus", [](const Tensor& x) { return softplus(x); }, [](Real x) { return std::max<Real>(x, 0) + log1pl(expl(-fabsl(x))); }},
      {"elu", [](const Tensor& x) { return elu(x); }, [](Real x) { return x > 0 ? x : expm1l(x); }},
      {"square", [](const Tensor& x) { return square(x); }, [](Real x) { return x * x; }},
      {"log", [](const Tensor& x) { return log(x); }, [](Real x) { return logl(x); }, {1}, true},
      {"sigmoid", [](const Tensor& x) { return sigmoid(x); }, sigmoid_of},
      {"tanh", [](const Tensor& x) { return tanh(x); }, [](Real x) { return tanhl(x); }},
      {"erf", [](const Tensor& x) { return erf(x); }, [](Real x) { return erfl(x); }},
      {"gelu", [](const Tensor& x) { return gelu(x); }, [](Real x) { return x * cdf(x); }, {0, -0.7517915, 1.4142135, -1.4142135}},
      {"silu", [](const Tensor& x) { return silu(x); }, [](Real x) { return x * sigmoid_of(x); }, {0, -1.2784645, 2.39935728, -2.39935728}},
  };
  for (const double slope : {double(0.01f), -0.3125, 3.0})
    all.push_back({"leaky_relu " + std::to_string(slope), [=](const Tensor& x) { return leaky_relu(x, slope); },
                   [=](Real x) { return x > 0 ? x : x * slope; }});
  for (const double s : {0.25, 2.0, 0.0})
    all.push_back({"relu_smoothed " + std::to_string(s), [=](const Tensor& x) { return smoothing::relu_smoothed(x, scalar(s)(x)); },
                   [=](Real x) { return relu_smoothed_of(x, s); }});
  return all;
}

void PrintTo(const Rule& rule, std::ostream* out) { *out << rule.name; }

// A rule on a vector of boxes.
struct Result {
  std::vector<double> l, u, low, high, lower_slope, lower_intercept, upper_slope, upper_intercept;
  size_t size() const { return l.size(); }
  Real lower(size_t i, Real x) const { return lower_slope[i] * x + lower_intercept[i]; }
  Real upper(size_t i, Real x) const { return upper_slope[i] * x + upper_intercept[i]; }
};

Trace traced(const Rule& rule, DType dtype) { return trace(rule.run, Layout::packed({1}, dtype)); }

Result apply_rule(const Rule& rule, const std::vector<double>& l, const std::vector<double>& u, const Tensor& alpha, DType dtype, double roundoff) {
  const Trace t = traced(rule, dtype);
  const Step& step = t.steps[0];
  const Relaxation* relaxation = find_relaxation(step.op().name);
  EXPECT_NE(relaxation, nullptr) << rule.name;
  const Box box{tensor_of(l, dtype), tensor_of(u, dtype)};
  const Box range = relaxation->interval(step, box, roundoff);
  const Lines lines = relaxation->lines(step, box, alpha, roundoff);
  const int64_t n = static_cast<int64_t>(l.size());
  return {numbers(box.lower, n), numbers(box.upper, n), numbers(range.lower, n), numbers(range.upper, n), numbers(lines.lower_slope, n),
          numbers(lines.lower_intercept, n), numbers(lines.upper_slope, n), numbers(lines.upper_intercept, n)};
}

struct Boxes { std::vector<double> l, u; };

// Ends at any scale and near the special points, widths from 0 to 1e30, exact in f32.
Boxes random_boxes(const Rule& rule, int count, uint32_t seed, double largest_exponent = 30) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> exponent(-30, largest_exponent), unit(-1, 1), moderate(-3, 2);
  const auto magnitude = [&] { return std::pow(10., random() % 2 ? exponent(random) : moderate(random)); };
  Boxes boxes;
  for (int i = 0; i < count; ++i) {
    const double middle = random() % 2 ? rule.special[random() % rule.special.size()] : unit(random) * magnitude();
    double a = middle + unit(random) * magnitude(), b = a + (random() % 16 ? magnitude() : 0);
    if (random() % 4 == 0) a = middle - magnitude(), b = middle + magnitude();
    if (random() % 4 == 0) a = middle - std::abs(unit(random)) * 8, b = middle + std::abs(unit(random)) * 8;
    if (rule.positive) a = std::abs(a), b = a + std::abs(b);
    const float l = static_cast<float>(a), u = static_cast<float>(b);
    if (rule.positive && l <= 0) continue;
    boxes.l.push_back(std::min(l, u));
    boxes.u.push_back(std::max(l, u));
  }
  return boxes;
}

std::vector<Real> points_of(const Rule& rule, Real l, Real u) {
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

Tensor random_alpha(size_t n, uint32_t seed, DType dtype) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> unit(0, 1);
  std::vector<double> values(n);
  for (double& v : values) v = unit(random);
  return tensor_of(values, dtype);
}

std::vector<Tensor> alphas(size_t n, DType dtype) {
  return {Tensor(), Tensor::scalar(0, dtype), Tensor::scalar(1, dtype), random_alpha(n, 5, dtype)};
}

// tolerance: in units of roundoff, of the greatest terms of the line and of h.
void expect_valid(const Rule& rule, const Result& r, DType dtype, double tolerance) {
  int failures = 0;
  for (size_t i = 0; i < r.size() && failures < 5; ++i) {
    const double reach = std::max(std::abs(r.l[i]), std::abs(r.u[i]));
    for (const Real x : points_of(rule, r.l[i], r.u[i])) {
      const Real h = rule.reference(x);
      if (std::isinf(h) && std::isinf(r.high[i])) continue;
      const auto slack = [&](double slope, double range) {
        return tolerance == 0 ? 0 : tolerance * roundoff_of(dtype) * (std::abs(slope) * reach + std::abs(range) + fabsl(h)) + 0x1p-122L * (1 + reach);
      };
      const bool holds = r.lower(i, x) <= h + slack(r.lower_slope[i], r.low[i]) && r.upper(i, x) >= h - slack(r.upper_slope[i], r.high[i]) &&
                         r.low[i] <= h + slack(0, r.low[i]) && r.high[i] >= h - slack(0, r.high[i]);
      if (holds) continue;
      ++failures;
      ADD_FAILURE() << rule.name << " on [" << r.l[i] << ", " << r.u[i] << "] at " << x << ": h = " << h << ", lines " << r.lower(i, x) << " ("
                    << r.lower_slope[i] << ", " << r.lower_intercept[i] << ") and " << r.upper(i, x) << " (" << r.upper_slope[i] << ", "
                    << r.upper_intercept[i] << "), interval [" << r.low[i] << ", " << r.high[i] << "]";
      break;
    }
  }
}

class Rules : public testing::TestWithParam<Rule> {};
INSTANTIATE_TEST_SUITE_P(All, Rules, testing::ValuesIn(rules()), [](const auto& info) {
  std::string name = info.param.name;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

TEST_P(Rules, HoldWithoutToleranceWhenWidened) {
  const Boxes boxes = random_boxes(GetParam(), 3000, 1);
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Tensor& alpha : alphas(boxes.l.size(), dtype))
      expect_valid(GetParam(), apply_rule(GetParam(), boxes.l, boxes.u, alpha, dtype, roundoff_of(dtype)), dtype, 0);
}

TEST_P(Rules, HoldToRoundingWhenNot) {
  const Boxes boxes = random_boxes(GetParam(), 3000, 2);
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Tensor& alpha : alphas(boxes.l.size(), dtype))
      expect_valid(GetParam(), apply_rule(GetParam(), boxes.l, boxes.u, alpha, dtype, 0), dtype, 256);
}

// The hull's value at x, by the best of all chords (from both sides) of sample points.
Real hull_at(const std::vector<std::pair<Real, Real>>& samples, Real x, int sign) {
  std::vector<std::pair<Real, Real>> chain;
  for (const auto& [a, b] : samples) {
    const Real h = b * sign;
    while (chain.size() > 1) {
      const auto &p = chain[chain.size() - 2], &q = chain.back();
      if ((q.second - p.second) * (a - p.first) < (h - p.second) * (q.first - p.first)) break;
      chain.pop_back();
    }
    chain.push_back({a, h});
  }
  for (size_t i = 1; i < chain.size(); ++i)
    if (x <= chain[i].first) {
      const auto &p = chain[i - 1], &q = chain[i];
      return sign * (p.second + (q.second - p.second) * (x - p.first) / (q.first - p.first));
    }
  return sign * chain.back().second;
}

// The area between a line and h is least when the line meets the hull in the middle of the box: so do all default lines, but exp's, whose
// lower line rather stays positive.
TEST_P(Rules, AreOfLeastArea) {
  const Rule& rule = GetParam();
  if (rule.name == "sign") return;
  std::mt19937 random(3);
  std::uniform_real_distribution<double> unit(0, 1);
  std::vector<double> l, u;
  for (int i = 0; i < 300; ++i) {
    const double width = std::pow(10, unit(random) * 3 - 2), at = (rule.positive ? 0.01 : -6) + unit(random) * 10 - (rule.positive ? 0 : width / 2);
    l.push_back(at), u.push_back(at + width);
  }
  const Result r = apply_rule(rule, l, u, {}, DType::f64, 0);
  for (size_t i = 0; i < r.size(); ++i) {
    std::vector<std::pair<Real, Real>> samples;
    std::vector<Real> xs = {r.l[i], r.u[i]};
    for (int k = 1; k < 2000; ++k) xs.push_back(r.l[i] + (r.u[i] - r.l[i]) * k / 2000);
    for (double s : rule.special)
      if (s > r.l[i] && s < r.u[i]) xs.push_back(s);
    std::sort(xs.begin(), xs.end());
    Real least = INFINITY, greatest = -INFINITY;
    for (const Real x : xs) {
      samples.push_back({x, rule.reference(x)});
      least = std::min(least, samples.back().second), greatest = std::max(greatest, samples.back().second);
    }
    const Real middle = (Real(r.l[i]) + r.u[i]) / 2, tolerance = 1e-5L * (greatest - least) + 1e-12L;
    EXPECT_NEAR(r.upper(i, middle), hull_at(samples, middle, -1), tolerance) << rule.name << " [" << l[i] << ", " << u[i] << "]";
    if (rule.name != "exp" || u[i] - l[i] < 1.9) {
      EXPECT_NEAR(r.lower(i, middle), hull_at(samples, middle, 1), tolerance) << rule.name << " [" << l[i] << ", " << u[i] << "]";
    }
    EXPECT_NEAR(r.low[i], least, tolerance) << rule.name;
    EXPECT_NEAR(r.high[i], greatest, tolerance) << rule.name;
  }
}

TEST_P(Rules, LosesLittleByWidening) {
  const Boxes boxes = random_boxes(GetParam(), 1000, 4, 3);
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Result exact = apply_rule(GetParam(), boxes.l, boxes.u, {}, dtype, 0), wide = apply_rule(GetParam(), boxes.l, boxes.u, {}, dtype, roundoff_of(dtype));
    for (size_t i = 0; i < exact.size(); ++i) {
      const double reach = std::max(std::abs(exact.l[i]), std::abs(exact.u[i]));
      const auto near = [&](double a, double b, double slope, double value) {
        if (std::abs(value) > (dtype == DType::f32 ? 1e36 : 1e306)) return;
        EXPECT_LE(std::abs(a - b), 1500 * roundoff_of(dtype) * ((1 + std::abs(slope)) * reach + std::abs(value) + 1) + 1e-36)
            << GetParam().name << " [" << exact.l[i] << ", " << exact.u[i] << "] " << a << " " << b;
      };
      near(exact.low[i], wide.low[i], 0, exact.low[i]);
      near(exact.high[i], wide.high[i], 0, exact.high[i]);
      const double range = std::max(std::abs(exact.low[i]), std::abs(exact.high[i]));
      near(exact.lower_intercept[i], wide.lower_intercept[i], exact.lower_slope[i], range);
      near(exact.upper_intercept[i], wide.upper_intercept[i], exact.upper_slope[i], range);
    }
  }
}

TEST_P(Rules, AnswerNaNByNaNAndInfinityWithoutIt) {
  const Rule& rule = GetParam();
  for (const DType dtype : {DType::f32, DType::f64})
    for (const double roundoff : {0., roundoff_of(dtype)})
      for (const Tensor& alpha : {Tensor(), Tensor::scalar(0.3, dtype)}) {
        const double big = dtype == DType::f32 ? 3e38 : 1.7e308, small = dtype == DType::f32 ? 1e-44 : 4e-324;
        const Result bad = apply_rule(rule, {kNaN, 1, kNaN, -1, kNaN, -kInf}, {kNaN, kNaN, 2, kNaN, kInf, kNaN}, alpha, dtype, roundoff);
        for (size_t i = 0; i < bad.size(); ++i)
          EXPECT_TRUE(std::isnan(bad.lower_slope[i] + bad.lower_intercept[i] + bad.upper_slope[i]) || std::isnan(bad.upper_intercept[i])) << rule.name << " " << i;
        std::vector<double> l = {1, -1, -kInf, -kInf, -kInf, -big, -big, 2, -2, 0, -small, -1, -small, 0.5, 6}, u = {kInf, kInf, 1, -1, kInf, big, 1, 2, -2, 0, 1, small, small, 6, 6};
        if (rule.positive) {
          for (double& v : l) v = std::abs(v);
          for (size_t i = 0; i < l.size(); ++i) u[i] = std::abs(u[i]), l[i] = std::min({l[i], u[i], big});
        }
        const Result r = apply_rule(rule, l, u, alpha, dtype, roundoff);
        for (size_t i = 0; i < r.size(); ++i) {
          EXPECT_FALSE(std::isnan(r.lower_slope[i] + r.lower_intercept[i]) || std::isnan(r.upper_slope[i] + r.upper_intercept[i])) << rule.name << " " << i;
          EXPECT_FALSE(std::isinf(r.lower_slope[i]) || std::isinf(r.upper_slope[i])) << rule.name << " " << i;
          if (roundoff == 0) continue;
          const Real span = dtype == DType::f32 ? 1e38L : 1e308L;
          for (const Real x : points_of(rule, std::max<Real>(r.l[i], -span), std::min<Real>(r.u[i], span))) {
            EXPECT_LE(r.lower(i, x), rule.reference(x)) << rule.name << " [" << l[i] << ", " << u[i] << "] at " << x;
            EXPECT_GE(r.upper(i, x), rule.reference(x)) << rule.name << " [" << l[i] << ", " << u[i] << "] at " << x;
          }
        }
      }
}

// Sum of the lines' numbers under fixed weights, whose gradient is compared with central differences.
TEST_P(Rules, AreDifferentiableInTheBoxAndInAlpha) {
  const Rule& rule = GetParam();
  const Trace t = traced(rule, DType::f64);
  const Step& step = t.steps[0];
  const Relaxation* relaxation = find_relaxation(step.op().name);
  std::mt19937 random(6);
  std::uniform_real_distribution<double> unit(0, 1);
  int compared = 0, skipped = 0;
  for (int i = 0; i < 120; ++i) {
    const double l = rule.positive ? 0.1 + 3 * unit(random) : -5 + 7 * unit(random), u = l + 0.2 + 6 * unit(random), a = 0.05 + 0.9 * unit(random);
    const auto total = [&](const Tensor& v) {
      const Box box{slice(v, 0, 0, 1), slice(v, 0, 1, 2)};
      const Lines lines = relaxation->lines(step, box, slice(v, 0, 2, 3), 0);
      const Box range = relaxation->interval(step, box, 0);
      Tensor sum_of_all = sum(lines.lower_slope) + sum(lines.upper_slope) * 0.7 + sum(range.lower) * 0.3 + sum(range.upper) * 1.1;
      if (lines.lower_intercept.defined()) sum_of_all = sum_of_all + sum(lines.lower_intercept) * 1.3;
      if (lines.upper_intercept.defined()) sum_of_all = sum_of_all - sum(lines.upper_intercept) * 0.6;
      return sum_of_all;
    };
    const std::vector<double> at = {l, u, a};
    const std::vector<double> gradient = grad(total)(Tensor::from(at, {3})).to_vector<double>();
    for (int k = 0; k < 3; ++k) {
      const auto difference = [&](double step_size) {
        std::vector<double> plus = at, minus = at;
        plus[k] += step_size, minus[k] -= step_size;
        return (total(Tensor::from(plus, {3})).item() - total(Tensor::from(minus, {3})).item()) / (2 * step_size);
      };
      const double coarse = difference(2e-5), fine = difference(1e-5);
      if (std::abs(coarse - fine) > 1e-6 * (1 + std::abs(fine))) {  // across a switch
        ++skipped;
        continue;
      }
      ++compared;
      EXPECT_NEAR(gradient[k], fine, 2e-6 * (1 + std::abs(fine))) << rule.name << " [" << l << ", " << u << "] α " << a << " in " << k;
    }
  }
  EXPECT_GT(compared, 20 * skipped) << rule.name;
}

}  // namespace
}  // namespace mollify::nn::bounds
