// Batch normalisation of packed rows of channels. Declared as on the CPU, with device pointers: see
// engine/cpu/batch_norm.h.
#pragma once

#include <cstdint>

namespace mollify::cuda {

template <class T>
void channel_moments(const T* x, int64_t rows, int64_t channels, T* mean, T* variance);

template <class T>
void batch_norm_factor(int64_t channels, const T* scale, const T* variance, double epsilon, T* factor);

template <class T>
void normalize_channels(const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor, const T* shift,
                        T* y);

template <class T>
void channel_gradient_sums(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, T* sum_g, T* sum_gx);

template <class T>
void batch_norm_gradient_factors(int64_t channels, int64_t rows, const T* scale, const T* variance, double epsilon,
                                 T* d_scale, const T* d_shift, T* factor, T* offset, T* slope);

template <class T>
void normalize_channels_gradient(const T* g, const T* x, int64_t rows, int64_t channels, const T* mean, const T* factor,
                                 const T* offset, const T* slope, T* dx);

}  // namespace mollify::cuda
