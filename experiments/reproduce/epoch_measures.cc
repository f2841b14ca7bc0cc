#include <mollify/experiments/reproduce/epoch_measures.h>

#include <mollify/engine/grad.h>
#include <mollify/experiments/json.h>
#include <mollify/experiments/training/metrics.h>
#include <mollify/smoothing/loss/gradient_measures.h>
#include <mollify/smoothing/loss/population.h>

#include <cmath>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

constexpr double kSmall = 1e-4;

ordered_json number_or_null(double number) { return std::isfinite(number) ? ordered_json(number) : ordered_json(); }

}  // namespace

const std::vector<Decade>& gradient_decades() {
  static const std::vector<Decade> all = [] {
    std::vector<Decade> decades;
    for (int k = -9; k <= -1; ++k) decades.push_back({k, format("decade_{}", k)});
    return decades;
  }();
  return all;
}

EpochMeasures::EpochMeasures(std::filesystem::path file, const Task& task, const smoothing::Population& population,
                             double scale, double rate)
    : file_(std::move(file)),
      network_(network_for(task.network.name(), task.train)),
      loss_(task.loss),
      population_(population),
      scale_(scale),
      rate_(rate) {
  datasets::Loader loader(task.train, {.batch_size = task.timetable.batch(0), .preparation = task.plain});
  loader.start_epoch(0, 0);
  const datasets::Batch batch = *loader.next();
  images_ = to(batch.images, task.device);
  labels_ = to(batch.labels, task.device);
}

void EpochMeasures::add(int64_t epoch, const Tensor& weights, const Tensor& state, const Positions* active) {
  const Positions trained = active ? *active : optim::all_weights(weights.size(), weights.device());
  const optim::Loss loss = [&](const Tensor& w) {
    return loss_(network_(w, state, images_, nn::Mode::train, {}, Tensor::scalar(0, DType::i32)).output, labels_);
  };
  const Tensor gradient = grad(loss)(weights), s = Tensor::scalar(scale_, weights.dtype());
  const smoothing::PopulationEstimate estimate(population_, Tensor::scalar(static_cast<double>(epoch), DType::i32),
                                               trained.count(), s, weights.device());
  const NoGrad quiet;
  const Tensor none = zeros_like(weights);
  std::vector<Tensor> plus, minus;
  for (int64_t j = 0; j < population_.pairs; ++j) {
    const Tensor z = put(none, trained, estimate.direction(j)) * s;
    plus.push_back(reshape(loss(weights + z), {1}));
    minus.push_back(reshape(loss(weights - z), {1}));
  }
  const Tensor estimated = put(none, trained, estimate.gradient({concat(plus), concat(minus), {}}));
  const smoothing::Closeness all = smoothing::closeness(estimated, gradient),
                             masked = smoothing::closeness(estimated, gradient, trained);
  const NoGrad recording(/*record=*/true);
  ordered_json line = {
      {"epoch", epoch},
      {"distance", number_or_null(all.distance * all.distance)},
      {"masked_distance", number_or_null(masked.distance * masked.distance)},
      {"predicted", number_or_null(std::pow(smoothing::predicted_distance(gradient, trained, population_.pairs), 2))},
      {"cosine", number_or_null(masked.cosine)},
      {"local", number_or_null(smoothing::local_lipschitz(loss, weights, weights - estimated * rate_))},
      {"neighbor", number_or_null(smoothing::neighbor_lipschitz(loss, weights, {.step = epoch}))},
      {"small", number_or_null(smoothing::sparsity(gradient, kSmall))}};
  double below = 0;
  for (const Decade& decade : gradient_decades()) {
    const bool last = &decade == &gradient_decades().back();
    const double end = last ? 1 : smoothing::sparsity(gradient, std::pow(10.0, decade.exponent + 1));
    line[decade.name] = end - below;
    below = end;
  }
  append_line(file_, line.dump());
}

std::map<std::string, std::vector<double>> EpochMeasures::series(int64_t epochs) const {
  std::map<std::string, std::vector<double>> out;
  if (!std::filesystem::exists(file_)) return out;
  for (const std::string& text : whole_lines(file_)) {
    const ordered_json line = ordered_json::parse(text);
    const auto epoch = line.at("epoch").get<size_t>();
    for (const auto& [name, value] : line.items()) {
      if (name == "epoch") continue;
      std::vector<double>& values = out[name];
      values.resize(static_cast<size_t>(epochs), std::nan(""));
      values[epoch] =
          value.is_null() ? std::nan("") : value.get<double>();  // an epoch that was repeated: the last line
    }
  }
  return out;
}

}  // namespace mollify::experiments
