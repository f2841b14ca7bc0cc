// Losses along lines and over planes against closed forms, and what is measured on curves against its definition.
#include "../../errors.h"

#include <mollify/engine/ops.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/loss/landscape.h>
#include <mollify/smoothing/loss/population.h>

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace mollify::smoothing {
namespace {

using Numbers = std::vector<double>;

constexpr int64_t kWeights = 6;

Tensor drawn(uint64_t seed) { return randn({kWeights}, seed, DType::f64); }

Numbers grid(double extent, int64_t count) { return linspace(-extent, extent, count, DType::f64).to_vector<double>(); }

// ½wᵀHw + bᵀw.
struct Quadratic {
  Tensor hessian, slope = drawn(2);

  Quadratic() {
    const Tensor a = randn({kWeights, kWeights}, 1, DType::f64);
    hessian = a + transpose(a);
  }
  Tensor operator()(const Tensor& w) const {
    const Tensor column = reshape(w, {kWeights, 1});
    return sum(matmul(hessian, column) * column) * 0.5 + sum(slope * w);
  }
  double trace() const { return sum(hessian * eye(kWeights, DType::f64)).item(); }
};

// Waves and a step on a bowl.
Tensor rugged(const Tensor& w) {
  return sum(square(w)) * 0.1 + sum(sin(w * 5.0)) + cast(greater(sum(w), Tensor::scalar(0.3, DType::f64)), DType::f64);
}

double mean_of(const Numbers& x) { return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size()); }

TEST(LossesOnLine, OfAQuadraticShareTheirNoise) {
  const Quadratic f;
  const Tensor w = drawn(3), u = drawn(4);
  const Numbers t = grid(2, 9);
  const double s = 0.7;
  const Losses line = losses_on_line(f, w, u, t, Sigma::stddev(s), {.samples = 400, .seed = 5});
  ASSERT_EQ(line.samples.size(), 400u);
  EXPECT_EQ(line.group, 2);
  for (size_t i = 0; i < t.size(); ++i) {
    EXPECT_NEAR(line.plain[i], f(w + u * t[i]).item(), 1e-10);
    // A pair's mean is off by ½s²zᵀHz, which does not depend on the point.
    EXPECT_NEAR(line.smoothed[i] - line.plain[i], line.smoothed[0] - line.plain[0], 1e-9);
    EXPECT_NEAR(line.smoothed[i], line.plain[i] + s * s / 2 * f.trace(), 4 * line.error[i]);
    Numbers here;
    for (const Numbers& sample : line.samples) here.push_back(sample[i]);
    EXPECT_NEAR(line.smoothed[i], mean_of(here), 1e-9);
  }
}

TEST(LossesOnLine, AreOfThePopulationsDirections) {
  const Tensor w = drawn(3), u = drawn(4), s = Tensor::scalar(0.2, DType::f64);
  const Population population{.pairs = 3, .seed = 9};
  const PopulationEstimate estimate(population, Tensor::scalar(7, DType::i32), kWeights, s);
  const Losses line = losses_on_line(rugged, w, u, {-1, 0.5}, Sigma::stddev(0.2), {.samples = 6, .seed = 9, .step = 7});
  for (size_t j = 0; j < 3; ++j) {
    const Tensor noise = estimate.direction(static_cast<int64_t>(j)) * 0.2;
    EXPECT_EQ(line.samples[2 * j][1], rugged(w + noise + u * 0.5).item());
    EXPECT_EQ(line.samples[2 * j + 1][1], rugged(w - noise + u * 0.5).item());
  }
}

TEST(LossesOnPlane, HoldThoseOnLines) {
  const Tensor w = drawn(3), u = drawn(4), v = drawn(5);
  const Numbers a = grid(1, 5), b = {-0.5, 0, 2};
  const MonteCarlo how{.samples = 8, .seed = 1};
  const Losses plane = losses_on_plane(rugged, w, u, v, a, b, Sigma::stddev(0.3), how),
               line = losses_on_line(rugged, w, u, a, Sigma::stddev(0.3), how);
  ASSERT_EQ(plane.plain.size(), a.size() * b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(plane.plain[3 * i + 1], line.plain[i]);
    EXPECT_EQ(plane.smoothed[3 * i + 1], line.smoothed[i]);
    EXPECT_EQ(plane.error[3 * i + 1], line.error[i]);
    EXPECT_EQ(plane.plain[3 * i + 2], rugged(w + u * a[i] + v * 2.0).item());
  }
}

// P(w + s·z > 0) = Φ(w/s).
TEST(LossesOnLine, SmoothingSpreadsAStep) {
  const auto step = [](const Tensor& w) { return cast(greater(sum(w), Tensor::scalar(0, DType::f64)), DType::f64); };
  const Numbers t = grid(1, 20);
  const Tensor w = zeros({1}, DType::f64), u = ones({1}, DType::f64);
  const Losses line = losses_on_line(step, w, u, t, Sigma::stddev(0.5), {.samples = 4000, .seed = 2});
  double steepest = 0;
  for (size_t i = 0; i < t.size(); ++i) {
    const double exact = std::erfc(-t[i] / 0.5 / std::sqrt(2)) / 2;
    EXPECT_NEAR(line.smoothed[i], exact, 4 * line.error[i] + 1e-9);
    if (i > 0) steepest = std::max(steepest, exact - std::erfc(-t[i - 1] / 0.5 / std::sqrt(2)) / 2);
  }
  EXPECT_EQ(largest_jump(line.plain), 1);
  const Measured jump = measured_on_smoothed(line, largest_jump);
  EXPECT_EQ(jump.value, largest_jump(line.smoothed));
  EXPECT_NEAR(jump.value, steepest, 0.02);
  EXPECT_GT(jump.standard_error, 0);
  EXPECT_LT(deviation_from_convexity(line.smoothed), deviation_from_convexity(line.plain));
}

// The largest height over a chord, from all of them.
double over_chords(const Numbers& y) {
  double largest = 0;
  for (size_t a = 0; a < y.size(); ++a)
    for (size_t c = a + 1; c < y.size(); ++c)
      for (size_t i = a; i <= c; ++i) {
        const double part = static_cast<double>(i - a) / static_cast<double>(c - a);
        largest = std::max(largest, y[i] - (y[a] + (y[c] - y[a]) * part));
      }
  return largest;
}

TEST(DeviationFromConvexity, IsTheLargestHeightOverAChord) {
  EXPECT_EQ(deviation_from_convexity(Numbers{}), 0);
  EXPECT_EQ(deviation_from_convexity(Numbers{3}), 0);
  EXPECT_EQ(deviation_from_convexity(Numbers{3, -1}), 0);
  EXPECT_EQ(deviation_from_convexity(Numbers{0, 0, 1, 1}), 0.5);
  EXPECT_EQ(deviation_from_convexity(Numbers{4, 1, 0, 1, 4}), 0);
  EXPECT_EQ(deviation_from_convexity(Numbers{-4, -1, 0, -1, -4}), 4);
  EXPECT_EQ(deviation_from_convexity(Numbers{2, 1, 0, 1, 2}), 0);
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    const Numbers y = randn({17}, seed, DType::f64).to_vector<double>();
    EXPECT_NEAR(deviation_from_convexity(y), over_chords(y), 1e-12);
    Numbers tilted = y;
    for (size_t i = 0; i < y.size(); ++i) tilted[i] += 3 - 0.7 * static_cast<double>(i);
    EXPECT_NEAR(deviation_from_convexity(tilted), deviation_from_convexity(y), 1e-12);
  }
}

// Deviation is convex in the curve (Balauca et al. 2024), so that this holds for any curves, not only on average.
TEST(DeviationFromConvexity, OfAMeanNeverExceedsTheMeanOfThem) {
  double largest_share = 0;
  for (uint64_t line = 0; line < 100; ++line) {
    const Tensor w = drawn(100 + line), u = random_direction(w, line);
    const Losses losses = losses_on_line(rugged, w, u, grid(1, 21), Sigma::stddev(0.3), {.samples = 16, .seed = line});
    Numbers single;
    for (const Numbers& sample : losses.samples) single.push_back(deviation_from_convexity(sample));
    const double mean = mean_of(single);
    EXPECT_LE(deviation_from_convexity(losses.smoothed), mean * (1 + 1e-12) + 1e-12) << line;
    EXPECT_GT(mean, 0.1) << line;
    largest_share = std::max(largest_share, deviation_from_convexity(losses.smoothed) / mean);
  }
  EXPECT_LT(largest_share, 1);
}

TEST(LargestJump, IsBetweenNeighbours) {
  EXPECT_EQ(largest_jump(Numbers{}), 0);
  EXPECT_EQ(largest_jump(Numbers{5}), 0);
  EXPECT_EQ(largest_jump(Numbers{1, 2, -1, 0}), 3);
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double odd : {infinity, -infinity, std::nan("")}) {
    EXPECT_TRUE(std::isnan(largest_jump(Numbers{1, odd, 2})));
    EXPECT_TRUE(std::isnan(deviation_from_convexity(Numbers{1, odd, 2})));
  }
}

TEST(LargestDiscontinuity, IsAJumpAndNoSlope) {
  const Tensor w = zeros({2}, DType::f64), u = ones({2}, DType::f64);
  const auto slope = [](const Tensor& x) { return sum(x) * 50.0 + sum(square(x)); };
  // Jumps of 0.25 and −0.5, against the slope, within one interval.
  const auto jumping = [&](const Tensor& x) {
    const auto beyond = [&](double t) { return cast(greater(sum(x), Tensor::scalar(2 * t, DType::f64)), DType::f64); };
    return slope(x) + beyond(0.11) * 0.25 - beyond(0.16) * 0.5;
  };
  const Numbers t = grid(1, 9);
  const Losses line = losses_on_line(jumping, w, u, t, Sigma::stddev(0), {.samples = 4});
  EXPECT_GT(largest_jump(line.plain), 20);
  EXPECT_NEAR(largest_discontinuity(slope, w, u, t), 0, 104 * 0.25 / 16384);
  EXPECT_NEAR(largest_discontinuity(jumping, w, u, t, 30), 0.5, 1e-6);
  EXPECT_NEAR(largest_discontinuity(jumping, w, u, {0.1, 0.2}, 30), 0.5, 1e-6);
  EXPECT_EQ(largest_discontinuity(jumping, w, u, {1}), 0);
  EXPECT_EQ(largest_discontinuity(jumping, w, u, t, 0), largest_jump(line.plain));
  EXPECT_TRUE(std::isnan(largest_discontinuity([](const Tensor& x) { return sum(sqrt(x)); }, w, u, t)));
}

// Of a single number the jackknife's error is the standard error of the mean.
TEST(MeasuredOnSmoothed, HasTheMeansErrorWhereTheMeasureIsLinear) {
  const Tensor w = drawn(3), u = drawn(4);
  for (const Draws draws : {Draws::antithetic, Draws::independent}) {
    const MonteCarlo how{.samples = 30, .draws = draws, .seed = 3};
    const Losses line = losses_on_line(rugged, w, u, {0, 1}, Sigma::stddev(0.5), how);
    const Measured second = measured_on_smoothed(line, [](std::span<const double> y) { return y[1]; });
    EXPECT_NEAR(second.value, line.smoothed[1], 1e-12);
    EXPECT_NEAR(second.standard_error, line.error[1], 1e-12);
  }
}

double norm_of(const Tensor& x, int64_t first, int64_t count) {
  return norm(slice(cast(x, DType::f64), 0, first, first + count)).item();
}

TEST(RandomDirection, HasTheNormsOfTheWeights) {
  const nn::Network network = nn::make("cnn3_tiny", {28, 28, 1}, 10);
  const Tensor weights = network.initial_weights(nn::Initialization::xavier_normal, 1);  // its biases are 0
  const std::vector<int64_t> layers = layer_sizes(network), units = unit_sizes(network);
  EXPECT_EQ(layers.size(), network.weights().size());
  EXPECT_EQ(units.size(), 2u + 1 + 2 + 1 + 10 + 1);
  for (const std::vector<int64_t>& sizes : {std::vector<int64_t>{weights.size()}, layers, units}) {
    const Tensor u = random_direction(weights, 3, 0, sizes);
    int64_t first = 0;
    for (const int64_t size : sizes) {
      EXPECT_NEAR(norm_of(u, first, size), norm_of(weights, first, size), 1e-5 * norm_of(weights, first, size));
      first += size;
    }
    EXPECT_EQ(first, weights.size());
    EXPECT_EQ(u.to_vector<float>(), random_direction(weights, 3, 0, sizes).to_vector<float>());
  }
  const Tensor u = random_direction(weights, 3), v = random_direction(weights, 3, 1);
  EXPECT_LT(std::abs(sum(u * v).item()), 4 * sum_of_squares(u).item() / std::sqrt(weights.size()));
}

TEST(Landscapes, RefuseWhatDoesNotFit) {
  const Tensor w = drawn(1), other = randn({2}, 1, DType::f64);
  const Sigma s = Sigma::stddev(0.1);
  expect_names(text_of<ShapeError>([&] { losses_on_line(rugged, w, other, {0}, s); }),
               "losses_on_line: a direction of");
  expect_names(text_of<ShapeError>([&] { losses_on_plane(rugged, w, w, other, {0}, {0}, s); }), "losses_on_plane: a ");
  expect_names(text_of<ValueError>([&] { losses_on_line(rugged, w, w, {0}, s, {.draws = Draws::sobol}); }), "Sobol");
  expect_names(text_of<ValueError>([&] { losses_on_line(rugged, w, w, {0}, s, {.samples = 2}); }), "samples 2");
  expect_names(text_of<ValueError>([&] { random_direction(zeros({3}), 1); }), "weights of norm 0");
  expect_names(text_of<ValueError>([&] { random_direction(w, 1, 0, {2, 3}); }), "parts of 5 numbers for 6 weights");
}

}  // namespace
}  // namespace mollify::smoothing
