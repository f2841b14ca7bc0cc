// What nonlinear operations of a network's trace become under noise.
#pragma once

#include <mollify/nn/reading.h>
#include <mollify/smoothing/activations.h>

namespace mollify::smoothing {

using nn::inputs_of, nn::linear_part, nn::linear_spread, nn::place, nn::replay, nn::Spread, nn::StepKind, nn::traced;

// As nn::kind_of; nonlinear operations are those in the table of activations, others unknown.
StepKind kind_of(const TracedStep& step);

// Of a layer's numbers, with what they share: the covariance of numbers i and j is Σ_k f_ki f_kj over factors f [N, K,
// …], its diagonal apart; no factors: they are independent.
struct JointMoments { Tensor mean, variance, factors; };

Tensor spread_over(const Tensor& x);  // [N, …] as [N, 1, …], for products with factors

// Max pooling by pairwise Clark with matched moments, exact for two numbers: an approximation. Factors are each
// number's, weighted by how often it is the greatest.
JointMoments clark_max_pool2d(const JointMoments& x, const Pool2d& how);

// Mean and variance of an activation or a max pooling whose inputs are `in` with independent normal noise of deviation
// s, which broadcasts.
Moments nonlinear_moments(const TracedStep& step, Inputs in, const Tensor& s);
Moments nonlinear_total(const TracedStep& step, Inputs in,
                        const Tensor& s);  // the variances' sum, 0-d, in place of the variances
Tensor nonlinear_mean(const TracedStep& step, Inputs in, const Tensor& s);

}  // namespace mollify::smoothing
