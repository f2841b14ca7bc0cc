// Auto-PGD (Croce & Hein 2020): projected gradient descent with momentum that chooses its own steps.
#pragma once

#include <mollify/smoothing/attacks/attack.h>

#include <vector>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

struct ApgdOptions {
  Objective objective = Objective::cross_entropy;
  int64_t steps = 100;   // gradients per run, one more for its start
  int64_t restarts = 1;  // runs; of targeted objectives, runs per target
  int64_t targets = 9;   // targets per row of targeted objectives, the largest outputs first; 0: every wrong class
  bool stop_at_success = true;
};

// Every run starts from a random direction at the ball's edge with steps of 2·epsilon. At each checkpoint a row whose
// loss rose in no more than three quarters of the steps since the last one, or whose best loss stands still after no
// halving, halves its step and goes on from its best point.
Adversarial apgd(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat,
                 const ApgdOptions& how = {});

// After how many steps of a run steps may be halved: of 100 after 22, 41, 57, 70, 80, 87, 93, 99.
std::vector<int64_t> apgd_checkpoints(int64_t steps);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
