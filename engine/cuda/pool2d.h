// Pooling of packed [N, H, W, C] device memory. Declared as on the CPU, with device pointers; see engine/cpu/pool2d.h.
#pragma once

#include <mollify/engine/cpu/pool2d.h>

namespace mollify::cuda {

using cpu::Pool2dShape;

template <class T> void average_pool2d(const Pool2dShape& shape, const T* x, T* y);
template <class T> void average_pool2d_gradient(const Pool2dShape& shape, const T* g, T* dx);
template <class T> void max_pool2d(const Pool2dShape& shape, const T* x, T* y, int32_t* indices);

}  // namespace mollify::cuda
