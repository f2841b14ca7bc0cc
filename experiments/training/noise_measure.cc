#include <mollify/experiments/training/noise_measure.h>

#include <mollify/experiments/weights_on_data.h>
#include <mollify/optim/graduated.h>
#include <mollify/smoothing/gradient_noise.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

struct Stopped {};

}  // namespace

std::optional<EpochMetrics::GradientNoise> gradient_noise(const RunOptions& options, const Task& task,
                                                          const Tensor& weights, const Tensor& state, int64_t epoch,
                                                          const std::function<bool()>& stop) {
  datasets::Preparation preparation = task.training;
  preparation.augmentation = {};
  const auto before = [&](int64_t) {
    if (stop && stop()) throw Stopped();
  };
  const smoothing::SampleLosses losses =
      losses_on(task.train, preparation, task.network, state, options.loss, {}, before, task.device);
  const int64_t images = task.train.size(), batch = task.timetable.batch(epoch);
  const uint64_t seed = static_cast<uint64_t>(options.seed) + static_cast<uint64_t>(epoch) * 0x9E3779B97F4A7C15;
  smoothing::GradientNoise noise(losses, weights, seed);
  smoothing::NoiseEstimate found;
  try {
    found = noise.from_batches(std::min(batch, std::max<int64_t>(1, images / 2)), options.noise_batches);
  } catch (const Stopped&) { return std::nullopt; }
  constexpr double kDeviations = 1.959963984540054;  // of a 95 % interval
  const double reach = kDeviations * found.standard_error;
  EpochMetrics::GradientNoise out{{found.c2, std::max(0.0, found.c2 - reach), found.c2 + reach}, {}, false};
  if (options.optimizer != "sgd" || options.nesterov) return out;
  const double rate = task.timetable.learning_rate(task.timetable.first_step(epoch + 1) - 1);
  out.is_bound = *options.momentum > 0;
  const auto degree = [&](double c2) {
    if (!out.is_bound) return smoothing::degree_of_smoothing(rate, c2, batch, images);
    return optim::heavy_ball_degree_bound(rate, batch, *options.momentum, std::sqrt(c2),
                                          std::sqrt(std::max(0.0, found.squared_gradient)));
  };
  out.degree = {degree(out.c2.value), degree(out.c2.low), degree(out.c2.high)};
  return out;
}

}  // namespace mollify::experiments
