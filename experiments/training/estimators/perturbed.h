// What the estimators at perturbed weights share: how many, how far, and how far in later steps.
#pragma once

#include <mollify/experiments/training/estimators/estimator.h>
#include <mollify/smoothing/sigma.h>

namespace mollify::experiments {

class PerturbedEstimator : public Estimator {
 public:
  Options options() override;
  bool divides_work() const override { return true; }

 protected:
  PerturbedEstimator(int64_t probes, double scale, const char* help) : probes_(probes), scale_(scale), help_(help) {}

  smoothing::Sigma sigma(const Making& making) const;
  static void require_few_processes(const Making& making, int64_t pairs);  // throws UsageError
  virtual std::vector<std::string> courses() const { return {"constant", "learning-rate"}; }

  int64_t probes_;
  double scale_;
  std::string course_ = "constant";

 private:
  const char* help_;  // what probes are
};

}  // namespace mollify::experiments
