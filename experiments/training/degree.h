// `mollify train --degree`: a course of the smoothing δ = ηC/√b that SGD's own noise does (Sato & Iiduka), by which
// each epoch has its learning rate η and batch b.
#pragma once

#include <mollify/experiments/options.h>
#include <mollify/optim/graduated.h>

#include <vector>

namespace mollify::experiments {

struct RunOptions;

class Degree {
 public:
  Options options();
  bool exists() const { return !course_.empty(); }
  // Before the objective chooses a schedule. Fills in what was not given: no momentum, no weight decay. Throws
  // UsageError.
  void resolve(RunOptions& run);
  // Of every epoch. Throws UsageError for a largest batch beyond the images.
  std::vector<optim::GraduatedRound> epochs(const RunOptions& run, int64_t images) const;
  std::string about() const;  // a line for the user; empty: there is none

 private:
  std::string course_;
  double batch_share_ = 0, power_ = 0.9;
  std::optional<double> factor_;
  int64_t every_ = 0, largest_batch_ = 0;
};

}  // namespace mollify::experiments
