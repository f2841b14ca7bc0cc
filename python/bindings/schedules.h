// What optimisers and smoothing share with Python: schedules, scales of noise, and functions that own what C++ moves.
#pragma once

#include <mollify/optim/optimizer.h>
#include <mollify/smoothing/sigma.h>

#include "callbacks.h"

#include <map>

namespace mollify::python {

// A number, a Schedule, or a function of the step. Functions of Python are called on the host, once a step.
class ScheduleArgument {
 public:
  bool read(nb::handle source) noexcept;
  optim::Schedule schedule() const;
  optim::Scheduled scheduled() const;
  static ScheduleArgument of(double number);

 private:
  std::optional<double> number_;
  nb::handle source_;
};

// A number or a tensor (the standard deviation), a Schedule or a function of the step, or a Sigma.
class SigmaArgument {
 public:
  bool read(nb::handle source) noexcept;
  smoothing::Sigma sigma() const;

 private:
  nb::handle source_;
};

// Python's Gradient: makes one for every optimizer that it is given to.
struct GradientRecipe {
  std::function<std::unique_ptr<optim::Gradient>()> make;
};
std::unique_ptr<optim::Gradient> made(const GradientRecipe* recipe);  // null: the exact one

// Python's Optimizer: what another object took over is no longer here.
struct OptimizerHandle {
  std::unique_ptr<optim::Optimizer> own;
  optim::Optimizer& get() const {
    require<ValueError>(own != nullptr, "optimizer: it belongs to another object now; needs one of its own");
    return *own;
  }
};

nb::dict dict_of(const std::map<std::string, Tensor>& tensors);
std::map<std::string, Tensor> map_of(const nb::dict& tensors);

}  // namespace mollify::python

template <>
struct nanobind::detail::type_caster<mollify::python::ScheduleArgument> {
  NB_TYPE_CASTER(mollify::python::ScheduleArgument, const_name("mollify.typing.Schedule"))
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept { return value.read(source); }
  static handle from_cpp(const mollify::python::ScheduleArgument& given, rv_policy, cleanup_list*) noexcept {
    return PyFloat_FromDouble(given.schedule()(0));
  }
};
MOLLIFY_READS(mollify::python::SigmaArgument, "mollify.typing.Sigma");
