// Convolutions and matrix products on raw memory: what the kernels of ops/conv2d and ops/matmul call.
#pragma once

#include <cstdint>

namespace mollify::cpu {

// x: [batch, height, width, channels]; w: [filters, kernel_height, kernel_width, channels / groups]; y: [batch,
// out_height, out_width, filters].
// Output (oh, ow) reads input (oh·stride_height − pad_top + kh·dilation_height, …); what lies outside is zero.
struct Conv2dShape {
  int64_t batch, height, width, channels;
  int64_t filters, kernel_height, kernel_width;
  int64_t stride_height, stride_width;
  int64_t pad_top, pad_left;  // what pad_bottom and pad_right add is in out_height, out_width
  int64_t dilation_height, dilation_width;
  int64_t groups;
  int64_t out_height, out_width;
};

// T is float or double; all arrays packed, row-major, at least element-aligned. bias (length filters) may be null.
template <class T> void conv2d(const Conv2dShape& shape, const T* x, const T* w, const T* bias, T* y);
template <class T> void conv2d_input_gradient(const Conv2dShape& shape, const T* g, const T* w, T* dx);   // g like y
template <class T> void conv2d_weight_gradient(const Conv2dShape& shape, const T* g, const T* x, T* dw);  // g like y

}  // namespace mollify::cpu
