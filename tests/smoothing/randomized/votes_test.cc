// Votes under noise, and certificates of classifiers whose exact radii are known.
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/ops.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/randomized/statistics.h>
#include <mollify/smoothing/randomized/votes.h>

#include "../../cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace mollify::smoothing {
namespace {

Tensor numbers_from(int64_t first, int64_t count) {
  return arange(count, DType::i32) + Tensor::scalar(static_cast<double>(first), DType::i32);
}

// Rows of class directions and outputs x·wᵀ.
Function linear(const Tensor& w) {
  return [w](const Tensor& x) { return matmul(x, transpose(w)); };
}

NumberedImages drawn_images(int64_t count, int64_t extent, double scale, int64_t first = 0) {
  return {normal({count, extent}, {7, stream_of(Purpose::caller)}, Tensor::scalar(0, DType::i32)) * scale,
          numbers_from(first, count)};
}

// Directions of three classes at 120° to each other: by symmetry the votes rank classes as the outputs do.
const Tensor kStar = Tensor::from(std::vector<float>{1, 0, -0.5f, std::sqrt(0.75f), -0.5f, -std::sqrt(0.75f)}, {3, 2});

TEST(Votes, DependOnNeitherBatchNorThreadsNorCompany) {
  const NumberedImages images = drawn_images(5, 2, 0.7, 40);
  const NoisyClassifier g{linear(kStar), {0.5, 3}, 64};
  const auto counts = votes(g, images, NoiseUse::estimation, 10, 333);
  for (const Counts& each : counts) EXPECT_EQ(std::accumulate(each.begin(), each.end(), int64_t{0}), 333);
  const int threads = num_threads();
  for (const int64_t batch : {1, 7, 5000})
    for (const int count : {1, 3}) {
      set_num_threads(count);
      EXPECT_EQ(votes({g.f, g.noise, batch}, images, NoiseUse::estimation, 10, 333), counts) << batch;
    }
  set_num_threads(threads);
  for (int64_t i = 0; i < 5; ++i)
    EXPECT_EQ(votes(g, {slice(images.rows, 0, i, i + 1), slice(images.numbers, 0, i, i + 1)}, NoiseUse::estimation, 10,
                    333)[0],
              counts[static_cast<size_t>(i)]);
  // In parts.
  const auto head = votes(g, images, NoiseUse::estimation, 10, 100),
             tail = votes(g, images, NoiseUse::estimation, 110, 233);
  for (size_t i = 0; i < 5; ++i)
    for (size_t c = 0; c < 3; ++c) EXPECT_EQ(head[i][c] + tail[i][c], counts[i][c]);
}

TEST(Votes, AreTheSameCaptured) {
  const nn::Network network = nn::make("cnn3_tiny", {12, 12, 1}, 10);
  const Tensor weights = network.initial_weights(nn::Initialization::kaiming_normal, 1);
  const NoisyClassifier g{[&](const Tensor&x) { return network(weights, x); }, {0.5, 3}, 40}, again = captured(g);
  for (int64_t i = 0; i < 6; ++i) {
    const NumberedImages images{uniform({2, 12, 12, 1}, {5, static_cast<uint64_t>(i)}, Tensor::scalar(0, DType::i32)),
                                numbers_from(2 * i, 2)};
    if (i == 4) assign(weights, network.initial_weights(nn::Initialization::kaiming_normal, 2));
    for (const NoiseUse use : {NoiseUse::selection, NoiseUse::estimation, NoiseUse::prediction})
      EXPECT_EQ(votes(again, images, use, 5, 99), votes(g, images, use, 5, 99)) << i;
  }
  NoisyClassifier other = again;
  other.noise.seed = 4;
  EXPECT_THROW(votes(other, drawn_images(2, 2, 1), NoiseUse::estimation, 0, 1), ValueError);
  // What only the host does is found at the second batch of a shape.
  const NoisyClassifier reading = captured({[](const Tensor& x) { return x * mean(x).item(); }, {0.5, 3}, 10});
  EXPECT_THROW(votes(reading, drawn_images(1, 2, 1), NoiseUse::estimation, 0, 30), GraphError);
}

TEST(Noise, IsOfItsOwnForEveryUseImageAndDraw) {
  const auto noise = [](NoiseUse use, int64_t image, int64_t draw, uint64_t seed) {
    return gaussian_noise({1, 50}, {2.0, seed}, use, numbers_from(image, 1), numbers_from(draw, 1)).to_vector<float>();
  };
  const auto one = noise(NoiseUse::selection, 4, 5, 0);
  EXPECT_EQ(noise(NoiseUse::selection, 4, 5, 0), one);
  for (const auto& other : {noise(NoiseUse::estimation, 4, 5, 0), noise(NoiseUse::selection, 5, 4, 0),
                            noise(NoiseUse::selection, 4, 6, 0), noise(NoiseUse::selection, 4, 5, 1)})
    for (size_t i = 0; i < one.size(); ++i) EXPECT_NE(other[i], one[i]);
  const auto many = gaussian_noise({1, 100000}, {2.0, 9}, NoiseUse::training, numbers_from(0, 1), numbers_from(0, 1));
  EXPECT_NEAR(mean(many).item(), 0, 4 * 2 / std::sqrt(1e5));
  EXPECT_NEAR(mean(square(many)).item(), 4, 4 * 4 * std::sqrt(2 / 1e5));
}

// Of two classes the radius of exact shares is the distance to the boundary, and α is how often a certificate exceeds
// it.
TEST(Certify, ExceedsTheDistanceAsOftenAsItSays) {
  const int64_t count = cases(1000);
  const NumberedImages images = drawn_images(count, 3, 1);
  const Tensor w = Tensor::from(std::vector<float>{0.6f, 0, 0.8f, 0, 0, 0}, {2, 3});
  const std::vector<float> distances = abs(matmul(images.rows, transpose(slice(w, 0, 0, 1)))).to_vector<float>();
  const NoisyClassifier g{linear(w), {1.0, 5}, 1000};
  for (const Claim claim : {Claim::top_class, Claim::top_of_two}) {
    const auto certificates = certify(g, images, {.claim = claim, .selections = 50, .trials = 1000, .alpha = 0.05});
    int64_t above = 0, proven = 0;
    for (size_t i = 0; i < distances.size(); ++i) {
      above += certificates[i].radius > distances[i];
      proven += certificates[i].predicted >= 0;
      EXPECT_EQ(certificates[i].radius > 0, certificates[i].predicted >= 0);
      EXPECT_EQ(certificates[i].draws, 1000);
    }
    EXPECT_LE(above, 0.05 * count + 4 * std::sqrt(0.05 * 0.95 * count)) << static_cast<int>(claim);
    EXPECT_GE(above, claim == Claim::top_of_two ? 0 : 0.02 * count - 4 * std::sqrt(0.02 * count));  // not too careful
    EXPECT_GE(proven, 0.85 * count);
  }
}

// How far the label's output is from falling below both others'.
double distance_from_top_two(double x, double y, int32_t label) {
  double angle = std::atan2(y, x) - 2 * M_PI / 3 * label;
  angle = std::abs(std::remainder(angle, 2 * M_PI));
  const double length = std::hypot(x, y);
  if (angle >= 2 * M_PI / 3) return 0;                                          // it has
  return angle <= M_PI / 6 ? length : length * std::sin(2 * M_PI / 3 - angle);  // to the corner or to a side
}

TEST(Certify, KeepsLabelsAmongTheTopAsOftenAsItSays) {
  const int64_t count = cases(1000);
  const NumberedImages images = drawn_images(count, 2, 0.5);
  const std::vector<float> at = images.rows.to_vector<float>();
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < count; ++i) labels.push_back(static_cast<int32_t>(i % 3));
  const auto certificates =
      certify({linear(kStar), {0.4, 6}, 1000}, images, {.claim = Claim::in_top, .k = 2, .trials = 1000, .alpha = 0.05},
              Tensor::from(labels, {count}));
  int64_t above = 0, proven = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    above += certificates[i].radius > distance_from_top_two(at[2 * i], at[2 * i + 1], labels[i]);
    proven += certificates[i].predicted == labels[i];
  }
  EXPECT_LE(above, 0.05 * count + 4 * std::sqrt(0.05 * 0.95 * count));
  EXPECT_GE(proven, count / 4);
}

// The set claim is the top-class claim of a classifier whose classes are the set and the rest.
TEST(Certify, SetsAreClassesOfTheirOwn) {
  const NumberedImages images = drawn_images(20, 2, 0.6);
  const NoisyClassifier g{linear(kStar), {0.5, 8}};
  const auto sets = certify(g, images, {.claim = Claim::in_set, .k = 2, .trials = 2000});
  const auto counts = votes(g, images, NoiseUse::estimation, 0, 2000),
             chosen = votes(g, images, NoiseUse::selection, 0, 100);
  for (size_t i = 0; i < 20; ++i) {
    const auto least = static_cast<size_t>(std::min_element(chosen[i].rbegin(), chosen[i].rend()).base() -
                                           chosen[i].begin() - 1);  // ties: the last one
    const int64_t together = 2000 - counts[i][least];
    EXPECT_EQ(sets[i].successes, together);
    const double radius = certified_radius(clopper_pearson_lower(together, 2000, 0.001), 0.5);
    EXPECT_EQ(sets[i].radius, std::max(0.0, radius));
  }
}

TEST(Certify, StopsOnceARadiusIsDecided) {
  const NumberedImages images = drawn_images(60, 2, 1);
  const NoisyClassifier g{linear(kStar), {0.5, 8}, 100};
  for (const Claim claim : {Claim::top_class, Claim::top_of_two}) {
    const auto whole = certify(g, images, {.claim = claim, .trials = 4000});
    const auto asked = certify(g, images, {.claim = claim, .trials = 4000, .radius = 0.4});
    int64_t draws = 0, reached = 0;
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_EQ(asked[i].radius, whole[i].radius >= 0.4 ? 0.4 : 0) << i;
      EXPECT_EQ(asked[i].predicted, whole[i].radius >= 0.4 ? whole[i].predicted : -1) << i;
      draws += asked[i].draws;
      reached += asked[i].radius > 0;
    }
    EXPECT_GT(reached, 5);
    EXPECT_LT(reached, 55);
    EXPECT_LT(draws, 60 * 4000 * 9 / 10);  // to prove it takes most of them
  }
}

TEST(Certify, TakesTheCleanClassWhereAsked) {
  // Without noise always class 0, with it mostly class 1.
  const Function trap = [](const Tensor& x) {
    const Tensor far = cast(greater(abs(slice(x, 1, 0, 1)), Tensor::scalar(0.01)), DType::f32);
    return concat(std::array{1 - far, far}, 1);
  };
  const NumberedImages image{zeros({1, 1}), numbers_from(0, 1)};
  EXPECT_EQ(certify({trap, {1, 0}}, image, {.trials = 500})[0].predicted, 1);
  EXPECT_EQ(certify({trap, {1, 0}}, image, {.clean_class = true, .trials = 500})[0].predicted, -1);
}

TEST(Predict, AnswersWhereTheVotesTellApart) {
  const NumberedImages images{Tensor::from(std::vector<float>{3, 0, 0.01f, 0}, {2, 2}), numbers_from(0, 2)};
  const NoisyClassifier g{linear(kStar), {1, 0}};
  const std::vector<Prediction> found = predict(g, images, 100, 0.001);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].predicted, 0);
  EXPECT_EQ(found[1].predicted, -1);
  const std::vector<Counts> counts = votes(g, images, NoiseUse::prediction, 0, 100);
  for (size_t i = 0; i < 2; ++i) {
    Counts sorted = counts[i];
    std::sort(sorted.rbegin(), sorted.rend());
    EXPECT_EQ(found[i].first, sorted[0]);
    EXPECT_EQ(found[i].second, sorted[1]);
    EXPECT_EQ(found[i].predicted >= 0, equal_shares_p_value(sorted[0], sorted[1]) <= 0.001);
  }
}

TEST(Certify, RefusesWhatCannotBe) {
  const NumberedImages images = drawn_images(2, 2, 1);
  const NoisyClassifier g{linear(kStar), {0.5, 8}};
  EXPECT_THROW(certify({g.f, {0, 0}}, images, {}), ValueError);
  EXPECT_THROW(certify({{}, {1, 0}}, images, {}), ValueError);
  EXPECT_THROW(certify(g, images, {.trials = 9, .alpha = 0.001}), ValueError);  // .001^(1/9) < ½
  EXPECT_NO_THROW(certify(g, images, {.trials = 10, .alpha = 0.001}));
  EXPECT_THROW(certify(g, images, {.trials = 100, .radius = 3}), ValueError);
  EXPECT_THROW(certify(g, images, {.alpha = 1}), ValueError);
  EXPECT_THROW(certify(g, images, {.claim = Claim::in_set, .k = 3}), ValueError);
  EXPECT_THROW(certify(g, images, {.claim = Claim::in_top, .k = 2}), ShapeError);
  EXPECT_THROW(certify(g, images, {.claim = Claim::in_top, .k = 2}, Tensor::from(std::vector<int32_t>{0, 3}, {2})),
               ValueError);
  EXPECT_THROW(certify(g, {images.rows, numbers_from(0, 3)}, {}), ShapeError);
  EXPECT_THROW(predict(g, images, 10, 0.001), ValueError);  // no ten votes are enough
  EXPECT_NO_THROW(predict(g, images, 11, 0.001));
}

}  // namespace
}  // namespace mollify::smoothing
