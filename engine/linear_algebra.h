// Linear algebra of matrices [..., n, n], f32 and f64, by LAPACK, with gradients of any order. It is computed on the
// CPU, wherever its operands are; a build without LAPACK throws Error.
#pragma once

#include <mollify/engine/tensor.h>

#pragma GCC visibility push(default)
namespace mollify {

// L of a = L·Lᵀ, lower triangular, for the symmetric part of a. ValueError where that is not positive definite.
Tensor cholesky(const Tensor& a);
// x of L·x = b, or of Lᵀ·x = b, for b [..., n, m]; only the lower triangle of L is read. ValueError where L is
// singular.
Tensor triangular_solve(const Tensor& l, const Tensor& b, bool transposed = false);
// x of a·x = b, for b [..., n, m]. ValueError where a is singular.
Tensor solve(const Tensor& a, const Tensor& b);
// The symmetric part of a is V·diag(values)·Vᵀ: values [..., n] rising, orthonormal vectors in the columns of V, each
// with its largest number positive. The vectors' gradient needs values that differ; it is NaN where they do not.
struct Eigen {
  Tensor values, vectors;
};
Eigen eigh(const Tensor& a);

}  // namespace mollify
#pragma GCC visibility pop
