// Convolutions on device memory.
#pragma once

#include <mollify/engine/cpu/conv2d.h>

#include <vector>

namespace mollify::cuda {

using cpu::Conv2dShape;

// As engine/cpu/conv2d.h has them: T is float or double, any element alignment, f32 follows precision(). Results repeat
// from run to run. Padding is read as zeros, so that an infinite or NaN weight shows in border pixels that it would
// only multiply padding in.
template <class T> void conv2d(const Conv2dShape& shape, const T* x, const T* w, const T* bias, T* y);
template <class T> void conv2d_input_gradient(const Conv2dShape& shape, const T* g, const T* w, T* dx);   // g like y
template <class T> void conv2d_weight_gradient(const Conv2dShape& shape, const T* g, const T* x, T* dw);  // g like y

// ---- for tests: the algorithms one by one

enum class Conv2dKind { forward, input_gradient, weight_gradient };

// What is given and wanted. Forward: left is x, right is w; input gradient: g and w; weight gradient: g and x.
template <class T>
struct Conv2dCall {
  Conv2dShape shape;
  const T *left, *right, *bias;  // bias: forward only, may be null
  T* out;
};

// Names, in the order in which they are asked; the last one takes every shape.
std::vector<const char*> conv2d_algorithms(Conv2dKind kind);

// Runs one algorithm whether or not it is the best for the shape; false where it cannot take the call.
template <class T> bool run_conv2d(Conv2dKind kind, const char* algorithm, const Conv2dCall<T>& call);

// The name of the algorithm that would run.
template <class T> const char* chosen_conv2d(Conv2dKind kind, const Conv2dCall<T>& call);

}  // namespace mollify::cuda
