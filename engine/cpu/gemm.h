// Matrix products on raw memory.
#pragma once

#include <cstdint>

namespace mollify::cpu {

// A matrix in memory: element (i, j) is data[i·row_stride + j·column_stride]; one of the strides is 1.
template <class T>
struct Matrix {
  const T* data;
  int64_t row_stride, column_stride;
};

// c[m, n] (row_stride c_stride, columns contiguous) = a[m, k] · b[k, n] (+ bias[n] if bias is given).
// Every element is bias + a[i, 0]·b[0, j] + … in that order, by fused multiply-adds where the machine has them (for k =
// 0: bias or zero). So a row's bits depend neither on how many other rows there are nor on the number of threads. T is
// float or double. By OpenBLAS, and in its order, where products() says so.
template <class T>
void gemm(int64_t m, int64_t n, int64_t k, Matrix<T> a, Matrix<T> b, const T* bias, T* c, int64_t c_stride);

}  // namespace mollify::cpu
