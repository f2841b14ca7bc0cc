// Errors of computed constants: random expressions against 113 bits, and the bounds that stand on them.
#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/bounds/constants.h>

#include <mollify/engine/ops.h>

#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace mollify::nn::bounds {
namespace {

#if LDBL_MANT_DIG == 113  // aarch64, where compilers have no __float128
using Quad = long double;
#else
using Quad = __float128;
#endif
constexpr int kNumbers = 4;

struct Expression {
  Tensor value;
  std::vector<Quad> exact;
  std::string text;
};

Quad root(Quad x) {  // Newton's method from 53 bits
  if (x <= 0) return 0;
  Quad y = std::sqrt(static_cast<double>(x));
  for (int i = 0; i < 2; ++i) y = (y + x / y) / 2;
  return y;
}

// Expressions of few numbers, many of them near one another, so that some cancel.
class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  Expression leaf() {
    std::vector<double> values(kNumbers);
    for (double& x : values) {
      const int kind = pick(4);
      x = kind == 0   ? pick(7) - 3
          : kind == 1 ? std::ldexp(1.0, pick(120) - 60)
                      : std::normal_distribution<double>(0, kind == 2 ? 1 : 1e8)(random_);
    }
    return {Tensor::from(values, {kNumbers}), {values.begin(), values.end()}, "leaf"};
  }

  Expression make(int depth) {
    if (depth == 0) return leaf();
    const Expression a = make(depth - 1), b = pick(3) == 0 ? a : make(pick(depth));
    switch (pick(7)) {
      case 0: return both(a, b, a.value + b.value, "+", [](Quad x, Quad y) { return x + y; });
      case 1: return both(a, b, a.value - b.value, "-", [](Quad x, Quad y) { return x - y; });
      case 2: return both(a, b, a.value * b.value, "*", [](Quad x, Quad y) { return x * y; });
      case 3: return both(a, b, a.value / b.value, "/", [](Quad x, Quad y) { return x / y; });
      case 4: return both(a, a, sqrt(abs(a.value)), "sqrt|.|", [](Quad x, Quad) { return root(x < 0 ? -x : x); });
      case 5:
        return both(a, a, flip(a.value, 0) + a.value, "+ flip", {},
                    [](const std::vector<Quad>& x, size_t i) { return x[i] + x[kNumbers - 1 - i]; });
      default:
        return both(a, a, expand(sum(a.value, {0}, true), {kNumbers}), "sum", {},
                    [](const std::vector<Quad>& x, size_t) {
                      Quad total = 0;
                      for (const Quad v : x) total += v;
                      return total;
                    });
    }
  }

 private:
  int pick(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }

  static Expression both(const Expression& a, const Expression& b, Tensor value, const std::string& name,
                         const std::function<Quad(Quad, Quad)>& f,
                         const std::function<Quad(const std::vector<Quad>&, size_t)>& of_all = {}) {
    Expression made{std::move(value), std::vector<Quad>(kNumbers), "(" + a.text + " " + name + " " + b.text + ")"};
    for (size_t i = 0; i < kNumbers; ++i) made.exact[i] = of_all ? of_all(a.exact, i) : f(a.exact[i], b.exact[i]);
    return made;
  }

  std::mt19937_64 random_;
};

TEST(ConstantRoundings, AreNoFewerThanRandomExpressionsShow) {
  int known = 0, exact = 0;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    Expression e;
    const Trace traced =
        trace([&](const Tensor& x) { return x + (e = Maker(seed).make(static_cast<int>(seed % 6))).value; },
              Layout::packed({1, kNumbers}, DType::f64), Constants::kept);
    const double roundings = ConstantRoundings(traced.constants).of(e.value);
    const std::vector<double> computed = e.value.to_vector<double>();
    if (!(roundings < 1e12)) continue;
    known += roundings > 0;
    exact += roundings == 0 && seed % 6 != 0;
    for (size_t i = 0; i < computed.size(); ++i) {
      const Quad error = Quad(computed[i]) - e.exact[i],
                 most = (e.exact[i] < 0 ? -e.exact[i] : e.exact[i]) * Quad(roundings * 1.0001 * 0x1p-53);
      ASSERT_LE(static_cast<double>(error < 0 ? -error : error), static_cast<double>(most))
          << "seed " << seed << ": " << e.text << "[" << i << "] is " << computed[i] << ", off by more than "
          << roundings << " roundings";
    }
  }
  EXPECT_GT(known, 1000);
  EXPECT_GT(exact, 200);
}

double roundings_of(const std::function<Tensor()>& constant, DType dtype = DType::f64) {
  Tensor c;
  const Trace traced =
      trace([&](const Tensor& x) { return x * (c = constant()); }, Layout::packed({1, 1}, dtype), Constants::kept);
  return ConstantRoundings(traced.constants).of(c);
}

TEST(ConstantRoundings, OfFewSteps) {
  const auto number = [](double x) { return Tensor::scalar(x, DType::f64); };
  EXPECT_EQ(roundings_of([&] { return number(3); }), 0);
  EXPECT_EQ(roundings_of([&] { return number(3) * number(5) - number(15); }), 0);
  EXPECT_EQ(roundings_of([&] { return number(0.1) * number(0.1); }), 1);
  EXPECT_EQ(roundings_of([&] { return number(1) / sqrt(number(2) + number(1e-5)); }), 2 * (2 * 1 + 1) + 1);
  EXPECT_EQ(roundings_of([&] { return number(0x1p60) + number(1) - number(0x1p60); }),
            std::numeric_limits<double>::infinity());
  EXPECT_EQ(roundings_of([&] { return exp(number(-3)); }), 8);
  EXPECT_EQ(roundings_of([&] { return sin(number(0.1) * number(0.1)); }), std::numeric_limits<double>::infinity());
  EXPECT_GE(roundings_of([&] { return cast(cast(number(0.1) * number(0.1), DType::f32), DType::f64); }), 0x1p29);
  EXPECT_EQ(roundings_of([] { return Tensor::scalar(0x1p30) + Tensor::scalar(1); }, DType::f32), 1);
}

// With x in [0, 1] the sum is at least 1 in real arithmetic, and computed from 0 on.
TEST(ConstantRoundings, ACancelledConstantLeavesNoBound) {
  for (const Method method : {Method::ibp, Method::crown, Method::deepz}) {
    const auto bounds_of = [&](double large) {
      const Graph graph([&](const Tensor& x) { return relu(x + (Tensor::scalar(large, DType::f64) + 1.0 - large)); },
                        {1}, DType::f64);
      const Region region{.box = {zeros({1, 1}, DType::f64), full({1, 1}, 1, DType::f64)}};
      const Box box = Bounds(graph, region, {.method = method, .roundoff = unit_roundoff(DType::f64)}).output();
      return std::pair(box.lower.to_vector<double>()[0], box.upper.to_vector<double>()[0]);
    };
    const auto [lower, upper] = bounds_of(0x1p60);
    EXPECT_FALSE(upper < 2) << upper;
    EXPECT_FALSE(lower > 1) << lower;
    const auto [near, far] = bounds_of(0x1p20);
    EXPECT_NEAR(near, 1, 1e-9);
    EXPECT_NEAR(far, 2, 1e-9);
  }
}

}  // namespace
}  // namespace mollify::nn::bounds
