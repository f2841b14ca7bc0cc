// The class Tensor, what makes tensors of Python's lists, and settings.
#include "bindings.h"

#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/cuda/gpu.h>
#include <mollify/engine/node.h>
#include <mollify/engine/precision.h>
#include <mollify/engine/products.h>

#include "exchange.h"
#include "indexing.h"

#include <nanobind/stl/tuple.h>

#include <cstring>

MOLLIFY_CHOICES(mollify::Precision, "precision", "'fp32', 'tf32', 'bf16'", {"fp32", mollify::Precision::fp32},
                {"tf32", mollify::Precision::tf32}, {"bf16", mollify::Precision::bf16});
MOLLIFY_CHOICES(mollify::Products, "products", "'own', 'openblas'", {"own", mollify::Products::own},
                {"openblas", mollify::Products::openblas});

namespace mollify::python {
namespace {

// ---- Making

void read_list(nb::handle list, int axis, Shape& shape, std::vector<double>& values) {
  if (!nb::isinstance<nb::list>(list) && !nb::isinstance<nb::tuple>(list)) {
    require(axis == shape.rank(), "tensor: a number stands beside a list at depth {}; needs lists of one depth", axis);
    const double value = PyFloat_AsDouble(list.ptr());
    if (value == -1 && PyErr_Occurred()) throw nb::python_error();
    return values.push_back(value);
  }
  const auto extent = static_cast<int64_t>(nb::len(list));
  if (axis == shape.rank()) {
    require(values.empty(), "tensor: a list stands beside a number at depth {}; needs lists of one depth", axis);
    shape.push_back(extent);
  }
  require(shape[axis] == extent, "tensor: lists of {} and {} at depth {}; need one length", shape[axis], extent, axis);
  for (nb::handle below : list) read_list(below, axis + 1, shape, values);
}

Tensor make_tensor(nb::handle data, std::optional<DType> dtype, Device device) {
  Operand operand;
  if (nb::isinstance<nb::list>(data) || nb::isinstance<nb::tuple>(data) || !operand.read(data) || operand.is_number()) {
    Shape shape;
    std::vector<double> values;
    read_list(data, 0, shape, values);
    const Tensor wide = Tensor::from(values, shape);
    return to(dtype == DType::f64 ? wide : cast(wide, dtype.value_or(DType::f32)), device);
  }
  if (nb::isinstance<Tensor>(data)) {
    const Tensor x = operand.tensor();
    return compute(x.size(), [&] { return to(dtype && *dtype != x.dtype() ? cast(x, *dtype) : copied(x), device); });
  }
  return to(dtype ? copy_of_foreign(data, *dtype) : copied(operand.tensor()), device);
}

Tensor as_tensor(nb::handle data) {
  Operand operand;
  if (operand.read(data) && !operand.is_number()) return operand.tensor();
  return make_tensor(data, {}, Device::cpu);
}

// ---- Reading

nb::object to_list(const Tensor& x) {
  if (x.rank() == 0)
    return is_floating(x.dtype()) ? nb::object(nb::float_(x.item())) : nb::object(nb::int_(int64_t(x.item())));
  nb::list list;
  for (const Tensor& row : x) list.append(to_list(row));
  return list;
}

nb::object item(const Tensor& x) {
  const double value = x.item();
  return is_floating(x.dtype()) ? nb::object(nb::float_(value)) : nb::object(nb::int_(static_cast<int64_t>(value)));
}

std::string representation(const Tensor& x) {
  if (!x.defined()) return "Tensor()";
  const std::string kind = format(", {}{})", x.dtype(), x.device() == Device::cuda ? ", cuda" : "");
  try {
    std::string text;
    for (const char c : to_string(x)) text += c == '\n' ? std::string("\n       ") : std::string(1, c);
    return "Tensor(" + text + kind;
  } catch (const GraphError&) { return "Tensor(no values yet, " + to_string(x.shape()) + kind; }
}

nb::bytes bytes_of(const Tensor& x) {
  const Tensor here = packed(to(x.detach(), Device::cpu));
  return nb::bytes(here.first_byte(), static_cast<size_t>(here.size() * size_of(here.dtype())));
}

Tensor from_bytes(const nb::bytes& bytes, const Shape& shape, DType dtype) {
  const Tensor made = Tensor::empty(Layout::packed(shape, dtype));
  require(static_cast<int64_t>(bytes.size()) == made.size() * size_of(dtype), "tensor: {} bytes for {} {}; needs {}",
          bytes.size(), dtype, shape, made.size() * size_of(dtype));
  if (bytes.size() > 0) std::memcpy(made.first_byte(), bytes.data(), bytes.size());
  return made;
}

class Rows {  // iter(x)
 public:
  explicit Rows(Tensor x) : x_(std::move(x)) { require(x_.rank() > 0, "rows: of a number; needs an axis"); }
  Tensor next() {
    if (next_ == x_.shape()[0]) throw nb::stop_iteration();
    return x_[next_++];
  }

 private:
  Tensor x_;
  int64_t next_ = 0;
};

// ---- Operators: with tensors, with what can stand for one, and with numbers

using OfTensors = Tensor (*)(const Tensor&, const Tensor&);
using WithNumber = Tensor (*)(const Tensor&, double);
using NumberFirst = Tensor (*)(double, const Tensor&);

void bind_operator(nb::class_<Tensor>& type, const char* name, OfTensors tensors, WithNumber number) {
  type.def(
      name,
      [tensors, number](const Tensor& a, const Operand& b) {
        if (b.is_number()) return compute(a.size(), [&, value = b.number()] { return number(a, value); });
        const Tensor& other = b.tensor();
        return compute(std::max(a.size(), other.size()), [&] { return tensors(a, other); });
      },
      nb::is_operator());
}

void bind_reflected(nb::class_<Tensor>& type, const char* name, OfTensors tensors, NumberFirst number) {
  type.def(
      name,
      [tensors, number](const Tensor& b, const Operand& a) {
        if (a.is_number()) return compute(b.size(), [&, value = a.number()] { return number(value, b); });
        const Tensor& other = a.tensor();
        return compute(std::max(b.size(), other.size()), [&] { return tensors(other, b); });
      },
      nb::is_operator());
}

template <Tensor& (Tensor::*of_tensors)(const Tensor&), Tensor& (Tensor::*with_number)(double)>
void bind_in_place(nb::class_<Tensor>& type, const char* name) {
  type.def(
      name,
      [](nb::object self, const Operand& b) {
        Tensor& a = *nb::inst_ptr<Tensor>(self);
        if (b.is_number()) {
          compute(a.size(), [&, value = b.number()] { return (a.*with_number)(value), 0; });
        } else {
          const Tensor& other = b.tensor();
          compute(a.size(), [&] { return (a.*of_tensors)(other), 0; });
        }
        return self;
      },
      nb::is_operator());
}

Tensor number_to(double base, const Tensor& exponent) { return pow(Tensor::scalar(base, exponent.dtype()), exponent); }
template <OfTensors f>
Tensor with_scalar(const Tensor& a, double b) {
  return f(a, Tensor::scalar(b, a.dtype()));
}
template <OfTensors f>
Tensor scalar_first(double a, const Tensor& b) {
  return f(Tensor::scalar(a, b.dtype()), b);
}

void bind_operators(nb::class_<Tensor>& type) {
  bind_operator(type, "__add__", operator+, operator+);
  bind_operator(type, "__sub__", operator-, operator-);
  bind_operator(type, "__mul__", operator*, operator*);
  bind_operator(type, "__truediv__", operator/, operator/);
  bind_operator(type, "__pow__", pow, pow);
  bind_operator(type, "__matmul__", matmul, with_scalar<matmul>);
  bind_operator(type, "__and__", logical_and, with_scalar<logical_and>);
  bind_operator(type, "__or__", logical_or, with_scalar<logical_or>);
  bind_operator(type, "__lt__", operator<, operator<);
  bind_operator(type, "__le__", operator<=, operator<=);
  bind_operator(type, "__gt__", operator>, operator>);
  bind_operator(type, "__ge__", operator>=, operator>=);
  bind_operator(type, "__eq__", operator==, operator==);
  bind_operator(type, "__ne__", operator!=, operator!=);
  bind_reflected(type, "__radd__", operator+, operator+);
  bind_reflected(type, "__rsub__", operator-, operator-);
  bind_reflected(type, "__rmul__", operator*, operator*);
  bind_reflected(type, "__rtruediv__", operator/, operator/);
  bind_reflected(type, "__rpow__", pow, number_to);
  bind_reflected(type, "__rmatmul__", matmul, scalar_first<matmul>);
  bind_in_place < &Tensor::operator+=, &Tensor::operator+=>(type, "__iadd__");
  bind_in_place < &Tensor::operator-=, &Tensor::operator-=>(type, "__isub__");
  bind_in_place < &Tensor::operator*=, &Tensor::operator*=>(type, "__imul__");
  bind_in_place < &Tensor::operator/=, &Tensor::operator/=>(type, "__itruediv__");
  type.def("__neg__", [](const Tensor& x) { return compute(x.size(), [&] { return -x; }); });
  type.def("__pos__", [](const Tensor& x) { return x; });
  type.def("__abs__", [](const Tensor& x) { return compute(x.size(), [&] { return abs(x); }); });
  type.def(
      "__invert__", [](const Tensor& x) { return compute(x.size(), [&] { return logical_not(x); }); },
      "logical_not(x)");
  type.attr("__hash__") = nb::none();
}

void bind_settings(nb::module_& m) {
  m.def("num_threads", num_threads, "Threads that kernels may use, the caller included.");
  m.def("set_num_threads", set_num_threads, "count"_a, "From 1 to 1024, for kernels that start afterwards.");
  m.def("precision", precision, "How a GPU multiplies f32 matrices.");
  m.def("set_precision", set_precision, "precision"_a);
  m.def("products", products, "Who multiplies matrices on the CPU.");
  m.def("set_products", set_products, "products"_a);
  m.def("cuda_available", cuda::available, "Whether this build has CUDA kernels and a device to run them.");
  m.def(
      "memory_statistics",
      [](Device device) {
        const MemoryStatistics found = memory_statistics(device);
        nb::dict all;
        all["live_bytes"] = found.live_bytes;
        all["peak_bytes"] = found.peak_bytes;
        all["cached_bytes"] = found.cached_bytes;
        return all;
      },
      "device"_a = Device::cpu,
      "Bytes that tensors hold now, held at most, and freed and kept. Memory of others does not count.");
  m.def("reset_peak_memory", reset_peak_memory, "device"_a = Device::cpu);
  m.def("release_cached_memory", release_cached_memory, "device"_a = Device::cpu);
}

}  // namespace

void bind_tensor(nb::module_& m) {
  nb::class_<Rows>(m, "Rows").def("__iter__", [](nb::object self) { return self; }).def("__next__", &Rows::next);

  nb::class_<Tensor> type(m, "Tensor", nb::type_slots(tensor_slots),
                          "A strided array of f32, f64, i32 or u8, with up to six axes. Made by tensor, asarray and "
                          "from_dlpack, and by operations.");
  type.def_prop_ro("shape", [](const Tensor& x) { return x.shape(); })
      .def_prop_ro(
          "strides", [](const Tensor& x) { return x.strides(); }, "In elements.")
      .def_prop_ro("ndim", &Tensor::rank)
      .def_prop_ro("size", &Tensor::size, "How many numbers there are.")
      .def_prop_ro("dtype", &Tensor::dtype)
      .def_prop_ro("device", &Tensor::device)
      .def_prop_ro("needs_grad", &Tensor::needs_grad, "Whether it has a history that gradients flow through.")
      .def_prop_ro(
          "read_only", [](const Tensor& x) { return x.buffer().read_only(); },
          "Whether it is on memory of others that is not to be overwritten.")
      .def("is_packed", &Tensor::is_packed, "Whether it is row-major without gaps.")
      .def("detach", &Tensor::detach, "The same values without their history.")
      .def("item", item, "The only number, as a float or an int.", nb::sig("def item(self) -> float | int"))
      .def("tolist", to_list, "Nested lists of floats or ints.", nb::sig("def tolist(self) -> typing.Any"))
      .def(
          "numpy", [](nb::handle self) { return nb::module_::import_("numpy").attr("asarray")(self); },
          "A NumPy array on the same memory.")
      .def("__len__",
           [](const Tensor& x) {
             require(x.rank() > 0, "len: of a number; needs an axis");
             return x.shape()[0];
           })
      .def("__iter__", [](const Tensor& x) { return Rows(x); })
      .def("__getitem__", get_item, "key"_a.none(),
           "A view for ints, slices, None and ...; a copy for lists and masks.",
           nb::sig("def __getitem__(self, key: mollify.typing.Key, /) -> Tensor"))
      .def("__setitem__", set_item, "key"_a.none(), "value"_a,
           nb::sig("def __setitem__(self, key: mollify.typing.Key, value: mollify.typing.TensorLike, /) -> None"))
      .def("__bool__",
           [](const Tensor& x) {
             require<ValueError>(x.size() == 1,
                                 "bool: of a tensor {}, which is neither true nor false; needs one "
                                 "number, any(x) or all(x)",
                                 x.shape());
             return x.item() != 0;
           })
      .def("__float__", &Tensor::item)
      .def("__int__", [](const Tensor& x) { return nb::int_(nb::float_(x.item())); })
      .def("__index__",
           [](const Tensor& x) {
             require<TypeError>(!is_floating(x.dtype()), "index: a tensor of {}; needs an integer", x.dtype());
             return static_cast<int64_t>(x.item());
           })
      .def("__str__", [](const Tensor& x) { return to_string(x); })
      .def("__repr__", representation)
      .def(
          "__dlpack__",
          [](const Tensor& x, nb::handle, nb::handle max_version, nb::handle device, nb::handle copy) {
            return to_dlpack(x, max_version, device, copy);
          },
          nb::kw_only(), "stream"_a = nb::none(), "max_version"_a = nb::none(), "dl_device"_a = nb::none(),
          "copy"_a = nb::none(),
          nb::sig("def __dlpack__(self, *, stream: int | None = None, max_version: tuple[int, int] | None = None, "
                  "dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> typing.Any"))
      .def("__dlpack_device__", dlpack_device, nb::sig("def __dlpack_device__(self) -> tuple[int, int]"))
      .def(
          "__array__",
          [](nb::handle self, nb::object dtype, nb::object copy) {
            require_array(*nb::inst_ptr<Tensor>(self));
            const nb::object view = nb::steal(PyMemoryView_FromObject(self.ptr()));
            if (!view.is_valid()) throw nb::python_error();
            return nb::module_::import_("numpy").attr("array")(view, dtype, "copy"_a = copy);
          },
          "dtype"_a = nb::none(), "copy"_a = nb::none(),
          nb::sig("def __array__(self, dtype: typing.Any = None, copy: bool | None = None) -> typing.Any"))
      .def("__getstate__", [](const Tensor& x) { return nb::make_tuple(bytes_of(x), x.shape(), x.dtype()); })
      .def("__setstate__",
           [](Tensor& self, const std::tuple<nb::bytes, Integers, std::string>& state) {
             const auto& [bytes, shape, dtype] = state;
             new (&self) Tensor(from_bytes(bytes, Shape(shape.values), choice_named<DType>(dtype)));
           })
      .def(
          "__deepcopy__", [](const Tensor& x, nb::handle) { return copied(x); }, "memo"_a);
  bind_operators(type);
  type.attr("__array_priority__") = 1000;  // NumPy's arrays leave operators with tensors to tensors

  m.def("tensor", make_tensor, "data"_a, "dtype"_a = nb::none(), "device"_a = Device::cpu,
        "A new tensor of numbers, nested lists (f32 unless told) or any array (its own dtype unless told).",
        nb::sig("def tensor(data: typing.Any, dtype: mollify.typing.DType | None = None, device: mollify.typing.Device "
                "= 'cpu') -> Tensor"));
  m.def("asarray", as_tensor, "data"_a,
        "The tensor itself, a tensor on an array's memory, or a new one of numbers and lists.",
        nb::sig("def asarray(data: typing.Any) -> Tensor"));
  m.def(
      "from_dlpack",
      [](nb::handle x) { return nb::isinstance<Tensor>(x) ? *nb::inst_ptr<Tensor>(x) : from_foreign(x); }, "x"_a,
      "A tensor on the memory of an array, or of anything with __dlpack__ or a buffer, which it keeps alive. Where "
      "that writes, gradients do not notice.",
      nb::sig("def from_dlpack(x: typing.Any) -> Tensor"));
  bind_settings(m);
}

}  // namespace mollify::python
