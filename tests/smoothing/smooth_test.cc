// The contract of smooth.h: penalties against sampling of the residual they smooth, over all of x, θ, b and y.
#include <mollify/nn/layers.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/monte_carlo.h>
#include <mollify/smoothing/smooth.h>

#include "../errors.h"

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::smoothing {
namespace {

using nn::Network, nn::sequential, nn::dense, nn::conv2d, nn::activation, nn::flatten, nn::average_pool;
using Make = std::function<nn::LayerPointer()>;
using Names = std::vector<std::string>;

Tensor normals(const Shape& shape, uint64_t stream, DType dtype = DType::f64) {
  return normal(shape, {17, stream}, Tensor::scalar(0, DType::i32), dtype);
}

Tensor images(const Network& network, int64_t rows, DType dtype = DType::f64) {
  Shape shape = network.input();
  shape.insert(0, rows);
  return normals(shape, 1, dtype);
}

Tensor random_weights(const Network& network, DType dtype = DType::f64) {
  return network.initial_weights(nn::Initialization::fan_in_uniform, 3, dtype) * 1.5;
}

double largest_difference(const Tensor& a, const Tensor& b) { return max(abs(a - b)).item(); }

Tensor dense_layer(const Network& network, const Tensor& w, const std::string& name, const Tensor& x) {
  return mollify::dense(x, network.weight(w, name + ".weight"), network.weight(w, name + ".bias"));
}

PenaltyWeights only(const std::string& layer, double weight, Form form) { return {{{layer, weight}}, 0, false, form}; }

Tensor applied(const std::string& name, const Tensor& x) {
  Shape row = x.shape();
  row.erase(0);
  return Network(name, row, activation(name))(zeros({0}, x.dtype()), x);
}

// The flat weights with f applied to weights, and 0 for biases.
Tensor without_biases(const Network& network, const Tensor& flat, const std::function<Tensor(const Tensor&)>& f) {
  Tensor result = zeros_like(flat);
  for (const nn::Piece& piece : network.weights())
    if (piece.role == nn::Role::weight) {
      const int64_t end = piece.offset + piece.shape.size();
      result = result + pad(f(slice(flat, 0, piece.offset, end)), 0, piece.offset, flat.size() - end);
    }
  return result;
}

// Layer `label` as the last of a network: before it `first`, whose smoothed output is u, and the activation ("": none).
struct Case {
  std::string name;
  Shape input;
  Make first;
  std::string activation;
  Make layer;
  std::string label;
  bool bias = true;
};

// The parts of a case's network, and its smoothing with only the last layer's penalty.
struct Parts {
  static constexpr double kLambda = 0.3;

  Parts(const Case& c, Form form, double s, DType dtype = DType::f64)
      : first("first", c.input, c.first()),
        layer("layer", first.output(), c.layer()),
        whole("whole", c.input,
              c.activation.empty() ? sequential(c.first(), c.layer())
                                   : sequential(c.first(), activation(c.activation), c.layer())) {
    const Tensor w = random_weights(whole, dtype), x = images(whole, 1, dtype);
    const Sigma sigma = Sigma::stddev(s);
    const Tensor before_theta = slice(w, 0, 0, first.weight_count());
    theta = slice(w, 0, first.weight_count(), w.size());
    u = smooth(first, sigma)(before_theta, x).output;
    const auto result = smooth(whole, sigma, only(c.label, kLambda, form))(w, x);
    output = result.output;
    penalty = result.penalty.item() / kLambda;
    constant = result.constant.item() / kLambda;
    y = output + 0.1;
    const Network before("before", c.input,
                         c.activation.empty() ? c.first() : sequential(c.first(), activation(c.activation)));
    smoothed_activation = smooth(before, sigma)(before_theta, x).output;
    activate = [name = c.activation](const Tensor& v) { return name.empty() ? v : applied(name, v); };
  }

  // Σ of the layer's outputs with other weights, no bias.
  double summed(const Tensor& input, const std::function<Tensor(const Tensor&)>& of_weights) const {
    return sum(layer(without_biases(layer, theta, of_weights), input)).item();
  }
  // E‖A_θ h(u) + b − y‖² under noise of u, θ, b and y; not before_activation: E‖A_θ v + b − y‖² at v = h_s(u), with
  // noise of v.
  Estimate sampled_residual(double s, bool before_activation, int64_t samples = 20000) const {
    const Tensor start = before_activation ? u : smoothed_activation;
    const auto f = [&](const Tensor& v) {
      const Tensors parts = split(v, {u.size(), theta.size(), y.size()});
      const Tensor in = reshape(parts[0], u.shape());
      return sum(square(layer(parts[1], before_activation ? activate(in) : in) - reshape(parts[2], y.shape())));
    };
    return smooth_by_sampling(f, concat(Tensors{mollify::flatten(start), theta, mollify::flatten(y)}), Sigma::stddev(s),
                              {.samples = samples, .seed = 5});
  }
  // What a penalty leaves out: the noise of y and b, and with no activation that of u and θ together.
  double constants(double s, bool bias, bool identity) const {
    const double together =
        identity ? std::pow(s, 4) * summed(ones_like(u), [](const Tensor& w) { return ones_like(w); }) : 0;
    return s * s * static_cast<double>(y.size()) * (bias ? 2 : 1) + together;
  }

  Network first, layer, whole;
  Tensor u, theta, output, y, smoothed_activation;
  std::function<Tensor(const Tensor&)> activate;
  double penalty, constant;
};

const Make kDense4 = [] { return dense(4); };
const Make kConvolution = [] { return conv2d({.filters = 4, .kernel = 2}); };  // [4, 5, 2] → [3, 4, 4]
const Shape kImage{4, 5, 2};

std::vector<Case> cases() {
  const Make layer = [] { return dense(3); };
  return {
      {"dense", {5}, kDense4, "", layer, "dense2"},
      {"dense relu", {5}, kDense4, "relu", layer, "dense2"},
      {"dense leaky_relu", {5}, kDense4, "leaky_relu", layer, "dense2"},
      {"dense erf", {5}, kDense4, "erf", layer, "dense2"},
      {"dense gelu", {5}, kDense4, "gelu", layer, "dense2"},
      {"dense abs, no bias", {5}, kDense4, "abs", [] { return dense(3, false); }, "dense2", false},
      {"conv", kImage, kConvolution, "", [] { return conv2d({.filters = 3, .kernel = 2}); }, "conv2"},
      {"conv padding relu", kImage, kConvolution, "relu",
       [] { return conv2d({.filters = 3, .kernel = 3, .padding = 1}); }, "conv2"},
      {"conv stride padding", kImage, kConvolution, "",
       [] { return conv2d({.filters = 2, .kernel = 3, .stride = 2, .padding = 1}); }, "conv2"},
      {"conv stride padding gelu", kImage, kConvolution, "gelu",
       [] { return conv2d({.filters = 2, .kernel = 3, .stride = 2, .padding = 1}); }, "conv2"},
      {"conv groups relu", kImage, kConvolution, "relu",
       [] { return conv2d({.filters = 6, .kernel = 2, .groups = 2}); }, "conv2"},
      {"conv groups stride padding, no bias", kImage, kConvolution, "",
       [] { return conv2d({.filters = 4, .kernel = 3, .stride = 2, .padding = 2, .groups = 4, .bias = false}); },
       "conv2", false},
      {"conv flatten dense", kImage, kConvolution, "relu", [] { return sequential(flatten(), dense(2)); }, "dense1"},
      {"third layer", {5}, [] { return sequential(dense(4), nn::relu(), dense(6)); }, "relu", layer, "dense3"},
      {"pooled", kImage, [] { return sequential(conv2d({.filters = 2, .kernel = 3}), nn::relu(), average_pool(2, 1)); },
       "", [] { return sequential(flatten(), dense(2)); }, "dense1"}};
}

// E‖A h(x + sz) + b − y‖² = ‖A h_s(x) + b − y‖² + penalty + what does not depend on weights or activations.
TEST(Smooth, JointPenaltiesAgreeWithSampling) {
  for (const Case& c : cases())
    for (const double s : {0.15, 0.8}) {
      const Parts parts(c, Form::joint, s);
      const Estimate sampled = parts.sampled_residual(s, true);
      const double constants = parts.constants(s, c.bias, c.activation.empty());
      EXPECT_NEAR(parts.constant, constants, 1e-12 * constants) << c.name;
      const double expected = sum(square(parts.output - parts.y)).item() + parts.penalty + constants;
      EXPECT_NEAR(expected, sampled.mean.item(), 4 * sampled.standard_error.item()) << c.name << " s = " << s;
      EXPECT_LT(sampled.standard_error.item(), 0.05 * sampled.mean.item()) << c.name;
    }
}

TEST(Smooth, SplitPenaltiesOfLayersAgreeWithSampling) {
  for (const Case& c : cases()) {
    const double s = 0.5;
    const Parts parts(c, Form::split, s);
    const Estimate sampled = parts.sampled_residual(s, false);
    const double expected =
        sum(square(parts.output - parts.y)).item() + parts.penalty + parts.constants(s, c.bias, true);
    EXPECT_NEAR(expected, sampled.mean.item(), 4 * sampled.standard_error.item()) << c.name;
  }
}

// Σ V_h(x) of an activation that is its own term.
TEST(Smooth, SplitPenaltiesOfActivationsAgreeWithSampling) {
  for (const char* name : {"relu", "leaky_relu", "erf", "gelu", "elu", "abs", "sin", "square"}) {
    const double s = 0.6;
    const Parts parts({"", {5}, kDense4, name, [] { return dense(2); }, "activation1"}, Form::split, s);
    const auto term = [&](const Tensor& v) { return sum(square(applied(name, v) - parts.smoothed_activation)); };
    const Estimate sampled = smooth_by_sampling(term, parts.u, Sigma::stddev(s), {.samples = 20000, .seed = 2});
    EXPECT_NEAR(parts.penalty, sampled.mean.item(), 4 * sampled.standard_error.item()) << name;
  }
}

// Some tables print √(h²) plus h where a variance is meant: (h²)_s + h_s² for (h²)_s − h_s².
TEST(Smooth, ThePlusOfThePrintedTablesIsFarOff) {
  const double s = 0.5;
  for (const Case& c : cases()) {
    if (c.activation != "relu") continue;
    const Parts parts(c, Form::joint, s);
    const Estimate sampled = parts.sampled_residual(s, true, 60000);
    const double right = sum(square(parts.output - parts.y)).item() + parts.penalty + parts.constants(s, c.bias, false);
    const double printed =
        right + 2 * parts.summed(square(parts.smoothed_activation), [](const Tensor& w) { return square(w); });
    EXPECT_GT(printed - sampled.mean.item(), 10 * sampled.standard_error.item()) << c.name;
  }
}

// Σ A_{θ²}V + s²·Σ A_1 (h²)_s for relu, to rounding.
TEST(Smooth, JointPenaltiesAreTheFormulaInBothDtypes) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const Case& c : cases()) {
      if (c.activation != "relu") continue;
      const double s = 0.4;
      const Parts parts(c, Form::joint, s, dtype);
      EXPECT_EQ(parts.output.dtype(), dtype);
      const Moments h = relu_moments(parts.u, Tensor::scalar(s, dtype));
      const double expected = parts.summed(h.variance, [](const Tensor& w) {
        return square(w);
      }) + s * s * parts.summed(h.variance + square(h.mean), [](const Tensor& w) { return ones_like(w); });
      EXPECT_NEAR(parts.penalty, expected, (dtype == DType::f32 ? 1e-5 : 1e-12) * expected) << c.name;
    }
}

Network small_network() {
  return Network("small", {6, 6, 2},
                 sequential(conv2d({.filters = 3, .kernel = 3, .padding = 1}), nn::relu(), average_pool(2, 2),
                            flatten(), dense(5), activation("gelu"), dense(4)));
}

TEST(Smooth, OutputIsTheNetworkWithSmoothedActivations) {
  const Network network = small_network();
  const Tensor w = random_weights(network), x = images(network, 3), s = Tensor::scalar(0.4, DType::f64);
  const Tensor convolved =
      mollify::conv2d(x, network.weight(w, "conv1.weight"), network.weight(w, "conv1.bias"), Conv2d::square(1, 1));
  const Tensor first = relu_smoothed(convolved, s);
  const Tensor second = dense_layer(network, w, "dense1", mollify::flatten(average_pool2d(first), 1));
  const Tensor expected = dense_layer(network, w, "dense2", gelu_smoothed(second, s));
  for (const Form form : {Form::joint, Form::split})
    EXPECT_LT(largest_difference(smooth(network, Sigma::stddev(0.4), PenaltyWeights::uniform(1, form))(w, x).output,
                                 expected),
              1e-13);
  EXPECT_LT(largest_difference(smooth(network, Sigma::paper(0.4 * std::sqrt(2.0)))(w, x).output, expected), 1e-13);
  const SmoothedNetwork other = smooth(network, Sigma::stddev(9.0));
  EXPECT_LT(largest_difference(other(w, {}, x, Sigma::stddev(0.4)).output, expected), 1e-13);
  EXPECT_EQ(other.sigma().stddev(), 9.0);
  EXPECT_EQ(&other.network(), &network);
}

TEST(Smooth, NoScaleIsThePlainNetwork) {
  for (const DType dtype : {DType::f32, DType::f64})
    for (const char* name : {"cnn", "lenet_300_100", "cnn3_tiny", "linear"}) {
      const Network network = nn::make(name, {12, 12, 1}, 4);
      const Tensor w = network.initial_weights(nn::Initialization::kaiming_normal, 2, dtype),
                   state = network.initial_state(dtype), x = images(network, 2, dtype);
      const Tensor plain = network(w, state, x, nn::Mode::evaluate).output;
      for (const Form form : {Form::joint, Form::split}) {
        const auto result = smooth(network, Sigma::stddev(0.0), PenaltyWeights::uniform(1, form))(w, state, x);
        EXPECT_EQ(largest_difference(result.output, plain), 0) << name;
        EXPECT_EQ(result.penalty.item(), 0) << name;
        EXPECT_EQ(result.penalty.rank(), 0);
      }
    }
}

TEST(Smooth, PenaltyIsTheWeightedSumOfItsTermsAndTheMeanOverRows) {
  const Network network = small_network();
  const Tensor w = random_weights(network), x = images(network, 4);
  const Sigma sigma = Sigma::stddev(0.3);
  for (const Form form : {Form::joint, Form::split}) {
    const Names names = smooth(network, sigma, PenaltyWeights::uniform(0, form)).penalised_layers();
    PenaltyWeights all{{}, 0, true, form};
    double expected = 0, weight = 0.1;
    for (const std::string& name : names) {
      all.by_layer[name] = weight;
      expected += weight * smooth(network, sigma, only(name, 1, form))(w, x).penalty.item();
      weight *= 3;
    }
    const SmoothedNetwork smoothed = smooth(network, sigma, all);
    EXPECT_NEAR(smoothed(w, x).penalty.item(), expected, 1e-12 * expected);
    double over_rows = 0;
    for (int64_t row = 0; row < 4; ++row) over_rows += smoothed(w, slice(x, 0, row, row + 1)).penalty.item() / 4;
    EXPECT_NEAR(over_rows, expected, 1e-12 * expected);
    EXPECT_EQ(smooth(network, sigma)(w, x).penalty.item(), 0);
    const Tensor labels = Tensor::from(std::vector<int32_t>{0, 3, 1, 2}, {4});
    const auto result = smoothed(w, x);
    EXPECT_NEAR(smoothed_squared_error(result, labels).item(),
                nn::mean_squared_error(result.output, labels).item() + expected + result.constant.item(),
                1e-12 * (1 + expected));
    EXPECT_NEAR(smoothed_squared_error(result, labels, 0.25).item(),
                0.25 * nn::mean_squared_error(result.output, labels).item() + expected + result.constant.item(),
                1e-12 * (1 + expected));
  }
}

TEST(Smooth, PenalisedLayersOfTheConvolutionalNetwork) {
  const Network network = nn::make("cnn", {28, 28, 1}, 10);
  const Sigma sigma = Sigma::paper(0.1);
  EXPECT_EQ(smooth(network, sigma, PenaltyWeights::uniform(1, Form::split)).penalised_layers(),
            (Names{"activation1", "dense1", "activation2", "dense2"}));
  // The second ReLU is one term with the output layer; the first feeds a pooling layer.
  EXPECT_EQ(smooth(network, sigma, PenaltyWeights::uniform(1, Form::joint)).penalised_layers(),
            (Names{"activation1", "dense1", "dense2"}));
  const Network linear = nn::make("linear", {28, 28, 1}, 10);  // a layer on the raw input has no penalty
  EXPECT_EQ(smooth(linear, sigma).penalised_layers(), Names{});
}

TEST(Smooth, GradientsInWeightsInputAndScaleAgreeWithFiniteDifferences) {
  const Network network = small_network();
  const Tensor w = random_weights(network), x = images(network, 3),
               labels = Tensor::from(std::vector<int32_t>{0, 3, 1}, {3}), s = Tensor::scalar(0.3, DType::f64);
  const double h = 1e-5;
  const auto expect_slope = [&](const std::function<Tensor(const Tensor&)>& f, const Tensor& at,
                                const Tensor& direction) {
    const double slope = (f(at + direction * h).item() - f(at - direction * h).item()) / (2 * h);
    EXPECT_NEAR(sum(grad(f)(at) * direction).item(), slope, 1e-7 * (1 + std::abs(slope)));
  };
  for (const Form form : {Form::joint, Form::split}) {
    const SmoothedNetwork smoothed = smooth(network, Sigma::stddev(0.3), PenaltyWeights::uniform(0.2, form));
    const auto loss = [&](const Tensor& weights, const Tensor& input, const Sigma& sigma) {
      return smoothed_squared_error(smoothed(weights, {}, input, sigma), labels);
    };
    expect_slope([&](const Tensor& v) { return loss(v, x, Sigma::stddev(0.3)); }, w, normals(w.shape(), 8));
    expect_slope([&](const Tensor& v) { return loss(w, v, Sigma::stddev(0.3)); }, x, normals(x.shape(), 9));
    expect_slope([&](const Tensor& v) { return loss(w, x, Sigma::stddev(v)); }, s, Tensor::scalar(1, DType::f64));
    expect_slope([&](const Tensor& v) { return loss(w, x, Sigma::paper(v)); }, s, Tensor::scalar(1, DType::f64));
  }
}

TEST(Smooth, DropoutIsTheIdentityWithItsVariance) {
  const Network network("drop", {5}, sequential(dense(4), nn::relu(), nn::dropout(0.3), dense(2)));
  const Tensor w = random_weights(network), x = images(network, 3);
  const double s = 0.5;
  for (const Form form : {Form::joint, Form::split})
    EXPECT_EQ(smooth(network, Sigma::stddev(s), PenaltyWeights::uniform(1, form)).penalised_layers(),
              (Names{"activation1", "dropout1", "dense2"}));
  const auto result = smooth(network, Sigma::stddev(s), only("dropout1", 2.0, Form::joint))(w, x);
  const Tensor h = relu_smoothed(dense_layer(network, w, "dense1", x), Tensor::scalar(s, DType::f64));
  EXPECT_NEAR(result.penalty.item(), 2.0 * 0.3 / 0.7 * sum(square(h)).item() / 3, 1e-12);
  EXPECT_LT(largest_difference(result.output, dense_layer(network, w, "dense2", h)), 1e-13);
}

TEST(Smooth, ResidualNetworksWithNormsRun) {
  const Network network("residual", {8, 8, 2},
                        sequential(conv2d({.filters = 4, .kernel = 3, .padding = 1}), nn::batch_norm(), nn::relu(),
                                   nn::residual(sequential(conv2d({.filters = 4, .kernel = 3, .padding = 1}),
                                                           nn::batch_norm(), nn::relu(), nn::dropout(0.1),
                                                           conv2d({.filters = 4, .kernel = 3, .padding = 1}))),
                                   nn::relu(), average_pool(2, 2), nn::global_average_pool(), dense(3)));
  const Tensor w = random_weights(network), x = images(network, 2),
               labels = Tensor::from(std::vector<int32_t>{0, 2}, {2});
  const Tensor state =
      network(w, network.initial_state(DType::f64), x, nn::Mode::train, {1, 1}, Tensor::scalar(0, DType::i32)).state;
  for (const Form form : {Form::joint, Form::split}) {
    const SmoothedNetwork smoothed = smooth(network, Sigma::stddev(0.2), PenaltyWeights::uniform(0.01, form));
    EXPECT_EQ(smoothed(w, state, x, Sigma::stddev(0.0)).output.to_vector<double>(),
              network(w, state, x, nn::Mode::evaluate).output.to_vector<double>());
    const Tensor g = grad([&](const Tensor& v) { return smoothed_squared_error(smoothed(v, state, x), labels); })(w);
    EXPECT_TRUE(std::isfinite(sum(square(g)).item()));
    EXPECT_GT(smoothed(w, state, x).penalty.item(), 0);
  }
  for (const char* name : {"resnet18", "cnn5", "cifar_resnet20", "heat_resnet34"}) {
    const Network model = nn::make(name, {8, 8, 3}, 10);
    const Tensor v = model.initial_weights(nn::Initialization::kaiming_normal, 1), of_model = model.initial_state();
    const auto result =
        smooth(model, Sigma::paper(0.1), PenaltyWeights::uniform(1e-6))(v, of_model, images(model, 2, DType::f32));
    EXPECT_TRUE(std::isfinite(sum(square(result.output)).item())) << name;
    EXPECT_GT(result.penalty.item(), 0) << name;
  }
}

TEST(Smooth, ApproximationsAreForThoseWhoAskAndNearSampling) {
  const Network waves("waves", {3}, sequential(dense(4), activation("sigmoid"), dense(2)));
  const Network pooled(
      "pooled", {4, 4, 2},
      sequential(conv2d({.filters = 2, .kernel = 3, .padding = 1}), nn::max_pool(2, 2), flatten(), dense(2)));
  const Sigma sigma = Sigma::stddev(0.4);
  expect_names(text_of([&] { smooth(waves, sigma); }), "'activation1'");
  expect_names(text_of([&] { smooth(pooled, sigma); }), "'pool1'");

  const Tensor w = random_weights(waves), x = images(waves, 2);
  const auto result = smooth(waves, sigma, PenaltyWeights::uniform(1), Approximations::allowed)(w, x);
  const Estimate h = smooth_by_sampling(sigmoid, dense_layer(waves, w, "dense1", x), sigma,
                                        {.samples = 16 * 512, .draws = Draws::independent});
  EXPECT_LT(largest_difference(result.output, dense_layer(waves, w, "dense2", h.mean)), 0.01);
  EXPECT_GT(result.penalty.item(), 0);

  const auto greatest = smooth(pooled, sigma, PenaltyWeights::uniform(1), Approximations::allowed)(
      random_weights(pooled), images(pooled, 2));
  EXPECT_TRUE(std::isfinite(sum(greatest.output).item()));
  EXPECT_GT(greatest.penalty.item(), 0);
}

TEST(Smooth, NamesWhatItCannotDo) {
  const Network network = small_network();
  const Tensor w = random_weights(network), x = images(network, 2);
  const Sigma sigma = Sigma::stddev(0.1);
  expect_names(text_of([&] { smooth(network, sigma, {{{"activation1", 1}, {"dense1", 1}}}); }), "'dense2'");
  expect_names(text_of([&] { smooth(network, sigma, {{{"activation1", 1}, {"dense7", 1}}, 0, false}); }), "'dense7'");
  expect_names(text_of([&] { smooth(network, sigma, only("dense1", -1, Form::joint)); }), "'dense1'");
  expect_names(text_of([&] { smooth(network, sigma, only("dense1", std::nan(""), Form::joint)); }), "'dense1'");
  EXPECT_THROW(smooth(network, sigma, PenaltyWeights::uniform(-1)), ValueError);
  for (const double bad : {-0.1, std::nan(""), HUGE_VAL}) {
    EXPECT_THROW(smooth(network, Sigma::stddev(bad)), ValueError);
    EXPECT_THROW(smooth(network, sigma)(w, {}, x, Sigma::stddev(Tensor::scalar(bad, DType::f64))), ValueError);
  }
  EXPECT_THROW(smooth(network, Sigma::stddev(optim::constant(0.1)))(w, x), ValueError);  // a schedule has no one value
  EXPECT_THROW(smooth(network, Sigma::stddev(Tensor::scalar(0.1, DType::f32)))(w, x), TypeError);  // of an f64 network
  EXPECT_THROW(smooth(network, sigma)(w, slice(x, 1, 0, 5)), ShapeError);
  EXPECT_THROW(smooth(network, sigma)(slice(w, 0, 1, w.size()), x), ShapeError);
}

// square(relu(x)) within one layer.
struct SquaredRelu final : nn::Layer {
  const char* kind() const override { return "squared_relu"; }
  Shape declare(nn::Declaration&, const Shape& input) override { return input; }
  Tensor apply(nn::Pass&, const Tensor& x) const override { return square(mollify::relu(x)); }
};

TEST(Smooth, ActivationsOfActivationsAreRefusedUnlessApproximated) {
  const Network network("squared", {4}, sequential(dense(3), std::make_unique<SquaredRelu>(), dense(2)));
  const Network apart("apart", {4}, sequential(dense(3), activation("relu"), activation("square"), dense(2)));
  const Sigma sigma = Sigma::stddev(0.1);
  expect_names(text_of([&] { smooth(network, sigma); }), "square of relu");
  const Tensor w = random_weights(network), x = images(network, 2);
  EXPECT_EQ(smooth(network, sigma, PenaltyWeights::none(), Approximations::allowed)(w, x).output.to_vector<double>(),
            smooth(apart, sigma)(w, x).output.to_vector<double>());
}

// In joint form a ReLU that feeds a dense layer has no term of its own.
TEST(Smooth, WeightsThatChargeNothingAreRefused) {
  const Network network("joined", {4}, sequential(dense(3), nn::relu(), dense(2)));
  expect_names(text_of([&] {
                 smooth(network, Sigma::stddev(0.1), {{{"activation1", 1}}, 0, false, Form::joint});
               }),
               "activation1 alone");
  const Tensor w = random_weights(network), x = images(network, 2);
  EXPECT_GT(smooth(network, Sigma::stddev(0.1), {{{"activation1", 1}}, 0, false, Form::split})(w, x).penalty.item(), 0);
}

TEST(Smooth, NotANumberStays) {
  const Network network = small_network();
  const Tensor w = random_weights(network),
               x = images(network, 2) + pad(full({1, 1, 1, 1}, std::nan(""), DType::f64), 0, 0, 1);
  const auto result = smooth(network, Sigma::stddev(0.1), PenaltyWeights::uniform(1))(w, x);
  EXPECT_TRUE(std::isnan(result.penalty.item()));
  EXPECT_TRUE(std::isnan(sum(slice(result.output, 0, 0, 1)).item()));
  EXPECT_TRUE(std::isfinite(sum(slice(result.output, 0, 1, 2)).item()));
}

}  // namespace
}  // namespace mollify::smoothing
