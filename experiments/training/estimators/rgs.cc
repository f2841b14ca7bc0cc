// Randomised gradient smoothing (Balauca et al. 2025): the mean of gradients at perturbed weights.
#include <mollify/experiments/training/estimators/perturbed.h>
#include <mollify/experiments/training/settings.h>
#include <mollify/smoothing/loss/loss_gradients.h>

namespace mollify::experiments {
namespace {

class Rgs final : public PerturbedEstimator {
 public:
  Rgs()
      : PerturbedEstimator(4, 0.001, "szo: perturbations a step; pgpe: members, two a perturbation; rgs: gradients") {}

  const char* name() const override { return "rgs"; }
  void resolve(RunOptions&) override {
    require<UsageError>(probes_ % 2 == 0,
                        "mollify train: --probes: {} given with --gradient rgs; needs an even number, of pairs",
                        probes_);
  }
  std::unique_ptr<optim::Gradient> make(const Making& making) const override {
    require_few_processes(making, probes_ / 2);
    return smoothing::gradient_from_gradients(sigma(making),
                                              {.samples = probes_, .seed = making.seed, .exchange = making.exchange});
  }
  std::string about() const override {
    return format("mean of {} gradients at weights perturbed by {}, {}", probes_, scale_, course_);
  }
};

}  // namespace

std::unique_ptr<Estimator> rgs_estimator() { return std::make_unique<Rgs>(); }

}  // namespace mollify::experiments
