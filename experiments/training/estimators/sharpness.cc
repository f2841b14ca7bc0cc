// Sharpness-aware gradients: those of the weights moved uphill (SAM: Foret et al. 2021; ASAM: Kwon et al. 2021).
#include <mollify/experiments/training/estimators/estimator.h>
#include <mollify/optim/sharpness_aware.h>

namespace mollify::experiments {
namespace {

class SharpnessAware final : public Estimator {
 public:
  explicit SharpnessAware(bool adaptive) : adaptive_(adaptive), rho_(adaptive ? 0.5 : 0.05) {}

  const char* name() const override { return adaptive_ ? "asam" : "sam"; }
  Options options() override {
    return {{{"sam-rho", "Gradient", "how far weights are moved along their gradient, in asam's case by their sizes",
              "0.05 for sam, 0.5 for asam"},
             &rho_,
             above(0)}};
  }
  std::unique_ptr<optim::Gradient> make(const Making&) const override {
    return adaptive_ ? optim::asam({.rho = rho_}) : optim::sam(rho_);
  }
  std::string about() const override {
    return format("gradients at weights moved uphill by {}{}", rho_, adaptive_ ? ", as they are large" : "");
  }

 private:
  bool adaptive_;
  double rho_;
};

}  // namespace

std::unique_ptr<Estimator> sam_estimator() { return std::make_unique<SharpnessAware>(false); }
std::unique_ptr<Estimator> asam_estimator() { return std::make_unique<SharpnessAware>(true); }

}  // namespace mollify::experiments
