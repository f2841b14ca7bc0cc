// Pooling of packed [N, H, W, C] memory.
#pragma once

#include <cstdint>

namespace mollify::cpu {

// x: [batch, height, width, channels]; y: [batch, out_height, out_width, channels]. Output (oh, ow) sees the part
// inside the image of the window that starts at (oh·stride_height − pad_top, ow·stride_width − pad_left).
struct Pool2dShape {
  int64_t batch, height, width, channels;
  int64_t kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left;
  int64_t out_height, out_width;
};

// Sums over the window divided by its full area.
template <class T> void average_pool2d(const Pool2dShape& shape, const T* x, T* y);
// Its transpose: every input gathers from the outputs whose windows hold it.
template <class T> void average_pool2d_gradient(const Pool2dShape& shape, const T* g, T* dx);
// Maxima and where in the image (of H·W·C numbers) they were; the first of equals, the first NaN if there is one.
template <class T> void max_pool2d(const Pool2dShape& shape, const T* x, T* y, int32_t* indices);

}  // namespace mollify::cpu
