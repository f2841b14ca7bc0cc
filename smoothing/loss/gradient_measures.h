// What gradients say of a loss at some weights, and what an estimate of the gradient is worth there.
#pragma once

#include <mollify/engine/positions.h>
#include <mollify/optim/gradient.h>

#include <cstdint>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// ‖∇f(v) − ∇f(w)‖/‖v − w‖, along a step from v to w on one minibatch. NaN where both are the same.
double local_lipschitz(const optim::Loss& loss, const Tensor& before, const Tensor& after);

// The largest ‖∇f(w) − ∇f(w + v)‖/‖v‖ over v with numbers uniform on (−radius, radius). Neighbour j is a function of
// (seed, step, j). Throws ValueError unless there is a neighbour, and the radius is above 0.
struct Neighbors {
  int64_t count = 10;
  double radius = 0.5;
  uint64_t seed = 0;
  int64_t step = 0;
};
double neighbor_lipschitz(const optim::Loss& loss, const Tensor& weights, const Neighbors& how = {});

double sparsity(const Tensor& gradient, double threshold);  // the share of |g_i| below it

// How many log10|g_i| lie in each of equal bins from `low` to `high`, a number on an edge in the higher one.
struct Magnitudes {
  double low, high;
  std::vector<int64_t> counts;
  int64_t zeros = 0, below = 0, above = 0, nan = 0;  // what no bin holds; an infinite number is above
};
// Throws ValueError without a bin, and unless low < high.
Magnitudes magnitudes(const Tensor& gradient, double low = -12, double high = 4, int64_t bins = 32);

// How far an estimate is from the gradient: ‖g − ∇f‖ and the cosine between both (NaN where one is 0).
struct Closeness {
  double distance, cosine;
};
Closeness closeness(const Tensor& estimate, const Tensor& exact);
Closeness closeness(const Tensor& estimate, const Tensor& exact, const Positions& active);  // of those numbers alone

// √E‖ḡ − ∇f‖² of the mean ḡ of `pairs` two-sided differences along normal directions of the n active weights, where f
// is quadratic: E‖ḡ − ∇f‖² = ‖(1 − m)⊙∇f‖² + (n + 1)/pairs·‖m⊙∇f‖² with m 1 for active weights and 0 for others.
double predicted_distance(const Tensor& exact, const Positions& active, int64_t pairs);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
