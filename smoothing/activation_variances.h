// Variances of h(x + s z) without the cancellation of (h²)_s − h_s², for activations where that takes more than a line.
// Errors are a few ε·s² at most, however small s is; the mean is the activation's own.
#pragma once

#include <mollify/smoothing/ops.h>

namespace mollify::smoothing::detail {

Moments erf_moments(const Tensor& x, const Tensor& s);
Moments elu_moments(const Tensor& x, const Tensor& s);
Moments gelu_moments(const Tensor& x, const Tensor& s);

}  // namespace mollify::smoothing::detail
