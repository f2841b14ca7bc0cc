// Projected gradient descent (Madry et al. 2018).
#pragma once

#include <mollify/smoothing/attacks/attack.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

struct PgdOptions {
  Objective objective = Objective::cross_entropy;
  int64_t steps = 20;    // gradients per run
  double step_size = 0;  // of every step; 0: falling linearly from epsilon to epsilon/steps
  int64_t restarts = 1;  // runs; of targeted objectives, runs per target
  int64_t targets = 0;   // targets per row of targeted objectives; 0: every wrong class
  bool random_start =
      true;  // false: the first run starts at x. Other runs start uniformly within the ball (l2) or ball and box (linf)
  bool stop_at_success = true;  // false: rows go on to the last step of the last run, as training wants
};

// From x [N, …] with labels i32 [N] and f(x) [N, classes]: steps along the gradient's sign (linf) or direction (l2),
// each projected. Of every row the point with the largest margin among all that were evaluated comes back. With
// stop_at_success, x itself is tried first, and rows that succeeded leave the work. Without, a run costs `steps`
// gradients and one evaluation. With a fixed step_size and no noise, more steps or restarts are never worse.
//
// (For l2 steps aim inside, at epsilon less a few ulp of ‖x‖, and then into the box, which comes no farther away.)
Adversarial pgd(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat,
                const PgdOptions& how = {});

// One step of length epsilon from x (Goodfellow et al. 2015); in l2 along the gradient.
Adversarial fgsm(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
