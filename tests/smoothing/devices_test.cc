// Smoothing on every device: the GPU's numbers are the CPU's, and captured steps have the eager ones' bits.
#include "../devices.h"

#include <mollify/engine/plan.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/losses.h>
#include <mollify/smoothing/attacks/pgd.h>
#include <mollify/smoothing/attacks/falsify.h>
#include <mollify/smoothing/curvature.h>
#include <mollify/smoothing/gradient_noise.h>
#include <mollify/smoothing/gradient_tails.h>
#include <mollify/smoothing/gsmooth.h>
#include <mollify/smoothing/moments.h>
#include <mollify/smoothing/monte_carlo.h>
#include <mollify/smoothing/sharpness.h>
#include <mollify/smoothing/smooth.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

using nn::Network, nn::sequential, nn::dense, nn::conv2d, nn::activation;

Tensor drawn(const Shape& shape, uint64_t stream) {
  return normal(shape, {29, stream}, Tensor::scalar(0, DType::i32), DType::f64);
}
Tensor list(const std::vector<int32_t>& labels) { return Tensor::from(labels, {static_cast<int64_t>(labels.size())}); }
std::vector<double> numbers(const Tensor& x) { return cast(x, DType::f64).to_vector<double>(); }

void expect_near(const Tensor& got, const Tensor& wanted, double tolerance) {
  ASSERT_EQ(got.shape(), wanted.shape());
  const std::vector<double> a = numbers(got), b = numbers(wanted);
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance * (1 + std::abs(b[i]))) << i;
}

// Convolutions with padding (whose penalties count uses), norms, a shortcut, pooling, dropout and several activations.
struct Everything {
  Network network{
      "everything",
      {6, 6, 2},
      sequential(conv2d({.filters = 3, .kernel = 3, .padding = 1}), nn::batch_norm(), nn::relu(),
                 nn::residual(sequential(conv2d({.filters = 3, .kernel = 3, .padding = 1}), activation("gelu"))),
                 nn::max_pool(2, 2), nn::average_pool(2, 1), nn::flatten(), nn::dropout(0.25), dense(5),
                 activation("sigmoid"), dense(3))};
  Tensor weights = network.initial_weights(nn::Initialization::fan_in_uniform, 3, DType::f64);
  Tensor state = network.initial_state(DType::f64) + 0.1, x = drawn({3, 6, 6, 2}, 1), labels = list({0, 2, 1});
};

class OnCuda : public testing::Test {
 protected:
  void SetUp() override { MOLLIFY_SKIP_WITHOUT_CUDA(); }
  static Tensor there(const Tensor& x) { return to(x, Device::cuda); }
};

// Of ten images; a network without statistics of batches.
TEST_F(OnCuda, MeasuresAroundWeightsAreTheCpus) {
  const Network network(
      "small", {6, 6, 2},
      sequential(conv2d({.filters = 2, .kernel = 3}), activation("gelu"), nn::max_pool(2, 2), nn::flatten(), dense(3)));
  const Tensor x = drawn({10, 6, 6, 2}, 1),
               w = network.initial_weights(nn::Initialization::fan_in_uniform, 3, DType::f64),
               labels = list({0, 2, 1, 1, 0, 2, 2, 1, 0, 0});
  const auto losses = [&](Device device) {
    return losses_of(network, {}, 10, [&, device](std::span<const int32_t> which) {
      const Tensor rows = Tensor::from(which, {static_cast<int64_t>(which.size())});
      return Tensors{to(take(x, rows), device), to(take(labels, rows), device)};
    });
  };
  const auto measured = [&](Device device) {
    const Tensor weights = to(w, device);
    GradientNoise noise(losses(device), weights);
    std::vector<double> found{noise.from_singles().c2, noise.from_batches(3, 6).c2,
                              noise.from_two_batches(2, 5, 6).standard_error};
    const Tails tails = tails_of([&](int64_t draw) { return noise.deviation(3, draw); }, {.draws = 20});
    for (const double number : {tails.kurtosis, tails.raw_kurtosis, tails.hill}) found.push_back(number);
    for (const Norm norm : {Norm::linf, Norm::l2})
      found.push_back(
          worst_case_sharpness(losses(device), weights, {.norm = norm, .rho = 0.02, .adaptive = true, .batch = 5})
              .value);
    found.push_back(average_sharpness(losses(device), weights, {.rho = 0.05, .samples = 6}).value);
    const SymmetricMatrix hessian = hessian_of(losses(device), weights, 4);
    found.push_back(trace_of(hessian, 4).value);
    try {
      found.push_back(largest_eigenvalues(hessian, 2, {.products = 12}).values[1]);
    } catch (const Error&) { found.push_back(0); }  // without LAPACK
    return found;
  };
  const std::vector<double> cpu = measured(Device::cpu), gpu = measured(Device::cuda);
  for (size_t i = 0; i < cpu.size(); ++i) EXPECT_NEAR(gpu[i], cpu[i], 1e-8 * (std::abs(cpu[i]) + 1)) << i;
}

TEST_F(OnCuda, SmoothedNetworksAndTheirGradientsAreTheCpus) {
  const Everything e;
  for (const Form form : {Form::joint, Form::split}) {
    const SmoothedNetwork smoothed =
        smooth(e.network, Sigma::stddev(0.3), PenaltyWeights::uniform(0.1, form), Approximations::allowed);
    const auto loss = [&](const Tensor& state, const Tensor& x, const Tensor& labels) {
      return [&, state, x, labels](const Tensor& weights, const Tensor& s) {
        return smoothed_squared_error(smoothed(weights, state, x, Sigma::stddev(s)), labels);
      };
    };
    const auto here = loss(e.state, e.x, e.labels), over = loss(there(e.state), there(e.x), there(e.labels));
    const Tensor s = Tensor::scalar(0.3, DType::f64);
    const auto [value, gradient] = value_and_grad([&](const Tensor& w) { return here(w, s); })(e.weights);
    const auto [cuda_value, cuda_gradient] =
        value_and_grad([&](const Tensor& w) { return over(w, s); })(there(e.weights));
    EXPECT_EQ(cuda_value.device(), Device::cuda);
    expect_near(cuda_value, value, 1e-11);
    expect_near(cuda_gradient, gradient, 1e-10);
    const Tensor slope = grad([&](const Tensor& t) { return here(e.weights, t); })(s);
    for (const Tensor& at : {s, there(s)})
      expect_near(grad([&](const Tensor& t) { return over(there(e.weights), t); })(at), slope, 1e-10);
  }
}

TEST_F(OnCuda, MomentsAreTheCpus) {
  const Everything e;
  const NoiseScales noise{.input = Sigma::stddev(0.2), .weights = Sigma::stddev(0.05)};
  const Moments here = propagate_moments(e.network, e.weights, e.state, e.x, noise);
  const Moments over = propagate_moments(e.network, there(e.weights), there(e.state), there(e.x), noise);
  expect_near(over.mean, here.mean, 1e-11);
  expect_near(over.variance, here.variance, 1e-10);
}

TEST_F(OnCuda, SamplesAreTheCpus) {
  const Tensor x = drawn({2, 3}, 5);
  for (const Draws draws : {Draws::independent, Draws::antithetic, Draws::sobol}) {
    const MonteCarlo how{.samples = 32, .draws = draws, .seed = 3};
    const auto f = [](const Tensor& v) { return tanh(v) * 2.0; };
    const Estimate here = smooth_rows_by_sampling(f, x, Sigma::stddev(0.5), how);
    const Estimate over = smooth_rows_by_sampling(f, there(x), Sigma::stddev(0.5), how);
    EXPECT_EQ(over.mean.device(), Device::cuda);
    expect_near(over.mean, here.mean, 1e-12);
    expect_near(over.standard_error, here.standard_error, 1e-10);
    const SmoothedLoss loss = sampled([](const Tensor& w) { return sum(square(sin(w))); }, how);
    expect_near(loss(there(x), Sigma::stddev(0.4)), loss(x, Sigma::stddev(0.4)), 1e-12);
  }
}

TEST_F(OnCuda, AttacksStayInTheirSetsAndFindWhatTheCpuFinds) {
  const Network network("small", {4, 4, 1},
                        sequential(conv2d({.filters = 2, .kernel = 3}), nn::relu(), nn::flatten(), dense(4)));
  const Tensor weights = network.initial_weights(nn::Initialization::kaiming_normal, 5, DType::f64);
  const Tensor x = uniform({6, 4, 4, 1}, {23, 3}, Tensor::scalar(0, DType::i32), DType::f64),
               labels = argmax(network(weights, x));
  const auto f = [&](const Tensor& w) { return [&network, w](const Tensor& v) { return network(w, v); }; };
  const auto box = [](Device device) {
    return Box{zeros({1, 1, 1, 1}, DType::f64, device), Tensor::scalar(1, DType::f64)};
  };
  for (const Norm norm : {Norm::linf, Norm::l2})
    for (const Objective objective : {Objective::cross_entropy, Objective::margin, Objective::targeted_margins})
      for (const bool stop : {false, true}) {
        const double epsilon = norm == Norm::linf ? 0.1 : 0.5;
        const auto threat = [&](Device device) { return Threat{.norm = norm, .epsilon = epsilon, .box = box(device)}; };
        const PgdOptions how{.objective = objective, .steps = 6, .stop_at_success = stop};
        const Adversarial here = pgd(f(weights), x, labels, threat(Device::cpu), how);
        const Adversarial over = pgd(f(there(weights)), there(x), there(labels), threat(Device::cuda), how);
        EXPECT_EQ(over.inputs.device(), Device::cuda);
        expect_near(over.margins, here.margins, 1e-6);
        EXPECT_EQ(over.success.to_vector<uint8_t>(), here.success.to_vector<uint8_t>());
        const std::vector<double> before = numbers(x), after = numbers(over.inputs);
        for (size_t row = 0; row < 6; ++row) {
          long double squares = 0;
          for (size_t i = row * 16; i < (row + 1) * 16; ++i) {
            const long double moved = static_cast<long double>(after[i]) - before[i];
            squares += moved * moved;
            EXPECT_TRUE(std::abs(moved) <= epsilon && after[i] >= 0 && after[i] <= 1);
          }
          EXPECT_TRUE(norm == Norm::linf || std::sqrt(squares) <= epsilon * (1 + 1e-18L));
        }
      }
}

TEST_F(OnCuda, FalsifyFindsWitnesses) {
  const Tensor lower = there(zeros({3}, DType::f64)), upper = there(ones({3}, DType::f64));
  const Violation near_a_point = [](const Tensor& y) { return sum(square(y - 0.3), {1}) - 1e-4; };
  const Falsified found =
      falsify([](const Tensor& v) { return v; }, near_a_point, lower, upper, {.evaluations = 3000, .batch = 32});
  EXPECT_TRUE(found.found);
  EXPECT_EQ(found.x.device(), Device::cuda);
  EXPECT_LE(found.violation, 0);
}

// ---- Every device

class Steps : public testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Devices, Steps, testing::ValuesIn(devices()),
                         [](const auto& info) { return std::string(to_string(info.param)); });

constexpr int kSteps = 5;

SmoothedLoss quartic(Device device) {
  return [target = to(Tensor::from(std::vector<double>{0.1, 0.2, -0.3}, {3}), device)](const Tensor& w,
                                                                                       const Sigma& sigma) {
    const Tensor s2 = square(sigma.tensor(w.dtype())), u2 = square(w - target);
    return sum(square(u2) + u2 * s2 * 6.0 + square(s2) * 3.0);
  };
}

// By a schedule, with a rule of its own, and by sampling.
std::vector<std::function<GSmooth()>> methods() {
  return {[] {
            return GSmooth(optim::sgd(optim::constant(0.02), {.momentum = 0.9}),
                           Sigma::paper(optim::step_decay(0.5, 0.8, 1)));
          },
          [] {
            return GSmooth(optim::adam(optim::cosine(0.02, 10), {.clip_norm = 1}),
                           Sigma::stddev(optim::step_decay(0.5, 0.8, 1)));
          },
          [] { return GSmooth(optim::adamw(optim::constant(0.02)), Sigma::stddev(0.5), SlghRule{.rate = 0.01}); }};
}

TEST_P(Steps, OfGSmoothAreTheCpusAndCapturedOnesTheirBits) {
  const Tensor start = Tensor::from(std::vector<double>{0.8, -0.5, 0.1}, {3});
  for (const auto& make : methods()) {
    GSmooth cpu = make(), eager = make(), replayed = make();
    const Tensor on_cpu = start + 0.0, w = to(start + 0.0, GetParam()) + 0.0, v = to(start + 0.0, GetParam()) + 0.0;
    auto captured = capture([&](const Tensors&) -> Tensors { return replayed.update(v, quartic(GetParam())); });
    for (int step = 0; step < kSteps; ++step) {
      cpu.step(on_cpu, quartic(Device::cpu));
      const Tensor loss = eager.step(w, quartic(GetParam()));
      replayed.advance(DType::f64);
      ASSERT_EQ(numbers(captured(Tensors{})[0]), numbers(loss)) << step;
      ASSERT_EQ(numbers(v), numbers(w)) << step;
      expect_near(w, on_cpu, 1e-12);
      ASSERT_NEAR(eager.sigma().stddev(), cpu.sigma().stddev(), 1e-12);
      ASSERT_EQ(replayed.sigma().stddev(), eager.sigma().stddev());
    }
  }
}

TEST_P(Steps, OfSmoothedNetworksAreCaptured) {
  const Everything e;
  for (const Form form : {Form::joint, Form::split}) {
    const SmoothedNetwork smoothed =
        smooth(e.network, Sigma::stddev(0.3), PenaltyWeights::uniform(0.1, form), Approximations::allowed);
    const Tensor state = to(e.state, GetParam()), s = zeros({}, DType::f64);
    const auto make = [] { return optim::adam(optim::step_decay(0.01, 0.5, 2)); };
    const auto first = make(), second = make();
    const Tensor w = to(e.weights + 0.0, GetParam()) + 0.0, v = to(e.weights + 0.0, GetParam()) + 0.0;
    const auto step = [&](optim::Optimizer& optimizer, const Tensor& weights, const Tensor& x, const Tensor& labels) {
      return optimizer.update(weights, [&](const Tensor& at) {
        return smoothed_squared_error(smoothed(at, state, x, Sigma::stddev(s)), labels);
      });
    };
    auto captured = capture([&](const Tensors& in) -> Tensors { return step(*second, v, in[0], in[1]); });
    for (int k = 0; k < kSteps; ++k) {
      assign(s, Tensor::scalar(0.5 / (k + 1), DType::f64));
      first->advance(DType::f64);
      second->advance(DType::f64);
      const Tensor x = to(drawn({3, 6, 6, 2}, 40 + static_cast<uint64_t>(k)), GetParam()),
                   labels = to(e.labels, GetParam());
      const Tensor loss = step(*first, w, x, labels);
      ASSERT_EQ(numbers(captured(Tensors{x, labels})[0]), numbers(loss)) << k;
      ASSERT_EQ(numbers(v), numbers(w)) << k;
    }
  }
}

TEST_P(Steps, OfGSmoothSvrgAreTheCpus) {
  const Tensor start = Tensor::from(std::vector<double>{0.8, -0.5, 0.1}, {3});
  for (const auto next : {optim::SvrgOptions::Next::last, optim::SvrgOptions::Next::drawn}) {
    const auto run = [&](Device device) {
      GSmoothSvrg svrg(optim::constant(0.01), Sigma::stddev(optim::step_decay(0.8, 0.5, 1)), GSmoothSvrg::Anchor::plain,
                       {.next = next, .seed = 3});
      const Tensor w = to(start + 0.0, device) + 0.0;
      for (int round = 0; round < 3; ++round) {
        svrg.start_round(w, quartic(device));
        for (int step = 0; step < 3; ++step) svrg.step(w, quartic(device));
      }
      return w;
    };
    expect_near(run(GetParam()), run(Device::cpu), 1e-12);
  }
}

}  // namespace
}  // namespace mollify::smoothing
