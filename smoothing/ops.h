// Functions smoothed with Gaussian noise: h_s(x) = E h(x + s z), z standard normal, s >= 0 the standard deviation of
// the noise.
//
// They follow the rules of engine/ops.h, and x and s broadcast (s mostly has no axes). Gradients of any order in x and
// in s, by the heat equation ∂h_s/∂s = s ∂²h_s/∂x². At s = 0 they are h itself, with relu' = 1{x > 0} and no higher
// derivatives; a negative or infinite s gives NaN. Values and first derivatives hold for every normal number s
// and every x, up to a sixteenth of the largest number of the dtype. With a the distance to the nearest kink in units
// of s and ε the dtype's epsilon, "relative" below is a relative error of at most 16 (1 + a²) ε wherever the value is a
// normal number, "absolute" an error of at most 8 ε (1 + |F| + |x F_x| + |s F_s|).
#pragma once

#include <mollify/engine/ops.h>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

// n-th derivative in x of relu_s, n >= −1; relative. −1: the antiderivative, half of relu²'s; 0: relu_s = xΦ(a) +
// sφ(a), a = x/s; 1: Φ(a); 2: φ(a)/s; from 3 on (−1)ⁿ He_{n−2}(a) φ(a)/sⁿ⁻¹, relative to its largest term.
Tensor relu_smoothed(const Tensor& x, const Tensor& s, int derivative = 0);
Tensor sign_smoothed(const Tensor& x, const Tensor& s);  // 2Φ(a) − 1; relative
Tensor abs_smoothed(const Tensor& x, const Tensor& s);   // 2 relu_s(x) − x; relative

struct Moments { Tensor mean, variance; };
Moments relu_moments(const Tensor& x,
                     const Tensor& s);  // of relu(x + s z); relative, and the variance is never negative
Moments relu_total_variance(
    const Tensor& x, const Tensor& s);  // the same with the variances' sum, 0-d, in less time; tiny ones lose a⁴ε

// n-th derivative in x of ∫ over [low, high] of Φ((x − t)/s) dt = relu_s(x − low) − relu_s(x − high); absolute, for s
// far below and far above high − low. At s = 0 the first derivative is 1 on [low, high], ends included, as that of
// clip. Needs finite low <= high.
Tensor ramp_smoothed(const Tensor& x, const Tensor& s, double low, double high, int derivative = 0);
// low + ramp_smoothed; absolute, with 1 + |low| + |high| in place of 1 where 16 s > high − low.
Tensor clip_smoothed(const Tensor& x, const Tensor& s, double low, double high);

Tensor exp_below_smoothed(const Tensor& x,
                          const Tensor& s);  // E[exp(x + sz); x + sz < 0]; absolute; at s = 0 exp(x) for x <= 0
Tensor elu_smoothed(const Tensor& x, const Tensor& s);        // absolute
Tensor gelu_smoothed(const Tensor& x, const Tensor& s);       // absolute

// E max of two normal numbers of means x and y whose difference has standard deviation theta (Clark 1961); independent
// noise of standard deviation s on both: theta = √2·s. At theta = 0 and x = y no gradient flows. Relative to max + |x −
// y|.
Tensor max_smoothed(const Tensor& x, const Tensor& y, const Tensor& theta);

// Owen's T function for |a| <= 1, NaN beyond: a relative error of 8 (1 + h²) ε.
Tensor owens_t(const Tensor& h, const Tensor& a);
// 1/2π ∫ over [1 − width, 1] of e^{−h²(1+v²)/2}/(1 + v²)^power dv, for power 1 T(h, 1) − T(h, 1 − width) without its
// cancellation. Needs 0 <= width <= 1, power <= 1. A relative error of 16 (1 + h²) ε.
Tensor owens_t_to_one(const Tensor& h, const Tensor& width, int power = 1);

// What closed forms are made of: s itself, NaN where it is no scale, and √(s² + h²) for h > 0, for every s and h of the
// dtype.
Tensor checked_scale(const Tensor& s);
Tensor widened_scale(const Tensor& s, double h);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
