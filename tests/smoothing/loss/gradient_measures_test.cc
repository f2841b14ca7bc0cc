// What is measured on gradients, on quadratics whose values are known.
#include "../../errors.h"

#include <mollify/engine/ops.h>
#include <mollify/smoothing/loss/gradient_measures.h>
#include <mollify/smoothing/loss/population.h>

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace mollify::smoothing {
namespace {

constexpr int64_t kWeights = 8;

Tensor drawn(uint64_t seed) { return randn({kWeights}, seed, DType::f64); }
Tensor numbers(const std::vector<double>& values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())});
}

// ½ Σ c_i w_i².
optim::Loss bowl(const Tensor& curvature) {
  return [curvature](const Tensor& w) { return sum(curvature * square(w)) * 0.5; };
}

TEST(LocalLipschitz, IsTheCurvatureAlongAStep) {
  const Tensor c = numbers({3, -4, 1, 1, 1, 1, 1, 12}), w = drawn(1), v = drawn(2);
  EXPECT_NEAR(local_lipschitz(bowl(c), w, v), norm(c * (v - w)).item() / norm(v - w).item(), 1e-12);
  const Tensor unit = cast(one_hot(Tensor::from(std::vector<int32_t>{1}, {1}), kWeights), DType::f64);
  EXPECT_NEAR(local_lipschitz(bowl(c), w, w + reshape(unit, {kWeights}) * 0.25), 4, 1e-12);
  EXPECT_TRUE(std::isnan(local_lipschitz(bowl(c), w, w)));
}

TEST(NeighborLipschitz, IsTheLargestCurvatureTowardsNeighbours) {
  const Tensor w = drawn(1), c = numbers({1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_NEAR(neighbor_lipschitz(bowl(numbers(std::vector<double>(kWeights, 2.5))), w), 2.5, 1e-12);
  double before = 0, largest = 0;
  for (int64_t count = 1; count <= 10; ++count) {
    const double found = neighbor_lipschitz(bowl(c), w, {.count = count, .seed = 3, .step = 2});
    EXPECT_GE(found, before);  // the first neighbours are the same
    before = found;
    const Tensor v = uniform({kWeights}, {3, stream_of(Purpose::neighbors, static_cast<uint64_t>(count - 1))},
                             Tensor::scalar(2, DType::i32), DType::f64) -
                     0.5;
    largest = std::max(largest, norm(c * v).item() / norm(v).item());
    EXPECT_NEAR(found, largest, 1e-12);
  }
  // Of a quadratic neither the radius nor the place counts.
  EXPECT_NEAR(neighbor_lipschitz(bowl(c), drawn(5), {.radius = 2, .seed = 3, .step = 2}), before, 1e-10);
  EXPECT_GT(before, 1);
  EXPECT_LT(before, 8);
}

TEST(NeighborLipschitz, SaysWhereAGradientIsNoNumber) {
  const auto root = [](const Tensor& w) { return sum(sqrt(w)); };
  EXPECT_TRUE(std::isnan(neighbor_lipschitz(root, full({kWeights}, 0.1, DType::f64))));
}

TEST(Sparsity, IsTheShareBelowAThreshold) {
  const Tensor g = numbers({0, 1e-3, -1e-3, 0.5, -2, std::nan("")});
  EXPECT_EQ(sparsity(g, 1e-3), 1.0 / 6);
  EXPECT_EQ(sparsity(g, 1), 4.0 / 6);
  EXPECT_EQ(sparsity(cast(g, DType::f32), 10), 5.0 / 6);
}

TEST(MagnitudesOfGradients, CountEachNumberOnce) {
  const Magnitudes found = magnitudes(numbers({0, 1e-9, 0.01, -0.02, 0.5, -1, 10, 1e9, INFINITY, NAN}), -3, 1, 4);
  EXPECT_EQ(found.counts, (std::vector<int64_t>{0, 2, 1, 1}));
  EXPECT_EQ(found.zeros, 1);
  EXPECT_EQ(found.below, 1);
  EXPECT_EQ(found.above, 3);
  EXPECT_EQ(found.nan, 1);
  const Magnitudes all = magnitudes(randn({5000}, 1));
  EXPECT_EQ(std::accumulate(all.counts.begin(), all.counts.end(), all.zeros + all.below + all.above + all.nan), 5000);
  EXPECT_EQ(all.counts.size(), 32u);
}

TEST(ClosenessOfEstimates, IsOfAllNumbersOrOfTheActive) {
  const Tensor exact = numbers({3, 4, 0, 12}), estimate = numbers({3, 0, 0, 0});
  const Closeness all = closeness(estimate, exact), active = closeness(estimate, exact, Positions({0, 1}, 4));
  EXPECT_NEAR(all.distance, std::sqrt(160), 1e-12);
  EXPECT_NEAR(all.cosine, 3.0 / 13, 1e-12);
  EXPECT_NEAR(active.distance, 4, 1e-12);
  EXPECT_NEAR(active.cosine, 0.6, 1e-12);
  EXPECT_NEAR(closeness(exact * -2.0, exact).cosine, -1, 1e-12);
  EXPECT_TRUE(std::isnan(closeness(exact * 0.0, exact).cosine));
}

// E‖ḡ − ∇f‖² over estimates that move the active weights alone, on a quadratic.
TEST(PredictedDistance, IsThatOfEstimatesOfAQuadratic) {
  const Tensor c = numbers({3, -4, 1, 2, 1, 1, 1, 5}), w = drawn(1), exact = c * w;
  const Positions active({0, 2, 3, 7}, kWeights);
  // Many pairs leave what the inactive weights miss.
  const Tensor rest = put(exact, active, zeros({active.count()}, DType::f64));
  EXPECT_NEAR(predicted_distance(exact, active, 1000000000), norm(rest).item(), 1e-3);
  const double s = 0.3;
  for (const int64_t pairs : {1, 6}) {
    double total = 0, squares = 0;
    constexpr int64_t kTrials = 4000;
    for (int64_t trial = 0; trial < kTrials; ++trial) {
      const Population how{.pairs = pairs, .seed = 4};
      const PopulationEstimate estimate(how, Tensor::scalar(static_cast<double>(trial), DType::i32), active.count(),
                                        Tensor::scalar(s, DType::f64));
      std::vector<Tensor> plus, minus;
      for (int64_t j = 0; j < pairs; ++j) {
        const Tensor z = put(zeros({kWeights}, DType::f64), active, estimate.direction(j)) * s;
        plus.push_back(reshape(bowl(c)(w + z), {1}));
        minus.push_back(reshape(bowl(c)(w - z), {1}));
      }
      const Tensor found =
          put(zeros({kWeights}, DType::f64), active, estimate.gradient({concat(plus), concat(minus), {}}));
      const double squared = std::pow(closeness(found, exact).distance, 2);
      total += squared;
      squares += squared * squared;
    }
    const double mean = total / kTrials, error = std::sqrt((squares / kTrials - mean * mean) / kTrials);
    EXPECT_NEAR(mean, std::pow(predicted_distance(exact, active, pairs), 2), 4 * error) << pairs;
  }
}

TEST(GradientMeasures, RefuseWhatDoesNotFit) {
  const Tensor g = drawn(1);
  const Positions few({0}, 3);
  expect_names(text_of<ValueError>([&] { neighbor_lipschitz(bowl(g), g, {.count = 0}); }), "0 neighbours within 0.5");
  expect_names(text_of<ValueError>([&] { neighbor_lipschitz(bowl(g), g, {.radius = 0}); }), "needs at least 1");
  expect_names(text_of<ValueError>([&] { magnitudes(g, 1, 1); }), "magnitudes: 32 bins from 1 to 1");
  expect_names(text_of<ShapeError>([&] { closeness(g, numbers({1})); }), "closeness: an estimate of");
  expect_names(text_of<ShapeError>([&] { closeness(g, g, few); }), "closeness: a gradient of 8 numbers");
  expect_names(text_of<ShapeError>([&] { predicted_distance(g, few, 1); }), "predicted_distance: a gradient of 8");
  expect_names(text_of<ValueError>([&] { predicted_distance(g, Positions({0}, kWeights), 0); }), "0 pairs");
}

}  // namespace
}  // namespace mollify::smoothing
