// Estimates of the smoothed loss's gradient as an optimizer's: agreement on smooth losses, jumps, captures, threads.
#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/grad.h>
#include <mollify/engine/plan.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/optim/optimizer.h>
#include <mollify/smoothing/loss/loss_gradients.h>
#include <mollify/smoothing/loss/perturbed_loss.h>
#include <mollify/smoothing/monte_carlo.h>

#include "../../devices.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace mollify::smoothing {
namespace {

// One estimate, in a step.
optim::Gradient::Estimate estimate_of(optim::Gradient& gradient, const Tensor& weights, const optim::Loss& loss,
                                      int64_t step = 0) {
  static optim::Numbers numbers;
  numbers = {};
  gradient.attach(numbers);
  numbers.advance(step, weights.dtype());
  return gradient(weights, loss);
}

struct Problem {
  nn::Network network;
  Tensor weights, state, images, labels;

  Tensor operator()(const Tensor& w) const {
    const Tensor outputs = network(w, state, images, nn::Mode::train).output;
    return nn::mean_cross_entropy(outputs, labels);
  }
};
Problem problem(const std::string& model, const Shape& input, int64_t rows, Device device = Device::cpu) {
  nn::Network network = nn::make(model, input, 3);
  std::vector<int32_t> labels;
  for (int64_t i = 0; i < rows; ++i) labels.push_back(static_cast<int32_t>(i % 3));
  const Tensor weights = network.initial_weights(nn::Initialization::xavier_normal, 4), state = network.initial_state();
  return {std::move(network), to(weights, device), to(state, device),
          rand({rows, input[0], input[1], input[2]}, 8, DType::f32, device), to(Tensor::from(labels, {rows}), device)};
}

double relative_distance(const Tensor& a, const Tensor& b) { return (norm(a - b) / norm(b)).item(); }

// A loss that jumps by 1 at 0: L_s has the density of the noise there as its slope, L has none.
TEST(LossGradients, ValuesSeeJumpsAndGradientsDoNot) {
  const auto step = [](const Tensor& w) { return sum(cast(greater(w, zeros_like(w)), w.dtype())); };
  const double s = 0.5, at = 0.3;
  const Tensor w = Tensor::from(std::vector<double>{at}, {1});
  const auto values = gradient_from_values(Sigma::stddev(s), {{.pairs = 20000, .seed = 3}});
  const double density = std::exp(-at * at / (2 * s * s)) / (s * std::sqrt(2 * M_PI));
  EXPECT_NEAR(estimate_of(*values, w, step).gradient.to_vector<double>()[0], density, 4 * 0.5 / s / std::sqrt(20000));
  const auto loss = [&](const Tensor& v) { return step(v) + sum(v) * 0.0; };
  const auto gradients = gradient_from_gradients(Sigma::stddev(s), {.samples = 100});
  EXPECT_EQ(estimate_of(*gradients, w, loss).gradient.to_vector<double>()[0], 0);
}

TEST(LossGradients, AgreeOnSmoothLosses) {
  const auto loss = [](const Tensor& w) { return sum(sin(w * 2.0) + square(w) * w * 0.3); };
  const Tensor w = Tensor::from(std::vector<double>{0.4, -1.1, 0.9}, {3});
  const double s = 0.3;
  // E sin(2x) = e^(−2s²) sin 2x, E x³ = x³ + 3xs²
  const std::vector<double> at = w.to_vector<double>();
  const auto exact = [&](size_t i) {
    return 2 * std::exp(-2 * s * s) * std::cos(2 * at[i]) + 0.9 * at[i] * at[i] + 0.9 * s * s;
  };
  const int64_t pairs = 40000;
  const auto values = gradient_from_values(Sigma::stddev(s), {{.pairs = pairs, .seed = 1}});
  const auto gradients = gradient_from_gradients(Sigma::stddev(s), {.samples = 2 * pairs, .seed = 1});
  const auto by_values = estimate_of(*values, w, loss), by_gradients = estimate_of(*gradients, w, loss);
  EXPECT_EQ(by_values.loss.item(), loss(w).item());
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(by_values.gradient.to_vector<double>()[i], exact(i), 0.03);
    EXPECT_NEAR(by_gradients.gradient.to_vector<double>()[i], exact(i), 0.008);
  }
}

// Antithetic Monte Carlo and the population have the same noise.
TEST(LossGradients, DrawWhatMonteCarloDraws) {
  const auto loss = [](const Tensor& w) { return sum(sin(w * 2.0)); };
  const Tensor w = randn({7}, 2, DType::f64);
  const auto gradients = gradient_from_gradients(Sigma::stddev(0.4), {.samples = 12, .seed = 6});
  const Tensor sampled =
      smoothed_value_and_grad(loss, w, Sigma::stddev(0.4), {.samples = 12, .seed = 6, .step = 5}).gradient.mean;
  EXPECT_LT(relative_distance(estimate_of(*gradients, w, loss, 5).gradient, sampled), 1e-14);
}

// Every part of a network, dense and convolutional, with a normalisation of the batch: what is shared gives the loss.
class Shared : public testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Devices, Shared, testing::ValuesIn(devices()),
                         [](const auto& info) { return std::string(to_string(info.param)); });

TEST_P(Shared, LossIsTheLossAtPerturbedWeights) {
  for (const char* model : {"lenet_300_100", "cnn3_tiny", "linear"}) {
    const Problem loss = problem(model, {8, 8, 1}, 5, GetParam());
    PerturbedLoss perturbed(std::cref(loss), loss.weights);
    for (uint64_t seed = 0; seed < 3; ++seed) {
      const Tensor z = randn({loss.weights.size()}, seed, DType::f32, GetParam());
      perturbed.turn_to(z);
      for (const double s : {0.0, 0.05, -0.3}) {
        const double expected = loss(loss.weights + z * s).item();
        EXPECT_NEAR(perturbed(Tensor::scalar(s)).item(), expected, 2e-5 * (1 + std::abs(expected)))
            << model << ", s " << s;
      }
    }
  }
}

// Random masks, among them ones that leave whole layers or all but one weight.
TEST_P(Shared, SparseLossIsTheLossAtPerturbedWeights) {
  for (const char* model : {"lenet_300_100", "cnn3_tiny", "linear"}) {
    const Problem loss = problem(model, {8, 8, 1}, 5, GetParam());
    const int64_t d = loss.weights.size();
    for (uint64_t seed = 0; seed < 8; ++seed) {
      RandomSequence random({seed, 1});
      const double share = seed < 3 ? 0.02 : seed < 6 ? 0.5 : 0;
      const int64_t first = seed % 2 == 0 ? 0 : static_cast<int64_t>(random.below(static_cast<uint64_t>(d)));
      std::vector<int64_t> places;
      for (int64_t i = 0; i < d; ++i)
        if ((i >= first && random.uniform() < share) || i == d - 1) places.push_back(i);
      const Positions active(places, d, GetParam());
      const auto of_active = [&](const Tensor& v) { return loss(put(loss.weights, active, v)); };
      const Tensor v = take(loss.weights, active.indices());
      PerturbedLoss perturbed(of_active, v);
      const Tensor z = randn({active.count()}, seed, DType::f32, GetParam());
      perturbed.turn_to(z);
      for (const double s : {0.4, -0.4}) {
        const double expected = of_active(v + z * s).item();
        EXPECT_NEAR(perturbed(Tensor::scalar(s)).item(), expected, 2e-5 * (1 + std::abs(expected)))
            << model << ", " << active.count() << " weights from " << first << ", s " << s;
      }
    }
  }
}

// Steps on every device are those of the CPU, up to rounding, with learned scales and masks among them.
TEST_P(Shared, StepsAreThoseOfTheCpu) {
  using Scale = FromValues::Scale;
  for (const Scale scale : {Scale::scheduled, Scale::learned, Scale::learned_each})
    for (const bool masked : {false, true}) {
      const auto weights_after = [&](Device device) {
        const Problem loss = problem("linear", {6, 6, 1}, 5, device);
        FromValues how{{.pairs = 3, .seed = 2}};
        how.scale = scale;
        how.share_linear_parts = true;
        auto optimizer = optim::clip_up(optim::constant(0.1), {}, gradient_from_values(Sigma::stddev(0.1), how));
        const Positions active = Positions({0, 5, 17, 60, 110}, loss.weights.size(), device);
        const Tensor values = masked ? take(loss.weights, active.indices()) : loss.weights + 0.0;
        for (int i = 0; i < 4; ++i)
          optimizer->step(values, [&](const Tensor& v) { return loss(masked ? put(loss.weights, active, v) : v); });
        auto gradients = gradient_from_gradients(Sigma::stddev(0.1), {.samples = 2});
        return concat({values, estimate_of(*gradients, loss.weights, std::cref(loss)).gradient}).to_vector<float>();
      };
      const std::vector<float> expected = weights_after(Device::cpu), got = weights_after(GetParam());
      for (size_t i = 0; i < expected.size(); ++i)
        ASSERT_NEAR(got[i], expected[i], 1e-4 * (1 + std::abs(expected[i])))
            << "number " << i << (masked ? " under a mask" : "") << ", scale " << static_cast<int>(scale);
    }
}

// Sums, products from either side, quotients, reshapes and what is not linear, in random order: a part that were taken
// for linear would show.
TEST(PerturbedLoss, RandomProgramsGiveTheLoss) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const auto loss = [&](const Tensor& w) {
      RandomSequence random({seed, 2});
      std::vector<Tensor> values = {reshape(w, {3, 4}), randn({3, 4}, seed, DType::f64)};
      for (int i = 0; i < 8; ++i) {
        const auto any = [&]() -> const Tensor& { return values[random.below(values.size())]; };
        const Tensor &a = any(), &b = any();
        switch (random.below(9)) {
          case 0: values.push_back(a + b); break;
          case 1: values.push_back(a * b); break;
          case 2: values.push_back(a / (square(b) + 1.0)); break;
          case 3: values.push_back(matmul(a, matmul(transpose(b), a) * 0.1)); break;
          case 4: values.push_back(tanh(a) - b * 0.5); break;
          case 5: values.push_back(concat({slice(a, 0, 1, 3), slice(b, 0, 0, 1)})); break;
          case 6: values.push_back(reshape(transpose(a), {3, 4})); break;
          case 7: values.push_back(dense(a, matmul(transpose(b), b), reshape(slice(b, 0, 0, 1), {4})) * 0.1); break;
          default: values.push_back(sum(a, {1}, true) * b * 0.2); break;
        }
      }
      return mean(tanh(values.back()) + values[2] * 0.01);
    };
    const Tensor w = randn({12}, seed + 1, DType::f64), z = randn({12}, seed + 2, DType::f64);
    PerturbedLoss perturbed(loss, w);
    perturbed.turn_to(z);
    for (const double s : {0.5, -0.5}) {
      const double expected = loss(w + z * s).item();
      ASSERT_NEAR(perturbed(Tensor::scalar(s, DType::f64)).item(), expected, 1e-10 * (1 + std::abs(expected)))
          << "program of seed " << seed;
    }
  }
}

// With a fixed mask the masked-out gradient stays as it is; the masked one is what is estimated.
TEST(LossGradients, OfActiveWeightsAreTheMaskedGradient) {
  const Tensor w = randn({8}, 3, DType::f64), scale = arange(8, DType::f64) + 1.0;
  const auto loss = [&](const Tensor& v) { return sum(square(v) * scale) * 0.5; };
  const Positions active({1, 4, 7}, 8);
  const auto of_active = [&](const Tensor& v) { return loss(put(w, active, v)); };
  const auto gradient = gradient_from_values(Sigma::stddev(2.0), {{.pairs = 30000, .seed = 3}});
  const std::vector<double> got =
      estimate_of(*gradient, take(w, active.indices()), of_active).gradient.to_vector<double>();
  const std::vector<double> full = (w * scale).to_vector<double>();
  double length = 0;
  for (const int64_t i : active.list()) length += std::pow(full[static_cast<size_t>(i)], 2);
  for (size_t i = 0; i < 3; ++i)
    EXPECT_NEAR(got[i], full[static_cast<size_t>(active.list()[i])], 4 * std::sqrt(4 * length / 30000));
}

// Weights after steps with an estimator.
std::vector<float> trained(std::unique_ptr<optim::Gradient> gradient, bool captured, int steps = 5) {
  const Problem loss = problem("lenet_300_100", {6, 6, 1}, 7);
  auto optimizer = optim::sgd(optim::constant(0.05), {.momentum = 0.5}, std::move(gradient));
  const Tensor weights = loss.weights + 0.0;
  const auto update = [&](const Tensors&) -> Tensors { return {optimizer->update(weights, std::cref(loss)) + 0.0}; };
  Captured replay = capture(update);
  for (int i = 0; i < steps; ++i) {
    optimizer->advance(DType::f32);
    if (captured)
      replay(Tensors{zeros({1})});
    else
      update({});
  }
  return weights.to_vector<float>();
}

TEST(LossGradients, CapturedOnAnyNumberOfThreadsTheBitsAreThoseOfTheEagerRun) {
  using Scale = FromValues::Scale;
  const Sigma fades = Sigma::stddev(optim::step_decay(0.1, 0.5, 2));
  std::vector<std::function<std::unique_ptr<optim::Gradient>()>> all;
  for (const bool share : {false, true})
    for (const Scale scale : {Scale::scheduled, Scale::learned, Scale::learned_each})
      for (const bool ranks : {false, true})
        all.push_back([=] {
          return gradient_from_values(fades, {{.pairs = 3, .ranks = ranks, .seed = 7}, scale, 0.01, 1e-6, 1, share});
        });
  all.push_back([=] { return gradient_from_gradients(fades, {.samples = 4}); });
  const int before = num_threads();
  for (size_t i = 0; i < all.size(); ++i) {
    set_num_threads(1);
    const std::vector<float> eager = trained(all[i](), false);
    for (const int threads : {1, 2, 4}) {
      set_num_threads(threads);
      EXPECT_EQ(trained(all[i](), true), eager) << "estimator " << i << ", " << threads << " threads";
    }
  }
  set_num_threads(before);
}

TEST(LossGradients, LearnedScalesGoWithTheState) {
  const auto loss = [](const Tensor& w) { return sum(square(w)); };
  FromValues how{{.pairs = 4, .seed = 1}};
  how.scale = FromValues::Scale::learned;
  how.scale_rate = 0.5;
  const auto make = [&] {
    return optim::sgd(optim::constant(0.01), {}, gradient_from_values(Sigma::stddev(0.5), how));
  };
  const auto whole = make(), first = make(), second = make();
  const Tensor w = ones({3}), v = ones({3});
  for (int i = 0; i < 6; ++i) {
    const double before = i == 0 ? 0.5 : whole->state().at("scale").item();
    whole->step(w, loss);
    const double after = whole->state().at("scale").item();
    EXPECT_NE(after, before);
    EXPECT_LE(std::abs(after / before - 1), 0.2 + 1e-6);
  }
  for (int i = 0; i < 3; ++i) first->step(v, loss);
  second->set_state(first->state());
  for (int i = 0; i < 3; ++i) second->step(v, loss);
  EXPECT_EQ(w.to_vector<float>(), v.to_vector<float>());
}

TEST(LossGradients, RefuseWhatIsNone) {
  EXPECT_THROW(gradient_from_values(Sigma::stddev(0.0)), ValueError);
  EXPECT_THROW(gradient_from_values(Sigma::stddev(1.0), {{.pairs = 0}}), ValueError);
  FromValues learned{{.pairs = 1}};
  learned.scale = FromValues::Scale::learned;
  EXPECT_THROW(gradient_from_values(Sigma::stddev(1.0), learned), ValueError);
  EXPECT_THROW(gradient_from_gradients(Sigma::stddev(1.0), {.samples = 3}), ValueError);
}

}  // namespace
}  // namespace mollify::smoothing
