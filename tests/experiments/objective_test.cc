// What objectives train on: their boxes, radii and how they answer requests that cannot be met.
#include <mollify/experiments/robustness/pixel_ball.h>
#include <mollify/experiments/training/settings.h>
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

using Texts = TrainSettings::Texts;

// Objectives with a ball around every image.
std::vector<std::string> ball_objectives() {
  std::vector<std::string> names = objective_names();
  std::erase_if(names, [](const std::string& name) { return !find(make_objective(name)->options(), "eps"); });
  return names;
}

Texts options_for(const std::string& objective, const Texts& more = {}) {
  Texts texts{{"objective", objective}, {"eps", "0.1"}, {"epochs", "4"}, {"eps-start", "1"}, {"eps-epochs", "2"}};
  for (const auto& [name, text] : more) texts[name] = text;
  return texts;
}

// An objective that is ready to train cnn3_tiny; ten batches make an epoch.
struct Prepared {
  nn::Network network;
  datasets::Preparation preparation = {};
  Timetable timetable{100, {10}};
  TrainSettings settings;

  Prepared(const Texts& texts, const std::string& model) : network(nn::make(model, {12, 12, 1}, 4)), settings(texts) {
    settings.resolve();
    settings.objective().prepare({network, preparation, timetable, nn::mean_cross_entropy, Device::cpu, 0});
  }
};

struct Case {
  nn::Network network = nn::make("cnn3_tiny", {12, 12, 1}, 4);
  Tensor weights = network.initial_weights(nn::Initialization::ibp, 1);
  Tensor images = drawn({6, 12, 12, 1}, kImages), labels = Tensor::from(std::vector<int32_t>{0, 1, 2, 3, 0, 1}, {6});
  double loss(const Texts& texts, int64_t step) const {
    Prepared prepared(texts, "cnn3_tiny");
    Objective& objective = prepared.settings.objective();
    objective.advance(step);
    const Tensor state = network.initial_state(), indices = arange(6, DType::i32);
    const Tensors inputs = objective.inputs(weights, state, {images, labels, indices});
    return objective(weights, state, inputs, Tensor::scalar(0, DType::i32)).loss.item();
  }
};

TEST(Objective, RadiusGrowsByStepAfterItsStart) {
  Prepared prepared(options_for("ibp"), "cnn3_tiny");
  const auto radius = [&](int64_t step) { return *prepared.settings.objective().radius(step); };
  EXPECT_EQ(radius(9), 0);
  EXPECT_EQ(radius(10), 0);
  EXPECT_NEAR(radius(15), 0.1 / 13, 1e-12);
  EXPECT_LT(radius(29), 0.1);
  EXPECT_EQ(radius(30), 0.1);
  EXPECT_FALSE(make_objective("natural")->radius(0).has_value());
}

// Of the terms natural, bounded, walked, boxed and regularized.
TEST(Objective, PhasesTellWhichTermsAStepHas) {
  Prepared prepared(options_for("crown-ibp", {{"mix", "0"}, {"kappa-start", "1"}}), "cnn3_tiny");
  Objective& objective = prepared.settings.objective();
  const auto phase = [&](int64_t step) {
    objective.advance(step);
    return objective.phase();
  };
  EXPECT_EQ(phase(9), 0b00001);
  EXPECT_EQ(phase(10), 0b00001);  // the natural loss's share is still 1
  EXPECT_EQ(phase(20), 0b11111);
  EXPECT_EQ(phase(21), phase(29));
  EXPECT_EQ(phase(30), 0b01010);
}

TEST(Objective, EveryOneGoesFromTheNaturalLossToItsOwn) {
  const Case c;
  const double natural = nn::mean_cross_entropy(c.network(c.weights, c.images), c.labels).item();
  for (const std::string& name : ball_objectives()) {
    EXPECT_NEAR(c.loss(options_for(name), 0), natural, 1e-6) << name;
    const double grown = c.loss(options_for(name), 30);
    EXPECT_GT(grown, natural) << name;
    if (name == "pgd") continue;
    EXPECT_NEAR(c.loss(options_for(name, {{"kappa", "1"}}), 30), natural, 1e-6) << name;
    EXPECT_NEAR(c.loss(options_for(name, {{"kappa", "0.5"}}), 30), (natural + grown) / 2, 1e-5) << name;
  }
}

// Each mean is over the same images: an attack below a bound, tighter bounds below looser ones.
TEST(Objective, LossesAreOrdered) {
  const Case c;
  std::map<std::string, double> loss;
  for (const std::string& name : ball_objectives()) loss[name] = c.loss(options_for(name), 30);
  for (const char* bound : {"ibp", "hbox", "deepz", "crown-ibp", "deeppoly", "alpha-crown", "mtl-ibp"})
    EXPECT_LE(loss["pgd"], loss[bound] + 1e-6) << bound;
  EXPECT_LE(loss["hbox"], loss["ibp"] + 1e-6);
  EXPECT_LE(loss["sabr"], loss["ibp"]);
  EXPECT_LE(loss["mtl-ibp"], loss["ibp"]);
  EXPECT_LE(loss["alpha-crown"], loss["deeppoly"] + 1e-6);
  for (const auto& [objective, option, text] :
       {std::tuple{"sabr", "sabr-lambda", "1"}, {"crown-ibp", "mix", "0"}, {"mtl-ibp", "mtl-alpha", "1"}})
    EXPECT_NEAR(c.loss(options_for(objective, {{option, text}}), 30), loss["ibp"], 1e-5) << objective;
}

TEST(Objective, WeightNormAndRegularizerAdd) {
  const Case c;
  const Texts plain_options = options_for("ibp", {{"regularizer", "0"}});
  const double plain = c.loss(plain_options, 20), last = c.loss(plain_options, 30);
  EXPECT_GT(c.loss(options_for("ibp", {{"regularizer", "2"}}), 20), plain);
  EXPECT_EQ(c.loss(options_for("ibp", {{"regularizer", "2"}}), 30), last);
  EXPECT_GT(c.loss(options_for("ibp", {{"regularizer", "0"}, {"l1", "0.01"}}), 30), last);
}

TEST(Settings, RequestsThatCannotBeMetThrow) {
  const auto fault = [](const Texts& texts, const char* part) {
    try {
      TrainSettings(texts).resolve();
      return std::string("nothing thrown");
    } catch (const UsageError& error) {
      const std::string text = error.what();
      return text.find(part) == std::string::npos ? text : std::string();
    }
  };
  EXPECT_EQ(fault({{"objective", "ibp"}}, "--eps: not given; --objective ibp needs a radius above 0"), "");
  EXPECT_EQ(fault({{"eps", "0.1"}}, "--eps: 0.1 given with --objective natural; it is an option of pgd, ibp"), "");
  EXPECT_EQ(fault(options_for("ibp", {{"input-noise", "0.1"}}), "--input-noise"), "");
  EXPECT_EQ(fault(options_for("sabr", {{"loss", "squared_error"}}), "--loss: squared_error given"), "");
  EXPECT_EQ(fault(options_for("ibp", {{"fusion", "true"}}), "it is an option of deepz, crown-ibp, deeppoly"), "");
  EXPECT_EQ(fault(options_for("hbox", {{"mix", "0.5"}}), "--mix: 0.5 given with --objective hbox"), "");
  EXPECT_EQ(fault(options_for("crown-ibp", {{"mix", "0.5"}, {"fusion", "true"}}), "--mix: 0.5 given with --fusion"),
            "");
  EXPECT_EQ(fault(options_for("ibp", {{"eps-epochs", "9"}}), "--eps-epochs: the radius has grown after 10 epochs"), "");
  EXPECT_EQ(fault(options_for("ibp", {{"milestones", "3,2"}}), "--milestones: 3,2 given"), "");
  EXPECT_EQ(fault({{"l1", "1e-6"}}, "--l1: 1e-6 given with --objective natural"), "");
  EXPECT_EQ(
      fault(options_for("pgd", {{"kappa", "0.5"}}), "--kappa: 0.5 given with --objective pgd; it is an option of ibp"),
      "");
  EXPECT_THROW(Prepared(options_for("ibp"), "lenet_300_100"), UsageError);  // statistics that move
}

// Settings are written and read without loss, and every option of every method has one description.
TEST(Settings, RoundTripAndShareDescriptions) {
  std::map<std::string, std::string> help;
  std::vector<std::pair<std::string, Texts>> methods;
  for (const std::string& name : objective_names())
    methods.emplace_back(name, Texts{{"objective", name}, {"lr", "0.3"}});
  for (auto& [name, texts] : methods) {
    const Options own = make_objective(name)->options();
    if (find(own, "eps")) texts = options_for(name, {{"l1", "0.25"}});
    if (find(own, "noise")) texts["noise"] = "0.1";
    if (find(own, "teacher")) texts["teacher"] = "weights.safetensors";
  }
  for (const std::string& name : estimator_names())
    methods.emplace_back(name, Texts{{"gradient", name}, {"mask", "random"}, {"mask-share", "0.3"}});
  for (const auto& [name, texts] : methods) {
    TrainSettings settings(texts);
    settings.resolve();
    EXPECT_EQ(TrainSettings::from_json("file", settings.to_json()).to_json(), settings.to_json()) << name;
    for (const Option& option : settings.options()) {
      const auto [known, added] = help.emplace(option.description.name, option.description.help);
      EXPECT_EQ(known->second, option.description.help) << option.description.name << " of " << name;
    }
  }
  EXPECT_EQ(help.size(), all_train_options().size());
  EXPECT_THROW(TrainSettings::from_json("file", "{}"), FormatError);
  EXPECT_THROW(TrainSettings::from_json("file", "{\"objective\": \"of_nobody\"}"), FormatError);
  EXPECT_THROW(TrainSettings::from_json("file", "{\"objective\": \"natural\", \"gradient\": \"of_nobody\"}"),
               FormatError);
}

}  // namespace
}  // namespace mollify::experiments
