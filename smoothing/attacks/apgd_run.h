// The step rule of Auto-PGD (Croce & Hein 2020), whatever is climbed: projected ascent with momentum whose steps halve
// where it no longer rises.
#pragma once

#include <mollify/engine/tensor.h>

#include <functional>
#include <vector>

namespace mollify::smoothing {

// Runs in rows, each apart from the others: points and gradients [n, d], the others [n].
struct ApgdRun {
  Tensor x, previous, gradient, loss;
  Tensor best, best_gradient, best_loss;
  Tensor step, rises;           // length of steps; how often the loss rose since the last checkpoint
  Tensor checked_loss, halved;  // the best loss at the last checkpoint, and whether the step was halved there

  ApgdRun(const Tensor& start, double step);

  std::vector<Tensor*> parts();  // all of them, for rows that leave
  void evaluated(const Tensor& loss_at_x, const Tensor& gradient_at_x);
  // A whole run of `steps` from x, by apgd_checkpoints. `evaluate` calls evaluated() and says whether
  // any row is left.
  void climb(int64_t steps, const std::function<bool()>& evaluate,
             const std::function<Tensor(const Tensor& gradient)>& direction,
             const std::function<Tensor(const Tensor&)>& project);

 private:
  // From x along `direction`, of length 1 in the ball's norm, into the ball; three quarters of that, but for the first
  // step, and a quarter of the move before.
  void move(const Tensor& direction, const std::function<Tensor(const Tensor&)>& project, bool first);
  // After `interval` steps since the last checkpoint: a row whose loss rose in no more than three quarters of them, or
  // whose best loss stands still after no halving, halves its step and goes on from its best point.
  void check(int64_t interval);
};

}  // namespace mollify::smoothing
