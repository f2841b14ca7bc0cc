// Gaussian smoothing by sampling: what the closed forms are compared with, and what stands in where there is none.
#pragma once

#include <mollify/smoothing/activations.h>
#include <mollify/smoothing/gsmooth.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// How the noise z of E f(x + s z) is drawn.
// independent: z₁, z₂, …; standard error from all values.
// antithetic:  z₁, −z₁, z₂, −z₂, …: exact for odd f − f(x); standard error from the pairs' means.
// sobol:       16 scramblings of Sobol points; standard error from their means. For smooth functions of few numbers the
//              error falls almost as 1/samples, best where samples/16 is a power of two; of thousands it is hardly
//              better than independent draws.
enum class Draws { independent, antithetic, sobol };

struct MonteCarlo {
  int64_t samples = 1024;  // rounded up to whole pairs or scramblings; at least two values, pairs or scramblings
  Draws draws = Draws::antithetic;
  uint64_t seed = 0;
  int64_t step = 0;    // other noise for each: 0 … 2^31 − 1
  int64_t batch = 64;  // noisy rows that smooth_rows_by_sampling passes to one call
};

// Of E f(x + s z), in f's shape and dtype, accumulated in f64.
struct Estimate { Tensor mean, standard_error; };

// f is any function of the whole tensor, such as a loss of flat weights; it is called once a sample. The noise of
// sample i is a function of (seed, step, i). No history is recorded. Throws ValueError for sample counts, batches or
// steps out of range, ShapeError when f's results differ in shape.
Estimate smooth_by_sampling(const Function& f, const Tensor& x, const Sigma& sigma, const MonteCarlo& how = {});

// f maps the rows of [B, …] to rows, each apart from the others, such as a network in evaluation mode. Row r of x [N,
// …] has noise of its own, a function of (seed, step, r, sample). Memory is that of `batch` rows; their number has no
// part in the result but by f's rounding.
Estimate smooth_rows_by_sampling(const Function& f, const Tensor& x, const Sigma& sigma, const MonteCarlo& how = {});

// Estimates of the smoothed loss and of its gradient, the mean of ∇loss at perturbed weights (randomised gradient
// smoothing, which does not see the loss's jumps).
struct ValueAndGradient { Estimate value, gradient; };
ValueAndGradient smoothed_value_and_grad(const optim::Loss& loss, const Tensor& weights, const Sigma& sigma,
                                         const MonteCarlo& how = {});

// For GSmooth and GSmoothSvrg: the mean of loss(w + s z) over draws that are constants, differentiable in w and s. Its
// gradient holds the graphs of all samples in memory. Fresh noise each step by how.step; calls with the same `how`
// share their noise, as the differences of GSmoothSvrg need.
SmoothedLoss sampled(optim::Loss loss, const MonteCarlo& how);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
