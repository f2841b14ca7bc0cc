// Gradients of Python's functions, and functions that are captured once and replayed.
#include "bindings.h"

#include <mollify/engine/grad.h>
#include <mollify/engine/plan.h>

#include "callbacks.h"

namespace mollify::python {
namespace {

struct Differentiated {
  nb::object value;
  Tensors gradients;
  bool single;
};

// The places that gradients are for: all, or those that were asked for; and whether that is one number.
std::vector<size_t> places_of(nb::handle argnums, size_t count) {
  std::vector<size_t> places;
  const auto add = [&](int64_t place) {
    const auto there = static_cast<int64_t>(count);
    require<ValueError>(place >= -there && place < there, "grad: argument {} of {} given; needs {} to {}", place, count,
                        -there, there - 1);
    places.push_back(static_cast<size_t>(place < 0 ? place + there : place));
  };
  Integers asked;
  if (argnums.is_none())
    for (size_t i = 0; i < count; ++i) add(static_cast<int64_t>(i));
  else if (!asked.read(argnums))
    throw TypeError("grad: argnums needs a number or a sequence of them");
  for (const int64_t place : asked.values) add(place);
  return places;
}

// The scalar of what a function returned: all of it, or the first of a tuple, whose rest comes back beside the value.
Tensor scalar_of(nb::handle result) {
  const nb::object first =
      nb::isinstance<nb::tuple>(result) && nb::len(result) > 0 ? nb::object(result[0]) : nb::borrow(result);
  if (!nb::isinstance<Tensor>(first)) {
    const nb::str type = nb::str(first.type());
    throw TypeError(format(
        "grad: the function returned {}; needs a tensor of one number, or a tuple that begins with one", type.c_str()));
  }
  return *nb::inst_ptr<Tensor>(first);
}

Differentiated differentiate(nb::handle f, nb::handle argnums, const nb::args& arguments, const nb::kwargs& named) {
  const std::vector<size_t> places = places_of(argnums, arguments.size());
  require<ValueError>(!places.empty(), "grad: no argument given; needs one to differentiate by");
  const bool outer_recording = is_recording();
  const NoGrad recording(/*record=*/true);
  std::vector<Tensor> variables;
  nb::list given;
  for (nb::handle argument : arguments) given.append(argument);
  for (const size_t place : places) {
    Operand operand;
    if (!operand.read(arguments[place]) || operand.is_number()) {
      const nb::str type = nb::str(nb::handle(arguments[place]).type());
      throw TypeError(
          format("grad: argument {} is {}; needs a tensor, or argnums that leave it out", place, type.c_str()));
    }
    variables.push_back(variable(operand.tensor()));
    given[place] = variables.back();
  }
  nb::object result = f(*given, **named);
  given.clear();
  Tensor scalar = scalar_of(result);
  const bool tuple = nb::isinstance<nb::tuple>(result);
  nb::list rest;
  if (tuple)
    for (size_t i = 1; i < nb::len(result); ++i) rest.append(result[i]);
  result.reset();  // the record is freed on the walk
  detail::Value found = compute([&] {
    return detail::pull_back(std::move(scalar), std::span<const Tensor>(variables), nullptr, outer_recording);
  });
  if (!tuple)
    return {nb::cast(std::move(found.value)), std::move(found.gradients),
            argnums.is_none() ? places.size() == 1 : !PySequence_Check(argnums.ptr())};
  nb::list values;
  values.append(nb::cast(std::move(found.value)));
  for (nb::handle more : rest) values.append(more);
  return {nb::tuple(values), std::move(found.gradients),
          argnums.is_none() ? places.size() == 1 : !PySequence_Check(argnums.ptr())};
}

nb::object gradients_of(const Differentiated& found) {
  if (found.single) return nb::cast(found.gradients[0]);
  return tuple_of(std::span<const Tensor>(found.gradients));
}

// What the library's templates take: a function of one tensor.
auto function_of(nb::handle f, const char* what) { return tensor_function(f, what); }

void bind_derivatives(nb::module_& m) {
  m.def(
      "grad",
      [](nb::callable f, nb::object argnums) {
        return nb::cpp_function([f, argnums](const nb::args& arguments, const nb::kwargs& named) {
          return gradients_of(differentiate(f, argnums, arguments, named));
        });
      },
      "f"_a, "argnums"_a = nb::none(),
      "grad(f)(x) is ∇f(x) of a function with one number; of several arguments a tuple, one for each, or for those of "
      "argnums. Named arguments are passed on. Gradients nest.",
      nb::sig("def grad(f: collections.abc.Callable[..., typing.Any], argnums: int | collections.abc.Sequence[int] | "
              "None = None) -> collections.abc.Callable[..., typing.Any]"));
  m.def(
      "value_and_grad",
      [](nb::callable f, nb::object argnums) {
        return nb::cpp_function([f, argnums](const nb::args& arguments, const nb::kwargs& named) {
          const Differentiated found = differentiate(f, argnums, arguments, named);
          return nb::make_tuple(found.value, gradients_of(found));
        });
      },
      "f"_a, "argnums"_a = nb::none(),
      "value_and_grad(f)(x) is (f(x), ∇f(x)). Where f returns a tuple, its first is differentiated and all come back.",
      nb::sig("def value_and_grad(f: collections.abc.Callable[..., typing.Any], argnums: int | "
              "collections.abc.Sequence[int] | None = None) -> collections.abc.Callable[..., tuple[typing.Any, "
              "typing.Any]]"));
  const auto pair = [](const std::pair<Tensor, Tensor>& found) { return nb::make_tuple(found.first, found.second); };
  m.def(
      "vjp",
      [pair](nb::callable f, const Operand& x, const Operand& v) {
        return pair(
            compute([&, g = function_of(f, "vjp"), at = x.tensor(), seed = v.tensor()] { return vjp(g, at, seed); }));
      },
      "f"_a, "x"_a, "v"_a, "(f(x), vᵀ ∂f(x)/∂x); v has the shape of f(x).",
      nb::sig("def vjp(f: collections.abc.Callable[[Tensor], Tensor], x: mollify.typing.TensorLike, v: "
              "mollify.typing.TensorLike) -> tuple[Tensor, Tensor]"));
  m.def(
      "jvp",
      [pair](nb::callable f, const Operand& x, const Operand& v) {
        return pair(
            compute([&, g = function_of(f, "jvp"), at = x.tensor(), seed = v.tensor()] { return jvp(g, at, seed); }));
      },
      "f"_a, "x"_a, "v"_a, "(f(x), ∂f(x)/∂x v), by two reverse passes; v has the shape of x.",
      nb::sig("def jvp(f: collections.abc.Callable[[Tensor], Tensor], x: mollify.typing.TensorLike, v: "
              "mollify.typing.TensorLike) -> tuple[Tensor, Tensor]"));
  m.def(
      "hvp",
      [](nb::callable f, const Operand& x, const Operand& v) {
        return compute([&, g = function_of(f, "hvp"), at = x.tensor(), seed = v.tensor()] { return hvp(g, at, seed); });
      },
      "f"_a, "x"_a, "v"_a, "∇²f(x)·v of a function with one number.",
      nb::sig("def hvp(f: collections.abc.Callable[[Tensor], Tensor], x: mollify.typing.TensorLike, v: "
              "mollify.typing.TensorLike) -> Tensor"));
  m.def(
      "jacobian",
      [](nb::callable f, const Operand& x) {
        return compute([&, g = function_of(f, "jacobian"), at = x.tensor()] { return jacobian(g, at); });
      },
      "f"_a, "x"_a, "∂f(x)/∂x as [f(x)'s axes, x's axes], a reverse pass for each number of f(x).",
      nb::sig("def jacobian(f: collections.abc.Callable[[Tensor], Tensor], x: mollify.typing.TensorLike) -> Tensor"));
  m.def(
      "hessian",
      [](nb::callable f, const Operand& x) {
        return compute([&, g = function_of(f, "hessian"), at = x.tensor()] { return hessian(g, at); });
      },
      "f"_a, "x"_a, "[x's axes, x's axes]",
      nb::sig("def hessian(f: collections.abc.Callable[[Tensor], Tensor], x: mollify.typing.TensorLike) -> Tensor"));
  m.def(
      "variable", [](const Operand& x) { return variable(x.tensor()); }, "x"_a,
      "The same value as the start of a history, for vjp_of.");
  m.def(
      "vjp_of",
      [](nb::iterable outputs, nb::iterable seeds, nb::iterable inputs, bool create_graph) {
        const Tensors found = compute([&, y = tensors_of(outputs), v = tensors_of(seeds), x = tensors_of(inputs)] {
          return vjp_of(std::span<const Tensor>(y), std::span<const Tensor>(v), std::span<const Tensor>(x),
                        create_graph);
        });
        return tuple_of(std::span<const Tensor>(found));
      },
      "outputs"_a, "seeds"_a, "inputs"_a, "create_graph"_a = false,
      "Σ seeds[j]ᵀ ∂outputs[j]/∂inputs[i] for each i, of what was computed from variables.",
      nb::sig("def vjp_of(outputs: collections.abc.Iterable[Tensor], seeds: "
              "collections.abc.Iterable[mollify.typing.TensorLike], inputs: collections.abc.Iterable[Tensor], "
              "create_graph: bool = False) -> tuple[Tensor, ...]"));
}

// with no_grad(): nothing is recorded, on this thread.
class NoGradContext {
 public:
  NoGradContext() = default;
  NoGradContext(NoGradContext&&) = default;
  void enter() { guards_.push_back(std::make_unique<NoGrad>()); }
  void exit() {
    if (!guards_.empty()) guards_.pop_back();
  }

 private:
  std::vector<std::unique_ptr<NoGrad>> guards_;
};

// The lock is let go before the capture's own is taken, as its function takes them the other way around.
class CapturedFunction {
 public:
  explicit CapturedFunction(nb::callable f)
      : function_(f), captured_([this](const Tensors& in) {
          const nb::gil_scoped_acquire locked;
          const nb::object result = function_(*tuple_of(std::span<const Tensor>(in)));
          const bool single = nb::isinstance<Tensor>(result);
          require<ValueError>(
              !known_ || single == single_,
              "capture: the function returned a tensor once and a tuple once; needs the same each time");
          known_ = true;
          single_ = single;
          if (single) return Tensors(*nb::inst_ptr<Tensor>(result));
          if (result.is_none()) return Tensors();
          const std::vector<Tensor> all = tensors_of(result);
          return Tensors(std::span<const Tensor>(all));
        }) {}

  nb::object call(const nb::args& arguments) {
    const std::vector<Tensor> in = tensors_of(arguments);
    Tensors out = compute([&] { return captured_(std::span<const Tensor>(in)); });
    if (single_) return nb::cast(std::move(out[0]));
    return tuple_of(std::span<const Tensor>(out));
  }

  nb::list plans() const {
    nb::list all;
    for (const PlanSummary& plan : captured_.plans()) {
      nb::dict one;
      nb::list shapes;
      for (const Shape& shape : plan.inputs) shapes.append(shape);
      one["inputs"] = shapes;
      one["operations"] = plan.operations;
      one["kernels"] = plan.kernels;
      one["copies_elided"] = plan.copies_elided;
      one["arena_bytes"] = plan.arena_bytes;
      all.append(one);
    }
    return all;
  }

  const nb::object& function() const { return function_; }
  void clear() { function_.reset(); }

 private:
  nb::object function_;
  bool known_ = false, single_ = true;
  Captured captured_;
};

// A captured method and its object hold each other: Python's collector is to see it.
int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (nb::inst_ready(self)) Py_VISIT(nb::inst_ptr<CapturedFunction>(self)->function().ptr());
  return 0;
}
int clear(PyObject* self) {
  nb::inst_ptr<CapturedFunction>(self)->clear();
  return 0;
}
PyType_Slot captured_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)}, {Py_tp_clear, reinterpret_cast<void*>(clear)}, {0, nullptr}};

}  // namespace

void bind_grad(nb::module_& m) {
  bind_derivatives(m);
  m.def("is_recording", is_recording, "Whether this thread records what gradients read.");
  nb::class_<NoGradContext>(m, "no_grad", "with no_grad(): nothing is recorded on this thread.")
      .def(nb::init<>())
      .def("__enter__", &NoGradContext::enter)
      .def("__exit__", [](NoGradContext& self, const nb::args&) { self.exit(); });
  nb::class_<CapturedFunction>(m, "Captured", nb::type_slots(captured_slots),
                               "A function that is captured, as capture made it.")
      .def("__call__", &CapturedFunction::call,
           nb::sig("def __call__(self, *tensors: mollify.typing.TensorLike) -> typing.Any"))
      .def("plans", &CapturedFunction::plans, "What each plan holds: a dict for each set of input shapes.");
  m.def(
      "capture", [](nb::callable f) { return new CapturedFunction(f); }, nb::rv_policy::take_ownership, "f"_a,
      "A function of tensors, run once, captured in the second call with the same shapes and replayed from then on, "
      "with the "
      "same bits. It does the same operations in every call; what changes reaches it through its inputs or through "
      "tensors "
      "that are overwritten (assign, Optimizer.advance). Reading values inside it, an optimizer's step and advance are "
      "GraphErrors. It returns a tensor, a tuple of tensors or None.",
      nb::sig("def capture(f: collections.abc.Callable[..., typing.Any]) -> Captured"));
}

}  // namespace mollify::python
