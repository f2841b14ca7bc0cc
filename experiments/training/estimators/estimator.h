// Where a training run's gradients come from: differentiation, or estimates of the smoothed loss's gradient. An
// estimator is a class in a file of its own, with its options, and a line in estimators.cc.
#pragma once

#include <mollify/experiments/options.h>
#include <mollify/optim/gradient.h>
#include <mollify/optim/schedule.h>
#include <mollify/smoothing/loss/exchange.h>

#include <memory>
#include <string>
#include <vector>

namespace mollify::experiments {

struct RunOptions;

class Estimator {
 public:
  virtual ~Estimator() = default;
  virtual const char* name() const = 0;
  virtual Options options() { return {}; }
  // Fills in what was not given, of the run's options too, before the objective does, and checks both; throws
  // UsageError.
  virtual void resolve(RunOptions& /*run*/) {}

  struct Making {
    optim::Schedule learning_rate;  // of each step, as a share of the first one's
    uint64_t seed;
    bool traceable;                                       // the loss may be traced with respect to the weights
    std::shared_ptr<const smoothing::Exchange> exchange;  // of the processes that divide the work; empty: one
  };
  virtual std::unique_ptr<optim::Gradient> make(const Making& making) const = 0;
  // Factor on the learning rate where `active` weights are trained.
  virtual double rate_factor(int64_t /*active*/) const { return 1; }
  virtual bool divides_work() const { return false; }  // among processes
  virtual std::string about() const { return ""; }     // for the user, or nothing
};

std::unique_ptr<Estimator> make_estimator(const std::string& name);  // of estimator_names
std::vector<std::string> estimator_names();

// The estimators, one file each.
std::unique_ptr<Estimator> exact_estimator();
std::unique_ptr<Estimator> szo_estimator();
std::unique_ptr<Estimator> pgpe_estimator();
std::unique_ptr<Estimator> rgs_estimator();
std::unique_ptr<Estimator> sam_estimator();
std::unique_ptr<Estimator> asam_estimator();

}  // namespace mollify::experiments
