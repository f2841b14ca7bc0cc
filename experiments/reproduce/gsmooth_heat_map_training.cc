#include <mollify/experiments/reproduce/gsmooth_heat_map_training.h>

#include <mollify/experiments/interrupt.h>
#include <mollify/smoothing/gsmooth.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments::gsmooth_heat_map_training {
namespace {

std::map<std::string, double> penalties(double first_dense) {
  return {{"activation1", 1e-7}, {"dense1", first_dense}, {"activation2", 1e-5}, {"dense2", 1e-5}};
}

std::unique_ptr<optim::Optimizer> make_optimizer(const Training& how, bool published) {
  const optim::Schedule rate = optim::constant(how.rate);
  return how.method.optimizer == "sgd" ? optim::sgd(rate) : optim::adam(rate, {.epsilon = published ? 1e-7 : 1e-8});
}

// One pass over the images; false where the loss was no number any more.
bool train_epoch(smoothing::GSmooth& optimizer, const GSmoothNetwork& network, const Tensor& weights,
                 const Images& images, int64_t batch_size, uint64_t seed, int64_t epoch) {
  const std::vector<int32_t> order = datasets::epoch_order(images.count(), seed, epoch);
  for (int64_t first = 0; first < images.count(); first += batch_size) {
    stop_if_interrupted();
    const Images batch = chosen(images, std::span(order).subspan(first, std::min(batch_size, images.count() - first)));
    const auto loss = [&](const Tensor& w, const smoothing::Sigma& s) { return network.loss(w, s, batch); };
    if (!std::isfinite(optimizer.step(weights, loss).item())) return false;
  }
  return true;
}

}  // namespace

std::string Training::key() const {
  return format("{} {} sigma={} rate={} inputs={} labels={} seed={}", tuning ? "rate" : "cell", method.optimizer,
                method.sigma, rate, noise.inputs, noise.labels, seed);
}

Results train(const Training& how, const Setting& setting, CellCheckpoint checkpoint) {
  const uint64_t seed = static_cast<uint64_t>(how.seed);
  const Images all = noisy(setting.images, setting.preparation, how.noise, seed, setting.device);
  const Images images = range(all, 0, setting.train);
  const Images validation = setting.published ? setting.test : range(all, setting.train, all.count() - setting.train);

  const bool published = setting.published;
  const GSmoothNetwork network(setting.network, how.method.sigma,
                               penalties(published && how.method.sigma == 0.01 ? 1e-5 : 1e-7),
                               published ? 1.0 / static_cast<double>(setting.network.output().size()) : 1);
  smoothing::GSmooth optimizer(make_optimizer(how, setting.published), smoothing::Sigma::paper(how.method.sigma));
  const auto initialization =
      setting.published ? nn::Initialization::xavier_uniform : nn::Initialization::fan_in_uniform;
  const Tensor weights = to(setting.network.initial_weights(initialization, seed), setting.device);
  const Tensor best = copy_of(weights);
  Results results{
      .numbers = {{kValidationLoss, NAN}, {kValidationAccuracy, NAN}, {kBestEpoch, 0}, {kEpochs, 0}, {kDiverged, 0}}};
  if (const auto standing = checkpoint.read(setting.device)) {
    assign(weights, standing->tensors.at("weights"));
    assign(best, standing->tensors.at("best"));
    optimizer.set_state(standing->optimizer);
    results = standing->results;
  }
  auto& numbers = results.numbers;
  while (numbers[kDiverged] == 0 && numbers[kEpochs] < static_cast<double>(how.epochs) &&
         numbers[kEpochs] - numbers[kBestEpoch] < static_cast<double>(setting.patience)) {
    const bool finite =
        train_epoch(optimizer, network, weights, images, setting.batch, seed, static_cast<int64_t>(numbers[kEpochs]));
    ++numbers[kEpochs];
    const Score score = score_of(network.trained(), weights, validation);
    numbers[kDiverged] = !finite || !std::isfinite(score.loss);
    if (std::isfinite(score.loss) && !(score.loss >= numbers[kValidationLoss])) {
      numbers[kValidationLoss] = score.loss;
      numbers[kValidationAccuracy] = score.accuracy;
      numbers[kBestEpoch] = numbers[kEpochs];
      assign(best, weights);
    }
    checkpoint.now_and_then([&] {
      return CellCheckpoint::Standing{{{"weights", weights}, {"best", best}}, optimizer.state(), results};
    });
  }
  if (how.tuning) return results;
  // Diverged at once: what is left, which guesses.
  const Tensor& last = numbers[kBestEpoch] > 0 && !setting.published ? best : weights;
  numbers[kAccuracy] = score_of(network.trained(), last, setting.test).accuracy;
  numbers[kPlainAccuracy] =
      network.smooths() ? score_of(network.plain(), last, setting.test).accuracy : numbers[kAccuracy];
  return results;
}

}  // namespace mollify::experiments::gsmooth_heat_map_training
