// Interval arithmetic (IBP, Gowal et al. 2018) and the margins that make it, and rows, hold in real arithmetic.
//
// Rounding. With unit roundoff u, a sum of n products in any order, fused or not, is within γ Σ|a·b| of the exact one,
// γ = nu/(1 − nu) (Higham 2002, §3.1). Numbers that were computed are taken at their word, and what the rounding of a
// step may lose is charged where the step is exact: rows A behind y = Wx + b become fl(AW), and (AW − fl(AW))x is at
// most γ Σ|A|·(|W||x|). Such charges are Σ|A|·v with a vector v ≥ |W||x| + |b| that goes forward once, so they cost
// nothing: A·b is summed as Σ A·(b ∓ γv). Results below the normal range are charged the smallest normal number each.
#pragma once

#include <mollify/nn/bounds/graph.h>

#include <vector>

#pragma GCC visibility push(default)
namespace mollify::nn::bounds {

struct Interval { Tensor center, radius; };

// γ for sums of n terms, ∞ where nu is above 1/100; 0 when roundoff is 0.
double rounding_share(double terms, double roundoff);

// Each holds the other, rounding included.
Interval interval_of(const Box& box, double roundoff);
Box box_of(const Interval& interval, double roundoff);

// Of all numbers of a linear node, from those of its inputs.
Interval through_linear(const Graph& graph, int node, const std::vector<Interval>& inputs, double roundoff);
// Max pooling, end by end, which is exact.
Box through_max_pool(const TracedStep& step, const Box& x);

// |W| v + |b|, rounded up: bounds the numbers of a linear node where v bounds those of its inputs.
Tensor magnitude_through_linear(const Graph& graph, int node, const std::vector<Tensor>& inputs, double roundoff);
Tensor magnitude_of(const Box& box);

}  // namespace mollify::nn::bounds
#pragma GCC visibility pop
