// Losses that train a network through its bounds, and what goes with them: pure functions of bounds, weights or steps.
#pragma once

#include <mollify/nn/bounds/bounds.h>

#pragma GCC visibility push(default)
namespace mollify::nn::bounds {

// Mean of log(1 + Σ_t e^{−m_t}) over lower bounds m [B, classes − 1] of the margins o_y − o_t: the cross-entropy of
// logits (0, −m) with label 0. No input of the region has a larger cross-entropy, in the mean.
Tensor worst_case_cross_entropy(const Tensor& margins);

// Lower bounds of rows, as Bounds::lower, by interval arithmetic over the boxes of `bounds`, whose method found them.
Tensor lower_by_boxes(const Bounds& bounds, const Tensor& rows);

// An upper bound of the same mean that walks one row back for each sample in place of classes − 1 (loss fusion): over
// interval arithmetic's range [d, d'] of a margin, e^{−x} lies below its chord, and the sum of the chords is one row.
// Of methods that walk.
Tensor fused_cross_entropy(const Bounds& bounds, const Tensor& margin_rows);

// The regulariser of Shi et al. 2021, mean over the relus. With centre c and radius r of a relu's input, r₀ the radius
// of the region, means over batch and units, and τ = 1/2:
//   tightness  relu(τ − mean(r₀)/mean(r))/τ: radii should not grow through the layers;
//   balance    (relu(τ − q₁) + relu(τ − q₂))/τ with q₁ the ratio of the active units' mean centre to the inactive
//              ones', q₂ that of their parts of the centres' variance, each the ratio or its inverse, whichever is
//              below 1; 0 where either kind is missing.
Tensor relu_regularizer(const Bounds& bounds);

// Σ|w| over the pieces that are weights of layers, not biases.
Tensor weight_norm_l1(const Network& network, const Tensor& weights);

// From 0 at step 0 to `last` at step `steps` (Xu et al. 2020): quartic for the first quarter, then linear, value and
// slope matched there; `last` from then on, and throughout where steps is 0.
double smooth_ramp(double step, double steps, double last);

}  // namespace mollify::nn::bounds
#pragma GCC visibility pop
