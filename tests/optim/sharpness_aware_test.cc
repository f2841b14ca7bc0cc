// SAM and ASAM by hand, on exact and on estimated gradients; captured steps and resumed ones have the same bits.
#include "captured_and_resumed.h"

#include <mollify/optim/optimizer.h>
#include <mollify/optim/sharpness_aware.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace mollify::optim {
namespace {

const std::vector<double> kStart{-0.5, 0.7, 1.2};

// Σ i·wᵢ² + w₀w₁w₂, i from 1, and its gradient by hand.
Tensor bent(const Tensor& w) { return sum(square(w) * (arange(3, DType::f64) + 1.0)) + prod(w, 0); }
std::vector<double> bent_gradient(const std::vector<double>& w) {
  return {2 * w[0] + w[1] * w[2], 4 * w[1] + w[0] * w[2], 6 * w[2] + w[0] * w[1]};
}
Tensor there(const std::vector<double>& w) { return Tensor::from(w, {static_cast<int64_t>(w.size())}); }

// ASAM where there is an offset.
std::vector<double> by_hand(const std::vector<double>& w, double rho, std::optional<double> offset) {
  const std::vector<double> g = bent_gradient(w);
  std::vector<double> scale(3, 1.0), moved = w;
  double squares = 0;
  for (size_t i = 0; i < 3; ++i) {
    if (offset) scale[i] = std::abs(w[i]) + *offset;
    squares += std::pow(scale[i] * g[i], 2);
  }
  for (size_t i = 0; i < 3; ++i) moved[i] += rho * scale[i] * scale[i] * g[i] / std::sqrt(squares);
  return bent_gradient(moved);
}

TEST(SharpnessAware, GradientsAreAsByHand) {
  for (const bool adaptive : {false, true}) {
    const auto gradient = adaptive ? asam({.rho = 0.4, .offset = 0.02}) : sam(0.4);
    const auto [loss, g] = (*gradient)(there(kStart), bent);
    EXPECT_EQ(loss.item(), bent(there(kStart)).item());
    const std::vector<double> expected = by_hand(kStart, 0.4, adaptive ? std::optional(0.02) : std::nullopt);
    for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(g.to_vector<double>()[i], expected[i], 1e-12) << adaptive;
    EXPECT_EQ(gradient->evaluations().gradients, 2);
    EXPECT_FALSE(gradient->left_out().defined());
  }
}

// For the loss c·w a climb of ρ along its gradient is to first order what raises it most: the loss rises by ρ‖c‖, and
// no other direction of that length does better.
TEST(SharpnessAware, ClimbsByRhoAlongTheGradient) {
  std::vector<Tensor> seen;
  const Loss loss = [&](const Tensor& w) {
    seen.push_back(w.detach() + 0.0);
    return bent(w);
  };
  (*sam(0.3))(there(kStart), loss);
  ASSERT_EQ(seen.size(), 2);  // the first at the weights: batch norm's statistics are of it
  EXPECT_EQ(seen[0].to_vector<double>(), kStart);
  const Tensor climb = seen[1] - seen[0], g = there(bent_gradient(kStart));
  EXPECT_NEAR(norm(climb).item(), 0.3, 1e-12);
  EXPECT_NEAR(sum(climb * g).item(), 0.3 * norm(g).item(), 1e-12);
  // ASAM's is the same where all weights have the scale 1, and goes with a weight's scale where they do not.
  seen.clear();
  (*asam({.rho = 0.3, .offset = 0}))(there({1, -1, 1}), loss);
  EXPECT_NEAR(norm(seen[1] - seen[0]).item(), 0.3, 1e-12);
  const auto rescaled = [&](double k) {  // f(kw) at w/k
    seen.clear();
    (*asam({.rho = 0.3, .offset = 0}))(there(kStart) / k, [&](const Tensor& w) { return loss(w * k); });
    return seen[1].to_vector<double>();
  };
  const std::vector<double> once = rescaled(1), thrice = rescaled(3);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(thrice[i], once[i], 1e-12);
}

TEST(SharpnessAware, StaysWhereTheGradientIsNothing) {
  for (const bool adaptive : {false, true}) {
    const auto gradient = adaptive ? asam() : sam();
    EXPECT_EQ((*gradient)(zeros({3}, DType::f64), bent).gradient.to_vector<double>(), std::vector<double>(3, 0.0));
    const Loss lost = [](const Tensor& w) { return bent(w) * std::nan(""); };
    EXPECT_TRUE(std::isnan(sum((*gradient)(there(kStart), lost).gradient).item()));
  }
}

// An inner gradient with a number of the step and a state of its own.
class Scaled final : public Gradient {
 public:
  void attach(Numbers& numbers) override {
    numbers_ = &numbers;
    factor_ = numbers.add(step_decay(1, 0.5, 2));
  }
  Estimate operator()(const Tensor& weights, const Loss& loss) override {
    const Estimate exact = (*exact_)(weights, loss);
    return {exact.loss, exact.gradient * (*numbers_)[factor_]};
  }
  Evaluations evaluations() const override { return {.values = 1, .gradients = 1, .pairs = 3}; }
  Tensor left_out() const override { return Tensor::scalar(2, DType::f64); }
  std::map<std::string, Tensor> state() const override { return {{"inner", Tensor::scalar(4, DType::f64)}}; }

 private:
  std::unique_ptr<Gradient> exact_ = exact_gradient();
  Numbers* numbers_ = nullptr;
  size_t factor_ = 0;
};

TEST(SharpnessAware, WrapsOtherGradients) {
  const auto gradient = sam(0.1, std::make_unique<Scaled>());
  EXPECT_EQ(gradient->evaluations().values, 2);
  EXPECT_EQ(gradient->evaluations().pairs, 6);
  const auto optimizer = sgd(constant(0.01), {}, sam(0.1, std::make_unique<Scaled>()));
  EXPECT_TRUE(optimizer->state().contains("inner"));
  const Tensor w = there(kStart);
  std::vector<double> expected = kStart;
  for (int step = 0; step < 4; ++step) {
    optimizer->step(w, bent);
    const std::vector<double> g = by_hand(expected, 0.1, std::nullopt);  // a factor does not change the direction
    for (size_t i = 0; i < 3; ++i) expected[i] -= 0.01 * g[i] * (step < 2 ? 1 : 0.5);
  }
  EXPECT_EQ(optimizer->source().left_out().item(), 4);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(w.to_vector<double>()[i], expected[i], 1e-12);
}

TEST(SharpnessAware, IsCapturedAndResumes) {
  const std::function<std::unique_ptr<Optimizer>()> makes[] = {
      [] { return sgd(cosine(0.05, 10), {.momentum = 0.9, .clip_norm = 1}, sam()); },
      [] { return adam(constant(0.01), {}, asam()); }};
  for (const auto& make : makes)
    expect_captured_and_resumed(
        make, [] { return there(kStart); }, bent, 8);
}

// ½(1 + v²)u² is least wherever u = 0, flattest at v = 0: plain descent stops where it first meets u = 0, and SAM,
// whose climb there is ρ along u, goes on along the valley by rate·ρ²v a step.
TEST(SharpnessAware, GoesWhereTheMinimumIsFlat) {
  const Loss loss = [](const Tensor& w) { return prod(square(w) + there({0, 1}), 0) * 0.5; };
  const auto end = [&](std::unique_ptr<Gradient> gradient) {
    const auto optimizer = sgd(constant(0.05), {}, std::move(gradient));
    const Tensor w = there({0.5, 2});
    for (int step = 0; step < 500; ++step) optimizer->step(w, loss);
    return w[1].item();
  };
  EXPECT_GT(end(exact_gradient()), 1.8);
  EXPECT_NEAR(end(sam(0.5)), 0, 0.02);
}

TEST(SharpnessAware, RefusesRadiiThatAreNone) {
  for (const double rho : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    EXPECT_THROW(sam(rho), ValueError);
    EXPECT_THROW(asam({.rho = rho}), ValueError);
  }
  EXPECT_THROW(asam({.offset = -1}), ValueError);
  try {
    sam(0);
  } catch (const ValueError& error) { EXPECT_STREQ(error.what(), "sam: rho 0; needs a finite number above 0"); }
}

}  // namespace
}  // namespace mollify::optim
