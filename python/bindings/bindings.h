// The parts of the module mollify._core, one for each folder of the library or more.
#pragma once

#include "arguments.h"

namespace mollify::python {

void bind_errors(nb::module_& m);
void bind_tensor(nb::module_& m);
void bind_ops(nb::module_& m);            // elementwise and random
void bind_ops_of_arrays(nb::module_& m);  // reductions, products, images, shapes, indices, linear algebra
void bind_grad(nb::module_& m);           // gradients and captures
void bind_nn(nb::module_& nn);
void bind_optim(nb::module_& optim);
void bind_smoothing(nb::module_& smoothing);
void bind_smoothed_losses(nb::module_& smoothing);  // over their weights
void bind_randomized(nb::module_& smoothing);       // votes under noise and what they prove
void bind_attacks(nb::module_& smoothing);
void bind_bounds(nb::module_& bounds);
void bind_datasets(nb::module_& datasets);

}  // namespace mollify::python
