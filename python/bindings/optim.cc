// Optimisers, their gradients and schedules.
#include "bindings.h"

#include <mollify/optim/gradient.h>
#include <mollify/optim/graduated.h>
#include <mollify/optim/optimizer.h>
#include <mollify/optim/sharpness_aware.h>
#include <mollify/optim/svrg.h>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include "schedules.h"

MOLLIFY_CHOICES(mollify::optim::SvrgOptions::Next, "svrg: next", "'last', 'drawn'",
                {"last", mollify::optim::SvrgOptions::Next::last}, {"drawn", mollify::optim::SvrgOptions::Next::drawn});

namespace mollify::python {

bool ScheduleArgument::read(nb::handle source) noexcept {
  source_ = source;
  if (PyFloat_Check(source.ptr()) || PyLong_Check(source.ptr())) {
    number_ = PyFloat_AsDouble(source.ptr());
    if (PyErr_Occurred()) return PyErr_Clear(), false;
    return true;
  }
  return PyCallable_Check(source.ptr());
}

ScheduleArgument ScheduleArgument::of(double number) {
  ScheduleArgument made;
  made.number_ = number;
  return made;
}

optim::Schedule ScheduleArgument::schedule() const {
  if (number_) return optim::constant(*number_);
  if (nb::isinstance<optim::Schedule>(source_)) return *nb::inst_ptr<optim::Schedule>(source_);
  return [callback = Callback(source_)](int64_t step) {
    const nb::gil_scoped_acquire locked;
    return nb::cast<double>(callback.function()(step));
  };
}

optim::Scheduled ScheduleArgument::scheduled() const {
  if (number_) return *number_;
  return schedule();
}

std::unique_ptr<optim::Gradient> made(const GradientRecipe* recipe) { return recipe ? recipe->make() : nullptr; }

nb::dict dict_of(const std::map<std::string, Tensor>& tensors) {
  nb::dict all;
  for (const auto& [name, tensor] : tensors) all[name.c_str()] = tensor;
  return all;
}

std::map<std::string, Tensor> map_of(const nb::dict& tensors) {
  std::map<std::string, Tensor> all;
  for (const auto& [name, tensor] : tensors) {
    Operand operand;
    require<TypeError>(operand.read(tensor), "state: '{}' is no tensor; needs one", nb::cast<std::string>(name));
    all[nb::cast<std::string>(name)] = operand.of(DType::f64);
  }
  return all;
}

namespace {

using Scheduled = ScheduleArgument;
using Gradient = GradientRecipe;

OptimizerHandle handle(std::unique_ptr<optim::Optimizer> own) { return {std::move(own)}; }

void bind_schedules(nb::module_& m) {
  nb::class_<optim::Schedule>(m, "Schedule", "A number as a function of the step, which counts from 0.")
      .def(
          "__call__", [](const optim::Schedule& f, int64_t step) { return f(step); }, "step"_a);
  m.def("constant", optim::constant, "value"_a);
  m.def("step_decay", optim::step_decay, "value"_a, "factor"_a, "every"_a, "value·factor^⌊step/every⌋");
  m.def("milestones", optim::milestones, "value"_a, "factor"_a, "steps"_a,
        "value·factor^(number of `steps` ≤ step), the steps rising.");
  m.def("cosine", optim::cosine, "value"_a, "steps"_a, "last"_a = 0.0, "From `value` to `last` along half a cosine.");
  m.def("polynomial", optim::polynomial, "value"_a, "steps"_a, "power"_a, "value·(1 − step/steps)^power");
  m.def(
      "linear_warmup",
      [](int64_t steps, const Scheduled& then) { return optim::linear_warmup(steps, then.schedule()); }, "steps"_a,
      "then"_a, "(step + 1)/steps of what `then` starts with, for the first steps; then that.");
}

void bind_gradients(nb::module_& m) {
  nb::class_<Gradient>(m, "Gradient", "Where an optimizer's gradient comes from; serves any number of optimizers.");
  m.def(
      "exact_gradient", [] { return Gradient{optim::exact_gradient}; }, "Differentiation, once a step: the default.");
  m.def(
      "sam",
      [](double rho, const Gradient* inner) {
        const Gradient within = inner ? *inner : Gradient{optim::exact_gradient};
        return Gradient{[=] { return optim::sam(rho, within.make()); }};
      },
      "rho"_a = 0.05, "inner"_a = nb::none(), "SAM (Foret et al. 2021): the gradient at w + ρ·g/‖g‖.");
  m.def(
      "asam",
      [](double rho, double offset, const Gradient* inner) {
        const Gradient within = inner ? *inner : Gradient{optim::exact_gradient};
        return Gradient{[=] { return optim::asam({rho, offset}, within.make()); }};
      },
      "rho"_a = 0.5, "offset"_a = 0.01, "inner"_a = nb::none(),
      "ASAM (Kwon et al. 2021): as sam, whatever the weights' scale.");
}

void bind_optimizer(nb::module_& m) {
  nb::class_<OptimizerHandle>(m, "Optimizer",
                              "Steps change a flat vector of weights, given the loss as a function of it.")
      .def(
          "step",
          [](const OptimizerHandle& self, const Operand& weights, nb::callable loss) {
            return compute(
                [&, w = weights.tensor(), f = tensor_function(loss, "loss")] { return self.get().step(w, f); });
          },
          "weights"_a, "loss"_a, "Overwrites `weights` [d]; returns the loss before the step.",
          nb::sig(
              "def step(self, weights: mollify.typing.TensorLike, loss: "
              "collections.abc.Callable[[mollify._core.Tensor], mollify.typing.TensorLike]) -> mollify._core.Tensor"))
      .def(
          "advance",
          [](const OptimizerHandle& self, DType dtype) { compute([&] { return self.get().advance(dtype), 0; }); },
          "dtype"_a = DType::f32,
          "The host's half of a step: counts it and writes its numbers, before a captured update.")
      .def(
          "update",
          [](const OptimizerHandle& self, const Operand& weights, nb::callable loss) {
            return compute(
                [&, w = weights.tensor(), f = tensor_function(loss, "loss")] { return self.get().update(w, f); });
          },
          "weights"_a, "loss"_a, "The other half, on tensors alone, for a captured function.",
          nb::sig(
              "def update(self, weights: mollify.typing.TensorLike, loss: "
              "collections.abc.Callable[[mollify._core.Tensor], mollify.typing.TensorLike]) -> mollify._core.Tensor"))
      .def(
          "evaluation_weights",
          [](const OptimizerHandle& self, const Operand& w) { return self.get().evaluation_weights(w.tensor()); },
          "weights"_a, "What to evaluate and to save while `weights` are trained.")
      .def_prop_ro("steps", [](const OptimizerHandle& self) { return self.get().steps(); })
      .def_prop_ro(
          "learning_rate",
          [](const OptimizerHandle& self) { return compute([&] { return self.get().learning_rate(); }); },
          "Of the next step.")
      .def(
          "state", [](const OptimizerHandle& self) { return dict_of(self.get().state()); },
          "What a checkpoint keeps, by name.")
      .def(
          "set_state", [](const OptimizerHandle& self, const nb::dict& state) { self.get().set_state(map_of(state)); },
          "state"_a);
}

void bind_methods(nb::module_& m) {
  const Scheduled zero = Scheduled::of(0);
  m.def(
      "sgd",
      [](const Scheduled& rate, const Scheduled& momentum, const Scheduled& decay, bool nesterov, double clip,
         const Gradient* g) {
        return handle(optim::sgd(rate.schedule(), {momentum.scheduled(), decay.scheduled(), nesterov, clip}, made(g)));
      },
      "learning_rate"_a, "momentum"_a = zero, "weight_decay"_a = zero, "nesterov"_a = false, "clip_norm"_a = 0.0,
      "gradient"_a = nb::none(), "v ← momentum·v + g + decay·w, w ← w − rate·v");
  m.def(
      "clip_up",
      [](const Scheduled& rate, const Scheduled& momentum, double most_speed, const Gradient* g) {
        return handle(optim::clip_up(rate.schedule(), {momentum.scheduled(), most_speed}, made(g)));
      },
      "learning_rate"_a, "momentum"_a = Scheduled::of(0.9), "most_speed"_a = 2.0, "gradient"_a = nb::none(),
      "Steps whose length does not depend on the gradient's (Toklu et al. 2020).");
  const auto adam_options = [](double beta1, double beta2, double epsilon, const Scheduled& decay, double clip,
                               bool correction, bool inside) {
    return optim::AdamOptions{beta1, beta2, epsilon, decay.scheduled(), clip, correction, inside};
  };
  m.def(
      "adam",
      [=](const Scheduled& rate, double beta1, double beta2, double epsilon, const Scheduled& decay, double clip,
          bool correction, bool inside, const Gradient* g) {
        return handle(optim::adam(rate.schedule(), adam_options(beta1, beta2, epsilon, decay, clip, correction, inside),
                                  made(g)));
      },
      "learning_rate"_a, "beta1"_a = 0.9, "beta2"_a = 0.999, "epsilon"_a = 1e-8, "weight_decay"_a = zero,
      "clip_norm"_a = 0.0, "bias_correction"_a = true, "epsilon_inside"_a = false, "gradient"_a = nb::none(),
      "Kingma & Ba 2015; weight decay joins the gradient.");
  m.def(
      "adamw",
      [=](const Scheduled& rate, double beta1, double beta2, double epsilon, const Scheduled& decay, double clip,
          bool correction, bool inside, const Gradient* g) {
        return handle(optim::adamw(rate.schedule(),
                                   adam_options(beta1, beta2, epsilon, decay, clip, correction, inside), made(g)));
      },
      "learning_rate"_a, "beta1"_a = 0.9, "beta2"_a = 0.999, "epsilon"_a = 1e-8, "weight_decay"_a = Scheduled::of(0.01),
      "clip_norm"_a = 0.0, "bias_correction"_a = true, "epsilon_inside"_a = false, "gradient"_a = nb::none(),
      "The weights shrink by rate·weight_decay, apart from the gradient.");
  const auto schedule_free = [&](const char* name, auto make) {
    m.def(
        name,
        [make](const Scheduled& rate, double momentum, double beta2, double epsilon, const Scheduled& decay,
               double clip, double power, const Gradient* g) {
          return handle(make(rate.schedule(),
                             optim::ScheduleFreeOptions{momentum, beta2, epsilon, decay.scheduled(), clip, power},
                             made(g)));
        },
        "learning_rate"_a, "momentum"_a = 0.9, "beta2"_a = 0.999, "epsilon"_a = 1e-8,
        "weight_decay"_a = Scheduled::of(0), "clip_norm"_a = 0.0, "power"_a = 0.0, "gradient"_a = nb::none(),
        "Defazio et al. 2024; evaluation_weights are what to evaluate and to save.");
  };
  schedule_free("schedule_free_sgd", optim::schedule_free_sgd);
  schedule_free("schedule_free_adamw", optim::schedule_free_adamw);
}

void bind_svrg(nb::module_& m) {
  nb::class_<optim::Svrg>(m, "Svrg", "v = ∇loss(w) − ∇loss(x̃) + μ̃, w ← w − rate·v, in rounds (Johnson & Zhang 2013).")
      .def(
          "__init__",
          [](optim::Svrg* self, const Scheduled& rate, optim::SvrgOptions::Next next, uint64_t seed) {
            new (self) optim::Svrg(rate.schedule(), {next, seed});
          },
          "learning_rate"_a, "next"_a = optim::SvrgOptions::Next::last, "seed"_a = 0)
      .def(
          "start_round",
          [](optim::Svrg& self, const Operand& weights, nb::callable full_loss) {
            compute([&, w = weights.tensor(), f = tensor_function(full_loss, "loss")] {
              return self.start_round(w, f), 0;
            });
          },
          "weights"_a, "full_loss"_a,
          "Chooses the anchor, moves `weights` there and differentiates the mean over all data.")
      .def(
          "step",
          [](optim::Svrg& self, const Operand& weights, nb::callable loss) {
            return compute([&, w = weights.tensor(), f = tensor_function(loss, "loss")] { return self.step(w, f); });
          },
          "weights"_a, "loss"_a)
      .def(
          "direction",
          [](const optim::Svrg& self, const Operand& weights, nb::callable loss) {
            return compute(
                [&, w = weights.tensor(), f = tensor_function(loss, "loss")] { return self.direction(w, f, f); });
          },
          "weights"_a, "loss"_a, "v at any weights, without a step.")
      .def_prop_ro("steps", &optim::Svrg::steps)
      .def("state", [](const optim::Svrg& self) { return dict_of(self.state()); })
      .def(
          "set_state", [](optim::Svrg& self, const nb::dict& state) { self.set_state(map_of(state)); }, "state"_a);
}

void bind_graduated(nb::module_& m) {
  m.def(
      "graduated_round",
      [](const Scheduled& course, int64_t round, double learning_rate, int64_t batch, double batch_share,
         std::optional<int64_t> largest) {
        optim::ImplicitGraduation how{learning_rate, batch, batch_share};
        if (largest) how.largest_batch = *largest;
        const optim::GraduatedRound found = optim::graduated_round(course.schedule(), round, how);
        return nb::make_tuple(found.learning_rate, found.batch);
      },
      "course"_a, "round"_a, "learning_rate"_a = 0.1, "batch"_a = 128, "batch_share"_a = 0.0,
      "largest_batch"_a = nb::none(),
      "(learning rate, batch) of a round in which SGD's noise smooths by course(round)/course(0) of the first one's δ.",
      nb::sig("def graduated_round(course: mollify.typing.Schedule, round: int, learning_rate: float = 0.1, batch: int "
              "= 128, batch_share: float = 0.0, largest_batch: int | None = None) -> tuple[float, int]"));
  m.def("sgd_degree", optim::sgd_degree, "learning_rate"_a, "batch"_a, "deviation"_a, "δ = ηC/√b");
}

}  // namespace

void bind_optim(nb::module_& m) {
  bind_schedules(m);
  bind_gradients(m);
  bind_optimizer(m);
  bind_methods(m);
  bind_svrg(m);
  bind_graduated(m);
}

}  // namespace mollify::python
