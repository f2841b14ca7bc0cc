// Rounds of implicit graduated optimisation: the same δ whoever bears it, and momentum's bounds.
#include <mollify/engine/error.h>
#include <mollify/optim/graduated.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

namespace mollify::optim {
namespace {

const std::map<std::string, Schedule> kCourses = {{"constant", constant(1)},
                                                  {"step", step_decay(1, std::sqrt(0.5), 1)},
                                                  {"every third", step_decay(1, std::sqrt(0.5), 3)},
                                                  {"polynomial", polynomial(1, 12, 0.9)},
                                                  {"cosine", cosine(1, 12)},
                                                  {"exponential", step_decay(1, 0.9, 1)}};

TEST(GraduatedRounds, HaveTheCoursesDegreeWhoeverBearsIt) {
  const double deviation = 3;
  for (const auto& [name, course] : kCourses)
    for (const double share : {0.0, 0.3, 0.585, 1.0})
      for (const int64_t largest : {int64_t{1000}, int64_t{1} << 40})
        for (int64_t round = 0; round < 12; ++round) {
          const ImplicitGraduation how{
              .learning_rate = 0.1, .batch = 37, .batch_share = share, .largest_batch = largest};
          const GraduatedRound at = graduated_round(course, round, how);
          const double expected = sgd_degree(0.1, 37, deviation) * course(round);
          EXPECT_NEAR(sgd_degree(at.learning_rate, at.batch, deviation), expected, 1e-12 * expected)
              << name << " " << share << " " << round;
          EXPECT_LE(at.batch, largest);
          EXPECT_GE(at.batch, 37);
          const double wanted = 37 * std::pow(course(round), -2 * share);
          EXPECT_NEAR(static_cast<double>(at.batch), std::min(wanted, static_cast<double>(largest)), 0.5 + 1e-9);
        }
}

// γ = 1/√2 five times: rates and batches of the paper's methods.
TEST(GraduatedRounds, OfTheFifthHaveAQuarter) {
  const Schedule course = kCourses.at("step");
  const auto fifth = [&](double share) {
    return graduated_round(course, 4, {.learning_rate = 0.1, .batch = 128, .batch_share = share});
  };
  EXPECT_NEAR(fifth(0).learning_rate, 0.025, 1e-15);
  EXPECT_EQ(fifth(0).batch, 128);
  EXPECT_NEAR(fifth(1).learning_rate, 0.1, 1e-15);
  EXPECT_EQ(fifth(1).batch, 2048);
  EXPECT_EQ(fifth(std::log2(1.5)).batch, 648);  // 1.5⁴
  EXPECT_NEAR(fifth(std::log2(1.5)).learning_rate, 0.1 * 0.5625, 1e-14);
  for (const double share : {0.0, 0.585, 1.0})
    EXPECT_NEAR(sgd_degree(fifth(share).learning_rate, fifth(share).batch, 1), sgd_degree(0.1, 128, 1) / 4, 1e-15);
}

TEST(GraduatedRounds, EndWithTheRateWhereTheBatchIsLargest) {
  const Schedule course = polynomial(1, 10, 1);
  const ImplicitGraduation how{.learning_rate = 0.1, .batch = 100, .batch_share = 1, .largest_batch = 400};
  EXPECT_EQ(graduated_round(course, 5, how).batch, 400);
  EXPECT_NEAR(graduated_round(course, 5, how).learning_rate, 0.1, 1e-15);
  EXPECT_EQ(graduated_round(course, 9, how).batch, 400);
  EXPECT_NEAR(graduated_round(course, 9, how).learning_rate, 0.02, 1e-15);
  EXPECT_EQ(graduated_round(course, 10, how).batch, 400);  // δ = 0
  EXPECT_EQ(graduated_round(course, 10, how).learning_rate, 0);
  EXPECT_EQ(graduated_round(course, 10, {.batch = 100}).batch, 100);
  const GraduatedRound grown = graduated_round([](int64_t round) { return 1.0 + 99 * static_cast<double>(round); }, 1,
                                               {.batch = 8, .batch_share = 1});
  EXPECT_EQ(grown.batch, 1);  // δ may rise
  EXPECT_NEAR(grown.learning_rate, 0.1 * 100 / std::sqrt(8), 1e-12);
}

TEST(GraduatedRounds, RefuseWhatIsNone) {
  const Schedule course = constant(1);
  EXPECT_THROW(graduated_round(course, 0, {.learning_rate = 0}), ValueError);
  EXPECT_THROW(graduated_round(course, 0, {.batch = 0}), ValueError);
  EXPECT_THROW(graduated_round(course, 0, {.batch_share = 1.1}), ValueError);
  EXPECT_THROW(graduated_round(course, 0, {.batch_share = std::nan("")}), ValueError);
  EXPECT_THROW(graduated_round(course, 0, {.batch = 64, .largest_batch = 32}), ValueError);
  EXPECT_THROW(graduated_round(constant(0), 0, {}), ValueError);
  EXPECT_THROW(graduated_round([](int64_t round) { return 1.0 - static_cast<double>(round); }, 2, {}), ValueError);
}

TEST(Degrees, OfMomentumAreBoundsOfPublishedSize) {
  EXPECT_NEAR(heavy_ball_degree_bound(0.1, 4, 0.9, 2, 0), 0.1 * std::sqrt(1 + 81.9), 1e-12);  // β̂ = 81.9
  EXPECT_NEAR(heavy_ball_degree_bound(0.1, 1, 0.9, 1, 0) / sgd_degree(0.1, 1, 1), 9.1, 0.01);
  EXPECT_NEAR(heavy_ball_degree_bound(0.1, 4, 0.5, 2, 3), 0.1 * std::sqrt(1 + 1.5 * 10), 1e-12);
  EXPECT_NEAR(normalized_heavy_ball_degree_bound(0.1, 4, 0.5, 2, 3), 0.1 * std::sqrt(1 + 10), 1e-12);
  for (const double momentum : {0.0, 0.3, 0.9}) {
    EXPECT_GE(heavy_ball_degree_bound(0.1, 8, momentum, 2, 1), sgd_degree(0.1, 8, 2));
    EXPECT_GE(normalized_heavy_ball_degree_bound(0.1, 8, momentum, 2, 1), sgd_degree(0.1, 8, 2));
  }
  EXPECT_DOUBLE_EQ(heavy_ball_degree_bound(0.1, 8, 0, 2, 1), sgd_degree(0.1, 8, 2));
  EXPECT_THROW(heavy_ball_degree_bound(0.1, 8, 1, 2, 1), ValueError);
  EXPECT_THROW(normalized_heavy_ball_degree_bound(0.1, 8, -0.1, 2, 1), ValueError);
  EXPECT_THROW(sgd_degree(0.1, 0, 1), ValueError);
}

}  // namespace
}  // namespace mollify::optim
