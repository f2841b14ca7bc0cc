// C² by three ways against the variance itself, of vectors that are known and of a network's images, and what is
// refused.
#include <mollify/smoothing/gradient_noise.h>

#include "../errors.h"

#include <mollify/datasets/datasets.h>
#include <mollify/engine/grad.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>

#include <bit>
#include <cmath>
#include <set>

namespace mollify::smoothing {
namespace {

// ℓ_i(w) = ½‖w − a_i‖², whose gradient is w − a_i: C² is the variance of the rows.
struct Points {
  Tensor rows;
  std::vector<std::vector<int32_t>> taken = {};  // what was asked for

  Points(int64_t count, int64_t dimensions, uint64_t seed)
      : rows(randn({count, dimensions}, seed, DType::f64) * linspace(0.1, 3, dimensions, DType::f64)) {}
  SampleLosses losses() {
    return {.count = rows.dim(0),
            .take =
                [this](std::span<const int32_t> which) {
                  taken.emplace_back(which.begin(), which.end());
                  return Tensors{take(rows, Tensor::from(which, {static_cast<int64_t>(which.size())}))};
                },
            .mean = [](const Tensor& w, const Tensors& in) { return mean(sum(square(w - in[0]), 1)) * 0.5; }};
  }
  double c2() const { return sum(variance(rows, {0})).item(); }
  double squared_gradient(const Tensor& w) const { return sum_of_squares(w - mean(rows, 0)).item(); }
};

void expect_within(const NoiseEstimate& found, double c2) {
  EXPECT_GT(found.standard_error, 0);
  EXPECT_NEAR(found.c2, c2, 4 * found.standard_error);
}

TEST(GradientNoise, IsTheVarianceOfThePoints) {
  Points points(300, 7, 1);
  const Tensor w = ones({7}, DType::f64);
  GradientNoise noise(points.losses(), w, 3);
  const double c2 = points.c2(), squared = points.squared_gradient(w);
  const NoiseEstimate all = noise.from_singles();
  EXPECT_NEAR(all.c2, c2, 1e-12 * c2);
  EXPECT_EQ(all.standard_error, 0);
  EXPECT_NEAR(all.squared_gradient, squared, 1e-12 * squared);
  EXPECT_NEAR(all.noise_scale(), c2 / squared, 1e-11 * c2 / squared);
  EXPECT_EQ(all.images, 300);
  expect_within(noise.from_singles(100), c2);
  expect_within(noise.from_batches(16, 64), c2);
  expect_within(noise.from_batches(299, 64), c2);
  expect_within(noise.from_two_batches(4, 32, 200), c2);
  expect_within(noise.from_two_batches(2, 300, 100), c2);
  EXPECT_NEAR(sum_of_squares(noise.full_gradient()).item(), squared, 1e-12 * squared);
}

TEST(GradientNoise, AtOtherWeightsHasTheSameBatches) {
  Points points(300, 7, 1);
  const Tensor w = ones({7}, DType::f64), other = w * -2.0;
  GradientNoise noise(points.losses(), w, 3), there(points.losses(), other, 3);
  EXPECT_EQ(noise.batch_gradient_at(other, 5, 2).to_vector<double>(), there.batch_gradient(5, 2).to_vector<double>());
  EXPECT_EQ(noise.full_gradient_at(other).to_vector<double>(), there.full_gradient().to_vector<double>());
  EXPECT_LT(max(abs(noise.batch_gradient_at(other, 5, 2) - noise.batch_gradient(5, 2) + 3.0)).item(), 1e-12);
}

TEST(GradientNoise, DrawsWithoutReplacement) {
  Points points(20, 2, 1);
  GradientNoise noise(points.losses(), zeros({2}, DType::f64));
  noise.from_batches(15, 40);
  noise.from_singles(20);
  std::set<std::vector<int32_t>> different;
  std::vector<int64_t> often(20);
  for (size_t k = 0; k < 40; ++k) {
    EXPECT_EQ(std::set<int32_t>(points.taken[k].begin(), points.taken[k].end()).size(), 15u);
    different.insert(points.taken[k]);
    for (const int32_t i : points.taken[k]) ++often[static_cast<size_t>(i)];
  }
  EXPECT_EQ(different.size(), 40u);
  // Each sample is in 40·15/20 = 30 batches on average, with deviation √(40·¾·¼) = 2.7.
  for (const int64_t count : often) EXPECT_NEAR(static_cast<double>(count), 30, 4 * 2.74);
  std::set<int32_t> singles;
  for (size_t k = 40; k < 60; ++k) singles.insert(points.taken[k].begin(), points.taken[k].end());
  EXPECT_EQ(singles.size(), 20u);
}

// Over many seeds the mean of estimates is C², and ‖∇f‖², within their own spread, and the errors that they give are
// that spread: within 4 deviations of a sample deviation, and the mixture of scales.
TEST(GradientNoise, IsUnbiasedWithTheErrorsThatItGives) {
  Points points(40, 5, 2);
  const Tensor w = full({5}, 0.5, DType::f64);
  const double c2 = points.c2(), squared = points.squared_gradient(w);
  using Estimate = std::function<NoiseEstimate(GradientNoise&)>;
  const Estimate kinds[] = {[](GradientNoise& noise) { return noise.from_singles(10); },
                            [](GradientNoise& noise) { return noise.from_batches(10, 8); },
                            [](GradientNoise& noise) { return noise.from_two_batches(3, 30, 8); }};
  for (const Estimate& kind : kinds) {
    constexpr int kSeeds = 300;
    double sum = 0, squares = 0, errors = 0, gradients = 0, gradient_squares = 0;
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      GradientNoise noise(points.losses(), w, seed);
      const NoiseEstimate found = kind(noise);
      sum += found.c2;
      squares += found.c2 * found.c2;
      errors += found.standard_error * found.standard_error;
      gradients += found.squared_gradient;
      gradient_squares += found.squared_gradient * found.squared_gradient;
    }
    const auto deviation = [](double total, double total_squares) {
      return std::sqrt((total_squares - total * total / kSeeds) / (kSeeds - 1));
    };
    EXPECT_NEAR(sum / kSeeds, c2, 4 * deviation(sum, squares) / std::sqrt(kSeeds));
    EXPECT_NEAR(gradients / kSeeds, squared, 4 * deviation(gradients, gradient_squares) / std::sqrt(kSeeds));
    EXPECT_NEAR(std::sqrt(errors / kSeeds) / deviation(sum, squares), 1, 0.25);
  }
}

// Against all batches of a small population.
TEST(DegreeOfSmoothing, IsTheDeviationOfAStepsNoise) {
  constexpr int64_t kCount = 6;
  Points points(kCount, 3, 4);
  const double c2 = points.c2();
  const Tensor mean_of_all = mean(points.rows, 0);
  for (int64_t batch = 1; batch <= kCount; ++batch) {
    double squares = 0, batches = 0;
    for (uint32_t which = 0; which < 1u << kCount; ++which) {
      if (std::popcount(which) != batch) continue;
      Tensor sum_of = zeros({3}, DType::f64);
      for (int64_t i = 0; i < kCount; ++i)
        if (which >> i & 1) sum_of = sum_of + points.rows[i];
      squares += sum_of_squares(sum_of / static_cast<double>(batch) - mean_of_all).item();
      ++batches;
    }
    const double delta = degree_of_smoothing(0.1, c2, batch, kCount);
    EXPECT_NEAR(delta * delta, 0.01 * squares / batches, 1e-13 * c2);
    const double n = kCount, b = static_cast<double>(batch);
    EXPECT_NEAR(delta * delta, 0.01 * c2 * (n - b) / (b * (n - 1)), 1e-15 * c2);
  }
  EXPECT_EQ(degree_of_smoothing(0.1, c2, kCount, kCount), 0);
  EXPECT_EQ(degree_of_smoothing(0.1, c2, 1, 1), 0);
  EXPECT_NEAR(degree_of_smoothing(0.1, 4, 16, int64_t{1} << 40), 0.1 * 2 / 4, 1e-9);
}

// A network's images as losses.
class OnDigits {
 public:
  OnDigits(const std::string& model, int64_t count)
      : network(nn::make(model, {28, 28, 1}, 10)),
        weights(network.initial_weights(nn::Initialization::kaiming_normal, 1)),
        state(network.initial_state()),
        data_(datasets::digits(count, 0, datasets::Split::train)) {}
  SampleLosses losses(const NetworkLosses& how = {}) const {
    return losses_of(
        network, state, data_.size(),
        [this](std::span<const int32_t> which) {
          const datasets::Batch batch = datasets::make_batch(data_, which);
          return Tensors{batch.images, batch.labels};
        },
        how);
  }

  const nn::Network network;
  const Tensor weights, state;

 private:
  const datasets::Dataset data_;
};

TEST(GradientNoise, OfDigitsIsTheSameByThreeWays) {
  const OnDigits digits("cnn3_tiny", 200);
  GradientNoise noise(digits.losses(), digits.weights, 5);
  const NoiseEstimate all = noise.from_singles();
  double c2 = 0;
  const Tensor full = noise.full_gradient();
  for (int32_t i = 0; i < 200; ++i) {
    const Tensors in = digits.losses().take(std::vector<int32_t>{i});
    const Tensor g =
        grad([&](const Tensor& w) { return nn::mean_cross_entropy(digits.network(w, in[0]), in[1]); })(digits.weights);
    c2 += sum_of_squares(cast(g, DType::f64) - full).item() / 200;
  }
  EXPECT_NEAR(all.c2, c2, 1e-5 * c2);
  EXPECT_NEAR(all.squared_gradient, sum_of_squares(full).item(), 1e-5 * c2);
  expect_within(noise.from_batches(16, 64), c2);
  expect_within(noise.from_two_batches(8, 64, 40), c2);
  expect_within(noise.from_singles(60), c2);
}

TEST(GradientNoise, NeedsFrozenStatisticsForSingleImages) {
  const OnDigits digits("lenet_300_100", 24);
  GradientNoise frozen(digits.losses(), digits.weights),
      training(digits.losses({.batch_statistics = true}), digits.weights);
  const double c2 = frozen.from_singles().c2;
  EXPECT_GT(c2, 0);
  expect_within(frozen.from_batches(6, 20), c2);
  EXPECT_NE(training.from_batches(6, 4).c2, frozen.from_batches(6, 4).c2);
  expect_names(text_of<ValueError>([&] { training.from_singles(); }),
               "gradients of single images: lenet_300_100 has batch norm with statistics of the batch");
  // Without batch norm there is nothing to freeze.
  const OnDigits plain("cnn3_tiny", 12);
  EXPECT_GT(GradientNoise(plain.losses({.batch_statistics = true}), plain.weights).from_singles().c2, 0);
}

TEST(NetworkLosses, OfNormalisedOutputsHaveNoScale) {
  const nn::Network network("linear", {4}, nn::sequential(nn::dense(3)));
  const Tensor x = randn({5, 4}, 1, DType::f64), labels = Tensor({0, 1, 2, 1, 0}, DType::i32),
               w = randn({network.weight_count()}, 2, DType::f64);
  const auto take_all = [&](std::span<const int32_t>) { return Tensors{x, labels}; };
  const SampleLosses plain = losses_of(network, {}, 5, take_all),
                     normalised = losses_of(network, {}, 5, take_all, {.normalised_outputs = true});
  EXPECT_NE(plain.mean(w * 3.0, {x, labels}).item(), plain.mean(w, {x, labels}).item());
  EXPECT_NEAR(normalised.mean(w * 3.0, {x, labels}).item(), normalised.mean(w, {x, labels}).item(), 1e-14);
  const Tensor outputs = network(w, x);
  EXPECT_NEAR(normalised.mean(w, {x, labels}).item(),
              mean(cross_entropy(outputs / sqrt(mean(square(outputs), 1, true)), labels)).item(), 1e-14);
}

TEST(GradientNoise, RefusesWhatHasNoAnswer) {
  Points points(10, 2, 1);
  const Tensor w = zeros({2}, DType::f64);
  GradientNoise noise(points.losses(), w);
  const auto refused = [](const std::function<void()>& f, const char* text) {
    expect_names(text_of<ValueError>(f), text);
  };
  refused([&] { noise.from_batches(2, 1); }, "gradient noise: 1 batches given; needs at least two");
  refused([&] { noise.from_batches(10, 2); }, "batches of 10 of 10 samples");
  refused([&] { noise.from_batches(0, 2); }, "batches of 0 of 10 samples");
  refused([&] { noise.from_two_batches(2, 4, 1); }, "1 batches of each size given; needs at least two");
  refused([&] { noise.from_two_batches(4, 4, 3); }, "batches of 4 and 4 of 10");
  refused([&] { noise.from_two_batches(4, 11, 3); }, "batches of 4 and 11 of 10");
  refused([&] { noise.from_singles(1); }, "1 single images of 10");
  refused([&] { noise.from_singles(11); }, "11 single images of 10");
  refused([&] { GradientNoise({}, w); }, "gradient noise: losses of 0 samples");
  refused([&] { degree_of_smoothing(0.1, 1, 11, 10); }, "degree_of_smoothing: learning rate 0.1, C² 1, batch 11 of 10");
  refused([&] { degree_of_smoothing(-1, 1, 1, 10); }, "learning rate -1");
  refused([&] { degree_of_smoothing(std::nan(""), 1, 1, 10); }, "learning rate");
  expect_names(text_of<TypeError>([&] { GradientNoise(points.losses(), zeros({2, 1})); }), "needs a flat vector");
}

}  // namespace
}  // namespace mollify::smoothing
