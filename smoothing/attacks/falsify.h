// Counterexamples: points of a box whose outputs meet a condition, such as an unsafe set of a VNN-LIB property.
#pragma once

#include <mollify/smoothing/activations.h>

#include <limits>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// How far outputs [N, k] are from a condition, [N]: met where ≤ 0. NaN meets nothing.
using Violation = std::function<Tensor(const Tensor& outputs)>;

// max_i (a_i·y − b_i): ≤ 0 where a [rows, k]·y ≤ b [rows], all rows together; −∞ without rows.
Violation halfspaces(const Tensor& a, const Tensor& b);

struct FalsifyOptions {
  int64_t evaluations = int64_t{1} << 18;  // most rows passed to f, not counting one that confirms a find
  double seconds = std::numeric_limits<double>::infinity();  // begin no further batch after this time
  int64_t batch = 256;                                       // rows passed to one call, from 2 on
  int64_t steps = 20;                                        // per round; rounds find more than steps do
  uint64_t seed = 0;
};

struct Falsified {
  Tensor x;          // the best point found, in the box's shape
  double violation;  // of f at x alone; NaN where every value was
  bool found;        // violation ≤ 0
  int64_t evaluations;
};

// Looks for x in the box lower ≤ x ≤ upper, of any shape (f takes [N, …shape]), with violation(f(x)) ≤ 0, and stops at
// the first.
// Each round draws 4·batch points (the first the centre, a quarter corners), descends from the best half batch and from
// as many others by Adam's steps in units of the box's widths (the gradient of each row scaled to 1), and clips. What
// it finds depends on the seed and, where `seconds` ends it, on the time. Coordinates of width zero stay. Bounds of
// more digits than x's dtype are to be rounded inward by the caller, and a find is to be replayed on the condition as
// it was written.
//
// Throws ValueError for bounds that are crossed, infinite or NaN and options out of range; ShapeError and TypeError for
// what does not fit.
Falsified falsify(const Function& f, const Violation& violation, const Tensor& lower, const Tensor& upper,
                  const FalsifyOptions& options = {});

}  // namespace mollify::smoothing
#pragma GCC visibility pop
