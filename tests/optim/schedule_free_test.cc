// Schedule-free methods against their three sequences x, y, z by hand; captured steps and resumed ones have the same
// bits.
#include "rosenbrock.h"

#include <mollify/engine/plan.h>
#include <mollify/optim/optimizer.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace mollify::optim {
namespace {

Tensor there(const std::vector<double>& w) { return Tensor::from(w, {static_cast<int64_t>(w.size())}); }

struct Sequences {
  std::vector<double> x, y;
};

Sequences by_hand(bool adam, const Schedule& rate, const ScheduleFreeOptions& how, int steps) {
  std::vector<double> x = kStart, y = kStart, z = kStart, v(2, 0.0);
  double largest = 0, sum = 0;
  for (int k = 0; k < steps; ++k) {
    const double correction = adam ? std::sqrt(1 - std::pow(how.beta2, k + 1)) : 1, step_size = rate(k) * correction;
    largest = std::max(largest, step_size);
    const double weight = std::pow(k + 1, how.power) * largest * largest;
    sum += weight;
    const double c = sum > 0 ? weight / sum : 0;
    const std::vector<double> g = rosenbrock_gradient(y);
    for (size_t i = 0; i < 2; ++i) {
      v[i] = how.beta2 * v[i] + (1 - how.beta2) * g[i] * g[i];
      const double push = (adam ? g[i] / (std::sqrt(v[i]) + how.epsilon) : g[i]) + how.weight_decay.at(k) * y[i];
      z[i] -= step_size * push;
      x[i] = (1 - c) * x[i] + c * z[i];
      y[i] = (1 - how.momentum) * z[i] + how.momentum * x[i];
    }
  }
  return {x, y};
}

std::unique_ptr<Optimizer> make(bool adam, const Schedule& rate, const ScheduleFreeOptions& how = {}) {
  return adam ? schedule_free_adamw(rate, how) : schedule_free_sgd(rate, how);
}

void expect_near(const Tensor& got, const std::vector<double>& expected) {
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(got.to_vector<double>()[i], expected[i], 1e-12 * (1 + std::abs(expected[i])));
}

TEST(ScheduleFree, StepsAsItsSequences) {
  for (const bool adam : {false, true})
    for (const ScheduleFreeOptions& how :
         {ScheduleFreeOptions{}, ScheduleFreeOptions{.momentum = 0.5, .beta2 = 0.9, .weight_decay = 0.1},
          ScheduleFreeOptions{.momentum = 1, .power = 2},
          ScheduleFreeOptions{.epsilon = 1e-3, .weight_decay = step_decay(0.2, 0.5, 2)}})
      for (const Schedule& rate : {constant(adam ? 0.02 : 1e-3), linear_warmup(4, cosine(adam ? 0.02 : 1e-3, 10)),
                                   Schedule([](int64_t step) { return step < 2 ? 0 : 1e-3; })}) {
        const auto optimizer = make(adam, rate, how);
        const Tensor w = there(kStart);
        EXPECT_EQ(optimizer->evaluation_weights(w).to_vector<double>(), kStart);
        for (int step = 1; step <= 7; ++step) {
          optimizer->step(w, rosenbrock);
          const Sequences expected = by_hand(adam, rate, how, step);
          expect_near(w, expected.y);
          expect_near(optimizer->evaluation_weights(w), expected.x);
        }
      }
}

// On a quadratic with noisy gradients y keeps on moving, while x, an average, comes to rest: its error falls by far.
TEST(ScheduleFree, EvaluatesAtAveragesOfTheSteps) {
  const auto optimizer = schedule_free_sgd(constant(0.5));
  const Tensor w = full({2000}, 3, DType::f64);
  const RandomKey key{4, stream_of(Purpose::caller)};
  for (int step = 0; step < 300; ++step) {
    const Tensor noise = normal(w.shape(), key, Tensor::scalar(step, DType::i32), DType::f64);
    optimizer->step(w, [&](const Tensor& v) { return sum(square(v)) * 0.5 + sum(v * noise); });
  }
  const double trained = norm(w).item(), evaluated = norm(optimizer->evaluation_weights(w)).item();
  EXPECT_LT(evaluated, 0.2 * std::sqrt(2000));
  EXPECT_LT(evaluated, 0.9 * trained);
}

TEST(ScheduleFree, IsCapturedAndResumes) {
  for (const bool adam : {false, true}) {
    const auto fresh = [&] { return make(adam, linear_warmup(3, constant(adam ? 0.02 : 1e-3)), {.clip_norm = 5}); };
    const auto eager = fresh(), replayed = fresh(), resumed = fresh();
    const Tensor w = there(kStart), v = there(kStart), u = there(kStart);
    Captured captured = capture([&](const Tensors&) -> Tensors { return replayed->update(v, rosenbrock); });
    const auto replay = [&] {
      replayed->advance(DType::f64);
      return captured(Tensors{})[0].item();
    };
    for (int step = 0; step < 8; ++step) {
      if (step == 4) {
        resumed->set_state(eager->state());
        assign(u, w);
      }
      if (step >= 4) resumed->step(u, rosenbrock);
      const double loss = eager->step(w, rosenbrock).item();
      ASSERT_EQ(replay(), loss);
      ASSERT_EQ(v.to_vector<double>(), w.to_vector<double>());
    }
    EXPECT_EQ(u.to_vector<double>(), w.to_vector<double>());
    const std::vector<double> evaluated = eager->evaluation_weights(w).to_vector<double>();
    EXPECT_EQ(resumed->evaluation_weights(u).to_vector<double>(), evaluated);

    replayed->set_state(fresh()->state());  // of no steps, into the tensors that the capture knows
    assign(v, there(kStart));
    for (int step = 0; step < 8; ++step) replay();
    EXPECT_EQ(v.to_vector<double>(), w.to_vector<double>());
    for (const auto& [name, tensor] : eager->state()) {
      auto part_missing = eager->state();
      part_missing.erase(name);
      EXPECT_THROW(fresh()->set_state(part_missing), ValueError) << name;
    }
  }
}

TEST(ScheduleFree, OthersEvaluateWhatTheyTrain) {
  const Tensor w = there(kStart);
  const auto optimizer = adam(constant(0.01));
  optimizer->step(w, rosenbrock);
  EXPECT_EQ(optimizer->evaluation_weights(w).data<double>(), w.data<double>());
}

TEST(ScheduleFree, RefusesOptionsThatAreNone) {
  EXPECT_THROW(schedule_free_sgd(constant(1), {.momentum = 0}), ValueError);
  EXPECT_THROW(schedule_free_sgd(constant(1), {.momentum = 1.1}), ValueError);
  EXPECT_THROW(schedule_free_sgd(constant(1), {.weight_decay = -1}), ValueError);
  EXPECT_THROW(schedule_free_sgd(constant(1), {.power = -1}), ValueError);
  EXPECT_THROW(schedule_free_adamw(constant(1), {.beta2 = 1}), ValueError);
  EXPECT_THROW(schedule_free_adamw(constant(1), {.epsilon = -1}), ValueError);
  EXPECT_NO_THROW(schedule_free_sgd(constant(1), {.beta2 = 1}));
}

}  // namespace
}  // namespace mollify::optim
