// Gradients of single samples agree with those of one sample after the other.
#include <mollify/engine/grad.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/nn/per_sample.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace mollify::nn {
namespace {

Tensor random(const Shape& shape, uint64_t seed) {
  return normal(shape, {seed, 5}, Tensor::scalar(0, DType::i32), DType::f64);
}

void expect_as_one_by_one(const Network& network, int64_t rows, const std::function<Tensor(const Tensor&)>& loss) {
  Shape shape = network.input();
  shape.insert(0, rows);
  const Tensor x = random(shape, 1), w = network.initial_weights(Initialization::kaiming_normal, 3, DType::f64) +
                                         random({network.weight_count()}, 2) * 0.01;
  Tensor state = network.initial_state(DType::f64);
  if (state.size() > 0) state = state + square(random(state.shape(), 4));
  const PerSample found = per_sample_gradients(network, w, state, x, loss);
  ASSERT_EQ(found.gradients.shape(), (Shape{rows, w.size()})) << network.name();
  EXPECT_FALSE(found.gradients.needs_grad());
  EXPECT_FALSE(found.losses.needs_grad());
  for (int64_t n = 0; n < rows; ++n) {
    const auto own = [&](const Tensor& v) {
      return sum(loss(network(v, state, slice(x, 0, n, n + 1), Mode::evaluate).output));
    };
    const auto [value, gradient] = value_and_grad(own)(w);
    EXPECT_NEAR(found.losses[n].item(), value.item(), 1e-12 * (1 + std::abs(value.item()))) << network.name();
    const double size = max(abs(gradient)).item();
    EXPECT_GT(size, 0) << network.name();
    EXPECT_LE(max(abs(found.gradients[n] - gradient)).item(), 1e-11 * size) << network.name() << ", sample " << n;
  }
}

Tensor row_losses(const Tensor& outputs) { return sum(square(sin(outputs)), {1}); }

TEST(PerSample, ModelsAgreeWithOneByOne) {
  for (const char* name : {"cnn3_tiny", "cnn"}) expect_as_one_by_one(make(name, {14, 14, 1}, 4), 5, row_losses);
  expect_as_one_by_one(make("lenet_300_100", {5, 5, 1}, 3), 4, row_losses);  // batch norm
  const auto block = [] { return sequential(conv2d({.filters = 4, .kernel = 3, .padding = 1}), batch_norm()); };
  expect_as_one_by_one({"residual", {6, 6, 2}, sequential(block(), residual(block()), relu(), flatten(), dense(3))}, 3,
                       row_losses);
}

TEST(PerSample, CrossEntropyOfEachRow) {
  const Network network("two", {6}, sequential(dense(5), activation("tanh"), dense(3)));
  expect_as_one_by_one(network, 7, [](const Tensor& outputs) {
    return logsumexp(outputs, 1) - reshape(slice(outputs, 1, 1, 2), {outputs.dim(0)});
  });
  expect_as_one_by_one(network, 1, row_losses);
}

// Its weight is used twice, transposed and stretched, and what is computed from it is no view of it.
class Tied final : public Layer {
 public:
  const char* kind() const override { return "tied"; }
  Shape declare(Declaration& declaration, const Shape& input) override {
    weight_ = declaration.weight("weight", {input.back(), input.back()}, Role::weight, input.back(), input.back());
    slope_ = declaration.weight("slope", {1}, Role::scale, 0, 0, 0.5);
    return input;
  }
  Tensor apply(Pass& pass, const Tensor& x) const override {
    const Tensor &w = pass.weights[weight_], slope = expand(pass.weights[slope_], {x.dim(1)});
    const Tensor hidden = sin(matmul(x, transpose(w))) + slice(w, 0, 1, 2);
    return matmul(hidden, w) + dense(x, exp(w), slope) + hidden * slope + flip(slope, 0);
  }

 private:
  size_t weight_ = 0, slope_ = 0;
};

TEST(PerSample, WeightsMayBeUsedInAnyWay) {
  std::vector<LayerPointer> layers;
  layers.push_back(std::make_unique<Tied>());
  layers.push_back(dense(2));
  layers.push_back(std::make_unique<Tied>());
  expect_as_one_by_one({"tied", {3}, sequential(std::move(layers))}, 6, row_losses);
}

TEST(PerSample, RefusesLossesThatAreNotOfRows) {
  const Network network("one", {2}, dense(3));
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 1);
  EXPECT_THROW(per_sample_gradients(network, w, {}, ones({4, 2}), [](const Tensor& y) { return sum(y); }), ShapeError);
}

}  // namespace
}  // namespace mollify::nn
