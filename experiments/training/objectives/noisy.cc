#include <mollify/experiments/training/objectives/noisy.h>

#include <mollify/engine/ops.h>
#include <mollify/experiments/training/settings.h>
#include <mollify/smoothing/attacks/ddn.h>
#include <mollify/smoothing/attacks/pgd.h>
#include <mollify/smoothing/randomized/noise.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {

using smoothing::NoiseUse;

NoisyObjective::NoisyObjective(const char* name, int64_t draws, UsualTraining usual)
    : name_(name), usual_(std::move(usual)), draws_(draws) {}

Options NoisyObjective::options() {
  return {{{"noise", "Objective",
            "standard deviation of Gaussian noise, of pixels from 0 to 1, before normalisation: the network is trained "
            "for it",
            "needed by gaussian, smoothadv, consistency, macer, smoothmix and heat"},
           &sigma_,
           above(0)},
          {{"noise-draws", "Objective", "draws of noise an image and step",
            "1 of gaussian, 2 of smoothadv, consistency and smoothmix, 16 of macer"},
           &draws_,
           at_least(1)}};
}

void NoisyObjective::resolve(RunOptions& run) {
  require<UsageError>(sigma_ > 0,
                      "mollify train: --noise: not given; --objective {} needs a standard deviation above 0", name_);
  require<UsageError>(run.input_noise == 0,
                      "mollify train: --input-noise: {} given with --objective {}, which draws its own",
                      run.input_noise, name_);
  const bool sgd = run.optimizer.empty() || run.optimizer == "sgd";
  if (run.epochs == 0) run.epochs = usual_.epochs;
  if (run.batch == 0) run.batch = usual_.batch;
  if (sgd && !run.learning_rate) run.learning_rate = usual_.learning_rate;
  if (sgd && !run.weight_decay) run.weight_decay = usual_.weight_decay;
  if (run.schedule.empty()) {
    run.schedule = "milestones";
    if (!run.step_factor) run.step_factor = usual_.factor;
    if (run.milestones.empty()) {
      int64_t last = 0;
      for (const double share : usual_.milestones) {
        last = std::max(last + 1, static_cast<int64_t>(std::llround(share * static_cast<double>(run.epochs))));
        run.milestones += format("{}{}", run.milestones.empty() ? "" : ",", last);
      }
    }
  }
  Objective::resolve(run);
}

std::string NoisyObjective::about() const {
  return format("objective {}, noise {} of pixels from 0 to 1, {} draw{} an image", name_, sigma_, draws_,
                draws_ == 1 ? "" : "s");
}

void NoisyObjective::prepare(const Setting& setting) {
  Objective::prepare(setting);
  range_.emplace(setting.preparation, setting.device);
}

Tensor NoisyObjective::under_noise(const Tensor& images, const Tensor& numbers) const {
  const Tensor z = smoothing::gaussian_noise(images.shape(), {sigma_, setting().seed}, NoiseUse::evaluation, numbers,
                                             Tensor::scalar(0, DType::i32), images.dtype());
  return images + z * unit_like(images);
}

Tensor NoisyObjective::noisy(const Tensor& images, const Tensor& indices, const Tensor& number, NoiseUse use) const {
  std::vector<Tensor> parts;
  for (int64_t draw = 0; draw < draws_; ++draw) {
    const Tensor which = number * whole(draws_) + whole(draw);
    const Tensor z =
        smoothing::gaussian_noise(images.shape(), {sigma_, setting().seed}, use, indices, which, images.dtype());
    parts.push_back(images + z * unit_like(images));
  }
  return draws_ == 1 ? parts[0] : concat(parts, 0);
}

Tensor NoisyObjective::copies(const Tensor& batch) const {
  return draws_ == 1 ? batch : concat(std::vector<Tensor>(static_cast<size_t>(draws_), batch), 0);
}

Tensor NoisyObjective::by_draw(const Tensor& outputs) const {
  return reshape(outputs, {draws_, outputs.dim(0) / draws_, outputs.dim(1)});
}

Objective::Result NoisyObjective::result(const Tensor& loss, const nn::Network::Result& of_draws,
                                         const Tensors& terms) const {
  Tensors detached(terms.size());
  for (size_t i = 0; i < terms.size(); ++i) detached[i] = terms[i].detach();
  const Tensor first = slice(of_draws.output.detach(), 0, 0, of_draws.output.dim(0) / draws_);
  return {loss, first, of_draws.state.detach(), detached};
}

nn::Network::Result NoisyObjective::train_mode(const Tensor& weights, const Tensor& state, const Tensor& images,
                                               const Tensor& number) const {
  return setting().network(weights, state, images, nn::Mode::train, {.seed = setting().seed}, number);
}

Tensor NoisyObjective::attacked(const Tensor& weights, const Tensor& state, const Sample& sample,
                                smoothing::Threat threat, Attacker attacker, int64_t steps) const {
  const Tensor fixed = weights.detach();
  const auto of_pixels = [&](const Tensor& pixels) {
    const Tensor x = pixels * unit_like(sample.images) + range_->low;
    return setting().network(fixed, state, x, nn::Mode::evaluate).output;
  };
  const Tensor pixels = clip((sample.images - range_->low) / unit_like(sample.images), 0, 1);
  threat.norm = smoothing::Norm::l2;
  threat.box = {Tensor::scalar(0), Tensor::scalar(1)};
  threat.rows = sample.indices;
  const Tensor found =
      attacker == Attacker::ddn
          ? smoothing::ddn(of_pixels, pixels, sample.labels, threat, {.steps = steps, .first_norm = threat.epsilon})
                .inputs
          : smoothing::pgd(of_pixels, pixels, sample.labels, threat,
                           {.steps = steps,
                            .step_size = 2 * threat.epsilon / static_cast<double>(steps),
                            .random_start = false,
                            .stop_at_success = false})
                .inputs;
  return found * unit_like(sample.images) + range_->low;
}

Options NoisyObjective::attack_options(double& epsilon, int64_t& steps) const {
  return {{{"l2-eps", "Objective",
            "l2 radius of attacked images, of pixels from 0 to 1: of smoothadv's, and of heat's, where 0 is none",
            "0.25 of smoothadv, else 0"},
           &epsilon,
           at_least(0)},
          {{"l2-steps", "Objective", "gradient steps of those attacks", nullptr}, &steps, at_least(1)}};
}

Tensor NoisyObjective::unit_way(const Tensor& gradient) const {
  const Tensor unit = unit_like(gradient), in_pixels = gradient * unit,
               length = norm(in_pixels, {1, 2, 3}, /*keep=*/true);
  return in_pixels / where(greater(length, zeros_like(length)), length, ones_like(length)) * unit;
}

Tensor log_mean_softmax(const Tensor& outputs) {
  return logsumexp(log_softmax(outputs), 0) - std::log(static_cast<double>(outputs.dim(0)));
}

}  // namespace mollify::experiments
