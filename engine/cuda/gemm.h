// Matrix products on device memory.
#pragma once

#include <mollify/engine/cpu/gemm.h>

#include <cstdint>

namespace mollify::cuda {

using cpu::Matrix;

// c[m, n] (row_stride c_stride, columns contiguous) = a[m, k] · b[k, n] (+ bias[n] if bias is given); for k = 0 bias or
// zero.
// T is float or double; any element alignment; one stride of a and of b is 1. f32 follows precision().
// Results repeat from run to run; unlike on the CPU, a row's last bits may depend on how many rows there are.
// By cuBLASLt where it is there and the product is not small, else by gemm_tiled. A precision that cuBLASLt does not
// offer for f32 operands is replaced by the next better one.
template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, const T* bias, T* c, int64_t c_stride);

// `count` such products of matrices that lie a batch stride apart (0 repeats the matrix). Rows of a product in c are
// packed.
template <class T>
void gemm_batched(int64_t count, int64_t m, int64_t n, int64_t k, Matrix<T> a, int64_t a_batch_stride, Matrix<T> b,
                  int64_t b_batch_stride, T* c, int64_t c_batch_stride);

// The product by the kernel of this library: IEEE multiply-adds whatever precision() says. gemm takes it for products
// too small or too oddly placed for cuBLASLt.
template <class T>
void gemm_tiled(int64_t count, int64_t m, int64_t n, int64_t k, Matrix<T> a, int64_t a_batch_stride, Matrix<T> b,
                int64_t b_batch_stride, const T* bias, T* c, int64_t c_stride, int64_t c_batch_stride);

}  // namespace mollify::cuda
