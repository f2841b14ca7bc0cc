// Selection by indices, and its transpose, on packed device memory. An index without a place is reported as a fault.
#pragma once

#include <mollify/engine/tensor.h>

namespace mollify::cuda {

// Values are [outer, count, inner]; indices and what they select [outer, selected, inner]. The indices' strides are in
// elements, 0 where they repeat; `outer` is the product of outer_rank axes.
struct IndexShape {
  int64_t outer, count, selected, inner;
  int outer_rank;
  int64_t outer_extents[kMaxRank], outer_strides[kMaxRank], axis_stride, inner_stride;
};

// How `indices`, packed or repeating along all axes behind `axis`, choose from that axis of values of the given shape.
IndexShape index_shape(const Shape& values, const Tensor& indices, int axis);

// out[o, j, i] = x[o, indices[o, j, i], i]; T is that of any dtype.
template <class T>
void gather(const T* x, const int32_t* indices, const IndexShape& shape, T* out);

// out[o, c, i] = Σ x[o, j, i] over the j with indices[o, j, i] = c, in rising order of j, as on the CPU.
template <class T>
void scatter_add(const T* x, const int32_t* indices, const IndexShape& shape, T* out);

// labels: [n] → out: [n, classes], 1 at the label and 0 elsewhere.
template <class T>
void one_hot(const int32_t* labels, int64_t n, int64_t classes, T* out);

}  // namespace mollify::cuda
