#include <mollify/experiments/training/objectives/ball.h>

#include <mollify/experiments/training/settings.h>
#include <mollify/nn/bounds/certified_loss.h>
#include <mollify/smoothing/attacks/pgd.h>

#include <algorithm>

namespace mollify::experiments {

Options BallObjective::options() {
  return {{{"eps", "Objective",
            "radius of the l-infinity ball, such as 0.1 or 8/255; pixels are 0 to 1, before normalisation",
            "needed by every objective but natural"},
           &epsilon_,
           share()},
          {{"eps-start", "Objective", "natural epochs before the radius grows from 0", nullptr}, &start_, at_least(0)},
          {{"eps-epochs", "Objective", "epochs over which it grows, smoothly and by step", "two fifths of the epochs"},
           &growing_,
           at_least(1)},
          {{"l1", "Objective", "weight of the sum of all |weights|, biases left out", nullptr}, &l1_, at_least(0)}};
}

void BallObjective::resolve(RunOptions& run) {
  require<UsageError>(epsilon_ > 0, "mollify train: --eps: not given; --objective {} needs a radius above 0", name());
  require<UsageError>(run.input_noise == 0,
                      "mollify train: --input-noise: {} given with --objective {}; needs pixels from 0 to 1",
                      run.input_noise, name());
  if (!run.epsilon_test) run.epsilon_test = epsilon_;
  Objective::resolve(run);
  if (growing_ == 0) growing_ = std::max<int64_t>(1, std::min(2 * run.epochs / 5, run.epochs - start_));
}

std::string BallObjective::about() const {
  return format("objective {}, radius {} after epoch {}", name(), epsilon_, start_ + growing_);
}

void BallObjective::prepare(const Setting& setting) {
  Objective::prepare(setting);
  range_.emplace(setting.preparation, setting.device);
}

std::optional<double> BallObjective::radius(int64_t step) const {
  const Timetable& timetable = setting().timetable;
  const int64_t first = timetable.first_step(start_), last = timetable.first_step(start_ + growing_);
  return nn::bounds::smooth_ramp(static_cast<double>(step - first), static_cast<double>(last - first), epsilon_);
}

Tensor BallObjective::attacked(const Tensor& weights, const Tensor& state, const Sample& sample, double radius,
                               int64_t step) const {
  const Tensor fixed = weights.detach();
  const auto outputs = [&](const Tensor& x) { return setting().network(fixed, state, x, nn::Mode::evaluate).output; };
  const nn::bounds::Box ball = pixel_ball(sample.images, Tensor::scalar(radius), range());
  const double widest = max(range().unit).item() * radius;  // the box bounds it where channels differ
  return smoothing::pgd(outputs, sample.images, sample.labels,
                        {.epsilon = widest,
                         .box = {ball.lower, ball.upper},
                         .seed = (setting().seed << 32) + static_cast<uint64_t>(step)},
                        {.steps = attack_steps_, .stop_at_success = false})
      .inputs;
}

Tensor BallObjective::with_weight_norm(const Tensor& loss, const Tensor& weights) const {
  return l1_ > 0 ? loss + nn::bounds::weight_norm_l1(setting().network, weights) * l1_ : loss;
}

Option BallObjective::attack_steps_option() {
  return {
      {"attack-steps", "Objective", "gradient steps of PGD, from a random start, for pgd, sabr and mtl-ibp", nullptr},
      &attack_steps_,
      at_least(1)};
}

}  // namespace mollify::experiments
