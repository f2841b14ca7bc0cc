// Moment propagation: exact where its assumptions hold, close to sampling elsewhere.
#include <mollify/nn/layers.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/moments.h>
#include <mollify/smoothing/monte_carlo.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

using namespace nn;

Tensor drawn(const Shape& shape, uint64_t stream, DType dtype = DType::f64) { return normal(shape, {7, stream}, Tensor::scalar(0, DType::i32), dtype); }

// Mean and variance of the outputs from `count` draws of noise on the weights or on the inputs.
Moments sampled_moments(const Network& network, const Tensor& w, const Tensor& x, double input, double weights, int64_t count) {
  Tensor sum, squares;
  for (int64_t i = 0; i < count; ++i) {
    const Tensor step = Tensor::scalar(static_cast<double>(i), DType::i32);
    const Tensor noisy_x = x + normal(x.shape(), {11, 1}, step, x.dtype()) * input, noisy_w = w + normal(w.shape(), {11, 2}, step, w.dtype()) * weights;
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
    const Network network = convolution ? Network("c", {5, 5, 2}, sequential(conv2d({.filters = 3, .kernel = 3, .stride = 2, .padding = 1})))
                                        : Network("d", {6}, sequential(dense(4)));
    const Tensor w = network.initial_weights(Initialization::fan_in_uniform, 3, DType::f64);
    Shape shape = network.input();
    shape.insert(0, 2);
    const Tensor x = drawn(shape, 1);
    const Moments got = propagate_moments(network, w, {}, x, {.input = Sigma::stddev(0.3), .weights = Sigma::stddev(0.2)});
    const Moments seen = sampled_moments(network, w, x, 0.3, 0.2, kCount);
    const Tensor error = sqrt(got.variance / static_cast<double>(kCount));
    EXPECT_LT(largest_share(got.mean, seen.mean, error), 4.5);
    EXPECT_LT(largest_share(got.variance, seen.variance, got.variance), 4.5 * std::sqrt(3.0 / kCount));  // a product of normals has heavier tails
  }
}

TEST(Moments, NoNoiseIsTheNetwork) {
  const Network network = make("cnn3_tiny", {12, 12, 1}, 5);
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 3, DType::f64), x = drawn({3, 12, 12, 1}, 2);
  const Moments got = propagate_moments(network, w, {}, x, {});
  EXPECT_EQ(got.mean.to_vector<double>(), network(w, x).to_vector<double>());
  for (const double v : got.variance.to_vector<double>()) EXPECT_EQ(v, 0);
}

// Units that nothing reaches, and no noise at all, leave gradients finite: the slope of a deviation at variance 0 is infinite.
TEST(Moments, HaveGradientsWhereThereIsNoVariance) {
  const Network network("pruned", {4}, sequential(dense(6), relu(), dense(5), activation("gelu"), dense(2)));
  Tensor w = network.initial_weights(Initialization::kaiming_normal, 3, DType::f64);
  assign(slice(w, 0, 0, 8), zeros({8}, DType::f64));  // the rows of two units
  const Tensor x = drawn({3, 4}, 2);
  for (const double noise : {0.0, 0.3}) {
    const auto loss = [&](const Tensor& weights) {
      const Moments moments = propagate_moments(network, weights, {}, x, {.input = Sigma::stddev(noise)});
      return sum(square(moments.mean)) + sum(moments.variance);
    };
    for (const double g : grad(loss)(w).to_vector<double>()) EXPECT_TRUE(std::isfinite(g)) << noise;
  }
}

TEST(Moments, DeepNetworksComeNearSampling) {
  const Network network("deep", {8, 8, 1}, sequential(conv2d({.filters = 6, .kernel = 3}), relu(), average_pool(2, 2), residual(sequential(activation("relu"))),
                                                      flatten(), dense(16), activation("gelu"), dense(3)));
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 5, DType::f64), x = drawn({2, 8, 8, 1}, 3);
  const Moments got = propagate_moments(network, w, {}, x, {.input = Sigma::stddev(0.2), .weights = Sigma::stddev(0.05)});
  const Moments seen = sampled_moments(network, w, x, 0.2, 0.05, 4000);
  const Tensor deviation = sqrt(seen.variance);
  EXPECT_LT(largest_share(got.mean, seen.mean, deviation), 0.3);                 // of the output's own deviation
  EXPECT_LT(largest_share(sqrt(got.variance), deviation, deviation), 0.35);      // correlations within layers are left out
}

TEST(Moments, MaxPoolingDropoutAndBatchNormHaveRules) {
  const Network network("all", {6, 6, 2}, sequential(conv2d({.filters = 4, .kernel = 3, .padding = 1}), batch_norm(), relu(), max_pool(2, 2), dropout(0.5),
                                                     global_average_pool(), dense(2)));
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 5, DType::f64), x = drawn({3, 6, 6, 2}, 4);
  const Moments got = propagate_moments(network, w, network.initial_state(DType::f64), x, {.input = Sigma::stddev(0.3)});
  EXPECT_EQ(got.mean.shape(), (Shape{3, 2}));
  for (const double v : got.variance.to_vector<double>()) EXPECT_GT(v, 0);
  const Network odd("odd", {4}, sequential(dense(3), activation("abs"), activation("square")));
  EXPECT_NO_THROW(propagate_moments(odd, odd.initial_weights(Initialization::kaiming_normal, 1), {}, drawn({2, 4}, 5, DType::f32), {.input = Sigma::stddev(0.1)}));
}

}  // namespace
}  // namespace mollify::smoothing
