// Lines around smooth curves, and what rules of relaxation share. Inner header of nn/bounds/relaxations.cc.
#pragma once

#include <mollify/engine/ops.h>
#include <mollify/nn/bounds/relaxations.h>

namespace mollify::nn::bounds {

// Outward: down for a lower bound or line, up for an upper one.
enum class Side { lower, upper };

std::vector<Relaxation> curved_relaxations();
Relaxation curved_relaxation(const char* operation,
                             const CurveFeatures& features);  // from then on the curve is known by this name

// The step's operation at x, in the place of its input 0.
Tensor replay(const TracedStep& step, const Tensor& x);

// Of two intercepts of one side, each valid on a part of the box, the one that is valid on both.
Tensor looser(Side side, const Tensor& a, const Tensor& b);

// value moved outward by roundoff·error and a few of the smallest normal numbers; the value when roundoff is 0. The
// error is to count its own computation too.
Tensor outward(Side side, const Tensor& value, const Tensor& error, double roundoff);

// h − slope·x, moved outward so that the line of exactly that slope passes (x, h(x)) on its side; |h − h(x)| ≤
// roundoff·error, an empty error being 0. The product and three sums, one of them the caller's, are each off by at most
// roundoff·(|h| + |slope·x|): 6 of it are added.
Tensor intercept_at(Side side, const Tensor& slope, const Tensor& x, const Tensor& h, const Tensor& error,
                    double roundoff);

// The lines where they are finite, elsewhere (an infinite box, overflow, NaN) the constant lines of the interval.
Lines or_constant(const Lines& lines, const Box& range);

double smallest_positive(DType dtype);
double largest(DType dtype);
inline Tensor number(double value, const Tensor& like) { return Tensor::scalar(value, like.dtype()); }

}  // namespace mollify::nn::bounds
