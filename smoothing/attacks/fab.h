// The fast adaptive boundary attack (Croce & Hein 2020): the nearest input that is classified wrongly, in l2 or linf.
#pragma once

#include <mollify/smoothing/attacks/attack.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

struct FabOptions {
  int64_t steps = 100;
  int64_t restarts = 1;
  int64_t targets = 0;  // above 0: one run for each of so many wrong classes, the largest outputs at x first, and one
                        // gradient a step; 0: every step looks at the boundary to every class
};

// Steps go beyond the nearest boundary of the function's linearisation, within the box, and are drawn toward x's own
// nearest point on it; a point that reached the goal is kept if it is the nearest, and the next step starts between it
// and x. Of a goal that is targeted or of several classes, the boundary is that of the goal's margin alone. The first
// run starts at x, others at random. The nearest point within the threat's epsilon, which may be infinite, comes back.
Adversarial fab(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat,
                const FabOptions& how = {});

}  // namespace mollify::smoothing
#pragma GCC visibility pop
