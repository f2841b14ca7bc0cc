#include "bindings.h"

NB_MODULE(_core, m) {
  using namespace mollify::python;
  nb::set_leak_warnings(false);  // functions that hold each other live until the process ends
  m.doc() = "The compiled part of mollify.";
  bind_errors(m);
  bind_tensor(m);
  bind_ops(m);
  bind_ops_of_arrays(m);
  bind_grad(m);
  nb::module_ optim = m.def_submodule("optim", "Optimisers, gradients' estimates and schedules.");
  bind_optim(optim);
  nb::module_ nn = m.def_submodule("nn", "Networks as pure functions of (weights, input).");
  bind_nn(nn);
  nb::module_ smoothing = m.def_submodule("smoothing", "Functions, networks and losses under Gaussian noise.");
  bind_smoothing(smoothing);
  bind_randomized(smoothing);
  bind_attacks(smoothing);
  nb::module_ bounds = nn.def_submodule("bounds", "Bounds of networks over sets of inputs.");
  bind_bounds(bounds);
  nb::module_ datasets = m.def_submodule("datasets", "Labelled images.");
  bind_datasets(datasets);
}
