// Rank correlation, parabolas and resampling, against small cases that can be counted by hand and closed forms.
#include <mollify/experiments/reproduce/statistics.h>

#include <mollify/engine/error.h>
#include <mollify/engine/random.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using Numbers = std::vector<double>;

TEST(KendallTau, CountsPairs) {
  const Numbers rising = {1, 2, 3, 4, 5}, falling = {9, 7, 4, 2, 0};
  EXPECT_EQ(kendall_tau(rising, rising), 1);
  EXPECT_EQ(kendall_tau(rising, falling), -1);
  // Of 10 pairs 8 rise and 2, (3, 1) and (5, 4), fall.
  EXPECT_DOUBLE_EQ(kendall_tau(rising, Numbers{2, 3, 1, 5, 4}), (7 - 3) / 10.0);
  // Ties: of 6 pairs 5 differ in x, 5 in y, 4 in both, all of which rise.
  EXPECT_DOUBLE_EQ(kendall_tau(Numbers{1, 1, 2, 3}, Numbers{1, 2, 3, 3}), 4 / std::sqrt(5.0 * 5.0));
}

TEST(KendallTau, LeavesOutWhatIsNoNumberAndSaysWhereThereIsNone) {
  EXPECT_EQ(kendall_tau(Numbers{1, NAN, 2, 3}, Numbers{1, 0, 2, INFINITY}), 1);
  EXPECT_TRUE(std::isnan(kendall_tau(Numbers{1, 1, 1}, Numbers{1, 2, 3})));
  EXPECT_TRUE(std::isnan(kendall_tau(Numbers{1, 2, 3}, Numbers{2, 2, 2})));
  EXPECT_TRUE(std::isnan(kendall_tau(Numbers{}, Numbers{})));
  EXPECT_THROW(kendall_tau(Numbers{1}, Numbers{1, 2}), ValueError);
}

TEST(Parabola, PassesThroughOnesOwnPoints) {
  const Numbers x = {-3, -1, 0, 0.5, 4, 11};  // skewed
  Numbers y;
  for (const double at : x) y.push_back(2 - 0.25 * (at - 1.5) * (at - 1.5));
  const Parabola parabola = parabola_through(x, y);
  EXPECT_NEAR(parabola.curvature, -0.25, 1e-13);
  EXPECT_NEAR(parabola.vertex(), 1.5, 1e-12);
  EXPECT_NEAR(parabola.r_squared, 1, 1e-13);
}

// The residuals are orthogonal to 1, x and x²: no other parabola is nearer.
TEST(Parabola, IsTheNearestOne) {
  const Numbers x = {0, 1, 2, 3, 5, 8}, y = {1, -2, 0.5, 4, 2, 7};
  const Parabola p = parabola_through(x, y);
  double squares = 0;
  for (const double at : x) squares += (at - p.centre) * (at - p.centre) / static_cast<double>(x.size());
  double sums[3] = {}, left = 0, all = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double u = x[i] - p.centre;
    const double rest = y[i] - (p.height + p.slope * u + p.curvature * (u * u - u * p.skew - squares));
    for (int k = 0; k < 3; ++k) sums[k] += rest * std::pow(x[i], k);
    left += rest * rest;
    all += (y[i] - p.height) * (y[i] - p.height);
  }
  for (const double sum : sums) EXPECT_NEAR(sum, 0, 1e-11);
  EXPECT_NEAR(p.r_squared, 1 - left / all, 1e-13);
}

TEST(Parabola, NeedsThreePlaces) {
  EXPECT_TRUE(std::isnan(parabola_through(Numbers{1, 1, 2, 2}, Numbers{1, 2, 3, 4}).curvature));
  EXPECT_TRUE(std::isnan(parabola_through(Numbers{1, 2, NAN}, Numbers{1, 2, 3}).curvature));
  const Parabola flat = parabola_through(Numbers{1, 2, 3, 4}, Numbers{5, 5, 5, 5});
  EXPECT_EQ(flat.curvature, 0);
  EXPECT_TRUE(std::isnan(flat.r_squared));
}

double mean_at(const Numbers& values, const std::vector<size_t>& points) {
  double sum = 0;
  for (const size_t i : points) sum += values[i];
  return sum / static_cast<double>(points.size());
}

// A mean's error is the groups' deviation (n in place of n − 1) over √n, however many points a group has.
TEST(Bootstrap, KnowsTheErrorOfAMean) {
  RandomSequence random({3, stream_of(Purpose::caller, 1)});
  Numbers values, repeated;
  std::vector<std::vector<size_t>> single, fourfold;
  for (size_t i = 0; i < 60; ++i) {
    values.push_back(random.normal());
    single.push_back({i});
    fourfold.emplace_back();
    for (size_t k = 0; k < 4; ++k) {
      fourfold.back().push_back(repeated.size());
      repeated.push_back(values.back());
    }
  }
  const double exact = summary_of(values).deviation * std::sqrt(59.0 / 60) / std::sqrt(60.0);
  const Bootstrapped one = bootstrap([&](const auto&points) { return mean_at(values, points); }, single, 4000),
                     four = bootstrap([&](const auto&points) { return mean_at(repeated, points); }, fourfold, 4000);
  for (const Bootstrapped& b : {one, four}) {
    EXPECT_NEAR(b.value, summary_of(values).mean, 1e-14);
    EXPECT_NEAR(b.error / exact, 1, 4 / std::sqrt(2 * 4000.0));
    EXPECT_NEAR((b.high - b.low) / exact, 2 * 1.96, 0.25);
    EXPECT_LT(b.low, b.value);
    EXPECT_GT(b.high, b.value);
  }
}

TEST(Bootstrap, IsAFunctionOfItsSeed) {
  const Numbers values = {1, 5, 2, 8, 3};
  const std::vector<std::vector<size_t>> groups = {{0}, {1}, {2}, {3}, {4}};
  const auto of = [&](uint64_t seed) {
    return bootstrap([&](const auto& points) { return mean_at(values, points); }, groups, 50, seed);
  };
  EXPECT_EQ(of(1).error, of(1).error);
  EXPECT_NE(of(1).error, of(2).error);
  const Bootstrapped lonely = bootstrap([&](const auto& points) { return mean_at(values, points); }, {{0, 1, 2}}, 50);
  EXPECT_NEAR(lonely.value, 8.0 / 3, 1e-15);
  EXPECT_TRUE(std::isnan(lonely.error)) << "a single group says nothing about its error";
  // Of five groups drawn five times one is missing with probability (4/5)⁵ = .33.
  const Bootstrapped seldom = bootstrap(
      [](const auto& points) { return std::count(points.begin(), points.end(), size_t{4}) > 0 ? 1 : NAN; }, groups, 50);
  EXPECT_EQ(seldom.value, 1);
  EXPECT_TRUE(std::isnan(seldom.error)) << "what often does not exist has no error";
  const Bootstrapped none = bootstrap([](const auto&) { return NAN; }, groups, 50);
  EXPECT_TRUE(std::isnan(none.value) && std::isnan(none.error));
}

TEST(Verdicts, AreDecidedBeyondTwoErrors) {
  EXPECT_EQ(above_zero(2.1, 1), Verdict::holds);
  EXPECT_EQ(above_zero(1.9, 1), Verdict::undecided);
  EXPECT_EQ(above_zero(-1.9, 1), Verdict::undecided);
  EXPECT_EQ(above_zero(-2.1, 1), Verdict::fails);
  EXPECT_EQ(above_zero(1, NAN), Verdict::undecided);
  EXPECT_EQ(above_zero(NAN, 1), Verdict::undecided);
}

}  // namespace
}  // namespace mollify::experiments
