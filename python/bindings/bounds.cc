// Bounds of networks over sets of inputs, certified losses, complete verification.
#include "bindings.h"

#include <mollify/nn/bounds/alpha_crown.h>
#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/bounds/certified_loss.h>
#include <mollify/nn/bounds/graph.h>
#include <mollify/nn/bounds/verify.h>

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include "callbacks.h"

using namespace mollify::nn::bounds;  // for the tables of names
MOLLIFY_CHOICES(Method, "method", "'ibp', 'hbox', 'deepz', 'crown-ibp', 'crown', 'alpha-crown'", {"ibp", Method::ibp},
                {"hbox", Method::hbox}, {"deepz", Method::deepz}, {"crown-ibp", Method::crown_ibp},
                {"crown", Method::crown}, {"alpha-crown", Method::alpha_crown});
MOLLIFY_CHOICES(LowerLine, "lower line", "'adaptive', 'zero', 'one', 'same'", {"adaptive", LowerLine::adaptive},
                {"zero", LowerLine::zero}, {"one", LowerLine::one}, {"same", LowerLine::same});

namespace mollify::python {
namespace {

using Pair = std::pair<Tensor, Tensor>;

Box box_of(nb::handle box) {
  require<TypeError>(nb::isinstance<nb::tuple>(box) && nb::len(box) == 2,
                     "bounds: the box needs a tuple (lower, upper)");
  Operand lower, upper;
  require<TypeError>(lower.read(box[0]) && upper.read(box[1]), "bounds: the box needs two tensors, lower and upper");
  const std::vector<Tensor> ends = together({&lower, &upper});
  return {ends[0], ends[1]};
}
nb::tuple pair_of(const Box& box) { return nb::make_tuple(box.lower, box.upper); }

void bind_graph(nb::module_& m) {
  nb::class_<Graph>(m, "Graph", "A function of rows as bounds read it: its recorded operations.")
      .def(
          "__init__",
          [](Graph* self, const nn::Network& network, const Operand& weights, const OptionalOperand& state) {
            compute([&, w = weights.tensor(), s = state.tensor()] { return new (self) Graph(network, w, s), 0; });
          },
          "network"_a, "weights"_a, "state"_a = nb::none(), nb::keep_alive<1, 2>(), "A network in evaluation mode.")
      .def(
          "__init__",
          [](Graph* self, nb::callable f, const Shape& input, DType dtype, Device device) {
            compute([&, g = tensor_function(f, "bounds")] { return new (self) Graph(g, input, dtype, device), 0; });
          },
          "f"_a, "input"_a, "dtype"_a = DType::f32, "device"_a = Device::cpu,
          "f maps x [rows, input…] to [rows, …] by operations that have rules, each row by itself.")
      .def(
          "__call__", [](const Graph& g, const Operand& x) { return compute([&, t = x.tensor()] { return g(t); }); },
          "x"_a)
      .def_prop_ro("dtype", &Graph::dtype);
}

void make_bounds(Bounds* self, const Graph& graph, nb::object box, Method method, const OptionalOperand& center,
                 const OptionalOperand& radius, LowerLine line, bool intersect, bool skip_stable,
                 std::optional<bool> read_stable, double roundoff, int64_t row_budget, int64_t steps, double rate,
                 double decay, bool stop) {
  Region region{.box = box_of(box), .center = center.tensor(), .radius = {}};
  if (radius.given) region.radius = radius.of(graph.dtype());
  const Options how{method,      line,     intersect,  skip_stable,
                    read_stable, roundoff, row_budget, {steps, rate, decay, stop}};
  compute([&] { return new (self) Bounds(graph, region, how), 0; });
}

void bind_bounds_class(nb::module_& m) {
  nb::class_<Bounds>(m, "Bounds",
                     "Bounds over a box or an l2 ball within it; differentiable in the weights and the region.")
      .def("__init__", make_bounds, "graph"_a, "box"_a, "method"_a = Method::crown, nb::kw_only(),
           "center"_a = nb::none(), "radius"_a = nb::none(), "lower_line"_a = LowerLine::adaptive,
           "intersect"_a = false, "skip_stable"_a = true, "read_stable"_a = nb::none(), "roundoff"_a = 0.0,
           "row_budget"_a = 0, "alpha_steps"_a = 20, "alpha_learning_rate"_a = 0.5, "alpha_decay"_a = 0.98,
           "stop_when_positive"_a = false, nb::keep_alive<1, 2>(),
           "box: (lower, upper), [N, …], such as of ball. center and radius: of an l2 ball. roundoff: 0, or "
           "unit_roundoff(dtype), for bounds that hold in real arithmetic.",
           nb::sig("def __init__(self, graph: Graph, box: tuple[mollify.typing.TensorLike, mollify.typing.TensorLike], "
                   "method: typing.Literal['ibp', 'hbox', 'deepz', 'crown-ibp', 'crown', 'alpha-crown'] = 'crown', *, "
                   "center: mollify.typing.TensorLike | None = None, radius: mollify.typing.TensorLike | None = None, "
                   "lower_line: typing.Literal['adaptive', 'zero', 'one', 'same'] = 'adaptive', intersect: bool = "
                   "False, skip_stable: bool = True, read_stable: bool | None = None, roundoff: float = 0.0, "
                   "row_budget: int = 0, alpha_steps: int = 20, alpha_learning_rate: float = 0.5, alpha_decay: float = "
                   "0.98, stop_when_positive: bool = False) -> None"))
      .def(
          "lower",
          [](const Bounds& b, const Operand& rows) { return compute([&, r = rows.tensor()] { return b.lower(r); }); },
          "rows"_a, "A lower bound of Σ row·output for each row and sample: [N, K] for rows [1 | N, K, output…].")
      .def(
          "output", [](const Bounds& b) { return pair_of(compute([&] { return b.output(); })); },
          "(lower, upper) of every output.",
          nb::sig("def output(self) -> tuple[mollify._core.Tensor, mollify._core.Tensor]"));
}

void bind_parts(nb::module_& m) {
  m.def(
      "ball",
      [](const Operand& x, const Operand& epsilon, double low, double high, bool outward) {
        const Tensor center = x.tensor();
        return pair_of(epsilon.is_number() ? ball(center, epsilon.number(), low, high, outward)
                                           : ball(center, epsilon.tensor(), low, high, outward));
      },
      "x"_a, "epsilon"_a, "low"_a, "high"_a, "outward"_a = false,
      "(lower, upper) of the l∞ ball around each row, within [low, high].",
      nb::sig("def ball(x: mollify.typing.TensorLike, epsilon: mollify.typing.TensorLike, low: float, high: float, "
              "outward: bool = False) -> tuple[mollify._core.Tensor, mollify._core.Tensor]"));
  m.def(
      "margin_rows",
      [](const Operand& labels, int64_t classes, DType dtype) { return margin_rows(labels.tensor(), classes, dtype); },
      "labels"_a, "classes"_a, "dtype"_a = DType::f32,
      "Rows e_y − e_t over every other class: [N, classes − 1, classes].");
  m.def("identity_rows", identity_rows, "shape"_a, "dtype"_a = DType::f32, "device"_a = Device::cpu,
        "Rows ±e_i: [1, 2·size, shape…].");
  m.def("unit_roundoff", unit_roundoff, "dtype"_a);
  m.def(
      "worst_case_cross_entropy",
      [](const Operand& margins) { return compute([&, t = margins.tensor()] { return worst_case_cross_entropy(t); }); },
      "margins"_a, "Mean of log(1 + Σ e^{−m}) over lower bounds of margins [B, classes − 1].");
  m.def(
      "lower_by_boxes",
      [](const Bounds& b, const Operand& rows) {
        return compute([&, r = rows.tensor()] { return lower_by_boxes(b, r); });
      },
      "bounds"_a, "rows"_a, "As Bounds.lower, by interval arithmetic over the boxes of `bounds`.");
  m.def(
      "fused_cross_entropy",
      [](const Bounds& b, const Operand& rows) {
        return compute([&, r = rows.tensor()] { return fused_cross_entropy(b, r); });
      },
      "bounds"_a, "margin_rows"_a, "An upper bound of the worst case's cross-entropy by one row for each sample.");
  m.def(
      "relu_regularizer", [](const Bounds& b) { return compute([&] { return relu_regularizer(b); }); }, "bounds"_a,
      "Of Shi et al. 2021.");
  m.def(
      "weight_norm_l1", [](const nn::Network& n, const Operand& w) { return weight_norm_l1(n, w.tensor()); },
      "network"_a, "weights"_a);
  m.def("smooth_ramp", smooth_ramp, "step"_a, "steps"_a, "last"_a,
        "From 0 to `last`: quartic for the first quarter, then linear.");
}

void bind_verify(nb::module_& m) {
  using nn::formats::Property;
  nb::class_<Property>(m, "Property", "Boxes of inputs and the outputs that none of them may reach.")
      .def_ro("inputs", &Property::inputs)
      .def_ro("outputs", &Property::outputs);
  m.def("read_vnnlib", nn::formats::read_vnnlib, "path"_a);
  m.def(
      "parse_vnnlib",
      [](const std::string& name, const std::string& text) { return nn::formats::parse_vnnlib(name, text); }, "name"_a,
      "text"_a);
  nb::class_<Outcome>(m, "Outcome", "What verify found.")
      .def_prop_ro(
          "verdict", [](const Outcome& o) { return to_string(o.verdict); },
          "'unsat', 'sat' with a witness, or 'unknown'.")
      .def_ro("stage", &Outcome::stage)
      .def_ro("input", &Outcome::input, "Of a witness, flat.")
      .def_ro("output", &Outcome::output)
      .def_ro("domains", &Outcome::domains)
      .def_ro("seconds", &Outcome::seconds)
      .def_ro("worst", &Outcome::worst);
  m.def(
      "verify",
      [](const Graph& graph, const Property& property, double seconds, const std::vector<std::string>& stages,
         int64_t memory) {
        VerifyOptions how;
        how.seconds = seconds;
        how.stages = stages;
        how.memory = memory;
        how.stop = [] { return check_interrupts(), false; };
        return compute([&] { return verify(graph, property, how); });
      },
      "graph"_a, "property"_a, "seconds"_a = 60.0, "stages"_a = std::vector<std::string>(),
      "memory"_a = int64_t{2} << 30,
      "Does an input of the property's boxes reach an unsafe output? By branch and bound; the graph is f64.");
}

}  // namespace

void bind_bounds(nb::module_& m) {
  bind_graph(m);
  bind_bounds_class(m);
  bind_parts(m);
  bind_verify(m);
}

}  // namespace mollify::python
