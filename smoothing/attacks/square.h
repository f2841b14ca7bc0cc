// The square attack (Andriushchenko et al. 2020): random search that asks for outputs alone, never for gradients.
#pragma once

#include <mollify/smoothing/attacks/attack.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

struct SquareOptions {
  int64_t queries = 5000;  // evaluations of a row and run, two more for x and the start
  int64_t restarts = 1;
  double share = 0.8;  // of the pixels in the first squares; it falls to 1/512 of that in nine steps
};

// A square of pixels at a random place is tried at the ball's other edges (linf), or gets a window's share of the
// offset's norm (l2), and stays where the goal's margin grows. Rows [N, H, W, C] have squares across all channels; rows
// of other ranks count as [N, 1, d, 1], with stretches for squares.
Adversarial square_attack(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat,
                          const SquareOptions& how = {});

}  // namespace mollify::smoothing
#pragma GCC visibility pop
