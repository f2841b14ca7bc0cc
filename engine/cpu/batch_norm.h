// Batch normalisation of packed rows of channels, one pass over memory for each of: moments, normalisation, sums of the
// gradient, gradient.
#pragma once

#include <cstdint>

namespace mollify::cpu {

// x: [rows, channels]. mean and variance (without Bessel's correction) of each channel.
template <class T>
void channel_moments(const T* x, int64_t rows, int64_t channels, T* mean, T* variance);

// factor = scale/√(variance + epsilon), channel by channel.
template <class T>
void batch_norm_factor(int64_t channels, const T* scale, const T* variance, double epsilon, T* factor);

// y = (x − mean)·factor + shift, channel by channel.
template <class T>
void normalize_channels(const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor, const T* shift,
                        T* y);

// sum_g = Σ g and sum_gx = Σ g·(x − mean) over the rows.
template <class T>
void channel_gradient_sums(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, T* sum_g, T* sum_gx);

// What the gradient needs, channel by channel: factor as above, offset = d_shift/rows, slope = Σ g·(x −
// mean)/((variance + epsilon)·rows).
// d_scale holds Σ g·(x − mean) and becomes the scale's gradient; d_shift = Σ g.
template <class T>
void batch_norm_gradient_factors(int64_t channels, int64_t rows, const T* scale, const T* variance, double epsilon,
                                 T* d_scale, const T* d_shift, T* factor, T* offset, T* slope);

// dx = factor·(g − offset − (x − mean)·slope), channel by channel.
template <class T>
void normalize_channels_gradient(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor,
                                 const T* offset, const T* slope, T* dx);

}  // namespace mollify::cpu
