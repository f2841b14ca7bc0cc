// SmoothAdv (Salman et al. 2019): images attacked through draws of noise, by the loss of their mean probabilities, and
// trained on under the same draws.
#include <mollify/experiments/training/objectives/noisy.h>

#include <mollify/engine/ops.h>

#include <algorithm>

namespace mollify::experiments {
namespace {

using smoothing::NoiseUse;

class SmoothAdv final : public NoisyObjective {
 public:
  SmoothAdv() : NoisyObjective("smoothadv", 2, {150, 256, 0.1, 1e-4, {1.0 / 3, 2.0 / 3}, 0.1}) {}

  Options options() override {
    Options all = NoisyObjective::options();
    add(all, attack_options(epsilon_, steps_));
    add(all, {{{"smoothadv-attack", "Objective", "how smoothadv attacks", nullptr}, &attack_, one_of({"pgd", "ddn"})},
              {{"smoothadv-warmup", "Objective", "epochs over which smoothadv's radius grows", nullptr},
               &warmup_,
               at_least(0)},
              {{"smoothadv-without-noise", "Objective",
                "train on smoothadv's attacked images as they are, as Campbell, Finlay & Oberman 2020 did for "
                "comparison",
                nullptr},
               &without_noise_,
               {}}});
    return all;
  }
  void resolve(RunOptions& run) override {
    NoisyObjective::resolve(run);
    require<UsageError>(epsilon_ > 0, "mollify train: --l2-eps: {} given; smoothadv needs a radius above 0", epsilon_);
  }
  std::string about() const override {
    return NoisyObjective::about() +
           format(", attacked by {} within l2 radius {} after {} epochs", attack_, epsilon_, warmup_);
  }
  const char* uncaptured() const override { return "attacks run as they are, without capture"; }

  void advance(int64_t step) override { step_ = step; }
  Tensors inputs(const Tensor& weights, const Tensor& state, const Sample& sample) const override {
    const smoothing::Threat threat{.epsilon = radius_now(),
                                   .draws = smoothing::NoiseDraws{{sigma(), setting().seed},
                                                                  draws(),
                                                                  smoothing::Average::log_of_mean,
                                                                  /*fresh=*/false,
                                                                  step_ * draws()},
                                   .seed = seed_of(step_)};
    const Attacker attacker = attack_ == "ddn" ? Attacker::ddn : Attacker::pgd;
    return {attacked(weights, state, sample, threat, attacker, steps_), sample.labels, sample.indices};
  }
  Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                    const Tensor& number) const override {
    if (without_noise_) {
      const auto found = train_mode(weights, state, inputs[0], number);
      return {setting().loss(found.output, inputs[1]), found.output.detach(), found.state.detach()};
    }
    const auto found = train_mode(weights, state, noisy(inputs[0], inputs[2], number, NoiseUse::attack), number);
    return result(setting().loss(found.output, copies(inputs[1])), found);
  }

 private:
  double radius_now() const {
    const auto epochs = static_cast<double>(setting().timetable.epoch_of(step_) + 1);
    return warmup_ == 0 ? epsilon_ : std::min(epsilon_, epochs * epsilon_ / static_cast<double>(warmup_));
  }

  double epsilon_ = 0.25;
  int64_t steps_ = 4, warmup_ = 10, step_ = 0;
  std::string attack_ = "pgd";
  bool without_noise_ = false;
};

}  // namespace

std::unique_ptr<Objective> smoothadv_objective() { return std::make_unique<SmoothAdv>(); }

}  // namespace mollify::experiments
