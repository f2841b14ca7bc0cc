// Lines and intervals of every rule: valid without tolerance when widened, tight, differentiable, and whole on
// degenerate boxes.
#include "../../cases.h"
#include "../../devices.h"
#include "relaxed_functions.h"

#include <mollify/engine/grad.h>
#include <mollify/nn/bounds/relaxations.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace mollify::nn::bounds {
namespace {

const double kInf = std::numeric_limits<double>::infinity();
const double kNaN = std::numeric_limits<double>::quiet_NaN();

double roundoff_of(DType dtype) { return dtype == DType::f32 ? 0x1p-24 : 0x1p-53; }
Tensor tensor_of(const std::vector<double>& v, DType dtype) {
  return cast(Tensor::from(v, {static_cast<int64_t>(v.size())}), dtype);
}
std::vector<double> numbers(const Tensor& t, int64_t count) {
  if (!t.defined()) return std::vector<double>(count, 0);
  return cast(expand(t, {count}), DType::f64).to_vector<double>();
}

// A rule on a vector of boxes.
struct Result {
  std::vector<double> l, u, low, high, lower_slope, lower_intercept, upper_slope, upper_intercept;
  size_t size() const { return l.size(); }
  Real lower(size_t i, Real x) const { return lower_slope[i] * x + lower_intercept[i]; }
  Real upper(size_t i, Real x) const { return upper_slope[i] * x + upper_intercept[i]; }
};

Trace traced(const Rule& rule, DType dtype, Device device = Device::cpu) {
  return trace(rule.run, Layout::packed({1}, dtype, device));
}

Result apply_rule(const Rule& rule, const std::vector<double>& l, const std::vector<double>& u, const Tensor& alpha,
                  DType dtype, double roundoff, Device device = Device::cpu) {
  const Trace t = traced(rule, dtype, device);
  const TracedStep& step = t.steps[0];
  const Relaxation* relaxation = find_relaxation(step.op().name);
  EXPECT_NE(relaxation, nullptr) << rule.name;
  const Box box{to(tensor_of(l, dtype), device), to(tensor_of(u, dtype), device)};
  const Box range = relaxation->interval(step, box, roundoff);
  const Lines lines = relaxation->lines(step, box, alpha, roundoff);
  const int64_t n = static_cast<int64_t>(l.size());
  return {numbers(box.lower, n),         numbers(box.upper, n),
          numbers(range.lower, n),       numbers(range.upper, n),
          numbers(lines.lower_slope, n), numbers(lines.lower_intercept, n),
          numbers(lines.upper_slope, n), numbers(lines.upper_intercept, n)};
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

Tensor random_alpha(size_t n, uint32_t seed, DType dtype) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> unit(0, 1);
  std::vector<double> values(n);
  for (double& v : values) v = unit(random);
  return tensor_of(values, dtype);
}

std::vector<Tensor> alphas(size_t n, DType dtype, Device device) {
  return {Tensor(), Tensor::scalar(0, dtype), Tensor::scalar(1, dtype), to(random_alpha(n, 5, dtype), device)};
}

// tolerance: in units of roundoff, of the greatest terms of the line and of h.
bool holds(const Rule& rule, const Result& r, size_t i, Real x, Real h, double reach, DType dtype, double tolerance) {
  if (std::isinf(h) && std::isinf(r.high[i])) return true;
  const auto slack = [&](double slope, double range) {
    const Real terms = std::abs(slope) * reach + std::abs(range) + fabsl(h) + rule.absolute;
    return tolerance == 0 ? 0 : tolerance * roundoff_of(dtype) * terms + 0x1p-122L * (1 + reach);
  };
  return r.lower(i, x) <= h + slack(r.lower_slope[i], r.low[i]) &&
         r.upper(i, x) >= h - slack(r.upper_slope[i], r.high[i]) && r.low[i] <= h + slack(0, r.low[i]) &&
         r.high[i] >= h - slack(0, r.high[i]);
}

// For both dtypes and several α.
void expect_valid(const Rule& rule, const Boxes& boxes, bool widened, Device device = Device::cpu) {
  std::vector<std::pair<DType, Result>> results;
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Tensor& alpha : alphas(boxes.l.size(), dtype, device))
      results.push_back(
          {dtype, apply_rule(rule, boxes.l, boxes.u, alpha, dtype, widened ? roundoff_of(dtype) : 0, device)});
  for (size_t i = 0, failures = 0; i < boxes.l.size() && failures < 5; ++i) {
    const double reach = std::max(std::abs(boxes.l[i]), std::abs(boxes.u[i]));
    for (const Real x : points_of(rule, boxes.l[i], boxes.u[i])) {
      const Real h = rule.reference(x);
      for (const auto& [dtype, r] : results) {
        if (holds(rule, r, i, x, h, reach, dtype, widened ? 0 : 256)) continue;
        ++failures;
        ADD_FAILURE() << rule.name << " on [" << r.l[i] << ", " << r.u[i] << "] at " << x << ": h = " << h << ", lines "
                      << r.lower(i, x) << " (" << r.lower_slope[i] << ", " << r.lower_intercept[i] << ") and "
                      << r.upper(i, x) << " (" << r.upper_slope[i] << ", " << r.upper_intercept[i] << "), interval ["
                      << r.low[i] << ", " << r.high[i] << "]";
      }
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
  expect_valid(GetParam(), random_boxes(GetParam(), cases(1000), 1), true);
}
TEST_P(Rules, HoldToRoundingWhenNot) { expect_valid(GetParam(), random_boxes(GetParam(), cases(500), 2), false); }
TEST_P(Rules, HoldOnCuda) {
  MOLLIFY_SKIP_WITHOUT_CUDA();
  for (const bool widened : {true, false})
    expect_valid(GetParam(), random_boxes(GetParam(), cases(300), 7), widened, Device::cuda);
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

// The area between a line and h is least when the line meets the hull in the middle of the box: so do all default
// lines, but exp's, whose lower line rather stays positive.
TEST_P(Rules, AreOfLeastArea) {
  const Rule& rule = GetParam();
  if (rule.name == "sign") return;
  std::mt19937 random(3);
  std::uniform_real_distribution<double> unit(0, 1);
  std::vector<double> l, u;
  for (int i = 0; i < cases(300); ++i) {
    const double width = std::pow(10, unit(random) * 3 - 2),
                 at = unit(random) * 10 + (rule.positive ? 0.01 : -6 - width / 2);
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
    EXPECT_NEAR(r.upper(i, middle), hull_at(samples, middle, -1), tolerance)
        << rule.name << " [" << l[i] << ", " << u[i] << "]";
    if (rule.name != "exp" || u[i] - l[i] < 1.9) {
      EXPECT_NEAR(r.lower(i, middle), hull_at(samples, middle, 1), tolerance)
          << rule.name << " [" << l[i] << ", " << u[i] << "]";
    }
    EXPECT_NEAR(r.low[i], least, tolerance) << rule.name;
    EXPECT_NEAR(r.high[i], greatest, tolerance) << rule.name;
  }
}

TEST_P(Rules, LosesLittleByWidening) {
  const Boxes boxes = random_boxes(GetParam(), cases(1000), 4, 3);
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Result exact = apply_rule(GetParam(), boxes.l, boxes.u, {}, dtype, 0);
    const Result wide = apply_rule(GetParam(), boxes.l, boxes.u, {}, dtype, roundoff_of(dtype));
    for (size_t i = 0; i < exact.size(); ++i) {
      const double reach = std::max(std::abs(exact.l[i]), std::abs(exact.u[i]));
      const auto near = [&](double a, double b, double slope, double value) {
        if (std::abs(value) > (dtype == DType::f32 ? 1e36 : 1e306)) return;
        EXPECT_LE(std::abs(a - b),
                  1500 * roundoff_of(dtype) * ((1 + std::abs(slope)) * reach + std::abs(value) + 1) + 1e-36)
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
        const Result bad = apply_rule(rule, {kNaN, 1, kNaN, -1, kNaN, -kInf}, {kNaN, kNaN, 2, kNaN, kInf, kNaN}, alpha,
                                      dtype, roundoff);
        for (size_t i = 0; i < bad.size(); ++i)
          EXPECT_TRUE(std::isnan(bad.lower_slope[i]) || std::isnan(bad.lower_intercept[i]) ||
                      std::isnan(bad.upper_slope[i]) || std::isnan(bad.upper_intercept[i]))
              << rule.name << " " << i;
        std::vector<double> l = {1, -1, -kInf, -kInf, -kInf, -big, -big, 2, -2, 0, -small, -1, -small, 0.5, 6};
        std::vector<double> u = {kInf, kInf, 1, -1, kInf, big, 1, 2, -2, 0, 1, small, small, 6, 6};
        if (rule.positive) {
          for (double& v : l) v = std::abs(v);
          for (size_t i = 0; i < l.size(); ++i)
            u[i] = std::abs(u[i]), l[i] = std::min({l[i], u[i], static_cast<double>(big) / 10});
        }
        const Result r = apply_rule(rule, l, u, alpha, dtype, roundoff);
        for (size_t i = 0; i < r.size(); ++i) {
          if (rule.absolute && std::isinf(r.u[i] - r.l[i])) continue;
          EXPECT_FALSE(std::isnan(r.lower_intercept[i]) || std::isnan(r.upper_intercept[i])) << rule.name << " " << i;
          EXPECT_TRUE(std::isfinite(r.lower_slope[i]) && std::isfinite(r.upper_slope[i])) << rule.name << " " << i;
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
  const TracedStep& step = t.steps[0];
  const Relaxation* relaxation = find_relaxation(step.op().name);
  std::mt19937 random(6);
  std::uniform_real_distribution<double> unit(0, 1);
  int compared = 0, skipped = 0;
  for (int i = 0; i < 120; ++i) {
    const double l = rule.positive ? 0.1 + 3 * unit(random) : -5 + 7 * unit(random);
    const double u = l + 0.2 + 6 * unit(random), a = 0.05 + 0.9 * unit(random);
    const auto total = [&](const Tensor& v) {
      const Box box{slice(v, 0, 0, 1), slice(v, 0, 1, 2)};
      const Lines lines = relaxation->lines(step, box, slice(v, 0, 2, 3), 0);
      const Box range = relaxation->interval(step, box, 0);
      Tensor sum_of_all =
          sum(lines.lower_slope) + sum(lines.upper_slope) * 0.7 + sum(range.lower) * 0.3 + sum(range.upper) * 1.1;
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
      EXPECT_NEAR(gradient[k], fine, 2e-6 * (1 + std::abs(fine)))
          << rule.name << " [" << l << ", " << u << "] α " << a << " in " << k;
    }
  }
  EXPECT_GT(compared, 20 * skipped) << rule.name;
}

const Rule& rule_named(const std::string& name) {
  static const std::vector<Rule> all = rules();
  return *std::find_if(all.begin(), all.end(), [&](const Rule& r) { return r.name == name; });
}

TEST(Relaxations, OfReluAreTheFormulasExactly) {
  const std::vector<double> l = {-3, -1, -2, 1, -4, 0, -2}, u = {1, 3, 2, 2, -1, 5, 0};
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Result r = apply_rule(rule_named("relu"), l, u, {}, dtype, 0);
    const Result half = apply_rule(rule_named("relu"), l, u, Tensor::scalar(0.5, dtype), dtype, 0);
    EXPECT_EQ(r.upper_slope, (std::vector<double>{0.25, 0.75, 0.5, 1, 0, 1, 0}));
    EXPECT_EQ(r.upper_intercept, (std::vector<double>{0.75, 0.75, 1, 0, 0, 0, 0}));
    EXPECT_EQ(r.lower_slope, (std::vector<double>{0, 1, 1, 1, 0, 1, 0}));
    EXPECT_EQ(half.lower_slope, (std::vector<double>{0.5, 0.5, 0.5, 1, 0, 1, 0}));
    EXPECT_EQ(half.lower_intercept, std::vector<double>(7, 0));
    const Result wide = apply_rule(rule_named("relu"), l, u, {}, dtype, roundoff_of(dtype));
    for (const int i : {3, 4, 5, 6}) {  // stable: no margin
      EXPECT_EQ(wide.upper_slope[i], r.upper_slope[i]);
      EXPECT_EQ(wide.upper_intercept[i], 0);
    }
    const Result unbounded =
        apply_rule(rule_named("relu"), {-2, -kInf, -kInf}, {kInf, 3, kInf}, {}, dtype, roundoff_of(dtype));
    EXPECT_EQ(unbounded.upper_slope, (std::vector<double>{1, 0, 1}));
    EXPECT_EQ(unbounded.upper_intercept, (std::vector<double>{2, 3, kInf}));
  }
}

TEST(Relaxations, TakeTheSlopesOfEveryRuleOfLowerLines) {
  const Trace t = traced(rule_named("relu"), DType::f64);
  const Box box{tensor_of({-3, -1, -2, 1, -4}, DType::f64), tensor_of({1, 3, 2, 2, -1}, DType::f64)};
  const Relaxation& relaxation = *find_relaxation("relu");
  const auto slopes = [&](LowerLine rule) {
    return relaxation.lines(t.steps[0], box, relaxation.alpha(t.steps[0], box, rule), 0)
        .lower_slope.to_vector<double>();
  };
  EXPECT_EQ(slopes(LowerLine::adaptive), (std::vector<double>{0, 1, 1, 1, 0}));
  EXPECT_EQ(slopes(LowerLine::zero), (std::vector<double>{0, 0, 0, 1, 0}));
  EXPECT_EQ(slopes(LowerLine::one), (std::vector<double>{1, 1, 1, 1, 0}));
  EXPECT_EQ(slopes(LowerLine::same), (std::vector<double>{0.25, 0.75, 0.5, 1, 0}));
}

// α = 0 and 1 put the tangent at the ends of its range: the box's ends, or where the tangent meets the curve at the
// other end.
TEST(Relaxations, ReachTheEndsWithAlpha) {
  const auto lines = [](const char* name, double l, double u, double alpha) {
    return apply_rule(rule_named(name), {l}, {u}, Tensor::scalar(alpha, DType::f64), DType::f64, 0);
  };
  EXPECT_NEAR(lines("exp", -1, 2, 0).lower_slope[0], std::exp(-1), 1e-15);
  EXPECT_NEAR(lines("exp", -1, 2, 1).lower_slope[0], std::exp(2), 1e-14);
  EXPECT_NEAR(lines("exp", -1, 0.5, 0.5).lower_slope[0], std::exp(-0.25), 1e-15);
  EXPECT_NEAR(lines("exp", -1, 5, 0.5).lower_slope[0], std::exp(-0.01), 1e-15);  // positive on the box
  EXPECT_NEAR(lines("log", 1, 4, 0).upper_slope[0], 1, 1e-15);
  EXPECT_NEAR(lines("log", 1, 4, 1).upper_slope[0], 0.25, 1e-15);
  EXPECT_NEAR(lines("abs", -1, 4, 0).lower_slope[0], -1, 1e-15);
  EXPECT_NEAR(lines("abs", -1, 4, 1).lower_slope[0], 1, 1e-15);
  EXPECT_NEAR(lines("clip", -1, 4, 1).lower_slope[0], 3.5 / 3.5, 1e-15);
  EXPECT_NEAR(lines("clip", -1, 4, 0).lower_slope[0], 0, 1e-15);
  for (const char* name : {"sigmoid", "tanh", "erf", "gelu", "silu"}) {
    const Real u = 4, l = -3;
    const Result last = lines(name, l, u, 1), first = lines(name, l, u, 0);
    EXPECT_NEAR(last.lower(0, u), rule_named(name).reference(u), 1e-9) << name;
    const bool dish = std::string(name) == "gelu" || std::string(name) == "silu";
    EXPECT_NEAR(dish ? first.lower(0, l) : first.upper(0, l), rule_named(name).reference(l), 1e-9) << name;
  }
}

TEST(Relaxations, OfCurvesTouchInTheMiddleUnlessAsked) {
  for (const char* name : {"exp", "tanh", "gelu", "sigmoid"}) {
    const Trace t = traced(rule_named(name), DType::f64);
    const Box box{tensor_of({0.25}, DType::f64), tensor_of({0.75}, DType::f64)};
    EXPECT_EQ(find_relaxation(name)->alpha(t.steps[0], box, LowerLine::adaptive).item(), 0.5) << name;
  }
}

TEST(Relaxations, BroadcastOneAlphaForEachRow) {
  for (const char* name : {"relu", "leaky_relu 3.000000", "clip", "exp", "tanh", "gelu"}) {
    const Trace t = traced(rule_named(name), DType::f32);
    const Relaxation& relaxation = *find_relaxation(t.steps[0].op().name);
    const Tensor zero = Tensor::scalar(0, DType::i32), c = normal({2, 1, 5}, {1, 2}, zero),
                 alpha = uniform({2, 3, 5}, {1, 3}, zero);
    const Box box{c - 1.0, c + 2.0};
    const Lines lines = relaxation.lines(t.steps[0], box, alpha, 0x1p-24);
    for (int row = 0; row < 3; ++row) {
      const Lines alone = relaxation.lines(t.steps[0], box, slice(alpha, 1, row, row + 1), 0x1p-24);
      const auto expect_row = [&](const Tensor& all, const Tensor& one) {
        ASSERT_EQ(all.defined(), one.defined());
        if (!one.defined()) return;
        EXPECT_EQ(slice(expand(all, {2, 3, 5}), 1, row, row + 1).to_vector<float>(),
                  expand(one, {2, 1, 5}).to_vector<float>())
            << name;
      };
      expect_row(lines.lower_slope, alone.lower_slope);
      expect_row(lines.lower_intercept, alone.lower_intercept);
      expect_row(lines.upper_slope, alone.upper_slope);
      expect_row(lines.upper_intercept, alone.upper_intercept);
    }
  }
}

TEST(Relaxations, PassGradientsToTheNoise) {
  const Box box{tensor_of({-1, -2}, DType::f64), tensor_of({2, 0.5}, DType::f64)};
  for (const auto& f : {smoothing::abs_smoothed, smoothing::sign_smoothed}) {
    const auto total = [&](const Tensor& s) {
      const Trace t = trace([&](const Tensor& x) { return f(x, s); }, Layout::packed({2}, DType::f64));
      const Lines lines =
          find_relaxation(t.steps[0].op().name)->lines(t.steps[0], box, Tensor::scalar(0.2, DType::f64), 0);
      return sum(lines.lower_slope + lines.lower_intercept * 0.7 + lines.upper_slope * 0.3 +
                 lines.upper_intercept * 1.1);
    };
    const double s = 0.6, step = 1e-5;
    const auto at = [&](double v) { return total(Tensor::scalar(v, DType::f64)).item(); };
    EXPECT_NEAR(grad(total)(Tensor::scalar(s, DType::f64)).item(), (at(s + step) - at(s - step)) / (2 * step), 1e-6);
  }
}

TEST(Relaxations, AreFoundByNameOrNot) {
  EXPECT_EQ(find_relaxation("unknown"), nullptr);
  EXPECT_EQ(find_relaxation("dense"), nullptr);
  EXPECT_STREQ(find_relaxation("relu")->operation, "relu");
  const Trace t = trace([](const Tensor& x) { return smoothing::relu_smoothed(x, Tensor::scalar(1), 2); },
                        Layout::packed({1}, DType::f32));
  const Box box{zeros({1}), ones({1})};
  EXPECT_THROW(find_relaxation("relu_smoothed")->lines(t.steps[0], box, {}, 0), ValueError);
  EXPECT_THROW(find_relaxation("relu_smoothed")->interval(t.steps[0], box, 0), ValueError);
}

}  // namespace
}  // namespace mollify::nn::bounds
