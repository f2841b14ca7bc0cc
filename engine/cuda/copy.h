// Copies within the device: between layouts, and between dtypes.
#pragma once

#include <mollify/engine/tensor.h>

namespace mollify::cuda {

// Copies x to out, which may be strided and of another dtype (numbers convert as in C++); x broadcasts to out's shape.
void copy(const Tensor& x, const Tensor& out);

// The same; a number that has no counterpart in out's integer dtype becomes 0 and is reported as a fault: NaN, and what
// lies outside the range after rounding toward zero.
void cast(const Tensor& x, const Tensor& out);

// Writes the value, converted as in C++, to all of out, which is packed.
void fill(double value, const Tensor& out);

}  // namespace mollify::cuda
