// Estimates from populations of losses against what they must be on average, on quadratics whose moments are known.
#include <mollify/engine/ops.h>
#include <mollify/smoothing/loss/population.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace mollify::smoothing {
namespace {

using Sides = Population::Sides;
using Directions = Population::Directions;
using F = std::function<Tensor(const Tensor&)>;

constexpr int64_t kWeights = 6;

// f(w) = ½ wᵀHw + bᵀw with H symmetric, in f64.
struct Quadratic {
  Tensor hessian, slope, at;

  explicit Quadratic(uint64_t seed = 1) {
    const Tensor a = randn({kWeights, kWeights}, seed, DType::f64);
    hessian = a + transpose(a);
    slope = randn({kWeights}, seed + 1, DType::f64);
    at = randn({kWeights}, seed + 2, DType::f64);
  }
  Tensor operator()(const Tensor& w) const {
    const Tensor column = reshape(w, {kWeights, 1});
    return sum(matmul(hessian, column) * column) * 0.5 + sum(slope * w);
  }
  Tensor gradient() const { return reshape(matmul(hessian, reshape(at, {kWeights, 1})), {kWeights}) + slope; }
  double trace() const { return sum(hessian * eye(kWeights, DType::f64)).item(); }
  double squared_norm() const { return sum(square(gradient())).item(); }
};

Tensor step_number(int64_t step) { return Tensor::scalar(static_cast<double>(step), DType::i32); }

Members members_of(const PopulationEstimate& estimate, const Population& how, const F& f, const Tensor& w,
                   const Tensor& s) {
  std::vector<Tensor> plus, minus;
  for (int64_t j = 0; j < how.pairs; ++j) {
    const Tensor z = estimate.direction(j) * s;
    plus.push_back(reshape(f(w + z), {1}));
    minus.push_back(reshape(f(w - z), {1}));
  }
  return {concat(plus), how.sides == Sides::two ? concat(minus) : Tensor(), f(w)};
}

// Mean over `trials` steps of what `measure` gives, and its standard error, per number.
struct Average {
  std::vector<double> mean, error;
};
Average average(int64_t trials, const std::function<std::vector<double>(int64_t)>& measure) {
  std::vector<double> sum, squares;
  for (int64_t t = 0; t < trials; ++t) {
    const std::vector<double> x = measure(t);
    sum.resize(x.size());
    squares.resize(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      sum[i] += x[i];
      squares[i] += x[i] * x[i];
    }
  }
  const double n = static_cast<double>(trials);
  Average out;
  for (size_t i = 0; i < sum.size(); ++i) {
    out.mean.push_back(sum[i] / n);
    out.error.push_back(std::sqrt(std::max(0.0, squares[i] / n - out.mean[i] * out.mean[i]) / n));
  }
  return out;
}

void expect_average(const Average& got, const std::vector<double>& expected, const std::string& about) {
  ASSERT_EQ(got.mean.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(got.mean[i], expected[i], 4 * got.error[i] + 1e-12 * std::abs(expected[i]))
        << about << ", number " << i;
}

std::vector<double> gradient_in_step(const Population& how, const F& f, const Tensor& w, const Tensor& s,
                                     int64_t step) {
  const PopulationEstimate estimate(how, step_number(step), w.size(), s);
  return estimate.gradient(members_of(estimate, how, f, w, s)).to_vector<double>();
}

TEST(PopulationOnQuadratics, GradientsAreUnbiasedForAnyScale) {
  const Quadratic f;
  const std::vector<double> gradient = f.gradient().to_vector<double>();
  for (const double s : {0.01, 3.0})
    for (const Sides sides : {Sides::two, Sides::one, Sides::point})
      for (const Directions directions : {Directions::normal, Directions::signs}) {
        if (sides == Sides::point && s < 1) continue;  // its variance grows as 1/s²
        const Population how{.pairs = 3, .sides = sides, .directions = directions, .seed = 5};
        const Tensor scale = Tensor::scalar(s, DType::f64);
        expect_average(
            average(4000, [&](int64_t t) { return gradient_in_step(how, f, f.at, scale, t); }), gradient,
            format("s {}, sides {}, directions {}", s, static_cast<int>(sides), static_cast<int>(directions)));
      }
}

// formulas of sparse zeroth-order optimisation: E‖g‖² of one pair, and the distance to ∇f of the mean of k.
TEST(PopulationOnQuadratics, SecondMomentsAreKnown) {
  const Quadratic f;
  const double n = kWeights, s = 0.7, norm = f.squared_norm(), trace = f.trace();
  const double frobenius = sum(square(f.hessian)).item();
  const Tensor scale = Tensor::scalar(s, DType::f64);
  const auto squared = [&](const Population& how, bool distance) {
    return average(20000, [&](int64_t t) {
      const std::vector<double> g = gradient_in_step(how, f, f.at, scale, t), exact = f.gradient().to_vector<double>();
      double total = 0;
      for (size_t i = 0; i < g.size(); ++i) total += std::pow(g[i] - (distance ? exact[i] : 0), 2);
      return std::vector<double>{total};
    });
  };
  expect_average(squared({.pairs = 1}, false), {(n + 2) * norm}, "two sides");
  expect_average(squared({.pairs = 1, .sides = Sides::one}, false),
                 {(n + 2) * norm + s * s / 4 * (n + 4) * (2 * frobenius + trace * trace)}, "one side");
  for (const int64_t pairs : {2, 8})
    expect_average(squared({.pairs = pairs}, true), {(n + 1) / static_cast<double>(pairs) * norm},
                   format("distance of {} pairs", pairs));
}

// L_s = f + s²·tr H/2, and with scales of its own s_i: ∂/∂s_i = s_i·H_ii.
TEST(PopulationOnQuadratics, ScaleGradientsAreUnbiased) {
  const Quadratic f;
  const auto in_step = [&](const Population& how, const Tensor& s, int64_t t) {
    const PopulationEstimate estimate(how, step_number(t), kWeights, s);
    return estimate.scale_gradient(members_of(estimate, how, f, f.at, s)).to_vector<double>();
  };
  for (const Sides sides : {Sides::two, Sides::one}) {
    const Population how{.pairs = 3, .sides = sides, .seed = 2};
    const Tensor one = Tensor::scalar(0.8, DType::f64), each = rand({kWeights}, 3, DType::f64) + 0.5;
    expect_average(average(10000, [&](int64_t t) { return in_step(how, one, t); }), {0.8 * f.trace()}, "shared");
    expect_average(average(10000, [&](int64_t t) { return in_step(how, each, t); }),
                   (sum(f.hessian * eye(kWeights, DType::f64), {1}) * each).to_vector<double>(), "each");
  }
}

// The mean over all pairs in place of the others' would shrink the gradient in s by 1 − 1/pairs.
TEST(PopulationOnQuadratics, TheBaselineLeavesThePairOut) {
  Quadratic f;
  f.hessian = f.hessian + eye(kWeights, DType::f64) * 6.0;
  const Tensor s = Tensor::scalar(0.8, DType::f64);
  const Population how{.pairs = 2, .seed = 11};
  const Average found = average(20000, [&](int64_t t) {
    const PopulationEstimate estimate(how, step_number(t), kWeights, s);
    return estimate.scale_gradient(members_of(estimate, how, f, f.at, s)).to_vector<double>();
  });
  EXPECT_NEAR(found.mean[0], 0.8 * f.trace(), 4 * found.error[0]);
  EXPECT_GT(std::abs(0.8 * f.trace() - 0.4 * f.trace()), 8 * found.error[0]) << "the test could not tell them apart";
}

TEST(Population, VarianceFallsAsOneOverThePairs) {
  const Quadratic f;
  const Tensor s = Tensor::scalar(0.5, DType::f64);
  const auto variance = [&](int64_t pairs) {
    const Population how{.pairs = pairs, .seed = 4};
    const Average found = average(3000, [&](int64_t t) { return gradient_in_step(how, f, f.at, s, t); });
    double total = 0;
    for (const double error : found.error) total += error * error;
    return total;
  };
  EXPECT_NEAR(variance(4) / variance(32), 8, 0.8);
}

TEST(Population, PairsThatAreNotFiniteAreLeftOutAndCounted) {
  const Quadratic f;
  const Tensor s = Tensor::scalar(0.5, DType::f64);
  for (const bool ranks : {false, true})
    for (const Sides sides : {Sides::two, Sides::one, Sides::point}) {
      const Population how{.pairs = 5, .sides = sides, .ranks = ranks, .seed = 9};
      const PopulationEstimate estimate(how, step_number(3), kWeights, s);
      Members all = members_of(estimate, how, f, f.at, s);
      // Of the pairs that stay alone, by hand.
      std::vector<double> plus = all.plus.to_vector<double>();
      plus[1] = std::nan("");
      plus[4] = INFINITY;
      Members broken = all;
      broken.plus = Tensor::from(plus, {5});
      EXPECT_EQ(estimate.left_out(all).item(), 0);
      EXPECT_EQ(estimate.left_out(broken).item(), 2);
      const std::vector<double> g = estimate.gradient(broken).to_vector<double>();
      for (const double x : g) EXPECT_TRUE(std::isfinite(x));
      if (ranks) continue;
      Tensor expected = zeros({kWeights}, DType::f64);
      for (const int64_t j : {0, 2, 3}) {
        const auto at = [&](const Tensor& values) { return reshape(slice(values, 0, j, j + 1), {}); };
        const Tensor difference = sides == Sides::two   ? (at(all.plus) - at(all.minus)) * 0.5
                                  : sides == Sides::one ? at(all.plus) - all.center
                                                        : at(all.plus);
        expected = expected + difference * estimate.direction(j) / (s * 3.0);
      }
      const std::vector<double> by_hand = expected.to_vector<double>();
      for (size_t i = 0; i < g.size(); ++i) EXPECT_NEAR(g[i], by_hand[i], 1e-12 * (1 + std::abs(by_hand[i])));
    }
}

// Ranks see the order of the losses only.
TEST(Population, RanksDoNotChangeWithTheLossesUnits) {
  const Quadratic f;
  const Tensor s = Tensor::scalar(0.1, DType::f64);
  const Population how{.pairs = 6, .ranks = true, .seed = 9};
  const auto stretched = [&](const Tensor& w) { return exp(f(w) * 0.5) * 100.0; };
  EXPECT_EQ(gradient_in_step(how, f, f.at, s, 1), gradient_in_step(how, stretched, f.at, s, 1));
  const PopulationEstimate estimate(how, step_number(1), kWeights, s);
  const Tensor same = full({6}, 2.5, DType::f64);  // equal losses: no direction is better
  for (const double g : estimate.gradient({same, same, {}}).to_vector<double>()) EXPECT_EQ(g, 0);
}

TEST(Population, RefusesWhatIsNone) {
  const Tensor s = Tensor::scalar(1.0);
  EXPECT_THROW(PopulationEstimate({.pairs = 0}, step_number(0), 3, s), ValueError);
  EXPECT_THROW(PopulationEstimate({}, step_number(0), 3, ones({2})), ShapeError);
  const Members members{ones({1}), ones({1}), {}};
  EXPECT_THROW(PopulationEstimate({.pairs = 1}, step_number(0), 3, s).scale_gradient(members), ValueError);
}

}  // namespace
}  // namespace mollify::smoothing
