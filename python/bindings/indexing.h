// x[…] of Python: numbers, slices, None, Ellipsis, masks and lists of places.
#pragma once

#include "arguments.h"

namespace mollify::python {

// Throws IndexError for a place that is not there.
Tensor get_item(const Tensor& x, nb::handle key);
// Overwrites what a key of numbers and slices names, or where a mask of x's shape is not 0.
void set_item(const Tensor& x, nb::handle key, const Operand& value);

}  // namespace mollify::python
