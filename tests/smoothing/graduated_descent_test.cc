// Explicit graduated optimisation reaches Rastrigin's minimum; one step of SGD is a step on the smoothed function.
#include "../optim/captured_and_resumed.h"

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/plan.h>
#include <mollify/smoothing/coordinate_noise.h>
#include <mollify/smoothing/graduated_descent.h>
#include <mollify/smoothing/smoothed_functions.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr int64_t kSteps = 1020;  // of the default levels

Tensor start(uint64_t seed) { return (rand({50}, seed, DType::f64) - 0.5) * 10.24; }

double end_of(optim::Optimizer& optimizer, const Tensor& w) {
  for (int64_t step = 0; step < kSteps; ++step) optimizer.step(w, rastrigin);
  return rastrigin(w).item();
}

// The published course: s falls by 1/51 a level, and ends with .01.
Sigma published_sigma() {
  return Sigma::stddev(optim::Schedule([](int64_t step) {
    const int64_t level = step / 20;
    return level < 50 ? 1 - static_cast<double>(level) / 51 : 0.01;
  }));
}

TEST(GraduatedDescent, FindsRastriginsMinimumByItsForm) {
  for (const Sigma& s : {graduated_sigma(), published_sigma()})
    for (uint64_t seed = 1; seed <= 5; ++seed) {
      const SmoothedLoss form = gaussian_form(test_function("rastrigin"));
      const auto optimizer = graduated_descent(0.01, s, gradient_from_form(form, s));
      EXPECT_EQ(optimizer->source().evaluations().gradients * kSteps, 1020);
      EXPECT_LT(end_of(*optimizer, start(seed)), 1e-8) << seed;
    }
  EXPECT_GT(end_of(*optim::sgd(optim::constant(1e-3)), start(1)), 100);  // on f itself
}

TEST(GraduatedDescent, FindsRastriginsMinimumBySamples) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Sigma s = seed == 1 ? published_sigma() : graduated_sigma();
    const auto optimizer = graduated_descent(0.01, s, gradient_from_rows(rastrigin, s, 100, seed));
    EXPECT_EQ(optimizer->source().evaluations().gradients * kSteps, 102000);
    EXPECT_LT(end_of(*optimizer, start(seed)), 0.01) << seed;
  }
}

TEST(GraduatedDescent, OfRowsHasTheDrawsOfGradients) {
  const Sigma s = graduated_sigma({.first = 0.5, .last = 0.25, .levels = 2, .steps = 2});
  const auto rows = graduated_descent(0.01, s, gradient_from_rows(rastrigin, s, 6, 3));
  const auto one_by_one = graduated_descent(0.01, s, gradient_from_gradients(s, {.samples = 6, .seed = 3}));
  const Tensor a = start(1) + 0.0, b = start(1) + 0.0;
  for (int step = 0; step < 4; ++step) {
    EXPECT_NEAR(rows->step(a, rastrigin).item(), one_by_one->step(b, rastrigin).item(), 1e-9);
    EXPECT_LT(max(abs(a - b)).item(), 1e-13);
  }
}

TEST(GraduatedDescent, IsCapturedAndResumes) {
  const Sigma s = graduated_sigma({.steps = 2});
  const std::function<std::unique_ptr<optim::Optimizer>()> makes[] = {
      [&] { return graduated_descent(0.01, s, gradient_from_form(gaussian_form(test_function("rastrigin")), s)); },
      [&] { return graduated_descent(0.01, s, gradient_from_rows(rastrigin, s, 4, 1)); }};
  for (const auto& make : makes)
    optim::expect_captured_and_resumed(
        make, [] { return start(1); }, rastrigin, 6);
}

TEST(GraduatedDescent, HasLevelsAndRefusesOthers) {
  const Sigma s = graduated_sigma({.first = 1, .last = 0.25, .levels = 3, .steps = 2});
  const std::vector<double> expected{1, 1, 0.5, 0.5, 0.25, 0.25, 0.25};
  for (size_t step = 0; step < expected.size(); ++step)
    EXPECT_NEAR(s.at(static_cast<int64_t>(step)).stddev(), expected[step], 1e-15);
  EXPECT_THROW(graduated_sigma({.last = 0}), ValueError);
  EXPECT_THROW(graduated_sigma({.first = 0.1, .last = 1}), ValueError);
  EXPECT_THROW(graduated_sigma({.levels = 1}), ValueError);
  EXPECT_THROW(graduated_sigma({.steps = 0}), ValueError);
  EXPECT_THROW(graduated_descent(0, s, nullptr), ValueError);
  EXPECT_THROW(gradient_from_rows(rastrigin, s, 3, 0), ValueError);
  EXPECT_THROW(gradient_from_form({}, s), ValueError);
}

// With y_t = x_t − η∇f(x_t) a step of SGD, whose gradient has the noise δu/η, is x_{t+1} = y_t − δu: then E x_{t+1} =
// y_t and E y_{t+1} = y_t − η∇f_δ(y_t), by Rastrigin's form, for noise of any law that is centred.
TEST(SgdsNoise, SmoothsOneStep) {
  const int64_t d = 10, rows = 40000;
  const double rate = 0.05, delta = 0.6;
  const auto gradients = [](const Tensor& x) { return grad([](const Tensor& v) { return sum(rastrigin(v)); })(x); };
  for (const Law law : {Law::gaussian, Law::uniform, Law::exponential, Law::rayleigh}) {
    const CoordinateNoise noise = CoordinateNoise::centred(law, d);
    const SmoothedFunction smoothed(test_function("rastrigin"), noise);
    const Tensor x = (rand({d}, 5, DType::f64) - 0.5) * 2.0, y = x - gradients(x) * rate;
    const Tensor u = noise.draw({rows, d}, {1, stream_of(Purpose::caller)}, Tensor::scalar(0, DType::i32));
    // SGD's step from each row.
    const Tensor after = flatten(expand(x, {rows, d}) + 0.0);
    optim::sgd(optim::constant(rate))->step(after, [&](const Tensor& w) {
      return sum(rastrigin(reshape(w, {rows, d}))) + sum(reshape(w, {rows, d}) * u) * (delta / rate);
    });
    const Tensor x_next = reshape(after, {rows, d}), y_next = x_next - gradients(x_next) * rate;
    const Tensor expected = y - grad([&](const Tensor& v) { return smoothed.form(v, delta); })(y) * rate;
    const auto expect_mean = [&](const Tensor& values, const Tensor& means) {
      const Tensor error = standard_deviation(values, {0}) / std::sqrt(static_cast<double>(rows));
      EXPECT_LT(max(abs(mean(values, {0}) - means) / error).item(), 4) << to_string(law);
    };
    expect_mean(x_next, y);
    expect_mean(y_next, expected);
    // The test can tell f_δ from f.
    EXPECT_GT(max(abs(expected - (y - gradients(y) * rate))).item(), 0.1);
  }
}

}  // namespace
}  // namespace mollify::smoothing
