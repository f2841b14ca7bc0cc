// Attacks on classifiers: inputs near given ones that are classified wrongly. The attacked function is any
// differentiable function of rows [N, …] that treats each apart from the others, such as a network in evaluation mode,
// a smoothed network with given noise, or an imported one. What it returns must not change between calls; noise is
// asked for by a Threat. No history is recorded, and what comes back has none: weights get no gradient from an attack.
#pragma once

#include <mollify/smoothing/activations.h>
#include <mollify/smoothing/randomized/noise.h>

#include <functional>
#include <optional>
#include <string>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

enum class Norm { linf, l2 };

// The range of the data: lower ≤ x ≤ upper. Each broadcasts to x; empty: unbounded.
struct Box {
  Tensor lower, upper;
};

// What succeeds. By itself: that the label's output is not strictly among the `top` largest. Targeted: that the label,
// which is now the class to be reached, has the largest output. A tie succeeds, as certificates ask, and so does NaN.
struct Goal {
  int64_t top = 1;
  bool targeted = false;
};

// How losses of several draws of noise become one. mean_of_losses: as Campbell, Finlay & Oberman 2020, eq. 9.
// log_of_mean: the loss of the mean probabilities (SmoothAdv, Salman et al. 2019).
enum class Average { log_of_mean, mean_of_losses };

// Of a classifier under Gaussian noise: it is attacked through `count` draws, whose mean probabilities decide. Each
// evaluation has new ones where they are `fresh`, or else all have the same; what counts in the end has its own.
struct NoiseDraws {
  Noise noise;
  int64_t count = 20;
  Average average = Average::log_of_mean;
  bool fresh = true;
  int64_t first = 0;  // the number of the first of them
};

// What an attacker may do, and to what end.
struct Threat {
  Norm norm = Norm::linf;
  double epsilon = 0;  // radius of the ball; infinite only for attacks that look for the nearest point
  Box box = {};
  Goal goal = {};
  std::optional<NoiseDraws> draws = {};
  uint64_t seed = 0;
  Tensor rows = {};  // i32 [N], the rows' numbers among the data, from which they draw; empty: 0 … N − 1
};

// What an attack found. Every row lies in the ball and in the box in exact arithmetic: |x'_i − x_i| ≤ epsilon with no
// rounding, and in l2 ‖x' − x‖ ≤ epsilon. Margins and success are of these very inputs, with new draws under noise.
struct Adversarial {
  Tensor inputs;     // [N, …]
  Tensor success;    // u8 [N]
  Tensor margins;    // [N]: how far the goal is reached, such as max_{t ≠ y} o_t − o_y; success is !(margin < 0)
  Tensor distances;  // f64 [N], of the inputs from x in the threat's norm; NaN without success
};

// An attack with its options chosen. Random numbers are functions of (seed, row's number, run), so that a row gets what
// it would get alone if f computes each row's bits whatever the others are, as this library's operations do.
//
// All throw ValueError for options and threats out of range, labels that are no class, an x outside the box (NaN too)
// or a box that is crossed; ShapeError and TypeError for what does not fit.
struct Attack {
  std::string name;
  std::function<Adversarial(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat)> run;
};

// What the steps of an attack climb, per row, of outputs o and label y.
// cross_entropy:    logsumexp(o) − o_y. Its gradient underflows where the network is sure.
// margin:           of the goal: max_{t ≠ y} o_t − o_y.
// dlr:              the margin over o₍₁₎ − o₍₃₎, o₍ᵢ₎ falling: no scale, no shift (Croce & Hein 2020). Three classes.
// targeted_margins: o_t − o_y of one wrong class t after another, from the one with the largest output at x on; each of
//                   them has all restarts. The strongest and the dearest.
// targeted_dlr:     the same over o₍₁₎ − (o₍₃₎ + o₍₄₎)/2. Four classes.
// The last two are not for a targeted goal, which has its one class.
enum class Objective { cross_entropy, margin, dlr, targeted_margins, targeted_dlr };

// What an attack of one's own found, by the same rules: `points` of x's shape are moved into the ball and the box, and
// of each row the point or x itself comes back, whichever has the larger margin (NaN above all). Numbers of points that
// are not finite count as x's.
Adversarial judged(const Function& f, const Tensor& x, const Tensor& labels, const Tensor& points,
                   const Threat& threat);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
