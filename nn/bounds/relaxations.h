// One rule for each nonlinear elementwise operation: what it does to intervals, and two lines around its graph.
#pragma once

#include <mollify/engine/trace.h>

#include <limits>
#include <optional>

#pragma GCC visibility push(default)
namespace mollify::nn::bounds {

struct Box { Tensor lower, upper; };  // of equal or broadcastable shapes, lower ≤ upper

// lower_slope·x + lower_intercept ≤ h(x) ≤ upper_slope·x + upper_intercept for all x of a box. An empty intercept is 0.
// Each of them has a shape of its own that broadcasts with the box and with α. Slopes are finite where the box holds no
// NaN; where there is no finite line, or overflow ends it, the intercept is infinite or the line is constant, the
// interval's. A NaN in a box, or one that the operation itself answers to an infinite end, shows in the lines and in
// the interval: no finite bound comes of it.
struct Lines { Tensor lower_slope, lower_intercept, upper_slope, upper_intercept; };

// How relu's lower line is drawn where l < 0 < u, with slope: adaptive, 1 if u ≥ −l else 0 (DeepPoly, CROWN); zero;
// one; same, the upper line's u/(u − l) (DeepZ, Fast-Lin).
enum class LowerLine { adaptive, zero, one, same };

// Attributes of the operation ramp_smoothed (smoothing/ops.h), which its rule reads.
struct SmoothedRamp {
  double low, high;
  int64_t derivative;
};

// Rules are differentiable in the box and in α. `roundoff` is 0, or the unit roundoff of the dtype (2⁻²⁴, 2⁻⁵³): then
// intervals and lines are widened so that they hold in real arithmetic for every real x of the box, whatever the
// rounding in the rule.
struct Relaxation {
  const char* operation;  // Op::name
  // [min h, max h] over the box, exact up to rounding.
  Box (*interval)(const TracedStep& step, const Box& x, double roundoff);
  // α ∈ [0, 1], of a shape that broadcasts with the box, picks a line where there is a choice, and is any other
  // number's nearest in [0, 1]; empty, it is that of LowerLine::adaptive. Boxes of one point are allowed.
  //   relu, leaky_relu, abs: share of the way from the left piece's slope to the right piece's; of the lower line, but
  //     of the upper one for leaky_relu with slope > 1.
  //   all others: ½ is the line of smallest area, 0 and 1 the ends of what is possible, linear in between. Of convex
  //     curves it moves the lower line's tangent from l to u (exp: ½ is at most l + 0.99, where the line is positive
  //     over the box), of concave ones the upper line's; of S-shaped curves, clip, gelu and silu both lines, each in
  //     its own range, as a row of bounds uses one of them only.
  Lines (*lines)(const TracedStep& step, const Box& x, const Tensor& alpha, double roundoff);
  // The α of a rule of lower lines; operations other than relu, leaky_relu and abs take their own best choice, ½, for
  // all of them, as null does.
  Tensor (*alpha)(const TracedStep& step, const Box& x, LowerLine rule) = nullptr;
};

// The smallest positive normal number: what results below it may be off by.
double smallest_normal(DType dtype);

// Where a smooth curve h bends, which is all that drawing lines around it takes besides its values and its derivative.
// convex, concave: everywhere, and concave ones rise. sigmoidal: rising, h(turn + x) − h(turn) odd, convex at the left
// of `turn` and concave at its right. dish: h(x) − x/2 is even, convex on [−turn, turn], concave beyond, and rises
// toward a multiple of |x|/2.
enum class CurveForm { convex, concave, sigmoidal, dish };
struct CurveFeatures {
  CurveForm form;
  double turn = 0;
  double length = 1;                    // over which the slope changes
  std::optional<double> bottom = {};    // h falls before it and rises after it; empty where h rises everywhere
  double least = -std::numeric_limits<double>::infinity(),
         greatest = std::numeric_limits<double>::infinity();  // of h anywhere
  // Rounding of the computed value h and slope k at x: at most so many unit roundoffs of |h| + |x k| + 1, and of |k| +
  // |x h''| + 1. Bounds that charge rounding rest on it.
  double error = 64;
};

// Rules for further operations, whose names must outlive the program's use of them. ValueError where there is one.
void add_relaxation(const Relaxation& relaxation);
void add_curve(const char* operation, const CurveFeatures& features);

// Null where there is none; those that are found last as long as the program. Besides those that were added there are:
// relu, leaky_relu, abs, clip, sign, exp, log, softplus, elu, square, sigmoid, tanh, erf, gelu, silu, and relu_, abs_,
// sign_, elu_, clip_, ramp_ and gelu_smoothed, whose derivatives throw ValueError.
const Relaxation* find_relaxation(const char* operation);

}  // namespace mollify::nn::bounds
#pragma GCC visibility pop
