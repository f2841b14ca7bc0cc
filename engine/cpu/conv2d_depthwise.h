// Depthwise convolution: one filter per channel. Nothing is summed over channels, so vectors run along them.
#pragma once

#include <mollify/engine/cpu/conv2d.h>

namespace mollify::cpu {

inline bool is_depthwise(const Conv2dShape& shape) {
  return shape.groups > 1 && shape.groups == shape.channels && shape.filters == shape.channels;
}

// As conv2d and its gradients, for shapes with is_depthwise. T is float or double.
template <class T> void depthwise(const Conv2dShape& shape, const T* x, const T* w, const T* bias, T* y);
template <class T> void depthwise_input_gradient(const Conv2dShape& shape, const T* g, const T* w, T* dx);
template <class T> void depthwise_weight_gradient(const Conv2dShape& shape, const T* g, const T* x, T* dw);

}  // namespace mollify::cpu
