// Losses in weight space, along lines and over planes, before and after Gaussian smoothing: L_s(w) = E L(w + s·z).
#pragma once

#include <mollify/nn/network.h>
#include <mollify/smoothing/monte_carlo.h>

#include <functional>
#include <span>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// Sizes of a network's pieces of the flat vector in their order, and of its units: a filter of a convolution, a row of
// a dense layer's matrix, and each other piece as a whole.
std::vector<int64_t> layer_sizes(const nn::Network& network);
std::vector<int64_t> unit_sizes(const nn::Network& network);

// A normal direction, scaled to the weights' norm, or each of the parts that `sizes` tell to the norm of the weights'
// (layer or filter normalisation: Li et al. 2018). A function of (seed, number). Throws ValueError where the weights
// are 0, and where the sizes do not add up to the weights.
Tensor random_direction(const Tensor& weights, uint64_t seed, int64_t number = 0,
                        const std::vector<int64_t>& sizes = {});

// Losses at some points of weight space, and the smoothed ones with their standard errors. All points share their
// noise: what differs between them is the loss.
struct Losses {
  std::vector<double> plain, smoothed, error;
  // Those at the points moved by s·z_j, for each sample j: `smoothed` is their mean. Groups of `group` in succession,
  // such as antithetic pairs, are independent of the others.
  std::vector<std::vector<double>> samples;
  int64_t group = 1;
};

// At w + t·u for each t. The noise is smooth_by_sampling's, over all weights. Throws what it throws, ValueError
// for Sobol draws, and ShapeError where a direction does not have the weights' shape.
Losses losses_on_line(const optim::Loss& loss, const Tensor& weights, const Tensor& direction,
                      const std::vector<double>& t, const Sigma& s, const MonteCarlo& how = {});
// At w + a·u + b·v for each a and, within it, each b.
Losses losses_on_plane(const optim::Loss& loss, const Tensor& weights, const Tensor& u, const Tensor& v,
                       const std::vector<double>& a, const std::vector<double>& b, const Sigma& s,
                       const MonteCarlo& how = {});

// The largest jump of the loss itself that is found on the line, which largest_jump cannot tell from a steep slope.
// Intervals between neighbouring points are halved `halvings` times; each time that half of them goes on in which the
// loss bends most, |f(low) − 2f(middle) + f(high)|: a jump is seen beside any slope, but not beside bends that are
// larger. What the loss changes over the last intervals is the jump, or 2^−halvings of a slope's. NaN where a loss is
// not finite.
double largest_discontinuity(const optim::Loss& loss, const Tensor& weights, const Tensor& direction,
                             const std::vector<double>& t, int64_t halvings = 14);

// Of a curve at equally spaced points. NaN where a number is not finite.
// The largest |y_{i+1} − y_i|; 0 for less than two points.
double largest_jump(std::span<const double> curve);
// The largest height of a point over the chord between two others, which is its height over the lower convex envelope.
// Convex as a function of the curve: that of a mean of curves never exceeds the mean of theirs (Balauca et al. 2024).
double deviation_from_convexity(std::span<const double> curve);

// What is measured on a smoothed curve, with the jackknife's standard error over independent groups of samples.
struct Measured {
  double value, standard_error;
};
Measured measured_on_smoothed(const Losses& losses, const std::function<double(std::span<const double>)>& measure);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
