// What Python passes to functions, as the library wants it: tensors and what can stand for them, shapes, names of
// choices. Texts of errors are written when a value is used, so that they are the library's own.
#pragma once

#include <mollify/engine/ops.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace mollify::python {

namespace nb = nanobind;
using namespace nb::literals;

// A tensor, or what can stand for one: an array of another library, which is seen in place, or a number, which takes
// the dtype of the tensors beside it.
class Operand {
 public:
  // False for what is none of these; nothing is converted yet.
  bool read(nb::handle source) noexcept;

  bool is_number() const { return number_.is_valid(); }
  double number() const;
  // Throws DTypeError for a number: there is nothing beside it that would say its dtype.
  const Tensor& tensor() const;
  Tensor like(const Tensor& beside) const;
  Tensor of(DType dtype) const;  // a number in this dtype; tensors are themselves

 private:
  const Tensor* found_ = nullptr;
  nb::handle foreign_, number_;
  mutable Tensor made_;
};

// The same, or None: an empty tensor.
struct OptionalOperand : Operand {
  bool given = false;
  Tensor tensor() const { return given ? Operand::tensor() : Tensor(); }
};

// Numbers take the dtype of the first tensor; f32 where there are numbers only.
std::vector<Tensor> together(std::initializer_list<const Operand*> operands);

// Lists of tensors, such as the parts of concat.
std::vector<Tensor> tensors_of(nb::handle list);
nb::tuple tuple_of(std::span<const Tensor> tensors);

// An int, or a sequence of them.
struct Integers {
  std::vector<int64_t> values;
  bool read(nb::handle source) noexcept;
};

// Axes of a reduction: none (all), one or several; f takes what the library's functions want.
struct AxesArgument : Integers {
  template <class F>
  auto with(const F& f) const;
};

// Below this, kernels take about as long as letting go of the interpreter's lock and getting it back: 1,024 numbers of
// input (NumPy's ufuncs have a threshold of 500).
inline constexpr int64_t kFewNumbers = 1024;

// Runs f, which calls no Python, while other Python threads may run.
template <class F>
auto compute(int64_t numbers, const F& f) {
  if (numbers < kFewNumbers) return f();
  const nb::gil_scoped_release released;
  return f();
}
template <class F>
auto compute(const F& f) {
  const nb::gil_scoped_release released;
  return f();
}

template <class F>
auto AxesArgument::with(const F& f) const {
  std::vector<int> a(values.begin(), values.end());
  switch (a.size()) {
    case 0: return f(Axes{});
    case 1: return f(Axes{a[0]});
    case 2: return f(Axes{a[0], a[1]});
    case 3: return f(Axes{a[0], a[1], a[2]});
    case 4: return f(Axes{a[0], a[1], a[2], a[3]});
    case 5: return f(Axes{a[0], a[1], a[2], a[3], a[4]});
    case 6: return f(Axes{a[0], a[1], a[2], a[3], a[4], a[5]});
  }
  throw ShapeError(format("axes: {} given; a tensor has at most {}", values.size(), kMaxRank));
}

// The names of an enumeration's values; `what` begins the error for another one.
template <class E>
struct Choice {
  const char* name;
  E value;
};
template <class E>
struct Choices;

// Reads what a class's `read` takes; text is its type in signatures.
#define MOLLIFY_READS(Class, text)                                                                     \
  template <>                                                                                          \
  struct nanobind::detail::type_caster<Class> {                                                        \
    NB_TYPE_CASTER(Class, const_name(text))                                                            \
    bool from_python(handle source, uint32_t, cleanup_list*) noexcept { return value.read(source); }   \
    static handle from_cpp(const Class&, rv_policy, cleanup_list*) noexcept { return PyTuple_New(0); } \
  }

// An enumeration whose values Python calls by name. Literal: its type in signatures.
#define MOLLIFY_CHOICES(Enum, what_it_is, Literal, ...)                              \
  template <>                                                                        \
  struct mollify::python::Choices<Enum> {                                            \
    static constexpr const char* what = what_it_is;                                  \
    static constexpr mollify::python::Choice<Enum> all[] = {__VA_ARGS__};            \
  };                                                                                 \
  template <>                                                                        \
  struct nanobind::detail::type_caster<Enum> : mollify::python::ChoiceCaster<Enum> { \
    static constexpr auto Name = const_name("typing.Literal[" Literal "]");          \
  }

template <class E>
E choice_named(const std::string& name) {
  std::string names;
  for (const auto& choice : Choices<E>::all) {
    if (name == choice.name) return choice.value;
    names += (names.empty() ? "" : ", ") + std::string(choice.name);
  }
  throw ValueError(format("{}: '{}' given; there are {}", Choices<E>::what, name, names));
}

template <class E>
struct ChoiceCaster {
  using Value = E;
  template <class T>
  using Cast = E;
  template <class T>
  static constexpr bool can_cast() {
    return true;
  }

  bool from_python(nb::handle source, uint32_t, nb::detail::cleanup_list*) noexcept {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_Check(source.ptr()) ? PyUnicode_AsUTF8AndSize(source.ptr(), &size) : nullptr;
    if (!text) return PyErr_Clear(), false;
    given_.assign(text, static_cast<size_t>(size));
    return true;
  }
  static nb::handle from_cpp(E value, nb::rv_policy, nb::detail::cleanup_list*) noexcept {
    for (const auto& choice : Choices<E>::all)
      if (choice.value == value) return PyUnicode_InternFromString(choice.name);
    return PyUnicode_FromString("?");
  }
  explicit operator E() const { return choice_named<E>(given_); }

 private:
  std::string given_;
};

}  // namespace mollify::python

// A choice or None. Not nanobind's own, which would convert, and throw, where nothing may be thrown.
template <class E>
requires requires { mollify::python::Choices<E>::what; }
struct nanobind::detail::type_caster<std::optional<E>> {
  using Value = std::optional<E>;
  static constexpr auto Name = type_caster<E>::Name;  // None is said of the argument
  template <class T>
  using Cast = Value;
  template <class T>
  static constexpr bool can_cast() {
    return true;
  }
  bool from_python(handle source, uint32_t flags, cleanup_list* cleanup) noexcept {
    none_ = source.is_none();
    return none_ || choice_.from_python(source, flags, cleanup);
  }
  static handle from_cpp(const Value& value, rv_policy policy, cleanup_list* cleanup) noexcept {
    return value ? type_caster<E>::from_cpp(*value, policy, cleanup) : none().release();
  }
  explicit operator Value() const { return none_ ? Value() : Value(static_cast<E>(choice_)); }

 private:
  type_caster<E> choice_;
  bool none_ = false;
};

MOLLIFY_READS(mollify::python::Integers, "int | collections.abc.Sequence[int]");
MOLLIFY_READS(mollify::python::AxesArgument, "int | collections.abc.Sequence[int]");
MOLLIFY_READS(mollify::python::Operand, "mollify.typing.TensorLike");

template <>
struct nanobind::detail::type_caster<mollify::python::OptionalOperand> {
  NB_TYPE_CASTER(mollify::python::OptionalOperand, const_name("mollify.typing.TensorLike"))
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept {
    value.given = !source.is_none();
    return !value.given || value.read(source);
  }
  static handle from_cpp(const mollify::python::OptionalOperand&, rv_policy, cleanup_list*) noexcept {
    return none().release();
  }
};

template <>
struct nanobind::detail::type_caster<mollify::Shape> {
  using Value = mollify::Shape;
  static constexpr auto Name = io_name("int | collections.abc.Sequence[int]", "tuple[int, ...]");
  template <class T>
  using Cast = mollify::Shape;
  template <class T>
  static constexpr bool can_cast() {
    return true;
  }
  bool from_python(handle source, uint32_t, cleanup_list*) noexcept { return given.read(source); }
  static handle from_cpp(const mollify::Shape& shape, rv_policy, cleanup_list*) noexcept {
    PyObject* tuple = PyTuple_New(shape.rank());
    for (int i = 0; tuple && i < shape.rank(); ++i) PyTuple_SET_ITEM(tuple, i, PyLong_FromLongLong(shape[i]));
    return tuple;
  }
  explicit operator mollify::Shape() const { return mollify::Shape(given.values); }
  mollify::python::Integers given;
};

MOLLIFY_CHOICES(mollify::DType, "dtype", "'f32', 'f64', 'i32', 'u8', 'float32', 'float64', 'int32', 'uint8'",
                {"f32", mollify::DType::f32}, {"f64", mollify::DType::f64}, {"i32", mollify::DType::i32},
                {"u8", mollify::DType::u8}, {"float32", mollify::DType::f32}, {"float64", mollify::DType::f64},
                {"int32", mollify::DType::i32}, {"uint8", mollify::DType::u8});
MOLLIFY_CHOICES(mollify::Device, "device", "'cpu', 'cuda'", {"cpu", mollify::Device::cpu},
                {"cuda", mollify::Device::cuda});
