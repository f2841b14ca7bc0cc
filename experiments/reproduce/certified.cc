#include <mollify/experiments/reproduce/certified.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/evaluate.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/robustness/pixel_ball.h>
#include <mollify/nn/bounds/alpha_crown.h>
#include <mollify/nn/bounds/certified_loss.h>
#include <mollify/nn/losses.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using nn::bounds::Bounds;
using nn::bounds::Graph;
using nn::bounds::Method;

constexpr int64_t kVerifiedAtOnce = 20;

}  // namespace

CertifiedData load_certified(const std::string& data, const std::string& data_dir, int64_t train, int64_t test,
                             const std::string& option, Device device) {
  datasets::Splits images = load_images(data, data_dir, train, test, option);
  const datasets::Preparation preparation = plain_preparation(data);
  const Images prepared = prepare(images.test, preparation, device);
  return {std::move(images.train), std::move(images.test), preparation, prepared};
}

Tensor trained_weights(const CertifiedTraining& how, const CertifiedData& data, const std::filesystem::path& folder,
                       double checkpoint_minutes, Device device) {
  TrainSettings::Texts texts = how.more;
  texts.insert({{"data", how.data},
                {"model", how.model},
                {"objective", how.objective},
                {"init", "ibp"},
                {"optimizer", "adam"},
                {"weight-decay", "0"},
                {"lr", format("{}", how.rate)},
                {"epochs", std::to_string(how.epochs)},
                {"batch", std::to_string(how.batch)},
                {"seed", std::to_string(how.seed)},
                {"checkpoint-minutes", format("{}", checkpoint_minutes)}});
  if (how.objective != "natural")
    texts.insert(
        {{"eps", format("{}", how.epsilon)}, {"eps-test", "0"}, {"eps-epochs", std::to_string(how.ramp_epochs)}});
  const bool walks = how.objective == "deeppoly" || how.objective == "alpha-crown";
  if (walks && how.rows < how.batch) texts.insert({"rows", std::to_string(how.rows)});
  TrainSettings settings(texts);
  settings.resolve();
  Timetable timetable(data.train.size(), {how.batch});
  const int64_t steps = timetable.first_step(how.epochs);
  timetable.learning_rate = optim::milestones(how.rate, 0.2, {5 * steps / 7, 6 * steps / 7});
  auto optimizer =
      optim::adam(timetable.learning_rate, {.clip_norm = 10}, make_gradient(settings, timetable.learning_rate));
  return trained_weights(std::move(settings),
                         {.train = data.train,
                          .validation = {},
                          .test = data.test_data,
                          .training = data.preparation,
                          .plain = data.preparation,
                          .network = network_for(how.model, data.train),
                          .loss = nn::mean_cross_entropy,
                          .timetable = timetable,
                          .device = device,
                          .optimizer = std::move(optimizer)},
                         folder);
}

std::vector<bool> proven(const Tensor& margins) {
  std::vector<bool> out;
  for (const float least : min(margins, {1}).to_vector<float>()) out.push_back(least > 0 && std::isfinite(least));
  return out;
}

const std::vector<std::string>& certified_stages() {
  static const std::vector<std::string> stages = {"ibp", "crown-ibp", "crown", "alpha-crown", "best"};
  return stages;
}

std::string certified_name(const std::string& stage) { return "certified_" + stage; }

void verify(const nn::Network& network, const Tensor& weights, const CertifiedData& data, double epsilon,
            Results& results) {
  const FullPrecision exact;
  const PixelRange pixels(data.preparation, weights.device());
  const Graph graph(network, weights);
  const double roundoff = nn::bounds::unit_roundoff(DType::f32);
  std::map<std::string, int64_t> counts;
  for (int64_t first = 0; first < data.test.count(); first += kVerifiedAtOnce) {
    stop_if_interrupted();
    const Images part = range(data.test, first, std::min(kVerifiedAtOnce, data.test.count() - first));
    const nn::bounds::Box ball = pixel_ball(part.images, Tensor::scalar(epsilon), pixels, /*outward=*/true);
    const Tensor rows = nn::bounds::margin_rows(part.labels, data.train.classes);
    const auto bounds = [&](Method method) { return Bounds(graph, {ball}, {.method = method, .roundoff = roundoff}); };
    const Bounds crown = bounds(Method::crown);
    const std::vector<bool> stages[] = {
        proven(bounds(Method::ibp).lower(rows)), proven(bounds(Method::crown_ibp).lower(rows)),
        proven(crown.lower(rows)), proven(nn::bounds::alpha_crown(crown, rows, {.stop_when_positive = true}).lower)};
    for (size_t i = 0; i < stages[0].size(); ++i) {
      bool any = false;
      for (size_t s = 0; s < std::size(stages); ++s) {
        counts[certified_stages()[s]] += stages[s][i];
        any = any || stages[s][i];
      }
      counts["best"] += any;
    }
  }
  const double images = static_cast<double>(data.test.count());
  for (const std::string& stage : certified_stages())
    results.numbers[certified_name(stage)] = static_cast<double>(counts[stage]) / images;
}

}  // namespace mollify::experiments
