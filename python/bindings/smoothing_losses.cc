// Losses smoothed over their weights: gradients from loss values, populations that only their caller can evaluate, and
// GSmooth's optimisers.
#include "bindings.h"

#include <mollify/smoothing/graduated_descent.h>
#include <mollify/smoothing/gsmooth.h>
#include <mollify/smoothing/loss/ask_tell.h>
#include <mollify/smoothing/loss/loss_gradients.h>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include "schedules.h"

using namespace mollify::smoothing;  // for the tables of names
MOLLIFY_CHOICES(Population::Sides, "sides", "'point', 'one', 'two'", {"point", Population::Sides::point},
                {"one", Population::Sides::one}, {"two", Population::Sides::two});
MOLLIFY_CHOICES(Population::Directions, "directions", "'normal', 'signs'", {"normal", Population::Directions::normal},
                {"signs", Population::Directions::signs});
MOLLIFY_CHOICES(FromValues::Scale, "scale", "'scheduled', 'learned', 'learned_each'",
                {"scheduled", FromValues::Scale::scheduled}, {"learned", FromValues::Scale::learned},
                {"learned_each", FromValues::Scale::learned_each});

MOLLIFY_CHOICES(GSmoothSvrg::Anchor, "anchor", "'smoothed', 'plain'", {"smoothed", GSmoothSvrg::Anchor::smoothed},
                {"plain", GSmoothSvrg::Anchor::plain});

namespace mollify::python {
namespace {

struct ValuesOptions {  // in the order of Python's arguments
  int64_t pairs;
  Population::Sides sides;
  Population::Directions directions;
  bool ranks;
  uint64_t seed;
  FromValues::Scale scale;
  double scale_rate, least, most;

  FromValues how() const {
    FromValues made;
    made.pairs = pairs;
    made.sides = sides;
    made.directions = directions;
    made.ranks = ranks;
    made.seed = seed;
    made.scale = scale;
    made.scale_rate = scale_rate;
    made.least = least;
    made.most = most;
    return made;
  }
};

GradientRecipe from_values(const SigmaArgument& s, int64_t pairs, Population::Sides sides,
                           Population::Directions directions, bool ranks, uint64_t seed, FromValues::Scale scale,
                           double scale_rate, double least, double most, bool share_linear_parts) {
  FromValues how = ValuesOptions{pairs, sides, directions, ranks, seed, scale, scale_rate, least, most}.how();
  how.share_linear_parts = share_linear_parts;
  return {[sigma = s.sigma(), how] { return gradient_from_values(sigma, how); }};
}

GradientRecipe from_gradients(const SigmaArgument& s, int64_t samples, bool antithetic, uint64_t seed) {
  return {[sigma = s.sigma(), how = FromGradients{samples, antithetic, seed, {}}] {
    return gradient_from_gradients(sigma, how);
  }};
}

// Makes the optimizer by a function of Python, which gets the gradient once.
AskTell::Make maker_of(nb::handle function) {
  return [make = Callback(function)](std::unique_ptr<optim::Gradient> gradient) {
    const nb::gil_scoped_acquire locked;
    const auto once = std::make_shared<std::unique_ptr<optim::Gradient>>(std::move(gradient));
    const nb::object made = make.function()(GradientRecipe{[once] {
      require<ValueError>(*once != nullptr, "ask_tell: the gradient is given to two optimizers; needs one");
      return std::move(*once);
    }});
    require<TypeError>(nb::isinstance<OptimizerHandle>(made),
                       "ask_tell: needs a function that makes an Optimizer of the gradient that it is given");
    return std::move(nb::inst_ptr<OptimizerHandle>(made)->own);
  };
}

void make_ask_tell(AskTell* self, const Operand& start, const SigmaArgument& s, nb::callable make, int64_t pairs,
                   Population::Sides sides, Population::Directions directions, bool ranks, uint64_t seed,
                   FromValues::Scale scale, double scale_rate, double least, double most) {
  const FromValues how = ValuesOptions{pairs, sides, directions, ranks, seed, scale, scale_rate, least, most}.how();
  new (self) AskTell(start.tensor(), s.sigma(), how, maker_of(make));
}

// An array, or a list of numbers.
Tensor values_of(nb::handle values) {
  Operand operand;
  if (operand.read(values) && !operand.is_number()) return operand.tensor();
  const auto list = nb::cast<std::vector<double>>(values);
  return Tensor::from(list, {static_cast<int64_t>(list.size())});
}

void bind_ask_tell(nb::module_& m) {
  nb::class_<AskTell>(m, "AskTell", "Minimises what only the caller can evaluate: ask for points, tell their losses.")
      .def("__init__", make_ask_tell, "start"_a, "s"_a, "make"_a, "pairs"_a = 10, "sides"_a = Population::Sides::two,
           "directions"_a = Population::Directions::normal, "ranks"_a = false, "seed"_a = 0,
           "scale"_a = FromValues::Scale::scheduled, "scale_rate"_a = 0.01, "least"_a = 1e-6, "most"_a = 1.0,
           "From `start` [d]; make(gradient) makes the optimizer, such as lambda g: optim.adam(0.01, gradient=g).")
      .def(
          "ask", [](AskTell& self) { return compute([&] { return self.ask(); }); },
          "The step's population [members, d]: the same until its losses are told.")
      .def(
          "tell",
          [](AskTell& self, nb::object values) { compute([&, v = values_of(values)] { return self.tell(v), 0; }); },
          "values"_a, "The losses of the rows, an array or a list: one step. Losses that are not finite are left out.",
          nb::sig("def tell(self, values: mollify.typing.TensorLike | collections.abc.Sequence[float]) -> None"))
      .def_prop_ro("members", &AskTell::members)
      .def_prop_ro("center", &AskTell::center, "A copy of the weights.")
      .def_prop_ro("steps", &AskTell::steps)
      .def_prop_ro("left_out", &AskTell::left_out, "Pairs left out of the last step.")
      .def_prop_ro(
          "best", [](const AskTell& self) { return self.best().defined() ? nb::cast(self.best()) : nb::none(); },
          "The row with the lowest loss so far.")
      .def_prop_ro("best_value", &AskTell::best_value)
      .def("state", [](const AskTell& self) { return dict_of(self.state()); })
      .def(
          "set_state", [](AskTell& self, const nb::dict& state) { self.set_state(map_of(state)); }, "state"_a);
}

SmoothedLoss smoothed_loss(nb::handle f) {
  return [callback = Callback(f)](const Tensor& weights, const Sigma& sigma) {
    return callback.tensor("loss", weights, sigma);
  };
}

#define MOLLIFY_SMOOTHED_LOSS "collections.abc.Callable[[mollify._core.Tensor, Sigma], mollify._core.Tensor]"

void bind_gsmooth(nb::module_& m) {
  nb::class_<GSmooth>(m, "GSmooth", "Any optimizer, on a smoothed loss f(weights, sigma): GSmoothSGD and GSmoothAdam.")
      .def(
          "__init__",
          [](GSmooth* self, OptimizerHandle& optimizer, const SigmaArgument& sigma, std::optional<double> rate,
             double decay, double least) {
            (void)optimizer.get();
            if (rate)
              new (self) GSmooth(std::move(optimizer.own), sigma.sigma(), SlghRule{*rate, decay, least});
            else
              new (self) GSmooth(std::move(optimizer.own), sigma.sigma());
          },
          "optimizer"_a, "sigma"_a, "rate"_a = nb::none(), "decay"_a = 0.999, "least"_a = 0.0,
          "Takes the optimizer over. With a rate σ follows SLGH's second rule.")
      .def(
          "step",
          [](GSmooth& self, const Operand& weights, nb::callable loss) {
            return compute([&, w = weights.tensor(), f = smoothed_loss(loss)] { return self.step(w, f); });
          },
          "weights"_a, "loss"_a, "Overwrites `weights` [d]; returns the smoothed loss before the step.",
          nb::sig("def step(self, weights: mollify.typing.TensorLike, loss: " MOLLIFY_SMOOTHED_LOSS
                  ") -> mollify._core.Tensor"))
      .def(
          "advance", [](GSmooth& self, DType dtype) { compute([&] { return self.advance(dtype), 0; }); },
          "dtype"_a = DType::f32)
      .def(
          "update",
          [](GSmooth& self, const Operand& weights, nb::callable loss) {
            return compute([&, w = weights.tensor(), f = smoothed_loss(loss)] { return self.update(w, f); });
          },
          "weights"_a, "loss"_a, "What a captured function calls, after advance outside.")
      .def_prop_ro("sigma", &GSmooth::sigma, "Of the next step.")
      .def("state", [](const GSmooth& self) { return dict_of(self.state()); })
      .def(
          "set_state", [](GSmooth& self, const nb::dict& state) { self.set_state(map_of(state)); }, "state"_a);
  nb::class_<GSmoothSvrg>(m, "GSmoothSvrg", "SVRG whose round uses σ of the round.")
      .def(
          "__init__",
          [](GSmoothSvrg* self, const ScheduleArgument& rate, const SigmaArgument& sigma, GSmoothSvrg::Anchor anchor) {
            new (self) GSmoothSvrg(rate.schedule(), sigma.sigma(), anchor);
          },
          "learning_rate"_a, "sigma"_a, "anchor"_a = GSmoothSvrg::Anchor::smoothed)
      .def(
          "start_round",
          [](GSmoothSvrg& self, const Operand& weights, nb::callable loss) {
            compute([&, w = weights.tensor(), f = smoothed_loss(loss)] { return self.start_round(w, f), 0; });
          },
          "weights"_a, "full_loss"_a)
      .def(
          "step",
          [](GSmoothSvrg& self, const Operand& weights, nb::callable loss) {
            return compute([&, w = weights.tensor(), f = smoothed_loss(loss)] { return self.step(w, f); });
          },
          "weights"_a, "loss"_a)
      .def_prop_ro("rounds", &GSmoothSvrg::rounds)
      .def("state", [](const GSmoothSvrg& self) { return dict_of(self.state()); })
      .def(
          "set_state", [](GSmoothSvrg& self, const nb::dict& state) { self.set_state(map_of(state)); }, "state"_a);
}

void bind_graduated_descent(nb::module_& m) {
  m.def(
      "graduated_sigma",
      [](double first, double last, int64_t levels, int64_t steps) {
        return graduated_sigma({first, last, levels, steps});
      },
      "first"_a = 2.0, "last"_a = 0.01, "levels"_a = 51, "steps"_a = 20, "s of each step, geometric over the levels.");
  m.def(
      "graduated_descent",
      [](double rate, const SigmaArgument& s, const GradientRecipe& gradient) {
        return OptimizerHandle{graduated_descent(rate, s.sigma(), gradient.make())};
      },
      "rate"_a, "s"_a, "gradient"_a, "Descent with the learning rate rate·s on an estimate with the same s.");
}

}  // namespace

void bind_smoothed_losses(nb::module_& m) {
  m.def("gradient_from_values", from_values, "s"_a, "pairs"_a = 10, "sides"_a = Population::Sides::two,
        "directions"_a = Population::Directions::normal, "ranks"_a = false, "seed"_a = 0,
        "scale"_a = FromValues::Scale::scheduled, "scale_rate"_a = 0.01, "least"_a = 1e-6, "most"_a = 1.0,
        "share_linear_parts"_a = false,
        "The gradient of E L(w + s·z) from losses at w ± s·z: PGPE, sparse zeroth-order optimisation.");
  m.def("gradient_from_gradients", from_gradients, "s"_a, "samples"_a = 2, "antithetic"_a = true, "seed"_a = 0,
        "The mean of ∇L at w + s·z: randomised gradient smoothing.");
  bind_ask_tell(m);
  bind_gsmooth(m);
  bind_graduated_descent(m);
}

}  // namespace mollify::python
