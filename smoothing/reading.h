// What nonlinear operations of a network's trace become under noise.
#pragma once

#include <mollify/nn/reading.h>
#include <mollify/smoothing/activations.h>

namespace mollify::smoothing {

using nn::inputs_of, nn::linear_spread, nn::place, nn::replay, nn::Spread, nn::StepKind, nn::traced;

// As nn::kind_of; nonlinear operations are those in the table of activations, others unknown.
StepKind kind_of(const Step& step);

// Mean and variance of an activation or a max pooling whose inputs are `in` with independent normal noise of deviation s, which
// broadcasts. Of max pooling by pairwise Clark with matched moments: an approximation.
Moments nonlinear_moments(const Step& step, Inputs in, const Tensor& s);
Moments nonlinear_total(const Step& step, Inputs in, const Tensor& s);  // the variances' sum, 0-d, in place of the variances
Tensor nonlinear_mean(const Step& step, Inputs in, const Tensor& s);

}  // namespace mollify::smoothing
