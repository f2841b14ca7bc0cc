// Training for Gaussian noise: what each objective's loss is, by its paper's formula written out.
#include <mollify/engine/grad.h>
#include <mollify/experiments/training/settings.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/randomized/noise.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mollify::experiments {
namespace {

using Texts = TrainSettings::Texts;
using Rows = std::vector<std::vector<double>>;

constexpr double kSigma = 0.3;
const char* const kNames[] = {"gaussian", "smoothadv", "consistency", "macer", "smoothmix"};

Tensor index(int64_t value) { return Tensor::scalar(static_cast<double>(value), DType::i32); }

datasets::Preparation colour() {
  datasets::Preparation preparation;
  preparation.mean = {0.5f, 0.4f, 0.3f};
  preparation.deviation = {0.25f, 0.2f, 0.5f};
  return preparation;
}

// An objective on a small network of colour images, ten steps an epoch.
struct Case {
  nn::Network network = nn::make("cnn3_tiny", {12, 12, 3}, 4);
  datasets::Preparation preparation = colour();
  Tensor weights = network.initial_weights(nn::Initialization::kaiming_normal, 1), state = network.initial_state();
  Tensor pixels = uniform({6, 12, 12, 3}, {3, 1}, index(0));
  Tensor unit = 1.0 / Tensor::from(preparation.deviation, {3}), mean = Tensor::from(preparation.mean, {3});
  Tensor images = (pixels - mean) * unit;
  Tensor labels = Tensor::from(std::vector<int32_t>{0, 1, 2, 3, 0, 1}, {6});
  Tensor numbers = Tensor::from(std::vector<int32_t>{7, 3, 11, 0, 5, 2}, {6});
  Timetable timetable{60, {6}};

  std::unique_ptr<TrainSettings> settings(const std::string& name, Texts texts = {}) const {
    texts.insert({{"objective", name}, {"noise", "0.3"}, {"epochs", "40"}});
    auto made = std::make_unique<TrainSettings>(texts);
    made->resolve();
    made->objective().prepare({network, preparation, timetable, nn::mean_cross_entropy, Device::cpu, 4});
    return made;
  }
  Objective::Result result(const Objective& objective, int64_t step) const {
    const Tensors in = objective.inputs(weights, state, {images, labels, numbers});
    return objective(weights, state, in, index(step));
  }
  Objective::Result result(const std::string& name, int64_t step, const Texts& texts = {}) const {
    const auto made = settings(name, texts);
    made->objective().advance(step);
    return result(made->objective(), step);
  }
  // Log-probabilities of images under a draw of training noise.
  Rows log_probabilities(const Tensor& x, int64_t draw, smoothing::NoiseUse use = smoothing::NoiseUse::training) const {
    const Tensor z = smoothing::gaussian_noise(x.shape(), {kSigma, 4}, use, numbers, index(draw));
    return rows_of(log_softmax(network(weights, x + z * unit)));
  }
  static Rows rows_of(const Tensor& x) {
    const std::vector<double> all = cast(x, DType::f64).to_vector<double>();
    Rows rows;
    for (int64_t i = 0; i < x.dim(0); ++i)
      rows.emplace_back(all.begin() + i * x.dim(1), all.begin() + (i + 1) * x.dim(1));
    return rows;
  }
  double cross_entropy_of(const std::vector<Rows>& draws) const {
    const std::vector<int32_t> y = labels.to_vector<int32_t>();
    double sum = 0;
    for (const Rows& rows : draws)
      for (size_t i = 0; i < rows.size(); ++i) sum -= rows[i][static_cast<size_t>(y[i])];
    return sum / static_cast<double>(draws.size() * y.size());
  }
};

Rows mean_probabilities(const std::vector<Rows>& draws) {
  Rows mean(draws[0].size(), std::vector<double>(draws[0][0].size()));
  for (const Rows& rows : draws)
    for (size_t i = 0; i < rows.size(); ++i)
      for (size_t c = 0; c < rows[i].size(); ++c)
        mean[i][c] += std::exp(rows[i][c]) / static_cast<double>(draws.size());
  return mean;
}

TEST(NoisyObjective, GaussianIsTheLossUnderAStepsDraws) {
  const Case c;
  for (const int64_t step : {0, 7}) {
    EXPECT_NEAR(c.result("gaussian", step).loss.item(), c.cross_entropy_of({c.log_probabilities(c.images, step)}),
                1e-6);
    const std::vector<Rows> three = {c.log_probabilities(c.images, 3 * step),
                                     c.log_probabilities(c.images, 3 * step + 1),
                                     c.log_probabilities(c.images, 3 * step + 2)};
    EXPECT_NEAR(c.result("gaussian", step, {{"noise-draws", "3"}}).loss.item(), c.cross_entropy_of(three), 1e-6);
  }
}

TEST(NoisyObjective, ConsistencyAddsDivergenceAndEntropy) {
  const Case c;
  const std::vector<Rows> draws = {c.log_probabilities(c.images, 10), c.log_probabilities(c.images, 11)};
  const Rows mean = mean_probabilities(draws);
  double divergence = 0, entropy = 0;
  for (size_t i = 0; i < 6; ++i)
    for (size_t k = 0; k < 4; ++k) {
      entropy -= mean[i][k] * std::log(mean[i][k]) / 6;
      for (const Rows& rows : draws) divergence += mean[i][k] * (std::log(mean[i][k]) - rows[i][k]) / 12;
    }
  const auto found = c.result("consistency", 5, {{"consistency-lambda", "7"}, {"consistency-eta", "0.3"}});
  EXPECT_NEAR(found.loss.item(), c.cross_entropy_of(draws) + 7 * divergence + 0.3 * entropy, 1e-5);
  EXPECT_NEAR(found.terms[0].item(), c.cross_entropy_of(draws), 1e-6);
  EXPECT_NEAR(found.terms[1].item(), divergence, 1e-6);
  EXPECT_NEAR(found.terms[2].item(), entropy, 1e-6);
  EXPECT_EQ(found.outputs.shape(), (Shape{6, 4}));
}

double quantile(double p) { return normal_quantile(Tensor::scalar(p, DType::f64)).item(); }

TEST(NoisyObjective, MacerAddsRadiiOfImagesThatAreRight) {
  const Case c;
  const int64_t m = 3, step = 2;
  const double beta = 4, gamma = 1.5, lambda = 5;
  const std::vector<int32_t> y = c.labels.to_vector<int32_t>();
  Rows sharp(6, std::vector<double>(4)), soft = sharp;
  for (int64_t draw = 0; draw < m; ++draw) {
    const Tensor z = smoothing::gaussian_noise(c.images.shape(), {kSigma, 4}, smoothing::NoiseUse::training, c.numbers,
                                               index(step * m + draw));
    const Tensor outputs = c.network(c.weights, c.images + z * c.unit);
    const Rows p = Case::rows_of(softmax(outputs)), q = Case::rows_of(softmax(outputs * beta));
    for (size_t i = 0; i < 6; ++i)
      for (size_t k = 0; k < 4; ++k) {
        soft[i][k] += p[i][k] / m;
        sharp[i][k] += q[i][k] / m;
      }
  }
  double natural = 0, robustness = 0;
  int counted = 0;
  for (size_t i = 0; i < 6; ++i) {
    natural -= std::log(soft[i][static_cast<size_t>(y[i])] + 1e-10) / 6;
    std::vector<double> sorted = sharp[i];
    std::sort(sorted.rbegin(), sorted.rend());
    const double gap = quantile(sorted[1]) - quantile(sorted[0]);
    if (sharp[i][static_cast<size_t>(y[i])] != sorted[0] || !(std::abs(gap) <= gamma)) continue;
    robustness += (gap + gamma) * kSigma / 2 / 6;
    ++counted;
  }
  EXPECT_TRUE(counted > 0 && counted < 6) << counted;
  const auto found = c.result(
      "macer", step, {{"noise-draws", "3"}, {"macer-beta", "4"}, {"macer-gamma", "1.5"}, {"macer-lambda", "5"}});
  EXPECT_NEAR(found.loss.item(), natural + lambda * robustness, 1e-5);
  EXPECT_NEAR(found.terms[1].item(), robustness, 1e-5);
}

TEST(NoisyObjective, GradientsAreFiniteWhereQuantilesAreNot) {
  const Case c;
  const Texts sure = {{"noise-draws", "2"}, {"macer-beta", "10000"}};  // probabilities of 0 and 1
  const auto made = c.settings("macer", sure);
  const auto gradient = grad([&](const Tensor& w) {
    return made->objective()(w, c.state, {c.images, c.labels, c.numbers}, index(0)).loss;
  })(c.weights);
  EXPECT_TRUE(all(equal(gradient, gradient)).item());
  EXPECT_GT(norm(gradient).item(), 0);
}

TEST(NoisyObjective, SmoothAdvTrainsOnWorseImagesUnderTheDrawsOfItsAttack) {
  const Case c;
  for (const char* attack : {"pgd", "ddn"}) {
    const Texts texts = {{"l2-eps", "0.8"}, {"l2-steps", "6"}, {"smoothadv-warmup", "4"}, {"smoothadv-attack", attack}};
    const auto made = c.settings("smoothadv", texts);
    const int64_t step = 15;  // in the second of four epochs of warm-up
    made->objective().advance(step);
    const Tensors in = made->objective().inputs(c.weights, c.state, {c.images, c.labels, c.numbers});
    const Tensor moved = in[0] / c.unit + c.mean;
    EXPECT_LE(max(norm(moved - c.pixels, {1, 2, 3})).item(), 0.4 + 1e-5);
    if (attack == std::string("pgd")) { EXPECT_GT(min(norm(moved - c.pixels, {1, 2, 3})).item(), 0.01); }
    EXPECT_TRUE(min(moved).item() > -1e-6 && max(moved).item() < 1 + 1e-6);
    const auto by_draw = [&](const Tensor& x) {
      return std::vector<Rows>{c.log_probabilities(x, 2 * step, smoothing::NoiseUse::attack),
                               c.log_probabilities(x, 2 * step + 1, smoothing::NoiseUse::attack)};
    };
    const auto soft_loss = [&](const Tensor& x) {
      const Rows p = mean_probabilities(by_draw(x));
      const std::vector<int32_t> y = c.labels.to_vector<int32_t>();
      double sum = 0;
      for (size_t i = 0; i < 6; ++i) sum -= std::log(p[i][static_cast<size_t>(y[i])]);
      return sum;
    };
    if (attack == std::string("pgd")) { EXPECT_GT(soft_loss(in[0]), soft_loss(c.images) + 0.1); }
    EXPECT_NEAR(c.result(made->objective(), step).loss.item(), c.cross_entropy_of(by_draw(in[0])), 1e-5) << attack;
  }
  const auto bare = c.result("smoothadv", 0, {{"smoothadv-without-noise", "true"}, {"smoothadv-warmup", "0"}});
  EXPECT_EQ(bare.outputs.shape(), (Shape{6, 4}));
}

TEST(NoisyObjective, SmoothMixIsTheLossAndAMixedAnswersDivergence) {
  const Case c;
  const Texts still = {{"smoothmix-step", "1e-9"}, {"smoothmix-warmup", "0"}, {"smoothmix-eta", "2"}};
  const int64_t step = 3;
  const std::vector<Rows> draws = {c.log_probabilities(c.images, 6), c.log_probabilities(c.images, 7)};
  const Rows p = mean_probabilities(draws);
  const std::vector<int32_t> y = c.labels.to_vector<int32_t>();
  // The end of an attack that goes nowhere is the image: the answer is pulled to its own mix with the uniform one.
  const std::vector<double> half =
      cast(uniform_rows({6, 1}, {4, stream_of(Purpose::smoothing_noise, uint64_t{0xFF} << 32)}, c.numbers, index(step)),
           DType::f64)
          .to_vector<double>();
  double mixed = 0;
  int right = 0;
  for (size_t i = 0; i < 6; ++i) {
    if (std::max_element(p[i].begin(), p[i].end()) - p[i].begin() != y[i]) continue;
    ++right;
    const double w = half[i] / 2;
    for (const double q : p[i]) {
      const double target = (1 - w) * q + w / 4;
      mixed += target * std::log(target / q) / 6;
    }
  }
  EXPECT_TRUE(right > 0 && right < 6);
  const auto found = c.result("smoothmix", step, still);
  EXPECT_NEAR(found.terms[1].item(), mixed, 1e-5);
  EXPECT_NEAR(found.loss.item(), c.cross_entropy_of(draws) + 2 * mixed, 1e-4);
  // The weight grows by the epoch.
  const Texts warm = {{"smoothmix-step", "1e-9"}, {"smoothmix-warmup", "4"}, {"smoothmix-eta", "2"}};
  EXPECT_NEAR(c.result("smoothmix", step, warm).loss.item(), c.cross_entropy_of(draws) + 0.5 * mixed, 1e-4);
}

TEST(NoisyObjective, AnImagesNoiseIsItsOwnAndNewInEveryStep) {
  const Case c;
  for (const char* name : kNames) {
    const Texts texts = name == std::string("smoothadv") ? Texts{{"l2-steps", "1"}} : Texts{};
    const double first = c.result(name, 0, texts).loss.item();
    EXPECT_EQ(first, c.result(name, 0, texts).loss.item()) << name;
    EXPECT_NE(first, c.result(name, 1, texts).loss.item()) << name;
    Case turned;
    turned.images = flip(turned.images, 0);
    turned.pixels = flip(turned.pixels, 0);
    turned.labels = flip(turned.labels, 0);
    turned.numbers = packed(flip(turned.numbers, 0));
    EXPECT_NEAR(first, turned.result(name, 0, texts).loss.item(), 1e-5) << name;
  }
  const auto made = c.settings("gaussian");
  const Tensor noise = (made->objective().under_noise(c.images, c.numbers) - c.images) / c.unit;
  EXPECT_NEAR(std::sqrt(mean(square(noise)).item()), kSigma, 0.02);
}

TEST(NoisyObjective, NamesWhatItNeeds) {
  const auto fault = [](const Texts& texts) {
    try {
      TrainSettings settings(texts);
      settings.resolve();
    } catch (const UsageError& error) { return std::string(error.what()); }
    return std::string();
  };
  for (const char* name : kNames) EXPECT_NE(fault({{"objective", name}}).find("--noise: not given"), std::string::npos);
  EXPECT_NE(fault({{"objective", "heat"}, {"noise", "0.1"}}).find("--teacher: not given"), std::string::npos);
  EXPECT_NE(fault({{"objective", "gaussian"}, {"noise", "0.1"}, {"input-noise", "0.1"}}).find("--input-noise: 0.1"),
            std::string::npos);
  EXPECT_NE(fault({{"objective", "gaussian"}, {"noise", "0.1"}, {"macer-beta", "2"}}).find("it is an option of macer"),
            std::string::npos);
  EXPECT_NE(fault({{"objective", "smoothadv"}, {"noise", "0.1"}, {"l2-eps", "0"}}).find("--l2-eps: 0 given"),
            std::string::npos);
  // The published training where nothing else is asked for.
  TrainSettings usual({{"objective", "smoothadv"}, {"noise", "0.25"}});
  usual.resolve();
  EXPECT_EQ(usual.run().epochs, 150);
  EXPECT_EQ(usual.run().milestones, "50,100");
  EXPECT_EQ(*usual.run().step_factor, 0.1);
  EXPECT_EQ(*usual.run().weight_decay, 1e-4);
}

}  // namespace
}  // namespace mollify::experiments
