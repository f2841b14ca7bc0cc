// Batch normalisation of packed rows of channels, one pass over memory for each of: moments, normalisation, sums of the gradient, gradient.
#pragma once

#include <cstdint>

namespace mollify::cpu {

// x: [rows, channels]. mean and variance (without Bessel's correction) of each channel.
template <class T>
void channel_moments(const T* x, int64_t rows, int64_t channels, T* mean, T* variance);

// y = (x − mean)·factor + shift, channel by channel.
template <class T>
void normalize_channels(const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor, const T* shift, T* y);

// sum_g = Σ g and sum_gx = Σ g·(x − mean) over the rows.
template <class T>
void channel_gradient_sums(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, T* sum_g, T* sum_gx);

// dx = factor·(g − offset − (x − mean)·slope), channel by channel.
template <class T>
void normalize_channels_gradient(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor, const T* offset, const T* slope, T* dx);

}  // namespace mollify::cpu
