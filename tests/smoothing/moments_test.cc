// Moment propagation: exact where its assumptions hold, close to sampling elsewhere.
#include <mollify/engine/grad.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/moments.h>
#include <mollify/smoothing/monte_carlo.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

using namespace nn;

Tensor drawn(const Shape& shape, uint64_t stream, DType dtype = DType::f64) {
  return normal(shape, {7, stream}, Tensor::scalar(0, DType::i32), dtype);
}

// Mean and variance of the outputs from `count` draws of noise on the weights or on the inputs.
Moments sampled_moments(const Network& network, const Tensor& w, const Tensor& x, double input, double weights,
                        int64_t count) {
  Tensor sum, squares;
  for (int64_t i = 0; i < count; ++i) {
    const Tensor step = Tensor::scalar(static_cast<double>(i), DType::i32);
    const Tensor noisy_x = x + normal(x.shape(), {11, 1}, step, x.dtype()) * input,
                 noisy_w = w + normal(w.shape(), {11, 2}, step, w.dtype()) * weights;
    const Tensor y = network(noisy_w, noisy_x);
    sum = sum.defined() ? sum + y : y;
    squares = squares.defined() ? squares + square(y) : square(y);
  }
  const Tensor mean = sum / static_cast<double>(count);
  return {mean, squares / static_cast<double>(count) - square(mean)};
}

double largest_share(const Tensor& a, const Tensor& b, const Tensor& scale) { return max(abs(a - b) / scale).item(); }

TEST(Moments, OneWeightedLayerIsExact) {
  constexpr int64_t kCount = 20000;
  for (const bool convolution : {false, true}) {
    const Network network =
        convolution
            ? Network("c", {5, 5, 2}, sequential(conv2d({.filters = 3, .kernel = 3, .stride = 2, .padding = 1})))
            : Network("d", {6}, sequential(dense(4)));
    const Tensor w = network.initial_weights(Initialization::fan_in_uniform, 3, DType::f64);
    Shape shape = network.input();
    shape.insert(0, 2);
    const Tensor x = drawn(shape, 1);
    const Moments seen = sampled_moments(network, w, x, 0.3, 0.2, kCount);
    for (const Correlations& correlations : {Correlations::none(), Correlations::whole()}) {
      const Moments got = propagate_moments(network, w, {}, x,
                                            {.input = Sigma::stddev(0.3), .weights = Sigma::stddev(0.2)}, correlations);
      const Tensor error = sqrt(got.variance / static_cast<double>(kCount));
      EXPECT_LT(largest_share(got.mean, seen.mean, error), 4.5);
      EXPECT_LT(largest_share(got.variance, seen.variance, got.variance),
                4.5 * std::sqrt(3.0 / kCount));  // a product of normals has heavier tails
    }
  }
}

// The variance of each output of a linear network: s² times the squared norm of its row of the Jacobian.
Tensor linear_variance(const Network& network, const Tensor& w, const Tensor& x, double s) {
  const int64_t rows = x.shape()[0], outputs = network.output().size();
  std::vector<Tensor> variances;
  for (int64_t o = 0; o < outputs; ++o) {
    const Tensor seed =
        expand(one_hot(Tensor::from(std::vector<int32_t>{static_cast<int32_t>(o)}, {1}), outputs, DType::f64),
               {rows, outputs});
    const Tensor slopes = vjp([&](const Tensor& t) { return network(w, t); }, x, seed).second;
    variances.push_back(sum(reshape(square(slopes), {rows, x.size() / rows}), {1}, true) * (s * s));
  }
  return concat(variances, 1);
}

// Layers, pools and branches that only add up: with a slot for every source the variance is exact, with fewer it is as
// near as they promise, and that of independent numbers is another one.
TEST(Moments, LinearNetworksAreExact) {
  for (const auto& network :
       {Network("dense", {6}, sequential(dense(8), dense(7), dense(3))),
        Network("images", {6, 6, 1},
                sequential(conv2d({.filters = 3, .kernel = 3}), average_pool(2, 2), flatten(), dense(3))),
        Network("branches", {5}, sequential(residual(sequential(dense(4), dense(5))), dense(3)))}) {
    const Tensor w = network.initial_weights(Initialization::fan_in_uniform, 3, DType::f64);
    Shape shape = network.input();
    shape.insert(0, 3);
    const Tensor x = drawn(shape, 6), want = linear_variance(network, w, x, 0.3);
    const auto error = [&](const Correlations& correlations) {
      return largest_share(propagate_moments(network, w, {}, x, {.input = Sigma::stddev(0.3)}, correlations).variance,
                           want, want);
    };
    EXPECT_LT(error(Correlations::whole()), 1e-13) << network.name();
    EXPECT_LT(error({4}), 4 * std::sqrt(2.0 / 4)) << network.name();
    EXPECT_GT(error({4}), 1e-3) << network.name();
    EXPECT_GT(error(Correlations::none()), 1e-2) << network.name();
  }
}

// Over many networks the errors of shared slots are of the promised size and to both sides.
TEST(Moments, SharedSlotsAreUnbiased) {
  constexpr int64_t kNetworks = 60, kDirections = 8;
  double total = 0, squares = 0;
  const Network network("dense", {40}, sequential(dense(30), dense(1)));
  for (uint64_t seed = 0; seed < kNetworks; ++seed) {
    const Tensor w = network.initial_weights(Initialization::kaiming_normal, seed, DType::f64),
                 x = zeros({1, 40}, DType::f64);
    const double want = linear_variance(network, w, x, 1).item();
    const double off =
        propagate_moments(network, w, {}, x, {.input = Sigma::stddev(1.0)}, {kDirections}).variance.item() / want - 1;
    total += off;
    squares += off * off;
  }
  const double spread = std::sqrt(2.0 / kDirections);
  EXPECT_LT(std::abs(total / kNetworks), 4 * spread / std::sqrt(static_cast<double>(kNetworks)));
  EXPECT_LT(std::sqrt(squares / kNetworks), 1.4 * spread);
  EXPECT_GT(std::sqrt(squares / kNetworks), 0.6 * spread);
}

// A sum of relus of numbers z with covariance C: Σ_ij w_i w_j Φ_i Φ_j C_ij, with relu's own variance on the diagonal.
TEST(Moments, ActivationsKeepCovarianceToFirstOrder) {
  const Network network("relus", {3}, sequential(dense(4), relu(), dense(2)));
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 4, DType::f64), x = drawn({1, 3}, 8);
  const double s = 0.7;
  const Moments got = propagate_moments(network, w, {}, x, {.input = Sigma::stddev(s)});
  const Tensor first = reshape(slice(w, 0, 0, 12), {4, 3}), second = reshape(slice(w, 0, 16, 24), {2, 4});
  const Tensor z = matmul(x, transpose(first)) + slice(w, 0, 12, 16),
               covariance = matmul(first, transpose(first)) * (s * s);
  const Tensor deviation = sqrt(sum(square(first), {1})) * s, phi = step_smoothed(z, deviation),
               own = relu_moments(z, deviation).variance;
  const Tensor shared = covariance * phi * transpose(phi), diagonal = one_hot(arange(4, DType::i32), 4, DType::f64);
  const Tensor through = shared * (1.0 - diagonal) + own * diagonal;
  const Tensor want = sum(matmul(second, through) * second, {1});
  EXPECT_LT(max(abs(got.variance - want) / want).item(), 1e-13);
}

// Numbers that share noise, of which the greatest is taken.
TEST(Moments, PoolingOfCorrelatedNumbersComesNearSampling) {
  constexpr int64_t kCount = 20000;
  const Network network("greatest", {4, 4, 1},
                        sequential(conv2d({.filters = 2, .kernel = 3, .padding = 1}), max_pool(2, 2), flatten()));
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 4, DType::f64), x = drawn({4, 4, 4, 1}, 8);
  const Moments got = propagate_moments(network, w, {}, x, {.input = Sigma::stddev(0.7)}),
                seen = sampled_moments(network, w, x, 0.7, 0, kCount);
  const Tensor deviation = sqrt(seen.variance);
  EXPECT_LT(largest_share(got.mean, seen.mean, deviation), 0.04);  // sampled to 4/√20000 = 0.028
  EXPECT_LT(largest_share(sqrt(got.variance), deviation, deviation), 0.06);
  const Moments apart = propagate_moments(network, w, {}, x, {.input = Sigma::stddev(0.7)}, Correlations::none());
  EXPECT_GT(largest_share(apart.mean, seen.mean, deviation), 0.08);
}

// Of the mean and of the variance, in the weights, the input and the scale, against central differences.
TEST(Moments, HaveGradients) {
  const Network network("n", {5, 5, 1},
                        sequential(conv2d({.filters = 2, .kernel = 2}), relu(), max_pool(2, 2), flatten(), dense(3),
                                   activation("tanh"), dense(2)));
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 3, DType::f64), x = drawn({2, 5, 5, 1}, 2);
  for (const Correlations& correlations : {Correlations::none(), Correlations{7}, Correlations::whole()}) {
    const auto loss = [&](const Tensor& at_w, const Tensor& at_x, const Tensor& s) {
      const Moments got = propagate_moments(network, at_w, {}, at_x,
                                            {.input = Sigma::stddev(s), .weights = Sigma::stddev(0.1)}, correlations);
      return sum(square(got.mean)) + sum(got.variance);
    };
    const Tensor s = Tensor::scalar(0.3, DType::f64), dw = drawn(w.shape(), 9), dx = drawn(x.shape(), 10);
    const auto expect = [&](const auto& f, const Tensor& at, const Tensor& direction) {
      constexpr double kStep = 1e-5;
      const double difference = (f(at + direction * kStep).item() - f(at - direction * kStep).item()) / (2 * kStep);
      EXPECT_NEAR(sum(grad(f)(at) * direction).item(), difference, 1e-6 * (1 + std::abs(difference)))
          << correlations.directions;
    };
    expect([&](const Tensor& t) { return loss(t, x, s); }, w, dw);
    expect([&](const Tensor& t) { return loss(w, t, s); }, x, dx);
    expect([&](const Tensor& t) { return loss(w, x, t); }, s, Tensor::scalar(1, DType::f64));
  }
}

TEST(Moments, RowsAreApart) {
  const Network network = make("cnn3_tiny", {12, 12, 1}, 5);
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 3, DType::f64), x = drawn({3, 12, 12, 1}, 2);
  const Moments all = propagate_moments(network, w, {}, x, {.input = Sigma::stddev(0.3)}, {20});
  const Moments one = propagate_moments(network, w, {}, slice(x, 0, 1, 2), {.input = Sigma::stddev(0.3)}, {20});
  EXPECT_EQ(slice(all.variance, 0, 1, 2).to_vector<double>(), one.variance.to_vector<double>());
  EXPECT_THROW(propagate_moments(network, w, {}, x, {}, {-1}), ValueError);
}

TEST(Moments, NoNoiseIsTheNetwork) {
  const Network network = make("cnn3_tiny", {12, 12, 1}, 5);
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 3, DType::f64), x = drawn({3, 12, 12, 1}, 2);
  const Moments got = propagate_moments(network, w, {}, x, {});
  EXPECT_EQ(got.mean.to_vector<double>(), network(w, x).to_vector<double>());
  for (const double v : got.variance.to_vector<double>()) EXPECT_EQ(v, 0);
}

// Units that nothing reaches, and no noise at all, leave gradients finite: the slope of a deviation at variance 0 is
// infinite.
TEST(Moments, HaveGradientsWhereThereIsNoVariance) {
  const Network network("pruned", {4}, sequential(dense(6), relu(), dense(5), activation("gelu"), dense(2)));
  Tensor w = network.initial_weights(Initialization::kaiming_normal, 3, DType::f64);
  assign(slice(w, 0, 0, 8), zeros({8}, DType::f64));  // the rows of two units
  const Tensor x = drawn({3, 4}, 2);
  for (const double noise : {0.0, 0.3}) {
    const auto loss = [&](const Tensor& weights) {
      const Moments moments =
          propagate_moments(network, weights, {}, x, {.input = Sigma::stddev(Tensor::scalar(noise, DType::f64))});
      return sum(square(moments.mean)) + sum(moments.variance);
    };
    for (const double g : grad(loss)(w).to_vector<double>()) EXPECT_TRUE(std::isfinite(g)) << noise;
  }
}

TEST(Moments, DeepNetworksComeNearSampling) {
  const Network network(
      "deep", {8, 8, 1},
      sequential(conv2d({.filters = 6, .kernel = 3}), relu(), average_pool(2, 2),
                 residual(sequential(activation("relu"))), flatten(), dense(16), activation("gelu"), dense(3)));
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 5, DType::f64), x = drawn({2, 8, 8, 1}, 3);
  const Moments got =
      propagate_moments(network, w, {}, x, {.input = Sigma::stddev(0.2), .weights = Sigma::stddev(0.05)});
  const Moments seen = sampled_moments(network, w, x, 0.2, 0.05, 4000);
  const Tensor deviation = sqrt(seen.variance);
  EXPECT_LT(largest_share(got.mean, seen.mean, deviation), 0.1);             // of the output's own deviation
  EXPECT_LT(largest_share(sqrt(got.variance), deviation, deviation), 0.12);
}

TEST(Moments, MaxPoolingDropoutAndBatchNormHaveRules) {
  const Network network("all", {6, 6, 2},
                        sequential(conv2d({.filters = 4, .kernel = 3, .padding = 1}), batch_norm(), relu(),
                                   max_pool(2, 2), dropout(0.5), global_average_pool(), dense(2)));
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 5, DType::f64), x = drawn({3, 6, 6, 2}, 4);
  const Moments got =
      propagate_moments(network, w, network.initial_state(DType::f64), x, {.input = Sigma::stddev(0.3)});
  EXPECT_EQ(got.mean.shape(), (Shape{3, 2}));
  for (const double v : got.variance.to_vector<double>()) EXPECT_GT(v, 0);
  const Network odd("odd", {4}, sequential(dense(3), activation("abs"), activation("square")));
  EXPECT_NO_THROW(propagate_moments(odd, odd.initial_weights(Initialization::kaiming_normal, 1), {},
                                    drawn({2, 4}, 5, DType::f32), {.input = Sigma::stddev(0.1)}));
}

}  // namespace
}  // namespace mollify::smoothing
