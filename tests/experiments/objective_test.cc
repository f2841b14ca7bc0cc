// What objectives train on: their boxes, radii and how they answer requests that cannot be met.
#include <mollify/experiments/objective.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>

#include <gtest/gtest.h>

namespace mollify::experiments {
namespace {

constexpr uint64_t kImages = 1, kAttack = 2;

Tensor drawn(const Shape& shape, uint64_t stream) { return uniform(shape, {3, stream}, Tensor::scalar(0, DType::i32)); }

Tensor number(double value) { return Tensor::scalar(value); }

double largest(const Tensor& x) { return max(x).item(); }

datasets::Preparation colour() {
  datasets::Preparation preparation;
  preparation.mean = {0.5f, 0.4f, 0.3f};
  preparation.deviation = {0.25f, 0.2f, 0.5f};
  return preparation;
}

// Pixels as the network sees them, with many black and white ones.
Tensor prepared(const Tensor& pixels) {
  return (pixels - Tensor::from(std::vector<float>{0.5f, 0.4f, 0.3f}, {3})) /
         Tensor::from(std::vector<float>{0.25f, 0.2f, 0.5f}, {3});
}
Tensor pixels() { return clip(drawn({4, 5, 5, 3}, kImages) * 1.4 - 0.2, 0, 1); }

TEST(PixelBall, IsTheBallOfPixels) {
  const double epsilon = 0.1;
  const nn::bounds::Box ball = pixel_ball(prepared(pixels()), number(epsilon), colour());
  EXPECT_LT(largest(abs(ball.lower - prepared(clip(pixels() - epsilon, 0, 1)))), 2e-6);
  EXPECT_LT(largest(abs(ball.upper - prepared(clip(pixels() + epsilon, 0, 1)))), 2e-6);
  const nn::bounds::Box outward = pixel_ball(prepared(pixels()), number(epsilon), colour(), true);
  const nn::bounds::Box gray = pixel_ball(pixels(), number(epsilon), datasets::Preparation());
  EXPECT_LE(largest(outward.lower - ball.lower), 0);
  EXPECT_LE(largest(ball.upper - outward.upper), 0);
  EXPECT_LT(largest(outward.upper - ball.upper), 1e-5);
  EXPECT_GE(min(gray.lower).item(), 0);
  EXPECT_LE(largest(gray.upper), 1);
}

TEST(SmallBox, LiesInTheBallWithItsRadius) {
  const double epsilon = 0.1;
  for (const double lambda : {0.1, 0.4, 1.0}) {
    const Tensor images = prepared(pixels()), unit = Tensor::from(std::vector<float>{4, 5, 2}, {3});
    const nn::bounds::Box ball = pixel_ball(images, number(epsilon), colour());
    const Tensor attack =
        ball.lower + (ball.upper - ball.lower) * drawn(images.shape(), kAttack);  // anywhere in the whole ball
    const nn::bounds::Box small =
        small_box(images, attack, number(lambda * epsilon), number((1 - lambda) * epsilon), colour());
    EXPECT_LE(largest(ball.lower - small.lower), 2e-6) << lambda;
    EXPECT_LE(largest(small.upper - ball.upper), 2e-6) << lambda;
    const Tensor width = (small.upper - small.lower) / unit;
    EXPECT_LE(largest(width), 2 * lambda * epsilon + 2e-6);
    EXPECT_NEAR(largest(width), 2 * lambda * epsilon, 2e-6);  // away from the ends of the pixels' range
    const Tensor inner = pixels(), margin = minimum(inner, 1.0 - inner);
    const Tensor far = cast(greater(margin, Tensor::scalar(epsilon)), DType::f32);
    EXPECT_LT(largest(abs(width - 2 * lambda * epsilon) * far), 2e-6);
  }
}

TrainOptions options_for(const std::string& objective) {
  TrainOptions options;
  options.objective = objective;
  options.epsilon = 0.1;
  options.epochs = 4;
  options.epsilon_start = 1;
  options.epsilon_epochs = 2;
  return options;
}

struct Case {
  nn::Network network = nn::make("cnn3_tiny", {12, 12, 1}, 4);
  Tensor weights = network.initial_weights(nn::Initialization::ibp, 1);
  Tensor images = drawn({6, 12, 12, 1}, kImages), labels = Tensor::from(std::vector<int32_t>{0, 1, 2, 3, 0, 1}, {6});
  double loss(TrainOptions options, int64_t step) const {
    resolve(options);
    Objective objective(options, network, {}, 10, nn::mean_cross_entropy);
    objective.advance(step);
    const Tensor state = network.initial_state();
    return objective(weights, state, objective.inputs(weights, state, images, labels)).loss.item();
  }
};

TEST(Objective, RadiusGrowsByStepAfterItsStart) {
  TrainOptions options = options_for("ibp");
  resolve(options);
  const Case c;
  const Objective objective(options, c.network, {}, 10, nn::mean_cross_entropy);
  EXPECT_EQ(objective.epsilon(9), 0);
  EXPECT_EQ(objective.epsilon(10), 0);
  EXPECT_NEAR(objective.epsilon(15), 0.1 / 13, 1e-12);
  EXPECT_LT(objective.epsilon(29), 0.1);
  EXPECT_EQ(objective.epsilon(30), 0.1);
}

TEST(Objective, PhasesTellWhichTermsAStepHas) {
  TrainOptions options = options_for("crown-ibp");
  options.mix = 0;
  options.kappa_start = 1;
  resolve(options);
  const Case c;
  Objective objective(options, c.network, {}, 10, nn::mean_cross_entropy);
  using Phase = Objective::Phase;
  const auto phase = [&](int64_t step) {
    objective.advance(step);
    return objective.phase();
  };
  EXPECT_EQ(phase(9), (Phase{.natural = true}));
  EXPECT_EQ(phase(10), (Phase{.natural = true}));  // the natural loss's share is still 1
  EXPECT_EQ(phase(20), (Phase{.natural = true, .bounded = true, .walked = true, .boxed = true, .regularized = true}));
  EXPECT_EQ(phase(21), phase(29));
  EXPECT_EQ(phase(30), (Phase{.bounded = true, .boxed = true}));
}

TEST(Objective, EveryOneGoesFromTheNaturalLossToItsOwn) {
  const Case c;
  const double natural = nn::mean_cross_entropy(c.network(c.weights, c.images), c.labels).item();
  for (const std::string& name : objective_names()) {
    if (name == "natural") continue;
    TrainOptions options = options_for(name);
    EXPECT_NEAR(c.loss(options, 0), natural, 1e-6) << name;
    const double grown = c.loss(options, 30);
    EXPECT_GT(grown, natural) << name;
    if (name == "pgd") continue;
    options.kappa = 1;
    EXPECT_NEAR(c.loss(options, 30), natural, 1e-6) << name;
    options.kappa = 0.5;
    EXPECT_NEAR(c.loss(options, 30), (natural + grown) / 2, 1e-5) << name;
  }
}

// Each mean is over the same images: an attack below a bound, tighter bounds below looser ones.
TEST(Objective, LossesAreOrdered) {
  const Case c;
  std::map<std::string, double> loss;
  for (const std::string& name : objective_names())
    if (name != "natural") loss[name] = c.loss(options_for(name), 30);
  for (const char* bound : {"ibp", "hbox", "deepz", "crown-ibp", "deeppoly", "alpha-crown", "mtl-ibp"})
    EXPECT_LE(loss["pgd"], loss[bound] + 1e-6) << bound;
  EXPECT_LE(loss["hbox"], loss["ibp"] + 1e-6);
  EXPECT_LE(loss["sabr"], loss["ibp"]);
  EXPECT_LE(loss["mtl-ibp"], loss["ibp"]);
  EXPECT_LE(loss["alpha-crown"], loss["deeppoly"] + 1e-6);
  TrainOptions sabr = options_for("sabr"), mixed = options_for("crown-ibp"), mtl = options_for("mtl-ibp");
  sabr.sabr_lambda = 1;
  mixed.mix = 0;
  mtl.mtl_alpha = 1;
  for (const TrainOptions& same : {sabr, mixed, mtl})
    EXPECT_NEAR(c.loss(same, 30), loss["ibp"], 1e-5) << same.objective;
}

TEST(Objective, WeightNormAndRegularizerAdd) {
  const Case c;
  TrainOptions options = options_for("ibp");
  options.regularizer = 0;
  const double plain = c.loss(options, 20), last = c.loss(options, 30);
  options.regularizer = 2;
  EXPECT_GT(c.loss(options, 20), plain);
  EXPECT_EQ(c.loss(options, 30), last);
  options.regularizer = 0;
  options.l1 = 0.01;
  EXPECT_GT(c.loss(options, 30), last);
}

TEST(Objective, RequestsThatCannotBeMetThrow) {
  const auto fault = [](TrainOptions options, const char* part) {
    try {
      resolve(options);
      return std::string("nothing thrown");
    } catch (const UsageError& error) {
      const std::string text = error.what();
      return text.find(part) == std::string::npos ? text : std::string();
    }
  };
  TrainOptions missing = options_for("ibp"), natural = options_for("natural"), noise = options_for("ibp"),
               squares = options_for("sabr");
  TrainOptions fusion = options_for("ibp"), mix = options_for("hbox"), late = options_for("ibp"),
               disorder = options_for("ibp");
  missing.epsilon = 0;
  noise.input_noise = 0.1;
  squares.loss = "squared_error";
  fusion.fusion = true;
  mix.mix = 0.5;
  late.epsilon_epochs = 9;
  disorder.milestones = "3,2";
  EXPECT_EQ(fault(missing, "--eps: not given"), "");
  EXPECT_EQ(fault(natural, "--eps: 0.1 given with --objective natural"), "");
  EXPECT_EQ(fault(noise, "--input-noise"), "");
  EXPECT_EQ(fault(squares, "--loss: squared_error given"), "");
  EXPECT_EQ(fault(fusion, "--fusion"), "");
  EXPECT_EQ(fault(mix, "--mix: 0.5 given"), "");
  EXPECT_EQ(fault(late, "--eps-epochs: the radius has grown after 10 epochs"), "");
  EXPECT_EQ(fault(disorder, "--milestones: 3,2 given"), "");
  TrainOptions norm = options_for("natural"), share = options_for("pgd");
  norm.epsilon = 0;
  norm.l1 = 1e-6;
  share.kappa = 0.5;
  EXPECT_EQ(fault(norm, "--l1: 1e-06 given"), "");
  EXPECT_EQ(fault(share, "--kappa, --kappa-start or --regularizer: given with --objective pgd"), "");
  TrainOptions normalised = options_for("ibp");
  resolve(normalised);
  const nn::Network with_statistics = nn::make("lenet_300_100", {12, 12, 1}, 4);
  EXPECT_THROW(Objective(normalised, with_statistics, {}, 10, nn::mean_cross_entropy), UsageError);
}

}  // namespace
}  // namespace mollify::experiments
