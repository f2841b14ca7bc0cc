// Arrays of other libraries as tensors and tensors as theirs, without copies: by DLPack and by Python's buffers.
#pragma once

#include "arguments.h"

namespace mollify::python {

// Whether an object offers its memory.
bool is_foreign(nb::handle source) noexcept;

// A tensor on the object's memory, which it keeps alive until the last tensor there is gone. Memory for reading only
// stays so. Throws DTypeError for numbers other than f32, f64, i32 and u8 (bool counts as u8), ShapeError for more than
// six axes, ValueError for addresses or strides that are not whole numbers of elements, DeviceError for a device that
// this build does not have.
Tensor from_foreign(nb::handle source);

// A new tensor of the object's numbers, which may be integers of any size. Throws ValueError for one that does not fit.
Tensor copy_of_foreign(nb::handle source, DType dtype);

// The same values in memory of its own.
Tensor copied(const Tensor& x);

// A tensor's own memory, as the protocols ask for it. All throw GraphError for a tensor with a history.
nb::object to_dlpack(const Tensor& x, nb::handle max_version, nb::handle device, nb::handle copy);
void require_array(const Tensor& x);  // DeviceError for a GPU's
nb::tuple dlpack_device(const Tensor& x);
extern PyType_Slot tensor_slots[];

}  // namespace mollify::python
