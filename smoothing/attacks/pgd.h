// Gradient attacks on classifiers: inputs near given ones that are classified wrongly. The attacked function is any
// differentiable function of rows [N, …] that treats each apart from the others, such as a network in evaluation mode,
// a smoothed network with given noise, or an imported one. What it returns must not change between calls. No history is
// recorded, and what comes back has none:
// weights get no gradient from an attack.
#pragma once

#include <mollify/smoothing/activations.h>

namespace mollify::smoothing {

enum class Norm { linf, l2 };

// What the steps climb, per row, of outputs o and label y.
// cross_entropy:    logsumexp(o) − o_y. Its gradient underflows where the network is sure.
// margin:           max_{t ≠ y} o_t − o_y.
// targeted_margins: o_t − o_y of one wrong class t after another, from the one with the largest output at x on; each of
//                   them has all restarts. The strongest and the dearest.
enum class Objective { cross_entropy, margin, targeted_margins };

// The range of the data: lower ≤ x ≤ upper. Each broadcasts to x; empty: unbounded.
struct Box { Tensor lower, upper; };

struct PgdOptions {
  Norm norm = Norm::linf;
  double epsilon = 0;  // radius of the ball, finite
  Objective objective = Objective::cross_entropy;
  int64_t steps = 20;           // gradients per run
  double step_size = 0;         // of every step; 0: falling linearly from epsilon to epsilon/steps
  int64_t restarts = 1;         // runs; of targeted_margins, runs per target
  int64_t targets = 0;          // targets per row of targeted_margins; 0: every wrong class
  bool random_start =
      true;  // false: the first run starts at x. Other runs start uniformly within the ball (l2) or ball and box (linf)
  bool stop_at_success = true;  // false: rows go on to the last step of the last run, as training wants
  uint64_t seed = 0;
  Tensor rows = {};  // i32 [N], the rows' numbers among the data, from which they draw; empty: 0 … N − 1
};

// A row succeeds unless the label's output is strictly the largest, as certificates ask: a tie is a success, and so is
// NaN.
struct Adversarial {
  Tensor inputs;   // [N, …]
  Tensor success;  // u8 [N]
  Tensor margins;  // [N]: max_{t ≠ y} o_t − o_y at `inputs`; success is !(margin < 0)
};

// Projected gradient descent (Madry et al. 2018) from x [N, …] with labels i32 [N] and f(x) [N, classes]: steps along
// the gradient's sign (linf) or direction (l2), each projected. Of every row the point with the largest margin among
// all that were evaluated comes back, its margin as f gives it for the whole batch. With stop_at_success, x itself is
// tried first, and rows that succeeded leave the work.
// Without, a run costs `steps` gradients and one evaluation.
//
// Every returned row lies in the ball and in the box, in exact arithmetic: |x'_i − x_i| ≤ epsilon with no rounding, and
// in l2 ‖x' − x‖ ≤ epsilon. (For l2 steps aim inside, at epsilon less a few ulp of ‖x‖, and then into the box, which
// comes no farther away.)
//
// Random numbers are functions of (seed, row's number, run), so that a row gets what it would get alone if f computes
// each row's bits whatever the others are, as this library's operations do. With a fixed step_size, more steps or
// restarts are never worse.
//
// Throws ValueError for options out of range, labels that are no class, an x outside the box (NaN too) or a box that is
// crossed; ShapeError and TypeError for what does not fit.
Adversarial pgd(const Function& f, const Tensor& x, const Tensor& labels, const PgdOptions& options,
                const Box& box = {});

// What an attack of one's own found, by the same rules: `points` of x's shape are moved into the ball and the box as
// pgd's are, and of each row the point or x itself comes back, whichever has the larger margin (NaN above all). Numbers
// of points that are not finite count as x's. Throws as pgd does.
Adversarial judged(const Function& f, const Tensor& x, const Tensor& labels, const Tensor& points, Norm norm,
                   double epsilon, const Box& box = {});

}  // namespace mollify::smoothing
