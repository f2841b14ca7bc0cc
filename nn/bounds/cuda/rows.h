// Rows through lines, and their gradients, in device memory: see nn/bounds/ops.h. T is float or double.
#pragma once

#include <mollify/nn/bounds/row_layout.h>

namespace mollify::cuda {

template <class T>
struct RowOperands {
  nn::bounds::View<T> rows, slope[2],
      intercept[2];  // first of a pair: under coefficients ≥ 0; data null: there is none
  nn::bounds::Places places;
  nn::bounds::Runs runs;
  int64_t count;  // result rows
};

// out: [count, d…], null where there are no slopes; sums: [count], each by a tree whose shape d decides. A term is
// rounded at most d/32 + 16 times on its way, and once more for each line of a window.
template <class T>
void relax_rows(const RowOperands<T>& o, T* out, T* sums);

// What arrived, and what is wanted of it: null where there is none.
template <class T>
struct RowGradients {
  const T *from_rows = nullptr, *from_sums = nullptr;  // as out and sums
  T* to_rows = nullptr;                                // [count, d…]
  nn::bounds::View<T> to_slope[2],
      to_intercept[2];  // of every sample; the rows' sum where they share a line, in a fixed order
  int64_t samples;                                     // of the lines
};
template <class T>
void relax_rows_gradient(const RowOperands<T>& o, const RowGradients<T>& g);

// out: [pairs, numbers of a window]: where each lies in the image, `outside` for those that do not.
void window_numbers(const nn::bounds::Runs& runs, int64_t pairs, int64_t numbers, int32_t outside, int32_t* out);

}  // namespace mollify::cuda
