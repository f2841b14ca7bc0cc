#include <mollify/experiments/training/estimators/estimator.h>

namespace mollify::experiments {
namespace {

class Exact final : public Estimator {
 public:
  const char* name() const override { return "exact"; }
  std::unique_ptr<optim::Gradient> make(const Making&) const override { return optim::exact_gradient(); }
};

const struct {
  const char* name;
  std::unique_ptr<Estimator> (*make)();
} kEstimators[] = {{"exact", exact_estimator}, {"szo", szo_estimator}, {"pgpe", pgpe_estimator},
                   {"rgs", rgs_estimator},     {"sam", sam_estimator}, {"asam", asam_estimator}};

}  // namespace

std::unique_ptr<Estimator> exact_estimator() { return std::make_unique<Exact>(); }

std::unique_ptr<Estimator> make_estimator(const std::string& name) {
  for (const auto& estimator : kEstimators)
    if (name == estimator.name) return estimator.make();
  throw ValueError(format("gradient: '{}' given; needs one of --gradient's", name));
}

std::vector<std::string> estimator_names() {
  std::vector<std::string> names;
  for (const auto& estimator : kEstimators) names.push_back(estimator.name);
  return names;
}

}  // namespace mollify::experiments
