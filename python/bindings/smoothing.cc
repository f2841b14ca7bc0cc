// Functions, networks and losses smoothed with Gaussian noise.
#include "bindings.h"

#include <mollify/smoothing/activations.h>
#include <mollify/smoothing/functions.h>
#include <mollify/smoothing/moments.h>
#include <mollify/smoothing/monte_carlo.h>
#include <mollify/smoothing/smooth.h>

#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "schedules.h"

using namespace mollify::smoothing;  // for the tables of names
MOLLIFY_CHOICES(Form, "form", "'joint', 'split'", {"joint", Form::joint}, {"split", Form::split});
MOLLIFY_CHOICES(Draws, "draws", "'independent', 'antithetic', 'sobol'", {"independent", Draws::independent},
                {"antithetic", Draws::antithetic}, {"sobol", Draws::sobol});
namespace mollify::python {

bool SigmaArgument::read(nb::handle source) noexcept {
  source_ = source;
  Operand operand;
  return nb::isinstance<Sigma>(source) || PyCallable_Check(source.ptr()) || operand.read(source);
}

Sigma SigmaArgument::sigma() const {
  if (nb::isinstance<Sigma>(source_)) return *nb::inst_ptr<Sigma>(source_);
  Operand operand;
  if (operand.read(source_))
    return operand.is_number() ? Sigma::stddev(operand.number()) : Sigma::stddev(operand.tensor());
  ScheduleArgument schedule;
  schedule.read(source_);
  return Sigma::stddev(schedule.schedule());
}

namespace {

// ---- Closed forms. s: a number or a tensor that broadcasts with x.

template <class... Numbers>
void closed(nb::module_& m, const char* name, Tensor (*f)(const Tensor&, const Tensor&, Numbers...), const char* doc,
            const auto&... defaults) {
  m.def(
      name,
      [f](const Operand& x, const Operand& s, Numbers... numbers) {
        const Tensor& given = x.tensor();
        const Tensor scale = s.like(given);
        return compute(given.size(), [&] { return f(given, scale, numbers...); });
      },
      "x"_a, "s"_a, defaults..., doc);
}

void bind_closed_forms(nb::module_& m) {
  closed(m, "relu_smoothed", relu_smoothed, "n-th derivative in x of E relu(x + s·z); −1: the antiderivative.",
         "derivative"_a = 0);
  closed(m, "step_smoothed", step_smoothed, "Of 1{x > 0}: Φ(x/s).");
  closed(m, "sign_smoothed", sign_smoothed, "2Φ(x/s) − 1");
  closed(m, "abs_smoothed", abs_smoothed, "Of |x|.");
  closed(m, "relu_squared_smoothed", relu_squared_smoothed, "Of relu(x)².");
  closed(m, "leaky_relu_smoothed", leaky_relu_smoothed, "Of leaky_relu.", "slope"_a = 0.01);
  closed(m, "elu_smoothed", elu_smoothed, "Of elu.");
  closed(m, "gelu_smoothed", gelu_smoothed, "Of gelu.");
  closed(m, "erf_smoothed", erf_smoothed, "Of erf(c·x).", "c"_a = 1.0);
  closed(m, "sin_smoothed", sin_smoothed, "Of sin(ω·x).", "omega"_a = 1.0);
  closed(m, "cos_smoothed", cos_smoothed, "Of cos(ω·x).", "omega"_a = 1.0);
  closed(m, "exp_smoothed", exp_smoothed, "Of exp(x).");
  closed(m, "exp_below_smoothed", exp_below_smoothed, "E[exp(x + s·z); x + s·z < 0]");
  closed(m, "gaussian_smoothed", gaussian_smoothed, "Of exp(−c·x²), c ≥ 0.", "c"_a = 1.0);
  closed(m, "power_smoothed", power_smoothed, "Of x², x³, x⁴.", "exponent"_a);
  closed(m, "clip_smoothed", clip_smoothed, "Of clip(x, low, high).", "low"_a, "high"_a);
  closed(m, "ramp_smoothed", ramp_smoothed, "n-th derivative in x of relu_s(x − low) − relu_s(x − high).", "low"_a,
         "high"_a, "derivative"_a = 0);
  closed(m, "sigmoid_probit_smoothed", sigmoid_probit_smoothed,
         "MacKay's approximation: within 0.02 of the smoothed sigmoid.");
  m.def(
      "max_smoothed",
      [](const Operand& x, const Operand& y, const Operand& theta) {
        const std::vector<Tensor> in = together({&x, &y, &theta});
        return compute([&] { return max_smoothed(in[0], in[1], in[2]); });
      },
      "x"_a, "y"_a, "theta"_a, "E max of two normal numbers of means x and y whose difference has deviation theta.");
  m.def(
      "relu_moments",
      [](const Operand& x, const Operand& s) {
        const std::vector<Tensor> in = together({&x, &s});
        const Moments found = compute([&] { return relu_moments(in[0], in[1]); });
        return nb::make_tuple(found.mean, found.variance);
      },
      "x"_a, "s"_a, "(mean, variance) of relu(x + s·z).",
      nb::sig("def relu_moments(x: mollify.typing.TensorLike, s: mollify.typing.TensorLike) -> "
              "tuple[mollify._core.Tensor, mollify._core.Tensor]"));
  m.def(
      "gauss_hermite_smoothed",
      [](nb::callable f, const Operand& x, const Operand& s, int nodes) {
        const Tensor& given = x.tensor();
        const Tensor scale = s.like(given);
        return compute(
            [&, g = tensor_function(f, "smoothing")] { return gauss_hermite_smoothed(g, given, scale, nodes); });
      },
      "function"_a, "x"_a, "s"_a, "nodes"_a = 64, "By quadrature, for smooth elementwise functions only.");
  m.def("activation_names", activation_names, "Operations that networks are smoothed by.");
}

// ---- Scales

void bind_sigma(nb::module_& m) {
  nb::class_<Sigma>(m, "Sigma",
                    "The scale of noise N(0, s²), from a number, a schedule or a tensor, in either convention.")
      .def_static(
          "stddev", [](const SigmaArgument& s) { return s.sigma(); }, "s"_a, "s itself.")
      .def_static(
          "paper",
          [](nb::object sigma) {
            Operand operand;
            ScheduleArgument schedule;
            if (operand.read(sigma))
              return operand.is_number() ? Sigma::paper(operand.number()) : Sigma::paper(operand.tensor());
            require<TypeError>(schedule.read(sigma), "sigma: needs a number, a tensor or a schedule");
            return Sigma::paper(schedule.schedule());
          },
          "sigma"_a, "σ of Starnes & Webster: s = σ/√2.", nb::sig("def paper(sigma: mollify.typing.Sigma) -> Sigma"))
      .def("at", &Sigma::at, "step"_a, "The value of a step.")
      .def_prop_ro(
          "s", [](const Sigma& sigma) { return sigma.stddev(); }, "The deviation; ArgumentError for a schedule.")
      .def_prop_ro(
          "sigma", [](const Sigma& sigma) { return sigma.paper(); }, "The paper's σ = √2·s.")
      .def("tensor", &Sigma::tensor, "dtype"_a = DType::f32, "s as a 0-d tensor, with its history.");
}

// ---- Networks

void bind_networks(nb::module_& m) {
  using Result = SmoothedNetwork::Result;
  nb::class_<Result>(m, "SmoothedResult",
                     "Outputs of a smoothed network, and its loss's terms apart from the last layer's.")
      .def_ro("output", &Result::output)
      .def_ro("penalty", &Result::penalty, "Terms that depend on weights or activations, mean over the rows.")
      .def_ro("constant", &Result::constant, "Terms that depend on the scale alone.");
  nb::class_<SmoothedNetwork>(m, "SmoothedNetwork", "A network smoothed in closed form: one evaluation, no sampling.")
      .def(
          "__call__",
          [](const SmoothedNetwork& n, const Operand& weights, const Operand& x, const OptionalOperand& state,
             nb::object sigma) {
            SigmaArgument scale;
            require<TypeError>(sigma.is_none() || scale.read(sigma), "sigma: needs a number, a tensor or a Sigma");
            const Sigma used = sigma.is_none() ? n.sigma() : scale.sigma();
            return compute([&, w = weights.tensor(), s = state.tensor(), t = x.tensor()] { return n(w, s, t, used); });
          },
          "weights"_a, "x"_a, "state"_a = nb::none(), "sigma"_a = nb::none(),
          "Differentiable in weights, x and sigma, which is the network's own unless given.",
          nb::sig(
              "def __call__(self, weights: mollify.typing.TensorLike, x: mollify.typing.TensorLike, state: "
              "mollify.typing.TensorLike | None = None, sigma: mollify.typing.Sigma | None = None) -> SmoothedResult"))
      .def("penalised_layers", &SmoothedNetwork::penalised_layers, "The names that penalties take.")
      .def_prop_ro("sigma", [](const SmoothedNetwork& n) { return n.sigma(); });
  m.def(
      "smooth",
      [](const nn::Network& network, const SigmaArgument& sigma, nb::object penalties, Form form, bool approximate) {
        PenaltyWeights weights = PenaltyWeights::uniform(0, form);
        if (nb::isinstance<nb::dict>(penalties)) {
          weights.by_layer = nb::cast<std::map<std::string, double>>(penalties);
          weights.every_layer_named = true;
        } else {
          weights.otherwise = nb::cast<double>(penalties);
        }
        return smooth(network, sigma.sigma(), weights, approximate ? Approximations::allowed : Approximations::refused);
      },
      "network"_a, "sigma"_a, "penalties"_a = 0.0, "form"_a = Form::joint, "approximate"_a = false,
      nb::keep_alive<0, 1>(),
      "The smoothed counterpart of a network (Starnes & Webster 2023). penalties: one weight for all layers, or a dict "
      "that names each.",
      nb::sig("def smooth(network: mollify._core.nn.Network, sigma: mollify.typing.Sigma, penalties: float | dict[str, "
              "float] = 0.0, form: typing.Literal['joint', 'split'] = 'joint', approximate: bool = False) -> "
              "SmoothedNetwork"));
  m.def(
      "smoothed_squared_error",
      [](const SmoothedNetwork::Result& result, const Operand& labels, double weight) {
        return compute([&, y = labels.tensor()] { return smoothed_squared_error(result, y, weight); });
      },
      "result"_a, "labels"_a, "weight"_a = 1.0, "weight·mean ‖output − one_hot(label)‖² + penalty + constant");
  m.def(
      "propagate_moments",
      [](const nn::Network& network, const Operand& weights, const OptionalOperand& state, const Operand& x,
         const SigmaArgument& input, const SigmaArgument& noise, int64_t directions) {
        const Moments found = compute(
            [&, w = weights.tensor(), s = state.tensor(), t = x.tensor(), a = input.sigma(), b = noise.sigma()] {
              return propagate_moments(network, w, s, t, {a, b},
                                       {directions < 0 ? Correlations::whole().directions : directions});
            });
        return nb::make_tuple(found.mean, found.variance);
      },
      "network"_a, "weights"_a, "state"_a.none(), "x"_a, "input"_a, "weight_noise"_a, "directions"_a = 256,
      "(mean, variance) of the outputs under noise of inputs and weights. directions: slots for correlations; 0: none, "
      "−1: all.",
      nb::sig(
          "def propagate_moments(network: mollify._core.nn.Network, weights: mollify.typing.TensorLike, state: "
          "mollify.typing.TensorLike | None, x: mollify.typing.TensorLike, input: mollify.typing.Sigma, weight_noise: "
          "mollify.typing.Sigma, directions: int = 256) -> tuple[mollify._core.Tensor, mollify._core.Tensor]"));
}

// ---- Sampling

MonteCarlo how_of(int64_t samples, Draws draws, uint64_t seed, int64_t step, int64_t batch) {
  return {samples, draws, seed, step, batch};
}

template <class F>
void sampled_by(nb::module_& m, const char* name, F f, const char* doc) {
  m.def(
      name,
      [f](nb::callable function, const Operand& x, const SigmaArgument& sigma, int64_t samples, Draws draws,
          uint64_t seed, int64_t step, int64_t batch) {
        const Estimate found =
            compute([&, g = tensor_function(function, "smoothing"), t = x.tensor(), s = sigma.sigma()] {
              return f(g, t, s, how_of(samples, draws, seed, step, batch));
            });
        return nb::make_tuple(found.mean, found.standard_error);
      },
      "f"_a, "x"_a, "sigma"_a, "samples"_a = 1024, "draws"_a = Draws::antithetic, "seed"_a = 0, "step"_a = 0,
      "batch"_a = 64, doc);
}

void bind_sampling(nb::module_& m) {
  sampled_by(m, "smooth_by_sampling", smooth_by_sampling,
             "(mean, standard error) of E f(x + s·z), f of the whole tensor.");
  sampled_by(m, "smooth_rows_by_sampling", smooth_rows_by_sampling,
             "The same of f that maps the rows of [B, …] to rows, each with noise of its own.");
  m.def(
      "smoothed_value_and_grad",
      [](nb::callable loss, const Operand& weights, const SigmaArgument& sigma, int64_t samples, Draws draws,
         uint64_t seed, int64_t step) {
        const ValueAndGradient found =
            compute([&, f = tensor_function(loss, "loss"), w = weights.tensor(), s = sigma.sigma()] {
              return smoothed_value_and_grad(f, w, s, how_of(samples, draws, seed, step, 64));
            });
        return nb::make_tuple(nb::make_tuple(found.value.mean, found.value.standard_error),
                              nb::make_tuple(found.gradient.mean, found.gradient.standard_error));
      },
      "loss"_a, "weights"_a, "sigma"_a, "samples"_a = 1024, "draws"_a = Draws::antithetic, "seed"_a = 0, "step"_a = 0,
      "((mean, standard error) of the smoothed loss, the same of its gradient).");
}

// ---- Test functions of optimisation, over the last axis

void bind_functions(nb::module_& m) {
  for (const TestFunction& function : test_functions()) {
    m.def(
        function.name,
        [f = function.function](const Operand& x) { return compute([&, t = x.tensor()] { return f(t); }); }, "x"_a,
        "A test function over the last axis, [..., d] to [...], with minimum 0.");
  }
}

}  // namespace

void bind_smoothing(nb::module_& m) {
  bind_sigma(m);
  bind_closed_forms(m);
  bind_networks(m);
  bind_sampling(m);
  bind_functions(m);
  bind_smoothed_losses(m);
}

}  // namespace mollify::python
