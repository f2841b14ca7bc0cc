#include "arguments.h"

#include "exchange.h"

namespace mollify::python {

bool Operand::read(nb::handle source) noexcept {
  if (nb::isinstance<Tensor>(source)) {
    found_ = nb::inst_ptr<Tensor>(source);
    return true;
  }
  const auto is_numeric =
      [&] {  // as NumPy's and Python's numbers are, which are no arrays though some offer their memory
        return PyNumber_Check(source.ptr()) && !PySequence_Check(source.ptr()) && !nb::hasattr(source, "__dlpack__");
      };
  if (PyFloat_Check(source.ptr()) || PyLong_Check(source.ptr()) || is_numeric()) {
    number_ = source;
    return true;
  }
  foreign_ = source;
  return is_foreign(source);
}

double Operand::number() const {
  const double number = PyFloat_AsDouble(number_.ptr());
  if (number == -1 && PyErr_Occurred()) throw nb::python_error();
  return number;
}

const Tensor& Operand::tensor() const {
  if (found_) return *found_;
  require<TypeError>(!is_number(), "operation: a number alone given, which has no dtype; needs tensor({}, dtype)",
                     is_number() ? number() : 0.0);
  if (!made_.defined()) made_ = from_foreign(foreign_);
  return made_;
}

Tensor Operand::of(DType dtype) const { return is_number() ? Tensor::scalar(number(), dtype) : tensor(); }
Tensor Operand::like(const Tensor& beside) const { return of(beside.dtype()); }

std::vector<Tensor> together(std::initializer_list<const Operand*> operands) {
  DType dtype = DType::f32;
  for (const Operand* one : operands) {
    if (one->is_number()) continue;
    dtype = one->tensor().dtype();
    break;
  }
  std::vector<Tensor> all;
  for (const Operand* one : operands) all.push_back(one->of(dtype));
  return all;
}

std::vector<Tensor> tensors_of(nb::handle list) {
  std::vector<Tensor> all;
  for (nb::handle one : list) {
    Operand operand;
    if (!operand.read(one)) {
      const nb::str type = nb::str(one.type());
      throw TypeError(format("tensors: {} stands in a list; needs tensors", type.c_str()));
    }
    all.push_back(operand.tensor());
  }
  return all;
}

nb::tuple tuple_of(std::span<const Tensor> tensors) {
  nb::list all;
  for (const Tensor& one : tensors) all.append(one);
  return nb::tuple(all);
}

bool Integers::read(nb::handle source) noexcept {
  const auto take = [this](PyObject* one) {
    const Py_ssize_t value =
        PyIndex_Check(one) && !PyBool_Check(one) ? PyNumber_AsSsize_t(one, PyExc_OverflowError) : -1;
    if (value == -1 && (PyErr_Occurred() || !PyIndex_Check(one) || PyBool_Check(one))) return PyErr_Clear(), false;
    values.push_back(value);
    return true;
  };
  if (PyLong_Check(source.ptr())) return take(source.ptr());
  if (!PySequence_Check(source.ptr()) || PyUnicode_Check(source.ptr())) return false;
  PyObject* items = PySequence_Fast(source.ptr(), "");
  if (!items) return PyErr_Clear(), false;
  bool good = true;
  for (Py_ssize_t i = 0; good && i < PySequence_Fast_GET_SIZE(items); ++i)
    good = take(PySequence_Fast_GET_ITEM(items, i));
  Py_DECREF(items);
  return good;
}

}  // namespace mollify::python
