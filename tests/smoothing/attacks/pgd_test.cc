#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/grad.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/attacks/pgd.h>

#include "../../errors.h"
#include "attacked.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

constexpr Norm kNorms[] = {Norm::linf, Norm::l2};
constexpr Objective kObjectives[] = {Objective::cross_entropy, Objective::margin, Objective::targeted_margins};
constexpr double kInfinity = std::numeric_limits<double>::infinity(), kNaN = std::numeric_limits<double>::quiet_NaN();

struct How {
  Norm norm = Norm::linf;
  double epsilon = 0;
  Objective objective = Objective::cross_entropy;
  int64_t steps = 20;
  double step_size = 0;
  int64_t restarts = 1, targets = 0;
  bool random_start = true, stop_at_success = true;
  uint64_t seed = 0;
  Tensor rows = {};
};
Adversarial attacked(const Function& f, const Tensor& x, const Tensor& labels, const How& how, const Box& box = {}) {
  return pgd(
      f, x, labels, {.norm = how.norm, .epsilon = how.epsilon, .box = box, .seed = how.seed, .rows = how.rows},
      {how.objective, how.steps, how.step_size, how.restarts, how.targets, how.random_start, how.stop_at_success});
}

TEST(Pgd, StaysInBallAndBoxInExactArithmetic) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Images images(dtype);
    for (const Norm norm : kNorms)
      for (const double epsilon : {0.0, 1e-9, 8.0 / 255, 0.1, 0.3, 3.0})
        for (const Box& box : {Box{}, unit_box(dtype)}) {
          const bool boxed = box.lower.defined();
          const How how{
              .norm = norm, .epsilon = epsilon, .steps = 7, .step_size = 0.6 * epsilon, .stop_at_success = false};
          const Adversarial found = attacked(images.f, images.x, images.labels, how, box);
          ASSERT_EQ(found.inputs.shape(), images.x.shape());
          ASSERT_EQ(found.inputs.dtype(), dtype);
          expect_within(images.x, found.inputs, norm, epsilon, boxed);
        }
  }
}

// The outermost numbers that are allowed, and not the ones inside them: the next ones are too far.
template <class T>
void expect_reaches_the_edge() {
  const Tensor x = uniforms({1, 500}, 1, dtype_of<T>),
               weight = stack(Tensors{zeros_like(flatten(x)), ones_like(flatten(x))});
  for (const double epsilon : {2.0 / 255, 8.0 / 255, 0.1, 0.3}) {
    const Tensor label = zeros({1}, DType::i32);
    const Adversarial found =
        attacked(linear(weight, {}), x, label, {.epsilon = epsilon, .steps = 3, .stop_at_success = false});
    const std::vector<T> before = x.to_vector<T>(), after = found.inputs.to_vector<T>();
    for (size_t i = 0; i < before.size(); ++i) {
      EXPECT_LE(static_cast<long double>(after[i]) - before[i], epsilon);
      EXPECT_GT(static_cast<long double>(std::nextafter(after[i], T{9})) - before[i], epsilon);
    }
  }
}
TEST(Pgd, ReachesTheLastNumberWithinEpsilon) {
  expect_reaches_the_edge<float>();
  expect_reaches_the_edge<double>();
}

// Of a linear classifier: the best margin of target t is o_t − o_y + ε·‖w_t − w_y‖_q, q dual to the ball's norm.
TEST(Pgd, FindsTheOptimumOfLinearClassifiers) {
  for (const int64_t classes : {2, 6}) {
    const Tensor weight = normals({classes, 20}, 7), bias = normals({classes}, 8), x = normals({9, 20}, 9);
    const Function f = linear(weight, bias);
    const Tensor labels = argmax(f(x)), outputs = f(x);
    for (const Norm norm : kNorms)
      for (const Objective objective : kObjectives) {
        if (classes > 2 && objective != Objective::targeted_margins) continue;  // these may climb another class's hill
        const double epsilon = 0.2;
        const How how{.norm = norm, .epsilon = epsilon, .objective = objective, .steps = 100, .stop_at_success = false};
        const Adversarial found = attacked(f, x, labels, how);
        const Tensor w = expand(reshape(weight, {1, classes, 20}), {9, classes, 20}),
                     own = reshape(take(weight, labels), {9, 1, 20});
        const Tensor gap = norm == Norm::linf ? sum(abs(w - own), {2}) : sqrt(sum(square(w - own), {2}));
        const Tensor reached = outputs - gather(outputs, reshape(labels, {9, 1})) + gap * epsilon;
        const Tensor is_own = equal(arange(classes, DType::i32), reshape(labels, {9, 1}));
        const Tensor best = max(where(is_own, Tensor::scalar(-kInfinity, DType::f64), reached), {1});
        EXPECT_LT(max(best - found.margins).item(), 1e-6) << classes << " classes, norm " << static_cast<int>(norm);
        EXPECT_LT(max(found.margins - best).item(), 1e-12);
        EXPECT_EQ(found.success.to_vector<uint8_t>(),
                  greater_equal(found.margins, zeros_like(best)).to_vector<uint8_t>());
      }
  }
}

TEST(Pgd, FindsTheOptimumOfALinearClassifierInABox) {
  const Tensor w = normals({30}, 7), x = uniforms({4, 30}, 9), weight = stack(Tensors{-w, w}),
               labels = zeros({4}, DType::i32);
  const double epsilon = 0.3;
  const How how{.epsilon = epsilon, .steps = 20, .stop_at_success = false};
  const Adversarial found = attacked(linear(weight, {}), x, labels, how, unit_box(DType::f64));
  const Tensor zero = zeros_like(x), one = ones_like(x);
  const Tensor best = where(greater(expand(w, x.shape()), zero), minimum(x + epsilon, one), maximum(x - epsilon, zero));
  EXPECT_LT(max(abs(found.inputs - best)).item(), 1e-15);
}

TEST(Pgd, MoreStepsAndRestartsAreNeverWorse) {
  const Images images(DType::f32);
  for (const Norm norm : kNorms)
    for (const Objective objective : kObjectives) {
      const double epsilon = norm == Norm::linf ? 0.05 : 0.4;
      How how{.norm = norm, .epsilon = epsilon, .objective = objective, .step_size = 0.02, .stop_at_success = false};
      std::vector<double> last(12, -kInfinity);
      for (const auto& [steps, restarts] : {std::pair{0, 1}, {1, 1}, {2, 1}, {5, 1}, {12, 1}, {12, 2}, {12, 3}}) {
        how.steps = steps;
        how.restarts = restarts;
        const std::vector<double> margins =
            numbers(attacked(images.f, images.x, images.labels, how, unit_box(DType::f32)).margins);
        for (size_t i = 0; i < margins.size(); ++i)
          EXPECT_GE(margins[i], last[i]) << steps << " steps, " << restarts << " restarts";
        last = margins;
      }
    }
}

TEST(Pgd, StoppingDecidesTheSameRowsUnlessAStartDoes) {
  const Images images(DType::f64);
  for (const Norm norm : kNorms) {
    const double epsilon = norm == Norm::linf ? 0.05 : 0.3;
    How how{.norm = norm, .epsilon = epsilon, .objective = Objective::targeted_margins, .steps = 10, .restarts = 2};
    const Adversarial stopped = attacked(images.f, images.x, images.labels, how);
    how.stop_at_success = false;
    const Adversarial whole = attacked(images.f, images.x, images.labels, how);
    EXPECT_EQ(stopped.success.to_vector<uint8_t>(), whole.success.to_vector<uint8_t>());
    const double found = mean(cast(stopped.success, DType::f64)).item();
    EXPECT_TRUE(found > 0 && found < 1) << "the test needs both kinds of rows: " << found;
  }
}

TEST(Pgd, RowsDependNeitherOnOthersNorOnThreads) {
  const Images images(DType::f32);
  const int threads = num_threads();
  for (const Norm norm : kNorms)
    for (const Objective objective : kObjectives) {
      const double epsilon = norm == Norm::linf ? 0.06 : 0.5;
      How how{.norm = norm, .epsilon = epsilon, .objective = objective, .steps = 6, .restarts = 2, .seed = 11};
      const auto attack = [&](const Tensor& rows) {
        how.rows = rows;
        return attacked(images.f, take(images.x, rows), take(images.labels, rows), how, unit_box(DType::f32));
      };
      const Adversarial together = attack(arange(12, DType::i32));
      set_num_threads(threads == 1 ? 2 : 1);
      const Adversarial otherwise = attack(arange(12, DType::i32)), turned = attack(flip(arange(12, DType::i32), 0));
      set_num_threads(threads);
      EXPECT_EQ(together.inputs.to_vector<float>(), otherwise.inputs.to_vector<float>());
      EXPECT_EQ(together.inputs.to_vector<float>(), flip(turned.inputs, 0).to_vector<float>());
      for (int32_t i = 0; i < 12; ++i) {
        const Adversarial alone = attack(Tensor::from(std::vector<int32_t>{i}, {1}));
        EXPECT_EQ(alone.inputs.to_vector<float>(), slice(together.inputs, 0, i, i + 1).to_vector<float>()) << i;
        EXPECT_EQ(alone.margins.item(), slice(together.margins, 0, i, i + 1).item()) << i;
      }
      how.seed = 12;
      EXPECT_NE(attack(arange(12, DType::i32)).inputs.to_vector<float>(), together.inputs.to_vector<float>());
    }
}

TEST(Pgd, RowsThatSucceededLeaveTheWork) {
  const Tensor weight = list({1, -1}), x = list({-2, -0.5, 1, 5});
  std::vector<int64_t> rows;
  const Function f = [&](const Tensor& t) {
    rows.push_back(t.dim(0));
    return dense(t, reshape(weight, {2, 1}), {});
  };
  const How how{.epsilon = 1, .objective = Objective::margin, .steps = 3, .step_size = 0.3, .random_start = false};
  const Adversarial found = attacked(f, reshape(x, {4, 1}), zeros({4}, DType::i32), how);
  EXPECT_EQ(found.success.to_vector<uint8_t>(), (std::vector<uint8_t>{1, 1, 0, 0}));
  EXPECT_EQ(rows, (std::vector<int64_t>{4, 2, 2, 2, 2, 4}));  // x; three gradients; the last point; all again
  EXPECT_EQ(slice(found.inputs, 0, 0, 2).to_vector<double>(), (std::vector<double>{-2, -0.5}))
      << "right where they started";
}

// o_0 = 1, o_1 = relu(x_0) + relu(−x_1) + x_2·0: the outputs meet at distance 1/2 in l∞ and 1/√2 in l2, and the
// gradient at x = 0 is zero.
TEST(Pgd, FindsAReluNetworksNearestAdversarialInput) {
  const Tensor inner = reshape(list({1, 0, 0, 0, -1, 0}), {2, 3}), outer = reshape(list({0, 0, 1, 1}), {2, 2});
  const Function f = [&](const Tensor& x) { return dense(relu(dense(x, inner, {})), outer, list({1, 0})); };
  const Tensor x = zeros({3, 3}, DType::f64), labels = zeros({3}, DType::i32);
  for (const Norm norm : kNorms)
    for (const Objective objective : kObjectives) {
      const double distance = norm == Norm::linf ? 0.5 : std::sqrt(0.5);
      How how{.norm = norm, .epsilon = distance * 1.001, .objective = objective, .steps = 60, .restarts = 20};
      EXPECT_EQ(sum(cast(attacked(f, x, labels, how).success, DType::f64)).item(), 3);
      how.epsilon = distance * 0.999;
      EXPECT_EQ(sum(cast(attacked(f, x, labels, how).success, DType::f64)).item(), 0);
    }
}

TEST(Pgd, TriesTheTargetsWithTheLargestOutputsFirst) {
  const Tensor weight =
      Tensor::from(std::vector<double>{0, 1, 4, -10.5}, {4, 1});  // the last class gains most and starts lowest
  int64_t calls = 0;
  const Function f = [&](const Tensor& x) {
    ++calls;
    return dense(x, weight, list({9, 5, 7, 1}));
  };
  for (const auto& [targets, margin] : {std::pair{1, 2.0}, {2, 2.0}, {3, 2.5}, {0, 2.5}, {9, 2.5}}) {
    calls = 0;
    const How how{.epsilon = 1,
                  .objective = Objective::targeted_margins,
                  .steps = 4,
                  .targets = targets,
                  .stop_at_success = false};
    const double found = attacked(f, zeros({1, 1}, DType::f64), zeros({1}, DType::i32), how).margins.item();
    EXPECT_NEAR(found, margin, 1e-12) << targets;
    EXPECT_EQ(calls, 1 + (targets == 0 || targets == 9 ? 3 : targets) * 5);
  }
}

TEST(Pgd, CountsTiesAndNaNAsSuccess) {
  const auto constant = [](const Tensor& outputs) {
    return [=](const Tensor& x) { return expand(reshape(outputs, {1, 3}), {x.dim(0), 3}) + sum(x, {1}, true) * 0.0; };
  };
  const auto succeeds = [&](const std::vector<double>& outputs) {
    const Adversarial found = attacked(constant(list(outputs)), zeros({1, 2}, DType::f64), ones({1}, DType::i32),
                                       {.epsilon = 0.1, .steps = 2});
    EXPECT_EQ(found.inputs.to_vector<double>()[0] * 0, 0) << "the input stays a number";
    return found.success.item() == 1;
  };
  EXPECT_FALSE(succeeds({0, 1, 0.9}));
  EXPECT_TRUE(succeeds({0, 1, 1}));
  EXPECT_TRUE(succeeds({2, 1, 0}));
  EXPECT_TRUE(succeeds({0, kNaN, 0}));
  EXPECT_TRUE(succeeds({0, 1, kNaN}));
  EXPECT_FALSE(succeeds({0, kInfinity, 0}));
  EXPECT_TRUE(succeeds({0, kInfinity, kInfinity}));
}

TEST(Pgd, StaysWhereTheGradientIsZeroOrNaN) {
  const Function nan_gradient = [](const Tensor& x) {  // ∂√(0·x) = ∞·0
    const Tensor t = sqrt(sum(x, {1}, true) * 0.0);
    return concat(Tensors{t + 1, t}, 1);
  };
  for (const Norm norm : kNorms) {
    const Tensor x = full({2, 3}, 0.25, DType::f64);
    const How how{.norm = norm, .epsilon = 0.1, .steps = 3, .random_start = false};
    const Adversarial found = attacked(nan_gradient, x, zeros({2}, DType::i32), how);
    EXPECT_EQ(found.inputs.to_vector<double>(), x.to_vector<double>());
    EXPECT_EQ(found.margins.to_vector<double>(), (std::vector<double>{-1, -1}));
  }
}

TEST(Pgd, FirstRunStartsAtXWithoutRandomStart) {
  const Images images(DType::f32);
  const How how{.epsilon = 0.1, .steps = 0, .random_start = false, .stop_at_success = false};
  const Adversarial found = attacked(images.f, images.x, images.labels, how);
  EXPECT_EQ(found.inputs.to_vector<float>(), images.x.to_vector<float>());
}

// A step of adversarial training: the attack inside the loss's gradient.
TEST(Pgd, GivesConstantsToATrainingStep) {
  const Images images(DType::f64);
  Tensor found_inputs;
  const auto loss = [&](const Tensor& w) {
    const Function f = [&](const Tensor& t) { return images.network(w, t); };
    const Adversarial found =
        attacked(f, images.x, images.labels, {.epsilon = 0.05, .steps = 3, .stop_at_success = false});
    EXPECT_FALSE(found.inputs.needs_grad() || found.margins.needs_grad());
    found_inputs = found.inputs;
    return nn::mean_cross_entropy(images.network(w, found.inputs), images.labels);
  };
  const Tensor gradient = grad(loss)(images.weights);
  const auto loss_there = [&](const Tensor& w) {
    return nn::mean_cross_entropy(images.network(w, found_inputs), images.labels);
  };
  EXPECT_EQ(gradient.to_vector<double>(), grad(loss_there)(images.weights).to_vector<double>());
}

// Points from anywhere come back within ball and box, with the margins that f has there, and never below x's.
TEST(Judged, MovesPointsAndKeepsTheWorse) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Images images(dtype);
    Tensor far = images.x + normals(images.x.shape(), 31, dtype) * 2.0;
    const double strange[] = {kNaN, kInfinity, -kInfinity, 1e30};
    for (int i = 0; i < 4; ++i) assign(far[i], strange[i]);
    const auto margins_at = [&](const Tensor& x) {
      return attacked(images.f, x, images.labels, {.epsilon = 0, .random_start = false, .stop_at_success = false})
          .margins;
    };
    for (const Norm norm : kNorms)
      for (const Box& box : {Box{}, unit_box(dtype)}) {
        const Adversarial found =
            judged(images.f, images.x, images.labels, far, {.norm = norm, .epsilon = 0.3, .box = box});
        expect_within(images.x, found.inputs, norm, 0.3, box.lower.defined());
        EXPECT_EQ(numbers(found.margins), numbers(margins_at(found.inputs)));
        EXPECT_TRUE(all(found.margins >= margins_at(images.x)).item());
        EXPECT_TRUE(any(found.margins > margins_at(images.x)).item());
        EXPECT_EQ(numbers(found.success), numbers(found.margins >= 0.0));
      }
  }
}
// A strange number counts as x's, the others of its row go as far as they may.
TEST(Judged, ReplacesNumbersThatAreNotFinite) {
  const Tensor x = full({1, 3}, 0.5, DType::f64), weight = Tensor({{1, 1, 1}, {0, 0, 0}}, DType::f64);
  const Tensor points = reshape(list({kNaN, -9, 0.4}), {1, 3}), label = zeros({1}, DType::i32);
  const Adversarial found = judged(linear(weight, {}), x, label, points, {.epsilon = 0.25});
  EXPECT_EQ(numbers(found.inputs), (std::vector<double>{0.5, 0.25, 0.4}));
  EXPECT_NEAR(found.margins.item(), -1.15, 1e-15);
}
TEST(Judged, NamesWhatItCannotUse) {
  const Tensor x = uniforms({2, 4}, 2), labels = zeros({2}, DType::i32);
  const Function f = linear(normals({3, 4}, 1), {});
  const auto judging = [&](const Tensor& points) {
    return [=] { judged(f, x, labels, points, {.norm = Norm::l2, .epsilon = 0.1}); };
  };
  expect_names(text_of(judging(zeros({4}, DType::f64))), "attack: points are [4]");
  EXPECT_THROW(judging(zeros({2, 4}, DType::f32))(), TypeError);
  EXPECT_THROW(judged(f, x, labels, x, {.epsilon = kNaN}), ValueError);
}

TEST(Pgd, NamesWhatItCannotUse) {
  const Tensor weight = normals({3, 4}, 1), x = uniforms({2, 4}, 2), labels = zeros({2}, DType::i32);
  const Function f = linear(weight, {});
  const auto attack = [&](const How& how, const Box& box = {}) { return [=] { attacked(f, x, labels, how, box); }; };
  EXPECT_THROW(attack({.epsilon = -0.1})(), ValueError);
  EXPECT_THROW(attack({.epsilon = kNaN})(), ValueError);
  EXPECT_THROW(attack({.epsilon = kInfinity})(), ValueError);
  EXPECT_THROW(attack({.epsilon = 0.1, .step_size = kNaN})(), ValueError);
  EXPECT_THROW(attack({.epsilon = 0.1, .restarts = 0})(), ValueError);
  EXPECT_THROW(attack({.epsilon = 0.1, .rows = zeros({3}, DType::i32)})(), ShapeError);
  EXPECT_THROW(attack({.epsilon = 0.1, .rows = zeros({2}, DType::f32)})(), TypeError);
  expect_names(text_of(attack({.epsilon = -0.1})), "attack: epsilon -0.1");
  expect_names(text_of(attack({.epsilon = 0.1, .steps = -1})), "attack: steps -1");
  expect_names(text_of(attack({.epsilon = 0.1}, {list({0.9}), list({0.1})})), "attack: a box from 0.9 to 0.1");
  expect_names(text_of(attack({.epsilon = 0.1}, {list({0.0}), list({1e-9})})), "needs x within the box");
  EXPECT_THROW(attack({.epsilon = 0.1}, {list({kNaN}), {}})(), ValueError);
  EXPECT_THROW(attack({.epsilon = 0.1}, {zeros({3}, DType::f64), {}})(), ShapeError);
  EXPECT_THROW(attack({.epsilon = 0.1}, {Tensor::scalar(0), {}})(), TypeError);
  const auto with_labels = [&](const Tensor& given) {
    return text_of([&] { attacked(f, x, given, {.epsilon = 0.1}); });
  };
  expect_names(with_labels(full({2}, 3, DType::i32)), "attack: label 3 with 3 classes");
  expect_names(with_labels(full({2}, -1, DType::i32)), "attack: label -1");
  expect_names(with_labels(zeros({3}, DType::i32)), "[3]");
  expect_names(with_labels(zeros({2}, DType::f64)), "need i32");
  EXPECT_THROW(attacked(f, x * kNaN, labels, {.epsilon = 0.1}, unit_box(DType::f64)), ValueError);
  EXPECT_THROW(attacked(f, zeros({4}, DType::f64), labels, {.epsilon = 0.1}), ShapeError);
  EXPECT_THROW(attacked({}, x, labels, {.epsilon = 0.1}), ValueError);
  expect_names(text_of([&] { attacked([](const Tensor& t) { return sum(t, {1}); }, x, labels, {.epsilon = 0.1}); }),
               "attack: f gives [2]");
}

}  // namespace
}  // namespace mollify::smoothing
