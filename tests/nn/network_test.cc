#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/grad.h>
#include <mollify/engine/trace.h>
#include <mollify/nn/layers.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace mollify::nn {
namespace {

Tensor step(int number) { return Tensor::scalar(number, DType::i32); }

Tensor images(const Shape& shape, DType dtype = DType::f32, uint64_t stream = 1) {
  return uniform(shape, {7, stream}, step(0), dtype);
}

double largest_difference(const Tensor& a, const Tensor& b) { return max(abs(a - b)).item(); }

TEST(Network, WeightCountsAreThoseOfThePapers) {
  const struct {
    const char* name;
    Shape input;
    int64_t count;
  } known[] = {{"cnn", {28, 28, 1}, 591786},
               {"lenet_300_100", {28, 28, 1}, 266610},
               {"szo_cnn", {32, 32, 3}, 4301642},
               {"linear", {28, 28, 1}, 7850},
               {"cnn3", {28, 28, 1}, 24330},
               {"cnn3_tiny", {28, 28, 1}, 1108},
               {"cnn5", {28, 28, 1}, 820954},
               {"cnn3", {32, 32, 3}, 29930},
               {"cnn3_tiny", {32, 32, 3}, 1508},
               {"resnet18", {32, 32, 3}, 11173962},
               {"resnet34", {32, 32, 3}, 21282122},
               {"resnet50", {32, 32, 3}, 23520842},
               {"wrn_28_10", {32, 32, 3}, 36479194},
               {"resnet34", {224, 224, 3}, 21289802},
               {"resnet50", {224, 224, 3}, 23528522},
               {"cifar_resnet20", {32, 32, 3}, 272474},
               {"cifar_resnet110", {32, 32, 3}, 1730714},
               {"heat_resnet34", {32, 32, 3}, 488714}};
  for (const auto& model : known) {
    const Network network = make(model.name, model.input, 10);
    EXPECT_EQ(network.weight_count(), model.count) << model.name;
    EXPECT_EQ(network.output(), Shape{10}) << model.name;
  }
}

// Heights and channels that a network's convolutions give, without repetitions.
std::vector<std::pair<int64_t, int64_t>> extents_of(const Network& network) {
  const Tensor w = zeros({network.weight_count()}), state = network.initial_state();
  Shape shape = network.input();
  shape.insert(0, 1);
  const Trace t = trace(
      [&](const Tensor& x) { return network(w, state, x, Mode::frozen, {}, Tensor::scalar(0, DType::i32)).output; },
      Layout::packed(shape, DType::f32, Device::cpu));
  std::vector<std::pair<int64_t, int64_t>> extents;
  for (const TracedStep& step : t.steps) {
    if (step.op().name != std::string("conv2d")) continue;
    const std::pair extent{step.outputs[0].dim(1), step.outputs[0].dim(3)};
    if (extents.empty() || extents.back() != extent) extents.push_back(extent);
  }
  return extents;
}

TEST(Network, ResnetsHalveImagesFromStageToStage) {
  using Extents = std::vector<std::pair<int64_t, int64_t>>;
  // He et al. 2016, table 1.
  EXPECT_EQ(extents_of(make("resnet18", {224, 224, 3}, 10)),
            (Extents{{112, 64}, {56, 64}, {28, 128}, {14, 256}, {7, 512}}));
  EXPECT_EQ(extents_of(make("cifar_resnet20", {32, 32, 3}, 10)), (Extents{{32, 16}, {16, 32}, {8, 64}}));
  // Channels double before the pool.
  EXPECT_EQ(extents_of(make("heat_resnet34", {32, 32, 3}, 10)),
            (Extents{{32, 16}, {32, 32}, {16, 32}, {16, 64}, {8, 64}}));
}

TEST(Network, PiecesTileTheFlatVectorUnderDistinctNames) {
  for (const std::string& name : model_names()) {
    const Network network = make(name, {32, 32, 3}, 10);
    int64_t position = 0;
    std::set<std::string> names;
    for (const Piece& piece : network.weights()) {
      EXPECT_EQ(piece.offset, position) << name << " " << piece.name;
      EXPECT_TRUE(names.insert(piece.name).second) << name << " " << piece.name;
      position += piece.shape.size();
    }
    EXPECT_EQ(position, network.weight_count()) << name;
  }
}

TEST(Network, EveryModelRunsInBothModesAndGivesFiniteGradients) {
  for (const std::string& name : model_names()) {
    if (name == "resnet50" || name == "wrn_28_10") continue;  // the same blocks at many times the cost
    const Network network = make(name, {16, 16, 3}, 10);
    const Tensor w = network.initial_weights(Initialization::kaiming_normal, 3), state = network.initial_state();
    const Tensor x = images({4, 16, 16, 3}), labels = Tensor::from(std::vector<int32_t>{0, 3, 9, 5}, {4});
    Tensor next;
    const Tensor g = grad([&](const Tensor& weights) {
      const Network::Result result = network(weights, state, x, Mode::train);
      next = result.state;
      return mean_cross_entropy(result.output, labels);
    })(w);
    EXPECT_TRUE(std::isfinite(sum(square(g)).item())) << name;
    EXPECT_GT(sum(square(g)).item(), 0) << name;
    EXPECT_EQ(next.defined() ? next.size() : 0, state.size()) << name;
    EXPECT_EQ(network(w, state, x, Mode::evaluate).output.shape(), (Shape{4, 10})) << name;
  }
}

TEST(Network, GradientOfASmallNetworkAgreesWithFiniteDifferences) {
  const Network network(
      "small", {6, 6, 2},
      sequential(conv2d({.filters = 3, .kernel = 3, .padding = 1}), batch_norm(), activation("tanh"),
                 residual(sequential(conv2d({.filters = 3, .kernel = 3, .padding = 1}), activation("gelu"))),
                 average_pool(2, 2), flatten(), dense(4)));
  const Tensor w = network.initial_weights(Initialization::xavier_normal, 5, DType::f64),
               state = network.initial_state(DType::f64);
  const Tensor x = images({3, 6, 6, 2}, DType::f64), labels = Tensor::from(std::vector<int32_t>{0, 1, 3}, {3});
  const auto loss = [&](const Tensor& weights) {
    return mean_cross_entropy(network(weights, state, x, Mode::train).output, labels);
  };
  const Tensor g = grad(loss)(w), direction = normal(w.shape(), {1, 9}, step(0), DType::f64);
  const double h = 1e-5;
  const double slope = (loss(w + direction * h).item() - loss(w - direction * h).item()) / (2 * h);
  EXPECT_NEAR(sum(g * direction).item(), slope, 1e-7 * (1 + std::abs(slope)));
}

// Batch statistics in training mode. Weights of the library's default, in whose neighbourhood no relu turns.
TEST(Network, GradientsOfCifarNetworksAgreeWithFiniteDifferences) {
  for (const char* name : {"cifar_resnet20", "heat_resnet34"}) {
    const Network network = make(name, {8, 8, 3}, 10);
    const Tensor w = network.initial_weights(Initialization::fan_in_uniform, 5, DType::f64),
                 state = network.initial_state(DType::f64);
    const Tensor x = images({3, 8, 8, 3}, DType::f64), labels = Tensor::from(std::vector<int32_t>{0, 7, 3}, {3});
    const auto loss = [&](const Tensor& weights) {
      return mean_cross_entropy(network(weights, state, x, Mode::train).output, labels);
    };
    const Tensor g = grad(loss)(w), direction = normal(w.shape(), {1, 9}, step(0), DType::f64);
    const double h = 1e-9;
    const double slope = (loss(w + direction * h).item() - loss(w - direction * h).item()) / (2 * h);
    EXPECT_NEAR(sum(g * direction).item(), slope, 1e-5 * (1 + std::abs(slope))) << name;
  }
}

TEST(Network, ABiasFollowsANormWithoutScale) {
  const Network network("biased", {3},
                        sequential(dense(4, /*bias=*/false), batch_norm({.affine = false, .bias_fan_in = 3})));
  ASSERT_EQ(network.weights().size(), 2u);
  EXPECT_EQ(network.weights()[1].name, "norm1.bias");
  EXPECT_EQ(network.weights()[1].role, Role::bias);
  const Tensor w = network.initial_weights(Initialization::fan_in_uniform, 2, DType::f64),
               bias = network.weight(w, "norm1.bias"), state = network.initial_state(DType::f64);
  const double largest = max(abs(bias)).item();
  EXPECT_GT(largest, 0);
  EXPECT_LE(largest, 1 / std::sqrt(3.0));
  EXPECT_EQ(max(abs(network.weight(network.initial_weights(Initialization::kaiming_normal, 2), "norm1.bias"))).item(),
            0);
  const Tensor x = normal({50, 3}, {2, 2}, step(0), DType::f64),
               h = matmul(x, transpose(network.weight(w, "dense1.weight"))), centred = h - mean(h, {0}),
               trained = network(w, state, x, Mode::train).output;
  EXPECT_LT(largest_difference(trained, centred / sqrt(mean(square(centred), {0}) + 1e-5) + bias), 1e-12);
  const Tensor evaluated = network(w, state, x, Mode::evaluate).output;  // mean 0 and variance 1
  EXPECT_LT(largest_difference(evaluated, h / std::sqrt(1 + 1e-5) + bias), 1e-12);
  EXPECT_THROW(batch_norm({.affine = true, .bias_fan_in = 3}), ValueError);
  EXPECT_THROW(batch_norm({.affine = false, .bias_fan_in = -1}), ValueError);
}

// Logits of the same mean and variance for every class, whatever the weights.
TEST(Network, OutputsOfTheHeatNetworkAreNormalised) {
  const Network network = make("heat_resnet34", {8, 8, 3}, 10);
  const Tensor w = network.initial_weights(Initialization::fan_in_uniform, 4, DType::f64),
               state = network.initial_state(DType::f64);
  const Tensor y = network(w, state, images({40, 8, 8, 3}, DType::f64), Mode::train).output, centred = y - mean(y, {0});
  EXPECT_LT(largest_difference(mean(y, {0}), network.weight(w, "norm4.bias")), 1e-9);
  const Tensor variances = mean(square(centred), {0});  // 1, less what the norm's epsilon takes
  EXPECT_LE(max(variances).item(), 1 + 1e-12);
  EXPECT_GT(min(variances).item(), 0.9);
}

TEST(Network, PiecesOfLayersWithoutAScopeHaveNamesOfTheirOwn) {
  const Network network("twice", {4}, residual(dense(4), nullptr, dense(4)));
  std::vector<std::string> names;
  for (const Piece& piece : network.weights()) names.push_back(piece.name);
  EXPECT_EQ(names, (std::vector<std::string>{"weight", "bias", "weight_2", "bias_2"}));
}

TEST(Network, BatchNormStateFollowsThePopulation) {
  const Network network("norm", {4}, batch_norm({.affine = false, .momentum = 0.1}));
  const Tensor x = normal({64, 4}, {2, 2}, step(0), DType::f64) * 3.0 + 1.0;
  Tensor state = network.initial_state(DType::f64);
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 0, DType::f64);
  for (int i = 0; i < 200; ++i) state = network(w, state, x, Mode::train).state;
  const Tensor batch_mean = mean(x, {0}), unbiased = sum(square(x - batch_mean), {0}) / 63.0;
  EXPECT_LT(largest_difference(slice(state, 0, 0, 4), batch_mean), 1e-8);
  EXPECT_LT(largest_difference(slice(state, 0, 4, 8), unbiased), 1e-8);
  EXPECT_FALSE(state.needs_grad());
}

TEST(Network, DropoutIsAFunctionOfKeyAndStep) {
  const Network network("drop", {50}, sequential(dropout(0.5), activation("abs"), dropout(0.5)));
  const Tensor x = ones({20, 50}), w = network.initial_weights(Initialization::kaiming_normal, 0);
  const auto run = [&](uint64_t seed, int number) {
    return network(w, {}, x, Mode::train, {seed, 0}, step(number)).output;
  };
  EXPECT_EQ(largest_difference(run(1, 1), run(1, 1)), 0);
  EXPECT_GT(largest_difference(run(1, 1), run(1, 2)), 0);
  EXPECT_GT(largest_difference(run(1, 1), run(2, 1)), 0);
  // Two independent masks of rate ½: a quarter survives, four times as large.
  EXPECT_NEAR(mean(run(3, 3)).item(), 1, 4 * std::sqrt(3.0 / 1000));
  EXPECT_EQ(largest_difference(network(w, {}, x, Mode::evaluate).output, x), 0);
  EXPECT_THROW(network(w, {}, x, Mode::train), ValueError);
}

TEST(Network, InitializationsHaveTheirDeviations) {
  const Network network("wide", {400}, sequential(dense(300), relu(), dense(10)));
  const auto deviation = [&](Initialization how) {
    const Tensor w = network.weight(network.initial_weights(how, 11), "dense1.weight");
    return std::sqrt(mean(square(w)).item());
  };
  const double in = 400, out = 300, tolerance = 4 / std::sqrt(2.0 * 120000);
  EXPECT_NEAR(deviation(Initialization::fan_in_uniform) * std::sqrt(3 * in), 1, tolerance);
  EXPECT_NEAR(deviation(Initialization::kaiming_uniform) / std::sqrt(2 / in), 1, tolerance);
  EXPECT_NEAR(deviation(Initialization::kaiming_normal) / std::sqrt(2 / in), 1, tolerance);
  EXPECT_NEAR(deviation(Initialization::xavier_uniform) / std::sqrt(2 / (in + out)), 1, tolerance);
  EXPECT_NEAR(deviation(Initialization::xavier_normal) / std::sqrt(2 / (in + out)), 1, tolerance);
  EXPECT_NEAR(deviation(Initialization::ibp) / (std::sqrt(2 * 3.141592653589793) / in), 1, tolerance);
  const Tensor ibp = network.initial_weights(Initialization::ibp, 11);
  EXPECT_LE(max(abs(network.weight(ibp, "dense2.weight"))).item(), 1 / std::sqrt(300.0) + 1e-7)
      << "the last layer keeps the default";
  EXPECT_EQ(initialization_named("xavier_normal"), Initialization::xavier_normal);
  EXPECT_THROW(initialization_named("zero"), ValueError);
}

TEST(Network, ErrorsNameWhatIsWrong) {
  const Network network = make("cnn3_tiny", {28, 28, 1}, 10);
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 0);
  EXPECT_THROW(network(zeros({7}), images({1, 28, 28, 1})), ShapeError);
  EXPECT_THROW(network(w, images({1, 28, 28, 3})), ShapeError);
  EXPECT_THROW(network(w, images({28, 28, 1})), ShapeError);
  EXPECT_THROW(network.weight(w, "conv9.weight"), ValueError);
  EXPECT_THROW(make("cnn9", {28, 28, 1}, 10), ValueError);
  EXPECT_THROW(make("cnn", {2, 2, 1}, 10), ShapeError);
  EXPECT_THROW(activation("cube"), ValueError);
  EXPECT_THROW(Network("odd", {4}, residual(dense(3))), ShapeError);
  try {
    network(w, images({2, 14, 14, 1}));
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("[2, 14, 14, 1]"), std::string::npos) << error.what();
  }
  try {
    network(w, images({28, 28, 1}));
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_NE(std::string(error.what()).find("without the axis of the batch; needs [1, 28, 28, 1]"), std::string::npos)
        << error.what();
  }
}

TEST(Network, SameBitsForAnyNumberOfThreads) {
  const int before = num_threads();
  const Network network = make("resnet18", {16, 16, 3}, 10);
  const Tensor w = network.initial_weights(Initialization::kaiming_normal, 3), state = network.initial_state();
  const Tensor x = images({8, 16, 16, 3}), labels = Tensor::from(std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7}, {8});
  std::vector<float> first;
  for (int threads : {1, 2, 4}) {
    set_num_threads(threads);
    const auto g = grad([&](const Tensor& weights) {
                     return mean_cross_entropy(network(weights, state, x, Mode::train).output, labels);
                   })(w)
                       .to_vector<float>();
    if (first.empty()) first = g;
    EXPECT_EQ(first, g) << threads << " threads";
  }
  set_num_threads(before);
}

TEST(Losses, AgreeWithTheirDefinitions) {
  const Tensor logits = Tensor::from(std::vector<double>{1, 2, 3, 0, 0, 5}, {2, 3}),
               labels = Tensor::from(std::vector<int32_t>{2, 0}, {2});
  const double first = std::log(std::exp(1) + std::exp(2) + std::exp(3)) - 3, second = std::log(2 + std::exp(5));
  EXPECT_NEAR(mean_cross_entropy(logits, labels).item(), (first + second) / 2, 1e-12);
  EXPECT_NEAR(mean_squared_error(logits, labels).item(), (1 + 4 + 4 + 1 + 0 + 25) / 2.0, 1e-12);
  const Tensor targets = Tensor::from(std::vector<double>{0.5, 2, 3, 0, -1, 5}, {2, 3});
  EXPECT_NEAR(mean_squared_error(logits, targets).item(), (0.25 + 1) / 2, 1e-12);
  const Tensor column = Tensor::from(std::vector<double>{1, 4}, {2, 1}),
               numbers = Tensor::from(std::vector<double>{2, 7}, {2});
  EXPECT_NEAR(mean_squared_error(column, numbers).item(), (1 + 9) / 2.0, 1e-12) << "no sum over pairs";
  EXPECT_THROW(mean_squared_error(logits, numbers), ShapeError);
  EXPECT_THROW(mean_squared_error(sum(logits), numbers), ShapeError);
  EXPECT_EQ(accuracy(logits, labels), 0.5);
  EXPECT_EQ(accuracy(logits, reshape(labels, {labels.size(), 1})), 0.5);
  EXPECT_THROW(accuracy(logits, reshape(labels, {1, labels.size()})), ShapeError);
  EXPECT_THROW(mean_cross_entropy(logits, Tensor::from(std::vector<int32_t>{3, 0}, {2})), ValueError);
}

}  // namespace
}  // namespace mollify::nn
