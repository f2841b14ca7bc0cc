// Tails of drawn noise whose distribution is known.
#include <mollify/smoothing/gradient_tails.h>

#include "../errors.h"

#include <mollify/engine/ops.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr int64_t kWeights = 400;

Tensor drawn(int64_t number, uint64_t part = 0) {
  return normal({kWeights}, {11, stream_of(Purpose::caller, part << 32 | static_cast<uint64_t>(number))},
                Tensor::scalar(0, DType::i32), DType::f64);
}

// Normal coordinates, each of a scale e^z of its own.
Tensor mixed(int64_t number) {
  const Tensor scales = exp(drawn(0, 9));
  return drawn(number) * scales;
}

// z₀/√((z₁² + z₂² + z₃²)/3).
Tensor student(int64_t number) {
  const Tensor squares = square(drawn(number, 1)) + square(drawn(number, 2)) + square(drawn(number, 3));
  return drawn(number) / sqrt(squares / 3.0);
}

TEST(Tails, OfNormalCoordinatesOfAnyScaleAreLight) {
  const Tails found = tails_of(mixed, {.draws = 300});
  EXPECT_EQ(found.weights, kWeights);
  EXPECT_EQ(found.kept, kWeights);
  EXPECT_EQ(found.constant, 0);
  EXPECT_FALSE(found.heavy());
  EXPECT_GT(found.raw_kurtosis, 10);
  // The mean over 400 coordinates of a kurtosis of 300 draws, each with deviation √(24/300).
  EXPECT_NEAR(found.kurtosis, 0, 4 * std::sqrt(24.0 / 300 / kWeights));
  EXPECT_EQ(found.extremes, 120);
  EXPECT_NEAR(found.hill, found.normal_hill, 4 * found.hill / std::sqrt(120));
  ASSERT_EQ(found.normal.size(), 101u);
  ASSERT_EQ(found.empirical.size(), 101u);
  EXPECT_EQ(found.normal[50], 0);
  for (size_t i = 20; i <= 80; ++i) EXPECT_NEAR(found.empirical[i], found.normal[i], 0.12) << i;
  for (size_t i = 1; i < 101; ++i) EXPECT_GE(found.empirical[i], found.empirical[i - 1]);
}

TEST(Tails, OfStudentsWithThreeDegreesAreHeavy) {
  const Tails found = tails_of(student, {.draws = 300});
  EXPECT_TRUE(found.heavy());
  EXPECT_NEAR(found.hill, 3, 0.9);
  EXPECT_GT(found.normal_hill, 2 * found.hill);
  EXPECT_GT(found.kurtosis, 2);
  EXPECT_GT(found.empirical.back(), 1.5 * found.normal.back());
  EXPECT_LT(found.empirical.front(), 1.5 * found.normal.front());
}

// Of a Pareto distribution, with signs, Hill's estimate is α within its error: where all are extremes but one.
TEST(Tails, HillsIndexIsThatOfAParetoDistribution) {
  for (const double alpha : {1.5, 3.0, 6.0}) {
    const auto pareto = [&](int64_t number) {
      const Tensor step = Tensor::scalar(static_cast<double>(number), DType::i32);
      const Tensor u = uniform({1}, {3, stream_of(Purpose::caller)}, step, DType::f64);
      return pow(u, -1 / alpha) * signs({1}, {4, stream_of(Purpose::caller)}, step, DType::f64);
    };
    const Tails found = tails_of(pareto, {.draws = 2000, .share = 0.25});
    EXPECT_EQ(found.extremes, 500);
    // Of independent numbers the error is α/√k, as far as ten parts tell it.
    EXPECT_NEAR(found.hill, alpha, 4 * alpha / std::sqrt(500));
    EXPECT_GT(found.hill_error, alpha / std::sqrt(500) / 3);
    EXPECT_LT(found.hill_error, alpha / std::sqrt(500) * 2);
  }
}

// Where all coordinates of a draw are one number, there are as many numbers as draws, and the error says so.
TEST(Tails, ErrorsSeeThatCoordinatesDepend) {
  const auto same = [](int64_t number) { return ones({50}, DType::f64) * student(number)[0]; };
  const auto apart = [](int64_t number) { return student(number)(Slice{0, 50}); };
  const TailOptions how{.draws = 1000, .share = 0.05};
  EXPECT_GT(tails_of(same, how).hill_error, 2.5 * tails_of(apart, how).hill_error);
}

TEST(Tails, LeaveOutWhatDoesNotVaryAndKeepSome) {
  const Tensor alive = cast(greater(arange(kWeights, DType::f64), Tensor::scalar(99, DType::f64)), DType::f64);
  const auto noise = [&](int64_t number) { return cast(mixed(number) * alive, DType::f32); };
  const Tails all = tails_of(noise, {.draws = 100}), some = tails_of(noise, {.draws = 100, .coordinates = 150});
  EXPECT_EQ(all.constant, 100);
  EXPECT_EQ(some.kept, 150);
  EXPECT_EQ(some.kurtosis, all.kurtosis);  // of all coordinates
  EXPECT_NEAR(all.kurtosis, 0, 4 * std::sqrt(24.0 / 100 / 300));
  EXPECT_NE(some.hill, all.hill);
  EXPECT_EQ(some.hill, tails_of(noise, {.draws = 100, .coordinates = 150}).hill);
}

// Coordinates that one draw alone reaches have the kurtosis (n + 2) − 3 of a single number, and nearly all of the mean.
TEST(Tails, MedianKurtosisIsThatOfMostCoordinates) {
  const Tensor rare = cast(less(arange(kWeights, DType::f64), Tensor::scalar(100, DType::f64)), DType::f64);
  const auto noise = [&](int64_t number) { return mixed(number) * (number == 0 ? 1.0 - rare * 0.0 : 1.0 - rare); };
  const Tails found = tails_of(noise, {.draws = 300});
  EXPECT_NEAR(found.median_kurtosis, 0, 0.3);
  EXPECT_NEAR(found.kurtosis, 299.0 * 100 / kWeights, 4);
}

TEST(Tails, RefuseWhatHasNone) {
  const auto refused = [](const std::function<Tensor(int64_t)>& noise, const TailOptions& how, const char* text) {
    expect_names(text_of<Error>([&] { tails_of(noise, how); }), text);
  };
  refused(mixed, {.draws = 1}, "tails: 1 draws");
  refused(mixed, {.coordinates = 0}, "0 coordinates");
  refused(mixed, {.share = 1}, "share 1");
  refused(mixed, {.points = 1}, "1 points");
  refused([](int64_t) { return zeros({3}); }, {.draws = 5}, "no number of 5 draws differs from 0");
  refused([](int64_t) { return full({3}, std::nan("")); }, {.draws = 5}, "number 0 of a draw is not finite");
  refused([](int64_t n) { return ones({3 + n}); }, {.draws = 5}, "a draw of [4] after one of [3]");
  refused([](int64_t) { return zeros({3}, DType::i32); }, {.draws = 5}, "draws are i32");
  refused([](int64_t) { return zeros({0}); }, {.draws = 5}, "draws of no numbers");
}

}  // namespace
}  // namespace mollify::smoothing
