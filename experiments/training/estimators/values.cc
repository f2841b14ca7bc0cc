// Gradients from loss values alone: sparse zeroth-order optimisation (Ohta et al. 2020) counts perturbations, PGPE
// (Sehnke et al. 2010) the population's members, two for each; they are one estimator.
#include <mollify/experiments/training/estimators/perturbed.h>
#include <mollify/experiments/training/settings.h>
#include <mollify/smoothing/loss/loss_gradients.h>

namespace mollify::experiments {
namespace {

using smoothing::FromValues;
using smoothing::Population;

class Values : public PerturbedEstimator {
 public:
  Values(const char* name, int64_t probes, double scale, const char* help)
      : PerturbedEstimator(probes, scale, help), name_(name) {}

  const char* name() const override { return name_; }
  Options options() override {
    Options all = PerturbedEstimator::options();
    add(all,
        {{{"directions", "Gradient", "perturbations: standard normal, or signs (Rademacher's)", nullptr},
          &directions_,
          one_of({"normal", "signs"})},
         {{"ranks", "Gradient", "losses count by their rank: another descent direction, not the gradient", nullptr},
          &ranks_,
          {}},
         {{"scale-rate", "Gradient", "learning rate of --probe-course learned and learned-each", nullptr},
          &scale_rate_,
          above(0)},
         {{"rate-scale", "Gradient",
           "the learning rate's factor: none; dimension: k/(n+k+1) for k perturbations of n weights, as the "
           "estimate's variance asks; authors: that of the published code, probe-scale/10",
           "dimension for sgd, else none"},
          &rate_scale_,
          one_of({"none", "dimension", "authors"})}});
    return all;
  }

  void resolve(RunOptions& run) override {
    if (run.optimizer.empty()) run.optimizer = "sgd";
    const bool sgd = run.optimizer == "sgd";
    if (rate_scale_.empty()) rate_scale_ = sgd ? "dimension" : "none";
    if (sgd) {
      if (!run.learning_rate) run.learning_rate = 1;
      if (!run.momentum) run.momentum = 0;
    }
    if (!run.weight_decay) run.weight_decay = 0;
    if (!run.clip_norm) run.clip_norm = 0;
    if (run.schedule.empty()) run.schedule = "constant";
    require<UsageError>(!learns() || (directions_ == "normal" && pairs() >= 2),
                        "mollify train: --probe-course: {} given with {} perturbations of --directions {}; needs at "
                        "least 2 normal ones",
                        course_, pairs(), directions_);
  }

  std::unique_ptr<optim::Gradient> make(const Making& making) const override {
    require_few_processes(making, pairs());
    FromValues how{
        {.pairs = pairs(),
         .sides = sides(),
         .directions = directions_ == "normal" ? Population::Directions::normal : Population::Directions::signs,
         .ranks = ranks_,
         .seed = making.seed}};
    if (learns()) how.scale = course_ == "learned" ? FromValues::Scale::learned : FromValues::Scale::learned_each;
    how.scale_rate = scale_rate_;
    how.share_linear_parts = making.traceable;
    how.exchange = making.exchange;
    return smoothing::gradient_from_values(sigma(making), how);
  }

  double rate_factor(int64_t active) const override {
    const double k = static_cast<double>(pairs());
    if (rate_scale_ == "dimension") return k / (static_cast<double>(active) + k + 1);
    return rate_scale_ == "authors" ? scale_ / 10 : 1;
  }

  std::string about() const override {
    return format("gradients from losses at weights perturbed by {}, {}, {} perturbations{}", scale_, course_, pairs(),
                  ranks_ ? ", by ranks" : "");
  }

 protected:
  virtual int64_t pairs() const = 0;
  virtual Population::Sides sides() const { return Population::Sides::two; }

 private:
  std::vector<std::string> courses() const override { return {"constant", "learning-rate", "learned", "learned-each"}; }
  bool learns() const { return course_.starts_with("learned"); }

  const char* name_;
  std::string directions_ = "normal", rate_scale_;
  bool ranks_ = false;
  double scale_rate_ = 0.01;
};

class Szo final : public Values {
 public:
  Szo() : Values("szo", 10, 0.05, "szo: perturbations a step; pgpe: members, two a perturbation; rgs: gradients") {}
  Options options() override {
    Options all = Values::options();
    all.push_back(
        {{"sides", "Gradient",
          "losses of each perturbation: both sides; one, less the loss at the weights; 0: one as it is", nullptr},
         &sides_,
         Rule{.low = 0, .high = 2}});
    return all;
  }

 private:
  int64_t pairs() const override { return probes_; }
  Population::Sides sides() const override {
    return sides_ == 2 ? Population::Sides::two : sides_ == 1 ? Population::Sides::one : Population::Sides::point;
  }

  int64_t sides_ = 2;
};

class Pgpe final : public Values {
 public:
  Pgpe() : Values("pgpe", 64, 0.01, "szo: perturbations a step; pgpe: members, two a perturbation; rgs: gradients") {}
  void resolve(RunOptions& run) override {
    require<UsageError>(probes_ % 2 == 0,
                        "mollify train: --probes: {} given with --gradient pgpe; needs an even number of members",
                        probes_);
    if (run.optimizer.empty()) run.optimizer = "adam";
    Values::resolve(run);
  }

 private:
  int64_t pairs() const override { return probes_ / 2; }
};

}  // namespace

std::unique_ptr<Estimator> szo_estimator() { return std::make_unique<Szo>(); }
std::unique_ptr<Estimator> pgpe_estimator() { return std::make_unique<Pgpe>(); }

}  // namespace mollify::experiments
