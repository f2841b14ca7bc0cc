// Convolutions with few channels or filters: vectors of them would be mostly empty, so vectors run along images
// instead.
#pragma once

#include <mollify/engine/cpu/conv2d.h>

namespace mollify::cpu {

// As conv2d and its input gradient, for the leading images of the batch; returns how many, 0 where the shape does not
// suit.
// The other images are for the kernels of conv2d.cc, which give the same bits: no image's result depends on the batch.
template <class T> int64_t few_channels(const Conv2dShape& shape, const T* x, const T* w, const T* bias, T* y);
template <class T> int64_t few_channels_input_gradient(const Conv2dShape& shape, const T* g, const T* w, T* dx);

// As conv2d's weight gradient, for all images; false where the shape does not suit.
template <class T> bool few_channels_weight_gradient(const Conv2dShape& shape, const T* g, const T* x, T* dw);

}  // namespace mollify::cpu
