#include "../devices.h"
#include "rosenbrock.h"

#include <mollify/engine/plan.h>
#include <mollify/optim/optimizer.h>
#include <mollify/optim/sharpness_aware.h>
#include <mollify/optim/svrg.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::optim {
namespace {

std::vector<double> run(Optimizer& optimizer, int steps, Tensor weights = Tensor::from(kStart, {2})) {
  for (int i = 0; i < steps; ++i) optimizer.step(weights, rosenbrock);
  return weights.to_vector<double>();
}

// Every method on every device.
class OnDevice : public testing::TestWithParam<Device> {
 protected:
  Tensor there(const std::vector<double>& values) const { return to(Tensor::from(values, {2}), GetParam()); }
  std::vector<double> run(Optimizer& optimizer, int steps, const std::vector<double>& from = kStart) const {
    return mollify::optim::run(optimizer, steps, there(from));
  }
  static std::vector<double> numbers(const Tensor& x) { return x.to_vector<double>(); }
};
INSTANTIATE_TEST_SUITE_P(Devices, OnDevice, testing::ValuesIn(devices()),
                         [](const auto& info) { return std::string(to_string(info.param)); });
TEST(OnCuda, IsTested) { MOLLIFY_SKIP_WITHOUT_CUDA(); }

void expect_near(const std::vector<double>& got, const std::vector<double>& expected) {
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-12 * (1 + std::abs(expected[i])));
}

TEST_P(OnDevice, SgdStepsAsByHand) {
  for (const SgdOptions& how :
       {SgdOptions{}, SgdOptions{.momentum = 0.9}, SgdOptions{.momentum = 0.9, .weight_decay = 0.1, .nesterov = true},
        SgdOptions{.weight_decay = 0.2},
        SgdOptions{.momentum = linear_warmup(3, constant(0.9)), .weight_decay = step_decay(0.2, 0.5, 2)}}) {
    const double rate = 1e-3;
    std::vector<double> w = kStart, v(2, 0.0);
    for (int i = 0; i < 5; ++i) {
      std::vector<double> g = rosenbrock_gradient(w);
      const double momentum = how.momentum.at(i);
      for (size_t j = 0; j < 2; ++j) {
        g[j] += how.weight_decay.at(i) * w[j];
        v[j] = momentum * v[j] + g[j];
        w[j] -= rate * (how.nesterov ? g[j] + momentum * v[j] : v[j]);
      }
    }
    expect_near(run(*sgd(constant(rate), how), 5), w);
  }
}

TEST_P(OnDevice, AdamStepsAsByHand) {
  for (const bool decoupled : {false, true}) {
    const AdamOptions how{.beta1 = 0.8, .beta2 = 0.99, .epsilon = 1e-6, .weight_decay = step_decay(0.1, 0.5, 2)};
    std::vector<double> w = kStart, m(2, 0.0), v(2, 0.0);
    for (int i = 1; i <= 5; ++i) {
      const std::vector<double> g = rosenbrock_gradient(w);
      for (size_t j = 0; j < 2; ++j) {
        const double decay = how.weight_decay.at(i - 1), gradient = g[j] + (decoupled ? 0 : decay * w[j]);
        m[j] = how.beta1 * m[j] + (1 - how.beta1) * gradient;
        v[j] = how.beta2 * v[j] + (1 - how.beta2) * gradient * gradient;
        if (decoupled) w[j] -= 0.01 * decay * w[j];
        w[j] -= 0.01 * (m[j] / (1 - std::pow(how.beta1, i))) /
                (std::sqrt(v[j] / (1 - std::pow(how.beta2, i))) + how.epsilon);
      }
    }
    expect_near(run(decoupled ? *adamw(constant(0.01), how) : *adam(constant(0.01), how), 5), w);
  }
}

TEST_P(OnDevice, ResumesFromItsStateToTheSameBits) {
  const auto make = [](int which) {
    const Schedule rate = cosine(0.01, 20);
    return which == 0   ? sgd(cosine(1e-4, 20), {.momentum = 0.9, .nesterov = true})
           : which == 1 ? adam(rate)
                        : adamw(rate);
  };
  for (int which : {0, 1, 2}) {
    const auto whole = make(which);
    const std::vector<double> expected = run(*whole, 12);
    const auto first = make(which), second = make(which);
    const std::vector<double> middle = run(*first, 5);
    second->set_state(first->state());
    EXPECT_EQ(second->steps(), 5);
    EXPECT_EQ(run(*second, 7, middle), expected);
    EXPECT_THROW(second->set_state({}), ValueError);
    for (const auto& [name, tensor] : first->state()) {
      auto part_missing = first->state();
      part_missing.erase(name);
      EXPECT_THROW(make(which)->set_state(part_missing), ValueError) << name;
    }
  }
}

// An estimate from two values of the loss along a random direction of the step, whose length moves with the steps.
class TwoSided final : public Gradient {
 public:
  void attach(Numbers& numbers) override {
    numbers_ = &numbers;
    length_ = numbers.add(step_decay(0.01, 0.5, 3));
  }
  Estimate operator()(const Tensor& weights, const Loss& loss) override {
    const NoGrad guard;
    const Tensor direction = normal(weights.shape(), {5, 1}, numbers_->step(), weights.dtype(), weights.device());
    const Tensor& length = (*numbers_)[length_];
    const Tensor slope = (loss(weights + direction * length) - loss(weights - direction * length)) / (length * 2.0);
    return {loss(weights), direction * slope};
  }

 private:
  Numbers* numbers_ = nullptr;
  size_t length_ = 0;
};

TEST_P(OnDevice, GradientsMayBeEstimates) {
  for (const bool with_adam : {false, true}) {
    const auto make = [&] {
      auto gradient = std::make_unique<TwoSided>();
      return with_adam ? adam(constant(0.01), {}, std::move(gradient)) : sgd(constant(1e-4), {}, std::move(gradient));
    };
    const auto whole = make(), first = make(), second = make();
    const std::vector<double> expected = run(*whole, 12), middle = run(*first, 5);
    EXPECT_NE(expected, run(*adam(constant(0.01)), 12));
    second->set_state(first->state());  // the direction and its length go on with the steps
    EXPECT_EQ(run(*second, 7, middle), expected);

    const auto captured = make();
    const Tensor w = to(Tensor::from(kStart, {2}), GetParam());
    captured->advance(DType::f64);
    Captured update = capture([&](const Tensors&) -> Tensors { return captured->update(w, rosenbrock); });
    for (int step = 0; step < 12; ++step) {
      if (step > 0) captured->advance(DType::f64);
      update({});
    }
    EXPECT_EQ(w.to_vector<double>(), expected);
  }
}

TEST(Numbers, AreThoseOfTheStep) {
  const auto optimizer = sgd(constant(0.1));
  const size_t sigma = optimizer->numbers().add([](int64_t step) { return 0.5 + static_cast<double>(step); });
  const Tensor w = Tensor::from(kStart, {2});
  for (int64_t step = 0; step < 4; ++step) {
    optimizer->advance(DType::f64);
    EXPECT_EQ(optimizer->numbers()[sigma].item(), 0.5 + static_cast<double>(step));
    EXPECT_EQ(optimizer->numbers().step().item(), static_cast<double>(step));
    EXPECT_EQ(optimizer->numbers().step().dtype(), DType::i32);
    optimizer->update(w, rosenbrock);
  }
  EXPECT_THROW(optimizer->numbers().add({}), ValueError);
  EXPECT_THROW(sgd(constant(0.1), {.momentum = 1.0}), ValueError);
  const auto late = sgd(constant(0.1), {.momentum = [](int64_t step) { return step < 2 ? 0.5 : 1.5; }});
  late->step(w, rosenbrock);
  late->step(w, rosenbrock);
  EXPECT_THROW(late->step(w, rosenbrock), ValueError);
}

// A replayed update has the eager step's bits, as the learning rate moves.
TEST_P(OnDevice, IsCaptured) {
  const std::function<std::unique_ptr<Optimizer>()> makes[] = {
      [] { return sgd(step_decay(1e-3, 0.5, 2), {.momentum = 0.9, .weight_decay = 0.1}); },
      [] { return adam(cosine(0.01, 10), {.clip_norm = 1}); },
      [] { return adamw(linear_warmup(3, constant(0.01))); },
      [] { return sgd(step_decay(1e-3, 0.5, 2), {.momentum = 0.9}, sam()); },
      [] { return sgd(step_decay(1e-3, 0.5, 2), {}, asam()); },
      [] { return schedule_free_sgd(linear_warmup(3, constant(1e-3))); },
      [] { return schedule_free_adamw(constant(0.01), {.weight_decay = 0.1}); }};
  for (const auto& make : makes) {
    const auto eager = make(), replayed = make();
    const Tensor w = there(kStart), v = there(kStart);
    auto captured = capture([&](const Tensors&) -> Tensors { return replayed->update(v, rosenbrock); });
    for (int i = 0; i < 6; ++i) {
      const Tensor loss = eager->step(w, rosenbrock);
      replayed->advance(DType::f64);
      ASSERT_EQ(numbers(captured(Tensors{})[0]), numbers(loss)) << i;
      ASSERT_EQ(numbers(v), numbers(w)) << i;
    }
  }
}

// A replay goes on from a state that was set after it was captured, and a state is not shared.
TEST_P(OnDevice, SetsTheStateOfCapturedUpdates) {
  const std::function<std::unique_ptr<Optimizer>()> makes[] = {[] { return sgd(constant(1e-3), {.momentum = 0.9}); },
                                                               [] { return adam(constant(0.01)); }};
  for (const auto& make : makes) {
    const auto first = make(), replayed = make();
    const Tensor v = there(kStart);
    auto captured = capture([&](const Tensors&) -> Tensors { return replayed->update(v, rosenbrock); });
    const auto replay = [&](int count) {
      for (int i = 0; i < count; ++i) {
        replayed->advance(DType::f64);
        captured(Tensors{});
      }
    };
    replay(4);
    const std::vector<double> middle = run(*first, 5), expected = run(*make(), 9);
    replayed->set_state(first->state());
    assign(v, there(middle));
    replay(4);
    EXPECT_EQ(numbers(v), expected);
    run(*first, 1, middle);
    replay(1);
    replayed->set_state(make()->state());  // of no steps
    assign(v, there(kStart));
    replay(9);
    EXPECT_EQ(numbers(v), expected);
  }
}

TEST(Optimizers, AdvanceIsNotForCaptures) {
  const Tensor w = Tensor::from(kStart, {2});
  const std::shared_ptr<Optimizer> optimizers[] = {sgd(constant(1e-3)), adam(constant(1e-3))};
  for (const auto& optimizer : optimizers) {
    Captured step = capture([&](const Tensors&) -> Tensors { return optimizer->step(w, rosenbrock); });
    step(Tensors{});
    EXPECT_THROW(step(Tensors{}), GraphError);
  }
  Svrg svrg(constant(1e-3));
  svrg.start_round(w, rosenbrock);
  svrg.advance(DType::f64);
  Captured update = capture([&](const Tensors&) -> Tensors { return svrg.update(w, rosenbrock); });
  update(Tensors{});
  EXPECT_THROW(update(Tensors{}), GraphError);
}

TEST(Optimizers, AdamRefusesBetasThatRoundToOne) {
  const Tensor w = Tensor::from(std::vector<float>{1, 2}, {2});
  const auto loss = [](const Tensor& v) { return sum_of_squares(v); };
  EXPECT_THROW(adam(constant(0.1), {.beta2 = 1 - 1e-9})->step(w, loss), ValueError);
  EXPECT_NO_THROW(adam(constant(0.1), {.beta2 = 1 - 1e-9})->step(cast(w, DType::f64), loss));
}

// With one loss as the whole, a step is that of gradient descent.
TEST_P(OnDevice, SvrgStepsAsByHand) {
  Svrg svrg(constant(1e-3));
  const Tensor weights = there(kStart);
  std::vector<double> w = kStart;
  for (int round = 0; round < 2; ++round) {
    svrg.start_round(weights, rosenbrock);
    for (int i = 0; i < 3; ++i) {
      svrg.step(weights, rosenbrock);
      const std::vector<double> g = rosenbrock_gradient(w);
      for (size_t j = 0; j < 2; ++j) w[j] -= 1e-3 * g[j];
    }
  }
  expect_near(numbers(weights), w);
}

TEST(Optimizer, MinimisesRosenbrock) {
  const std::vector<double> w = run(*adam(constant(0.02)), 3000);
  EXPECT_NEAR(w[0], 1, 1e-3);
  EXPECT_NEAR(w[1], 1, 2e-3);
}

TEST(Optimizer, StepReturnsTheLossBeforeIt) {
  const Tensor w = Tensor::from(kStart, {2});
  const double before = rosenbrock(w).item();
  EXPECT_EQ(sgd(constant(1e-3))->step(w, rosenbrock).item(), before);
}

TEST_P(OnDevice, ClipsTheGradientsNorm) {
  const Tensor g = there({3, 4});
  expect_near(clip_norm(g, 1).to_vector<double>(), {0.6, 0.8});
  expect_near(clip_norm(g, 10).to_vector<double>(), {3, 4});
  EXPECT_TRUE(std::isnan(sum(clip_norm(g * std::nan(""), 1)).item()));
  const std::vector<double> w = run(*sgd(constant(0.5), {.clip_norm = 0.1}), 1), g0 = rosenbrock_gradient(kStart);
  const double norm = std::hypot(g0[0], g0[1]);
  expect_near(w, {kStart[0] - 0.05 * g0[0] / norm, kStart[1] - 0.05 * g0[1] / norm});
}

TEST(Optimizer, RefusesBadOptions) {
  EXPECT_THROW(sgd(constant(1), {.momentum = 1}), ValueError);
  EXPECT_THROW(sgd(constant(1), {.nesterov = true}), ValueError);
  EXPECT_THROW(sgd(constant(1), {.weight_decay = -1}), ValueError);
  EXPECT_THROW(adam(constant(1), {.beta2 = 1}), ValueError);
  EXPECT_THROW(adam(constant(1), {.epsilon = std::nan("")}), ValueError);
  EXPECT_THROW(clip_norm(ones({2}), 0), ValueError);
}

TEST(Schedule, HasItsValues) {
  EXPECT_EQ(constant(0.3)(1000), 0.3);
  const Schedule decay = step_decay(1, 0.1, 10);
  EXPECT_EQ(decay(9), 1);
  EXPECT_NEAR(decay(10), 0.1, 1e-15);
  EXPECT_NEAR(decay(25), 0.01, 1e-15);
  const Schedule falls = milestones(1, 0.2, {10, 15});
  EXPECT_EQ(falls(9), 1);
  EXPECT_DOUBLE_EQ(falls(10), 0.2);
  EXPECT_DOUBLE_EQ(falls(20), 0.04);
  EXPECT_THROW(milestones(1, 0.2, {15, 10}), ValueError);
  const Schedule half = cosine(2, 100, 1);
  EXPECT_EQ(half(0), 2);
  EXPECT_NEAR(half(50), 1.5, 1e-12);
  EXPECT_EQ(half(100), 1);
  EXPECT_EQ(half(500), 1);
  const Schedule warm = linear_warmup(4, cosine(1, 10));
  EXPECT_EQ(warm(0), 0.25);
  EXPECT_EQ(warm(3), 1);
  EXPECT_EQ(warm(4), 1);
  EXPECT_NEAR(warm(9), 0.5, 1e-12);
  EXPECT_THROW(cosine(1, 0), ValueError);
  EXPECT_THROW(step_decay(1, 0.5, 0), ValueError);
}

}  // namespace
}  // namespace mollify::optim
