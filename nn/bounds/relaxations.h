// One rule for each nonlinear elementwise operation: what it does to intervals, and two lines around its graph.
#pragma once

#include <mollify/engine/trace.h>

namespace mollify::nn::bounds {

struct Box { Tensor lower, upper; };  // of equal or broadcastable shapes, lower ≤ upper

// lower_slope·x + lower_intercept ≤ h(x) ≤ upper_slope·x + upper_intercept for all x of a box.
struct Lines { Tensor lower_slope, lower_intercept, upper_slope, upper_intercept; };

// How relu's lower line is drawn where l < 0 < u, with slope: adaptive, 1 if u ≥ −l else 0 (DeepPoly, CROWN); zero; one;
// same, the upper line's u/(u − l) (DeepZ, Fast-Lin).
enum class LowerLine { adaptive, zero, one, same };

// Rules are differentiable in the box and in α. `roundoff` is 0, or the unit roundoff of the dtype (2⁻²⁴, 2⁻⁵³): then intervals and
// lines are widened so that they hold in real arithmetic for every real x of the box, whatever the rounding in the rule.
struct Relaxation {
  const char* operation;  // Op::name
  // [min h, max h] over the box, exact up to rounding.
  Box (*interval)(const Step& step, const Box& x, double roundoff);
  // α ∈ [0, 1], of a shape that broadcasts with the box, picks the lower line where there is a choice (formulas: relaxations.cc), and is
  // any other number's nearest in [0, 1]. Boxes of one point are allowed.
  Lines (*lines)(const Step& step, const Box& x, const Tensor& alpha, double roundoff);
  // The α of a rule of lower lines; operations other than relu and leaky relu take each operation's own best choice for all of them.
  Tensor (*alpha)(const Step& step, const Box& x, LowerLine rule);
};

const Relaxation* find_relaxation(const char* operation);  // null where there is none

}  // namespace mollify::nn::bounds
