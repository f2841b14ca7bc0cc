#include <mollify/experiments/training/estimators/perturbed.h>

namespace mollify::experiments {

Options PerturbedEstimator::options() {
  return {{{"probes", "Gradient", help_, nullptr}, &probes_, at_least(1)},
          {{"probe-scale", "Gradient",
            "standard deviation of the perturbations of each weight: mu of sparse zeroth-order optimisation, sigma of "
            "Gaussian loss smoothing",
            nullptr},
           &scale_,
           above(0)},
          {{"probe-course", "Gradient",
            "its course: constant; falling as the learning rate does; for szo and pgpe also learned by descent on the "
            "smoothed loss, one for all weights or each its own",
            nullptr},
           &course_,
           one_of(courses())}};
}

void PerturbedEstimator::require_few_processes(const Making& making, int64_t pairs) {
  const int64_t processes = making.exchange ? making.exchange->count() : 1;
  require<UsageError>(processes <= pairs,
                      "mollify train: --probes: {} processes for {} pairs; needs at least a pair for each", processes,
                      pairs);
}

smoothing::Sigma PerturbedEstimator::sigma(const Making& making) const {
  if (course_ != "learning-rate") return smoothing::Sigma::stddev(scale_);
  return smoothing::Sigma::stddev([scale = scale_, share = making.learning_rate](int64_t step) {
    return std::max(scale * share(step), 1e-12);  // a rate that ends at 0 leaves a scale
  });
}

}  // namespace mollify::experiments
