// What the library's own operations share, beside the parts of rules in op.h.
#pragma once

#include <mollify/engine/op.h>
#include <mollify/engine/ops.h>

// Kernels that prepare the call of a function of which each device has its own: cpu::f(…) or cuda::f(…), where this
// build has CUDA.
#ifdef MOLLIFY_CUDA
#define MOLLIFY_ON(device, ...) ((device) == ::mollify::Device::cuda ? cuda::__VA_ARGS__ : cpu::__VA_ARGS__)
#define MOLLIFY_CUDA_KERNEL(kernel) kernel
#else
#define MOLLIFY_ON(device, ...) cpu::__VA_ARGS__
#define MOLLIFY_CUDA_KERNEL(kernel) nullptr
#endif

namespace mollify {

// Throws TypeError unless the tensor is i32.
void require_indices(const char* operation, const Tensor& x);
void require_same_dtype(const char* operation, const Tensor& a, const Tensor& b);
// Throws ValueError where an integer dtype cannot hold the value; fractions go toward zero, as in cast.
void require_fits(const char* operation, double value, DType dtype);

// A view without an axis of extent 1, whatever the strides.
Tensor without_axis(const Tensor& x, int axis);

// Row-major values of x: itself, or a copy where it is strided.
inline Tensor packed_operand(const Tensor& x) { return x.is_packed() ? x : packed(x.detach()); }

// `value` repeated over a shape, of the dtype and on the device of another tensor: takes the memory of one number.
Tensor repeated(double value, const Shape& shape, const Tensor& like);

// √x, and 0 without a slope for x ≤ 0: at 0 it would be infinite, and with it gradients NaN. Of variances and sums of
// squares.
Tensor root(const Tensor& x);

// A recorded pad with `value` in place of its own.
Tensor padded_with(double value, const Tensor& x, const Attributes& pad);

// The op of assign(target, value), for those who plan copies.
const Op& assign_operation();

// Product of the extents of axes first … last − 1.
inline int64_t extent_product(const Shape& shape, int first, int last) {
  int64_t product = 1;
  for (int axis = first; axis < last; ++axis) product *= shape[axis];
  return product;
}

}  // namespace mollify
