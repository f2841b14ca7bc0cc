// Kernels of rows and lines, one row at a time. Inner header of nn/bounds/ops.cc.
#pragma once

#include <cstdint>

namespace mollify::nn::bounds {

// One row of n coefficients and its lines; null where there is none. out = row·slope, sum = Σ row·intercept.
template <class T>
struct RowForward {
  const T *row, *slope[2], *intercept[2];
  T *out, *sum;
  int64_t n;
};

// Its gradients: to_row is set; what belongs to the lines is added to.
template <class T>
struct RowBackward {
  const T *row, *slope[2], *intercept[2];
  const T* to_out;
  T to_sum;
  T *to_row, *to_slope[2], *to_intercept[2];
  int64_t n;
};

// Row numbers are f32 or f64. Without slopes only the sum is made.
void run(bool slopes, const RowForward<float>& r);
void run(bool slopes, const RowForward<double>& r);
void run(const RowBackward<float>& r);
void run(const RowBackward<double>& r);

}  // namespace mollify::nn::bounds
