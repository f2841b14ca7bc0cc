// What the shape rules of several operations share.
#pragma once

#include <mollify/engine/op.h>
#include <mollify/engine/ops.h>

namespace mollify {

// Packed, of the shape to which all inputs broadcast, and of their common dtype. Throws TypeError for integers or mixed dtypes.
Layouts broadcast_shape(const Op& op, Inputs in, const Attributes&);

// Throws TypeError unless the tensor is f32 or f64 (i32).
void require_floating(const char* operation, const Tensor& x);
void require_indices(const char* operation, const Tensor& x);
void require_same_dtype(const char* operation, const Tensor& a, const Tensor& b);

// For kernels: row-major values of x, without history; a copy where x is strided.
Tensor packed_values(const Tensor& x);

// Product of the extents of axes first … last − 1.
inline int64_t extent_product(const Shape& shape, int first, int last) {
  int64_t product = 1;
  for (int axis = first; axis < last; ++axis) product *= shape[axis];
  return product;
}

// Calls f with a zero of the tensor's floating type: f(float()) or f(double()).
template <class F>
void for_floating(DType dtype, const F& f) {
  if (dtype == DType::f32) f(float());
  else f(double());
}

}  // namespace mollify
